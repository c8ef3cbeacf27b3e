# shellcheck shell=bash
# The laboratory: a small internet in network namespaces, and the two programs in it. Shared by the demo and the tests.
#
#      client                      router                        gateway
#   192.0.2.2/24 ──────── 192.0.2.1   198.51.100.1 ──────── 198.51.100.2/24      runs vpn-server, pool 10.66.0.0/16
#   2001:db8:1::2         ::1     203.0.113.1    ::1          2001:db8:2::2                    and fd66::/64
#                                     │
#                               203.0.113.2/24  web              knows no way to the pool: answers only reach the
#                               2001:db8:3::2                    client if the gateway translates addresses
#
# All addresses are of the documentation ranges. More clients are 192.0.2.3, .4, … on the same segment.

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

VPN_BIN_DIR=${VPN_BIN_DIR:-$REPO/target/release}
GATEWAY=198.51.100.2 GATEWAY6=2001:db8:2::2 PORT=51820
WEB=203.0.113.2 WEB6=2001:db8:3::2
GATEWAY_INSIDE=10.66.0.1 GATEWAY_INSIDE6=fd66::1         # the gateway's own addresses in the tunnel
CLIENTS=0

LAB_PACKAGES=(ip:iproute2 nft:nftables iptables:iptables jq:jq tcpdump:tcpdump iperf3:iperf3 curl:curl ping:iputils-ping
              python3:python3 conntrack:conntrack setpriv:util-linux xxd:xxd)

need_programs() {
  local program
  for program in vpn-server vpn-client; do
    [[ -x $VPN_BIN_DIR/$program ]] || die "$VPN_BIN_DIR/$program is missing: run 'cargo build --release' first"
  done
}

# --- The network ------------------------------------------------------------------------------------------------------

# lab_up: router, gateway, web and one client. Nothing of ours runs yet.
lab_up() {
  ((EUID == 0)) || die "network namespaces need root"
  add_node router gateway web
  ip -n "$(ns router)" link add clients type bridge
  ip -n "$(ns router)" link set clients up
  give_address router clients 192.0.2.1/24 2001:db8:1::1/64
  forward_on router

  link_nodes gateway eth0 router gateway
  give_address router gateway 198.51.100.1/24 2001:db8:2::1/64
  give_address gateway eth0 $GATEWAY/24 $GATEWAY6/64
  ip -n "$(ns gateway)" route add default via 198.51.100.1
  ip -n "$(ns gateway)" route add default via 2001:db8:2::1

  link_nodes web eth0 router web
  give_address router web 203.0.113.1/24 2001:db8:3::1/64
  give_address web eth0 $WEB/24 $WEB6/64
  # Routes to the two outer networks only: no default route, so none to the pool.
  ip -n "$(ns web)" route add 192.0.2.0/24 via 203.0.113.1
  ip -n "$(ns web)" route add 198.51.100.0/24 via 203.0.113.1
  ip -n "$(ns web)" route add 2001:db8:1::/64 via 2001:db8:3::1
  ip -n "$(ns web)" route add 2001:db8:2::/64 via 2001:db8:3::1

  add_client_node client
  wait_until 5 in_ns client ping -q -c 1 -W 1 $WEB6 || die "the laboratory's own network does not forward IPv6"
}

# add_client_node NAME: a machine on the clients' segment: 192.0.2.2, .3, …
add_client_node() {
  local host=$((CLIENTS + 2))
  CLIENTS=$((CLIENTS + 1))
  add_node "$1"
  link_nodes "$1" eth0 router "cl$CLIENTS"
  ip -n "$(ns router)" link set "cl$CLIENTS" master clients
  give_address "$1" eth0 192.0.2.$host/24 2001:db8:1::$host/64
  ip -n "$(ns "$1")" route add default via 192.0.2.1
  ip -n "$(ns "$1")" route add default via 2001:db8:1::1
}

# --- The programs -----------------------------------------------------------------------------------------------------

dir_of() { printf '%s/%s' "$SCRATCH" "$1"; }            # what a node would have in /etc/vpn, /run/vpn and /var/lib/vpn

# node_env NODE: prints the environment that keeps a node's files apart from the host's and from other nodes'.
node_env() {
  local dir; dir=$(dir_of "$1")
  mkdir -p "$dir/run" "$dir/state"
  printf '%s\n' "VPN_RUN_DIR=$dir/run" "VPN_STATE_DIR=$dir/state" NO_COLOR=1
}

# on NODE vpn-server|vpn-client ARGUMENTS...: runs one of the programs there, in the foreground.
on() {
  local node=$1 program=$2 settings; shift 2
  mapfile -t settings < <(node_env "$node")
  ip netns exec "$(ns "$node")" env "${settings[@]}" "$VPN_BIN_DIR/$program" "$@"
}

# run_on NODE LABEL vpn-server|vpn-client ARGUMENTS...: the same in the background; see `spawn`.
run_on() {
  local node=$1 label=$2 program=$3 settings; shift 3
  mapfile -t settings < <(node_env "$node")
  spawn "$node" "$label" env "${settings[@]}" "$VPN_BIN_DIR/$program" "$@"
}

server_toml() { printf '%s/etc/server.toml' "$(dir_of gateway)"; }
client_toml() { printf '%s/%s.toml' "$SCRATCH" "$1"; }

# init_server [ENDPOINT]: the gateway's identity and configuration.
init_server() {
  mkdir -p "$(dir_of gateway)"
  on gateway vpn-server init --dir "$(dir_of gateway)/etc" --endpoint "${1:-$GATEWAY:$PORT}" \
    --pool 10.66.0.0/16 --pool fd66::/64 >>"$(log_of init)" 2>&1
}

# add_client NAME: makes the client's file, $(client_toml NAME). A server that runs already learns of it at once.
add_client() {
  on gateway vpn-server client add "$1" --out "$(client_toml "$1")" -c "$(server_toml)" >>"$(log_of init)" 2>&1
}

# add_wireguard_client NAME ARGUMENTS...: the same for one that speaks WireGuard: $SCRATCH/NAME.conf.
add_wireguard_client() {
  local name=$1; shift
  on gateway vpn-server client add "$name" --wireguard --out "$SCRATCH/$name.conf" "$@" -c "$(server_toml)" \
    >>"$(log_of init)" 2>&1
}

# write_wireguard_profile NAME [PRIVATE_KEY]: NAME.conf as a file of our own client, $(client_toml NAME), with an identity that
# nobody is told. The key is that of the .conf unless given.
write_wireguard_profile() {
  local conf=$SCRATCH/$1.conf
  conf_value() { sed -n "s/^$1 = //p" "$conf"; }
  conf_list() { conf_value "$1" | sed 's/, /", "/g; s/^/["/; s/$/"]/'; }
  (
    umask 077
    cat >"$(client_toml "$1")" <<TOML
[interface]
identity = "$("$VPN_BIN_DIR/vpn-client" genkey)"
wireguard_key = "${2:-$(conf_value PrivateKey)}"
addresses = $(conf_list Address)
mtu = $(conf_value MTU)

[[peer]]
name = "server"
handshake = "wireguard"
public_key = "$(conf_value PublicKey)"
preshared_key = "$(conf_value PresharedKey)"
endpoint = "$(conf_value Endpoint)"
allowed_ips = $(conf_list AllowedIPs)
persistent_keepalive = $(conf_value PersistentKeepalive)
TOML
  )
}

start_server() {
  run_on gateway server vpn-server run -c "$(server_toml)"
  wait_until 10 on gateway vpn-server status --json -c "$(server_toml)" ||
    die "vpn-server does not answer on its control socket 10 s after its start"
}

# start_client NAME [NODE]: vpn-client with NAME's file; the node is `client` unless said otherwise.
start_client() { run_on "${2:-client}" "$1" vpn-client up "$(client_toml "$1")" --foreground; }

server_status() { on gateway vpn-server status --json -c "$(server_toml)"; }
client_status() { on "${1:-client}" vpn-client status --json; }
# client_answers [NODE]: it runs, connected or not (status 3).
client_answers() { [[ -n $(client_status "${1:-client}" 2>/dev/null) ]]; }
client_is_up() { client_status "${1:-client}" 2>/dev/null | jq -e '.peers[0].state == "up"'; }

# wait_up [NODE] [SECONDS]: until the client there reports an authenticated session.
wait_up() {
  wait_until "${2:-10}" client_is_up "${1:-client}" || die "no session on ${1:-client} within ${2:-10} s"
}

# tunnel_up: server, one client called laptop, session established. What most tests begin with.
tunnel_up() {
  lab_up
  init_server "$@"
  add_client laptop
  start_server
  start_client laptop
  wait_up
}

# two_clients_up [CLIENT_TO_CLIENT]: the same with two clients, laptop on the node `client` and phone on `second`.
two_clients_up() {
  lab_up
  add_client_node second
  init_server
  if (($#)); then toml_set "$(server_toml)" gateway client_to_client "$1"; fi
  add_client laptop
  add_client phone
  start_server
  start_client laptop client
  start_client phone second
  wait_up client
  wait_up second
}

# addresses_of NAME: the tunnel addresses in a client's file, without prefix length, one a line (IPv4 first by our init).
addresses_of() { toml_get "$(client_toml "$1")" interface addresses | grep -oE '[0-9a-fA-F:.]+/[0-9]+' | cut -d/ -f1; }
address4_of() { addresses_of "$1" | grep -v : | head -n 1; }
address6_of() { addresses_of "$1" | grep : | head -n 1; }

# --- Configuration ----------------------------------------------------------------------------------------------------
# Enough TOML for our own files: one `key = value` a line, a table name given without its brackets ("peer" is [[peer]]).

toml_get() {
  awk -v section="$2" -v key="$3" '
    /^[[:space:]]*\[/ { gsub(/[][[:space:]]/, ""); here = ($0 == section); next }
    here && match($0, "^[[:space:]]*" key "[[:space:]]*=") { print substr($0, RLENGTH + 1); exit }' "$1"
}

toml_unset() {
  local text
  text=$(awk -v section="$2" -v key="$3" '
    /^[[:space:]]*\[/ { name = $0; sub(/#.*/, "", name); gsub(/[][[:space:]]/, "", name); here = (name == section) }
    here && match($0, "^[[:space:]]*" key "[[:space:]]*=") { next }
    { print }' "$1")
  printf '%s\n' "$text" >"$1"                          # in place: owner and mode stay
}

# toml_set FILE TABLE KEY VALUE: the value is written as it is, quotes included.
toml_set() {
  local text
  toml_unset "$1" "$2" "$3"
  text=$(awk -v section="$2" -v line="$3 = $4" '
    { print }
    /^[[:space:]]*\[/ { name = $0; sub(/#.*/, "", name); gsub(/[][[:space:]]/, "", name); if (name == section) print line }' "$1")
  printf '%s\n' "$text" >"$1"
}

# --- Services to talk to ----------------------------------------------------------------------------------------------

# start_web: HTTP on port 80, both families: GET and PUT of files in $(dir_of web), GET /whoami for the caller's address.
start_web() {
  mkdir -p "$(dir_of web)"
  spawn web web python3 "$REPO/scripts/netns/web_server.py" "$(dir_of web)"
  wait_until 10 in_ns web curl -sf -o /dev/null "http://$WEB/whoami" || die "the web server did not start"
}

# start_script NODE LABEL READY SCRIPT ARGUMENTS...: one of the Python scripts here, until it has said READY.
start_script() {
  local node=$1 label=$2 ready=$3 script=$4; shift 4
  spawn "$node" "$label" python3 "$REPO/scripts/netns/$script" "$@"
  wait_until 10 grep -q "$ready" "$(log_of "$label")" || die "$script did not start"
}

# start_bad_network NODE ADDRESS SERVER: the node relays what it is sent at its ADDRESS to the server, and loses, repeats,
# damages and reorders some. Clients take ADDRESS for the server's. What it did is in the log of "bad-ADDRESS" after `stop`.
start_bad_network() { start_script "$1" "bad-$2" relaying bad_network.py "$2" $PORT "$3" $PORT 0.2 2 0.2 10; }

# start_exchange NODE ADDRESS: the other side of `exchange_from … ADDRESS`.
start_exchange() { start_script "$1" "exchange-$2" serving exchange.py serve "$2" 7000; }

# exchange_from NODE KIND ADDRESS AMOUNT: moves data between the node and that address, both ways at once, see exchange.py.
exchange_from() { in_ns "$1" python3 "$REPO/scripts/netns/exchange.py" "$2" "$3" 7000 "$4"; }

# checksum_errors NODE: packets that its kernel found to have a wrong checksum.
checksum_errors() { in_ns "$1" nstat -asz '*InCsumErrors' | awk '!/^#/ { sum += $2 } END { print NR ? sum + 0 : "nstat says nothing" }'; }

fetch() { in_ns client curl -sS --fail --max-time "${FETCH_SECONDS:-20}" "$@"; }
sha256() { sha256sum "$@" | cut -d' ' -f1; }

# --- Observation ------------------------------------------------------------------------------------------------------

# capture NAME INTERFACE [FILTER]: records what passes the router's interface until `stop_capture NAME`.
capture() {
  local name=$1 interface=$2; shift 2
  spawn router "capture-$name" tcpdump --immediate-mode -U -n -i "$interface" -w "$SCRATCH/$name.pcap" "$@"
  wait_until 5 grep -q 'listening on' "$(log_of "capture-$name")" || die "tcpdump did not start"
}
stop_capture() { sleep 0.3; stop "capture-$1"; }
captured() { local name=$1; shift; tcpdump -nn -r "$SCRATCH/$name.pcap" "$@" 2>/dev/null; }
count_captured() { captured "$@" | wc -l; }

# kernel_state NODE: everything in the kernel that our programs may change, as text, to compare before and after.
kernel_state() {
  local family
  for family in -4 -6; do
    in_ns "$1" ip "$family" rule show
    in_ns "$1" ip "$family" route show table all
  done
  in_ns "$1" ip -oneline link show | tr -d "\134"
  in_ns "$1" nft --stateless list ruleset
  # grep fails on entries that cannot be read (stable_secret), not on what matters here.
  { in_ns "$1" grep -rs . /proc/sys/net/ipv4/{ip_forward,conf,tcp_fwmark_accept} /proc/sys/net/ipv6/conf || true; } | sort
}
