# shellcheck shell=bash
# The subjects of scripts/bench.sh: which there are, and how a pair of each comes up.
#
#       gateway                            client
#   198.51.100.2/24  eth0 ────────── eth0  198.51.100.1/24        MTU 1500
#     10.66.0.1/16   in the tunnel         10.66.0.x/16           MTU 1420
#
# Only the tunnel's own network is routed into it, and nothing is translated.

# shellcheck source=scripts/netns/lab.sh
source "$(dirname "${BASH_SOURCE[0]}")/../netns/lab.sh"

PEERS=${VPN_PEERS_DIR:-$REPO/target/peers}
FLOOR_BIN_DIR=$REPO/target/floor/floor                   # where scripts/bench/floor.sh leaves its programs
SUBJECTS=(hybrid-aes hybrid-chacha wireguard wireguard-go boringtun gotatun)
CLIENT_INSIDE=10.66.0.2                                  # of WireGuard pairs; a hybrid client is told its address
TUNNEL_MTU=1420

is_subject() { [[ " ${SUBJECTS[*]} null-cipher " == *" $1 "* ]]; }

# program_of SUBJECT: the daemon of a WireGuard pair, the gateway's program of a hybrid one.
program_of() {
  case $1 in
    null-cipher) echo "$FLOOR_BIN_DIR/vpn-server" ;;
    hybrid* | wireguard) echo "$VPN_BIN_DIR/vpn-server" ;;
    boringtun) echo "$PEERS/bin/boringtun-cli" ;;
    wireguard-go | gotatun) echo "$PEERS/bin/$1" ;;
  esac
}

# why_not SUBJECT: prints why it cannot be measured here; fails if it can.
why_not() {
  if [[ ! -x $(program_of "$1") ]]; then
    echo "there is no $(program_of "$1")"
  elif [[ $1 == hybrid-aes ]] && ! grep -qwE 'aes|pmull' /proc/cpuinfo; then
    echo "this CPU has no instructions for AES"
  else
    return 1
  fi
}

# version_of SUBJECT: what its program says of itself, on one line.
version_of() { "$(program_of "$1")" --version 2>&1 | head -n 1; }

# start_pair SUBJECT: cable, both programs, a session. Sets INSIDE_CLIENT.
start_pair() {
  add_node gateway client
  link_nodes gateway eth0 client eth0
  give_address gateway eth0 $GATEWAY/24
  give_address client eth0 198.51.100.1/24
  case $1 in
    hybrid-aes) start_hybrid aes-256-gcm ;;
    hybrid-chacha) start_hybrid chacha20-poly1305 ;;
    null-cipher) VPN_BIN_DIR=$FLOOR_BIN_DIR; start_hybrid chacha20-poly1305 none ;;
    *) start_wireguard "$1" ;;
  esac
  wait_until 10 in_ns client ping -q -c 1 -W 1 $GATEWAY_INSIDE || die "no answer through the tunnel within 10 s"
}

# start_hybrid SUITE [REPORTED]: a gateway and a client that both have it in their files, and use it.
start_hybrid() {
  init_server
  add_client laptop
  toml_set "$(server_toml)" gateway nat false
  toml_set "$(client_toml laptop)" peer allowed_ips '["10.66.0.0/16"]'
  local file
  for file in "$(server_toml)" "$(client_toml laptop)"; do
    toml_set "$file" interface suite "\"$1\""
    toml_set "$file" interface mtu $TUNNEL_MTU
  done
  start_server
  start_client laptop
  wait_up
  local used; used=$(client_status | jq -r '.peers[0].suite')
  [[ $used == "${2:-$1}" ]] || die "the session uses $used in place of ${2:-$1}"
  PID[client]=${PID[laptop]} PID[gateway]=${PID[server]}
}

# start_wireguard SUBJECT: the same daemon at both ends, configured over its socket.
start_wireguard() {
  local node
  for node in gateway client; do
    (umask 077; wg genkey >"$SCRATCH/$node.key")
    wg pubkey <"$SCRATCH/$node.key" >"$SCRATCH/$node.pub"
    start_daemon "$1" $node
  done
  configure gateway client $GATEWAY_INSIDE allowed-ips $CLIENT_INSIDE/32
  configure client gateway $CLIENT_INSIDE allowed-ips $GATEWAY_INSIDE/32 endpoint $GATEWAY:$PORT
}

# The names of interfaces carry the LAB_ID because the daemons' sockets, named after them, lie in one folder.
interface_of() { printf '%s%s' "${1:0:1}" "$LAB_ID"; }

start_daemon() {
  local command; command=("$(program_of "$1")")
  case $1 in
    wireguard) command+=(wireguard) ;;
    boringtun | gotatun) command+=(--foreground --disable-drop-privileges --verbosity error) ;;
  esac
  spawn "$2" "$2" env WG_PROCESS_FOREGROUND=1 LOG_LEVEL=error NO_COLOR=1 "${command[@]}" "$(interface_of "$2")"
  wait_until 10 wg show "$(interface_of "$2")" || die "$1 does not answer on its socket 10 s after its start"
}

# configure NODE OTHER ADDRESS SETTING...: SETTINGs are those of the peer OTHER, as wg(8) takes them.
configure() {
  local node=$1 other=$2 address=$3 interface; shift 3
  interface=$(interface_of "$node")
  wg set "$interface" private-key "$SCRATCH/$node.key" listen-port $PORT peer "$(<"$SCRATCH/$other.pub")" "$@"
  give_address "$node" "$interface" "$address/16"
  in_ns "$node" ip link set "$interface" mtu $TUNNEL_MTU up
}
