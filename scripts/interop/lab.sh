# shellcheck shell=bash
# The laboratory of interoperation: our WireGuard daemon and somebody else's, in a namespace each, joined by a cable.
# Sourced by the tests; brings the laboratory and the assertions of scripts/netns along.
#
#           ours                                    theirs
#     198.51.100.1/24   eth0 ──────────── eth0   198.51.100.2/24
#      2001:db8:1::1                              2001:db8:1::2
#       10.99.0.1/24   in the tunnel (interface)  10.99.0.2/24
#             fd99::1                             fd99::2
#
# PEER names the implementation on the other side: wireguard-go, boringtun or gotatun; or `kernel`, which runs in a virtual
# machine in place of the namespace (scripts/interop/guest.sh). OURS=NAME puts one of those into the
# place of ours too: that is how the tests themselves are tested. What needs our own program is left out then.
#
# A test that knows no answer for an implementation says so by `not_for NAME REASON`: it is then reported as skipped.

# shellcheck source=scripts/netns/assert.sh
source "$(dirname "${BASH_SOURCE[0]}")/../netns/assert.sh"

PEERS=${VPN_PEERS_DIR:-$REPO/target/peers}
PEER=${PEER:-wireguard-go} OURS=${OURS:-vpn-server}
FLOOD_RATE=${FLOOD_RATE:-10000}                          # initiations a second; a development build answers about as many
SKIPPED=77                                               # exit status of a test that does not apply
declare -A HOST=([ours]=1 [theirs]=2)                    # last part of a side's addresses
declare -A OUTSIDE=()                                    # side -> host number of its address outside, where it has moved

INTEROP_PACKAGES=("${LAB_PACKAGES[@]}" wg:wireguard-tools)

# --- Who is who -------------------------------------------------------------------------------------------------------

implementation_of() { if [[ $1 == ours ]]; then echo "$OURS"; else echo "$PEER"; fi; }

# program_of IMPLEMENTATION
program_of() {
  case $1 in
    vpn-server) echo "$VPN_BIN_DIR/vpn-server" ;;
    boringtun) echo "$PEERS/bin/boringtun-cli" ;;
    wireguard-go | gotatun) echo "$PEERS/bin/$1" ;;
    kernel) echo "$PEERS/kernel/initramfs" ;;
    *) die "no implementation is called $1" ;;
  esac
}

# not_for IMPLEMENTATION REASON: ends the test as skipped if that one is on the other side.
not_for() { if [[ $PEER == "$1" ]]; then skip "$2"; fi; }
# only_ours REASON: ends the test as skipped if something else is in the place of ours.
only_ours() { if [[ $OURS != vpn-server ]]; then skip "$1"; fi; }
skip() { printf 'skipped: %s\n' "$1"; exit $SKIPPED; }

# The names of interfaces carry the LAB_ID because the daemons' sockets, named after them, lie in one folder.
interface_of() { printf '%s%s' "${1:0:1}" "$LAB_ID"; }
inside() { printf '10.99.0.%s' "${HOST[$1]}"; }
inside6() { printf 'fd99::%s' "${HOST[$1]}"; }
outside() { printf '198.51.100.%s' "${OUTSIDE[$1]:-${HOST[$1]}}"; }
outside6() { printf '2001:db8:1::%s' "${OUTSIDE[$1]:-${HOST[$1]}}"; }

# endpoint_of SIDE [FAMILY]: where the others find it; FAMILY is 4 or 6.
endpoint_of() {
  if [[ ${2:-4} == 6 ]]; then printf '[%s]:%s' "$(outside6 "$1")" $PORT; else printf '%s:%s' "$(outside "$1")" $PORT; fi
}

# --- The network ------------------------------------------------------------------------------------------------------

# cable_up: both nodes, each reaches the other.
cable_up() {
  ((EUID == 0)) || die "network namespaces need root"
  add_node ours theirs
  link_nodes ours eth0 theirs eth0
  give_outside ours eth0
  give_outside theirs eth0
}

give_outside() { give_address "$1" "$2" "$(outside "$1")/24" "$(outside6 "$1")/64"; }

# join NODE AT NETWORK: one more node, on a cable of its own to the node AT. NETWORK is the first three parts of an IPv4
# address: AT becomes its .1, the new node its .2.
join() {
  add_node "$1"
  link_nodes "$1" eth0 "$2" "$1"
  give_address "$2" "$1" "$3.1/24"
  give_address "$1" eth0 "$3.2/24"
}

# --- The daemons ------------------------------------------------------------------------------------------------------

wg_at() { shift; wg "$@"; }                              # SIDE ARGUMENTS...: the daemons' sockets are in reach of all namespaces
wg_set() { wg_at "$1" set "$(interface_of "$1")" "${@:2}"; }             # SIDE SETTING...
wg_show() { wg_at "$1" show "$(interface_of "$1")" "${@:2}"; }           # SIDE [FIELD]

# start_daemon SIDE [NAME=VALUE...]: with that environment; the interface exists when it returns. Its log is SIDE.log.
start_daemon() {
  local side=$1 interface program command; shift
  if [[ $side$PEER == theirskernel ]]; then start_guest; return; fi
  interface=$(interface_of "$side")
  program=$(program_of "$(implementation_of "$side")")
  case $program in
    */vpn-server) command=("$program" wireguard "$interface") ;;
    */wireguard-go) command=("$program" "$interface") ;;
    *) command=("$program" --foreground --disable-drop-privileges --verbosity debug "$interface") ;;&
    # It would connect a socket to each peer, and that one keeps its source address when ours or its own address changes.
    */boringtun-cli) command+=(--disable-connected-udp) ;;
  esac
  spawn "$side" "$side" env WG_PROCESS_FOREGROUND=1 LOG_LEVEL=verbose NO_COLOR=1 "$@" "${command[@]}"
  wait_until 10 wg_show "$side" || die "$(basename "$program") does not answer on its socket 10 s after its start"
}

# equip SIDE: key, port, addresses and MTU, as wg-quick would. The key is made once for each side.
equip() {
  local side=$1 interface; interface=$(interface_of "$1")
  if [[ ! -e $SCRATCH/$side.key ]]; then new_key "$side"; fi
  wg_set "$side" private-key "$SCRATCH/$side.key" listen-port $PORT
  give_address "$side" "$interface" "$(inside "$side")/24" "$(inside6 "$side")/64"
  in_ns "$side" ip link set "$interface" mtu "${TUNNEL_MTU:-1420}" up
}

new_key() {
  (umask 077; wg genkey >"$SCRATCH/$1.key")
  wg pubkey <"$SCRATCH/$1.key" >"$SCRATCH/$1.pub"
}
public_key() { cat "$SCRATCH/$1.pub"; }

# introduce SIDE OTHER [SETTING...]: OTHER becomes a peer of SIDE, with such settings as wg(8) knows for a peer. All in one
# request, and none later: boringtun ends when a peer that it has is changed.
introduce() {
  local side=$1 other=$2; shift 2
  wg_set "$side" peer "$(public_key "$other")" \
    allowed-ips "$(inside "$other")/32,$(inside6 "$other")/128" "$@"
}

# start_pair: cable, daemons, keys and addresses; neither knows the other yet.
start_pair() { cable_up; start_daemon ours "$@"; start_daemon theirs; equip ours; equip theirs; }

# pair_up [NAME=VALUE...]: a pair in which each knows the other's endpoint, with a session that theirs has initiated.
# The environment is that of our daemon.
pair_up() {
  start_pair "$@"
  introduce ours theirs endpoint "$(endpoint_of theirs)"
  introduce theirs ours endpoint "$(endpoint_of ours)"
  expect_soon 10 "a session with $PEER" ping_once theirs "$(inside ours)"
}

# kill_and_restart SIDE...: kill -9, and the same configuration again, except for the peers.
kill_and_restart() {
  local side
  for side; do
    stop "$side" KILL
    rm -f "/var/run/wireguard/$(interface_of "$side").sock"
    start_daemon "$side"
    equip "$side"
  done
}

# --- What the daemons say ---------------------------------------------------------------------------------------------

# peer_value SIDE OTHER FIELD: of wg_show; empty if it has no such peer.
peer_value() { wg_show "$1" "$3" | awk -v key="$(public_key "$2")" '$1 == key { print $2 }'; }
# last_handshake SIDE OTHER: Unix time in seconds, 0 for never.
last_handshake() {
  local told; told=$(peer_value "$1" "$2" latest-handshakes)
  # boringtun tells the seconds that have passed since.
  if [[ $(implementation_of "$1") == boringtun ]]; then echo $((EPOCHSECONDS - told)); else echo "$told"; fi
}
current_endpoint() { peer_value "$1" "$2" endpoints; }
endpoint_is() { [[ $(current_endpoint "$1" "$2") == "$3" ]]; }
handshake_is_newer() { (($(last_handshake "$1" "$2") > $3)); }           # SIDE OTHER THAN

# --- The wire ---------------------------------------------------------------------------------------------------------

# record_wire NAME [FILTER]: every datagram at our end of the cable until `stop_capture NAME`; read it with `captured NAME`.
# Segmentation is left to the kernel, so that datagrams are seen as a real network would carry them.
record_wire() {
  local name=$1; shift
  in_ns ours ip link set eth0 gso_max_segs 1
  spawn ours "capture-$name" tcpdump --immediate-mode -U -n -s 256 -B 16384 -i eth0 -w "$SCRATCH/$name.pcap" "$@"
  wait_until 5 grep -q 'listening on' "$(log_of "capture-$name")" || die "tcpdump did not start"
}

# message TYPE [SIDE]: a filter for WireGuard messages of that type, sent by that side if one is named.
message() {
  local four="udp and udp[8:4] == 0x0${1}000000" six="(ip6 and ip6[6] == 17 and ip6[48:4] == 0x0${1}000000)"
  if [[ -n ${2:-} ]]; then four="src host $(outside "$2") and $four" six="src host $(outside6 "$2") and $six"; fi
  printf '((%s) or (%s))' "$four" "$six"
}

# --- What the tests have in common ------------------------------------------------------------------------------------

# part: each forgets the other.
part() {
  wg_set ours peer "$(public_key theirs)" remove
  wg_set theirs peer "$(public_key ours)" remove
}

# roam SIDE HOST: another address on the same cable, in place of the old one.
roam() {
  local old old6; old=$(outside "$1") old6=$(outside6 "$1")
  # With the new one there first, and staying when the old one goes: a virtual machine is reached by this very address.
  in_ns "$1" sh -c 'echo 1 >/proc/sys/net/ipv4/conf/eth0/promote_secondaries'
  give_address "$1" eth0 "198.51.100.$2/24" "2001:db8:1::$2/64"
  OUTSIDE[$1]=$2
  in_ns "$1" ip address del "$old/24" dev eth0
  in_ns "$1" ip address del "$old6/64" dev eth0
}

# expect_recovery SECONDS FROM TO: traffic gets through again within that time; how long it took is a measurement.
expect_recovery() {
  local limit=$1 from=$2 to=$3 since=$EPOCHREALTIME
  expect_soon "$limit" "$from reaches $to again" ping_once "$from" "$(inside "$to")"
  measured "$from to $to after $(awk -v a="$since" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }') s"
}

measured() { printf '  measured: %s\n' "$*"; }            # scripts/interop/run.sh shows these lines

# lost_of LABEL: how many pings of the ended `ping -q` with that label got no answer.
lost_of() { awk '/packets transmitted/ { print $1 - $4 }' "$(log_of "$1")"; }
sent_of() { awk '/packets transmitted/ { print $1 }' "$(log_of "$1")"; }
# latency_of LABEL: "average maximum" of its answers, in milliseconds.
latency_of() { awk -F' = ' '/min\/avg\/max/ { split($2, figure, "/"); print figure[2], figure[3] + 0 }' "$(log_of "$1")"; }

# --- vpn-server, which serves both handshakes on one port -------------------------------------------------------------

# gateway_up: the node `gateway` with a configuration for vpn-server, on one cable with `theirs`, on another with `client`.
# Nothing runs yet.
gateway_up() {
  add_node gateway theirs
  link_nodes gateway eth0 theirs eth0
  give_address gateway eth0 $GATEWAY/24
  OUTSIDE[theirs]=12
  give_outside theirs eth0
  join client gateway 192.0.2
  init_server 192.0.2.1:$PORT                            # the client's cable
  toml_set "$(server_toml)" gateway nat false            # there is no internet to translate for
}

# start_theirs ADDRESS [SETTING...]: a WireGuard peer of the gateway, with that address inside, the key
# $SCRATCH/theirs.key, and more settings of wg(8).
start_theirs() {
  local interface; interface=$(interface_of theirs)
  start_daemon theirs
  wg_set theirs private-key "$SCRATCH/theirs.key" listen-port $PORT
  wg_set theirs peer "$(public_key gateway)" allowed-ips 10.66.0.0/16 endpoint $GATEWAY:$PORT "${@:2}"
  give_address theirs "$interface" "$1/16"
  in_ns theirs ip link set "$interface" mtu 1420 up
}

# reported NAME FILTER: what a filter of jq finds of that peer in the gateway's status.
reported() { server_status | jq -r --arg name "$1" ".peers[] | select(.name == \$name) $2"; }

# shellcheck source=scripts/interop/guest.sh
if [[ $PEER == kernel ]]; then source "$(dirname "${BASH_SOURCE[0]}")/guest.sh"; fi
