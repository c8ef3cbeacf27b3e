#!/usr/bin/env bash
# Brings the WireGuard implementations of others that ours is tested against into VPN_PEERS_DIR (target/peers):
#
#   wireguard-go   the package of this Debian or Ubuntu, unpacked there and not installed
#   boringtun      boringtun-cli of crates.io, built there (about a minute)
#   gotatun        gotatun-cli of crates.io, built there (about a minute)
#
#   scripts/interop/peers.sh [NAME...]
#
# What is there already is left alone. Exit status 1 if one could not be had; the others are there nevertheless.

# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/../lib.sh"

PEERS=${VPN_PEERS_DIR:-$REPO/target/peers}
BORINGTUN_VERSION=0.7.1
GOTATUN_VERSION=0.10.2

main() {
  local names=("$@") name absent=0
  case ${1:-} in
    -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; return ;;
  esac
  ((${#names[@]})) || names=(wireguard-go boringtun gotatun)
  need_cargo
  run_as_caller mkdir -p "$PEERS/bin"
  cleanup_on_exit
  for name in "${names[@]}"; do bring "$name" || absent=$((absent + 1)); done
  if ((absent)); then exit 1; fi
}

# bring NAME: says what came of it; fails if the program is still missing.
bring() {
  local program
  case $1 in
    wireguard-go) program=wireguard-go ;;
    boringtun) program=boringtun-cli ;;
    gotatun) program=gotatun ;;
    *) die "no implementation is called $1; try --help" ;;
  esac
  if [[ ! -x $PEERS/bin/$program ]]; then
    note "fetching $1"
    if ! "fetch_${1//-/_}" >"$(log_of "$1")" 2>&1; then
      warn "$1 could not be had: $(tail -n 1 "$(log_of "$1")")"
      return 1
    fi
  fi
  pass "$1: $PEERS/bin/$program"
}

fetch_wireguard_go() {
  command -v apt-get || { echo "there is no apt-get: put a wireguard-go into $PEERS/bin yourself"; return 1; }
  chmod 0755 "$SCRATCH"                                  # apt fetches as a user of its own
  local folder=$SCRATCH/wireguard-go
  mkdir -m 0777 "$folder" && cd "$folder" || return
  as_root apt-get -qq update || return
  apt-get -qq download wireguard-go || return
  dpkg-deb -x wireguard-go_*.deb . || return
  run_as_caller install -m 0755 usr/bin/wireguard-go "$PEERS/bin/wireguard-go"
}

fetch_boringtun() { fetch_crate boringtun-cli $BORINGTUN_VERSION; }
fetch_gotatun() { fetch_crate gotatun-cli $GOTATUN_VERSION; }
fetch_crate() { cargo_as_caller install --quiet --locked --root "$PEERS" --version "=$2" "$1"; }

main "$@"
