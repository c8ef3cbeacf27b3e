#!/usr/bin/env bash
# Resident memory of one process with 1, 1,000 and 10,000 peers that are configured and have no session: a gateway with hybrid
# peers in its configuration, our WireGuard mode, and the daemons of others. Prints a table in Markdown.
#
#   scripts/bench/memory.sh [--only A,B] [--counts 1,1000,10000]     subjects: hybrid wireguard wireguard-go boringtun gotatun

# shellcheck source=scripts/bench/subjects.sh
source "$(dirname "${BASH_SOURCE[0]}")/subjects.sh"

ONLY=hybrid,wireguard,wireguard-go,boringtun,gotatun COUNTS=1,1000,10000

main() {
  local given=("$@")
  while (($#)); do
    case $1 in
      --only) ONLY=${2:?--only needs names}; shift ;;
      --counts) COUNTS=${2:?--counts needs numbers}; shift ;;
      -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0"; return ;;
      *) die "unknown option $1; try --help" ;;
    esac
    shift
  done
  need_root "${given[@]}"
  need_packages "${LAB_PACKAGES[@]}" wg:wireguard-tools
  need_programs
  cleanup_on_exit
  local subjects counts subject count cells
  IFS=, read -ra subjects <<<"$ONLY"
  IFS=, read -ra counts <<<"$COUNTS"
  printf '| peers |'; printf ' %s |' "${counts[@]}"; printf '\n|---|'; printf -- '--:|%.0s' "${counts[@]}"; echo
  for subject in "${subjects[@]}"; do
    if [[ ! -x $(program_of "$subject") ]]; then warn "$subject is left out: there is no $(program_of "$subject")"; continue; fi
    cells=''
    for count in "${counts[@]}"; do cells+=" $(measured "$subject" "$count") MB |"; done
    echo "| $subject |$cells"
  done
}

# measured SUBJECT COUNT: in megabytes, with a namespace and a LAB_ID of its own.
measured() {
  LAB_ID=$LAB_ID-$2                                      # short enough for the name of an interface
  add_node gateway
  case $1 in
    hybrid) load_hybrid "$2" ;;
    *) load_wireguard "$1" "$2" ;;
  esac
  sleep 1                                                # for what is freed, or fetched, right after the start
  awk '/^VmRSS:/ { printf "%.1f", $2 * 1024 / 1e6 }' "/proc/${PID[gateway]}/status"
  remove_lab >&2
}

load_hybrid() {
  rm -rf "$(dir_of gateway)"
  init_server
  toml_set "$(server_toml)" gateway nat false
  python3 "$REPO/scripts/bench/peers.py" hybrid "$1" >"$(dir_of gateway)/etc/peers.d/all.toml"
  chmod 0600 "$(dir_of gateway)/etc/peers.d/all.toml"
  start_server >&2
  PID[gateway]=${PID[server]}
  expect_peers "$1" "$(server_status | jq '.peers | length')"
}

load_wireguard() {
  local interface; interface=$(interface_of gateway)
  start_daemon "$1" gateway
  { printf '[Interface]\nPrivateKey = %s\nListenPort = %s\n' "$(wg genkey)" $PORT
    python3 "$REPO/scripts/bench/peers.py" wireguard "$2"; } >"$SCRATCH/peers.conf"
  wg setconf "$interface" "$SCRATCH/peers.conf"
  in_ns gateway ip link set "$interface" up
  expect_peers "$2" "$(wg show "$interface" peers | wc -l)"
}

# before_removal: `finish` knows the LAB_ID that the others begin with.
before_removal() { rm -f /var/run/wireguard/g"$LAB_ID"-*.sock; }

expect_peers() { (($1 == $2)) || die "$2 peers in place of $1"; }

main "$@"
