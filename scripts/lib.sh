# shellcheck shell=bash
# Shared by every script here: strict mode, readable output, packages, network namespaces, and a cleanup that always runs.
# Source it; then call `cleanup_on_exit` before anything is created.
#
# Everything a run creates carries its own LAB_ID, so two runs never meet and none removes what another one made.

set -Eeuo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
LAB_ID=${LAB_ID:-$$}                 # names namespaces: vpn-LAB_ID-client
SCRATCH=                             # temporary directory of this run, made by cleanup_on_exit
declare -A PID=()                    # label of a started process -> its process id

# --- Output -----------------------------------------------------------------------------------------------------------

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  BOLD=$'\e[1m' DIM=$'\e[2m' RED=$'\e[31m' GREEN=$'\e[32m' YELLOW=$'\e[33m' PLAIN=$'\e[0m'
else
  BOLD='' DIM='' RED='' GREEN='' YELLOW='' PLAIN=''
fi

step() { printf '\n%s==> %s%s\n' "$BOLD" "$*" "$PLAIN"; }
pass() { printf '  %sok%s    %s\n' "$GREEN" "$PLAIN" "$*"; }
note() { printf '  %s%s%s\n' "$DIM" "$*" "$PLAIN"; }
warn() { printf '  %swarn%s  %s\n' "$YELLOW" "$PLAIN" "$*" >&2; }
die()  { trap - ERR; printf '  %sFAILED%s  %s\n' "$RED" "$PLAIN" "$*" >&2; exit 1; }

# --- Root, packages, toolchain ----------------------------------------------------------------------------------------

as_root() {
  if ((EUID == 0)); then "$@"; else
    command -v sudo >/dev/null || die "this needs root and sudo is not installed: run it as root"
    sudo -- "$@"
  fi
}

# need_root "$@": continues as root. The build still runs as the user who called (see `cargo_as_caller`).
need_root() {
  ((EUID == 0)) && return
  command -v sudo >/dev/null || die "network namespaces need root, and sudo is not installed: run $0 as root"
  exec sudo -- env "PATH=$PATH" ${CARGO_HOME:+"CARGO_HOME=$CARGO_HOME"} ${VPN_BIN_DIR:+"VPN_BIN_DIR=$VPN_BIN_DIR"} \
    ${VPN_PEERS_DIR:+"VPN_PEERS_DIR=$VPN_PEERS_DIR"} ${OURS:+"OURS=$OURS"} \
    ${TEST_SECONDS:+"TEST_SECONDS=$TEST_SECONDS"} \
    ${EXCHANGE_MEGABYTES:+"EXCHANGE_MEGABYTES=$EXCHANGE_MEGABYTES"} "$0" "$@"
}

# need_packages COMMAND:PACKAGE...: installs the packages whose command is missing; does nothing when all are there.
need_packages() {
  local pair missing=() commands=()
  PATH=$PATH:/usr/sbin:/sbin
  for pair; do
    command -v "${pair%%:*}" >/dev/null && continue
    commands+=("${pair%%:*}") missing+=("${pair#*:}")
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null ||
    die "missing commands: ${commands[*]}. On Debian and Ubuntu they come with: ${missing[*]}. Install your system's equivalent"
  note "installing ${missing[*]}"
  local log; log=$(mktemp)
  { as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}"
  } >"$log" 2>&1 </dev/null || { tail -n 20 "$log" >&2; rm -f "$log"; die "apt-get could not install ${missing[*]}"; }
  rm -f "$log"
}

# need_cargo: finds cargo, also that of the user who called sudo. Sets CARGO and, where it is somebody else's, CALLER.
need_cargo() {
  CALLER=
  if ((EUID == 0)) && [[ -n ${SUDO_USER:-} && $SUDO_USER != root ]]; then CALLER=$SUDO_USER; fi
  local home candidate
  home=$(getent passwd "${CALLER:-$(id -un)}" | cut -d: -f6)
  for candidate in "${CARGO_HOME:-$home/.cargo}/bin/cargo" "$(command -v cargo || true)"; do
    [[ -x $candidate ]] && { CARGO=$candidate; return; }
  done
  # Debian 13 and newer package rustup; what they package as cargo itself is too old for this project.
  if command -v apt-get >/dev/null && [[ -n $(apt-cache search --names-only '^rustup$' 2>/dev/null) ]]; then
    need_packages rustup:rustup
    CARGO=$(command -v cargo)
    run_as_caller rustup default stable >/dev/null 2>&1 || die "rustup could not install the stable toolchain"
    return
  fi
  die "cargo is not installed. Install Rust from https://rustup.rs and run this again"
}

run_as_caller() {
  if [[ -n ${CALLER:-} ]]; then
    sudo -u "$CALLER" -H -- env "PATH=${CARGO%/*}:$PATH" "$@"
  else
    PATH=${CARGO%/*}:$PATH "$@"
  fi
}

# cargo_as_caller ARGUMENTS...: cargo in the repository, with the files in target/ owned by whoever called.
cargo_as_caller() { (cd "$REPO" && run_as_caller "$CARGO" "$@"); }

# --- Processes and network namespaces ---------------------------------------------------------------------------------

ns() { printf 'vpn-%s-%s' "$LAB_ID" "$1"; }             # ns client -> vpn-4711-client
in_ns() { local node=$1; shift; ip netns exec "$(ns "$node")" "$@"; }

# add_node NAME...: one namespace each, with loopback up.
add_node() {
  local node
  for node; do
    ip netns add "$(ns "$node")"
    ip -n "$(ns "$node")" link set lo up
    in_ns "$node" sh -c 'echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad'     # link-local addresses at once
  done
}

# link_nodes A IFACE_A B IFACE_B: a cable. Both ends are born inside their namespaces, so the names meet nobody else's.
link_nodes() {
  ip link add "$2" netns "$(ns "$1")" mtu 1500 type veth peer name "$4" netns "$(ns "$3")" mtu 1500
  ip -n "$(ns "$1")" link set "$2" up
  ip -n "$(ns "$3")" link set "$4" up
}

# give_address NODE IFACE ADDRESS...: nodad, because waiting for duplicate address detection only costs time here.
give_address() {
  local node=$1 iface=$2 address; shift 2
  for address; do
    if [[ $address == *:* ]]; then ip -n "$(ns "$node")" address add "$address" dev "$iface" nodad
    else ip -n "$(ns "$node")" address add "$address" dev "$iface"; fi
  done
}

forward_on() { in_ns "$1" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'; }

# spawn NODE LABEL COMMAND...: starts it in the background; PID[LABEL] is the command itself, its output is $(log_of LABEL).
spawn() {
  local node=$1 label=$2; shift 2
  ip netns exec "$(ns "$node")" "$@" >>"$(log_of "$label")" 2>&1 </dev/null &
  PID[$label]=$!
  disown                                               # a killed child must not print job notices
}

log_of() { printf '%s/log/%s.log' "$SCRATCH" "$1"; }
is_running() { [[ -n ${PID[$1]:-} ]] && kill -0 "${PID[$1]}" 2>/dev/null; }

# stop LABEL [SIGNAL]: sends the signal (TERM) and waits up to 10 s until the process is gone.
stop() {
  local pid=${PID[$1]:-} signal=${2:-TERM} i
  [[ -n $pid ]] || return 0
  kill -s "$signal" "$pid" 2>/dev/null || return 0
  for ((i = 0; i < 100; i++)); do
    kill -0 "$pid" 2>/dev/null || { unset "PID[$1]"; return 0; }
    sleep 0.1
  done
  die "$1 (process $pid) did not end within 10 s of SIG$signal"
}

# wait_until SECONDS COMMAND...: repeats the command until it succeeds; fails when the time is over.
wait_until() {
  local deadline=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

# --- Cleanup ----------------------------------------------------------------------------------------------------------

# cleanup_on_exit: call once, first. Whatever ends the script (the end, a failure, ^C, a TERM), nothing stays behind.
cleanup_on_exit() {
  SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/vpn-lab-$LAB_ID.XXXXXX")
  chmod 0711 "$SCRATCH"                                # passable, for the tests that run something as another user
  mkdir "$SCRATCH/log"
  trap 'report_error "$LINENO" "$BASH_COMMAND"' ERR
  trap finish EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
}

report_error() {
  ((BASH_SUBSHELL == 0)) || return 0                   # the caller of the subshell reports it
  printf '  %sFAILED%s  line %s of %s: %s\n' "$RED" "$PLAIN" "$1" "$(basename "${BASH_SOURCE[1]:-$0}")" "$2" >&2
}

finish() {
  local status=$?
  trap - ERR EXIT
  trap '' INT TERM HUP                                 # a second ^C must not leave half of it behind
  set +e
  if declare -F before_removal >/dev/null; then before_removal; fi       # of the script that sourced this
  if ((status == 130)); then
    warn "interrupted; removing what this run has made"
  elif ((status != 0)); then
    show_logs
    if [[ -n ${LAB_KEEP_LOGS:-} ]]; then mkdir -p "$LAB_KEEP_LOGS"; cp -r "$SCRATCH"/log/. "$LAB_KEEP_LOGS"; fi
  fi
  remove_lab
  rm -rf "$SCRATCH"
  exit "$status"
}

show_logs() {
  local file
  for file in "$SCRATCH"/log/*.log; do
    [[ -s $file ]] || continue
    printf '  %s--- end of %s%s\n' "$DIM" "$(basename "$file")" "$PLAIN" >&2
    tail -n 15 "$file" | sed 's/^/    /' >&2
  done
}

# remove_lab: ends every process in this run's namespaces (and only those), then removes the namespaces.
remove_lab() {
  local name signal attempt pids=() names=()
  mapfile -t names < <(ip netns list 2>/dev/null | awk -v p="vpn-$LAB_ID-" 'index($1, p) == 1 { print $1 }')
  for signal in TERM KILL; do
    pids=()
    for name in "${names[@]}"; do mapfile -t -O "${#pids[@]}" pids < <(ip netns pids "$name" 2>/dev/null); done
    ((${#pids[@]})) || break
    kill -s "$signal" "${pids[@]}" 2>/dev/null
    for ((attempt = 0; attempt < 30; attempt++)); do
      kill -0 "${pids[@]}" 2>/dev/null || break
      sleep 0.1
    done
  done
  for name in "${names[@]}"; do ip netns del "$name"; done
  rm -f /var/run/wireguard/?"$LAB_ID".sock              # a killed WireGuard daemon leaves its socket
}
