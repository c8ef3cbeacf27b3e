# shellcheck shell=bash
# WireGuard interfaces of `vpn-server wireguard`, for tests. Source it after assert.sh.
#
# `wg` looks for their sockets in one folder of the whole host, so their names carry this run's LAB_ID.

need_packages wg:wireguard-tools

wg_name() { printf 'w%s%s' "$LAB_ID" "$1"; }             # a letter behind it; at most 15 characters
socket_of() { printf '/var/run/wireguard/%s.sock' "$(wg_name "$1")"; }

# start_wg NODE LETTER [SETTING=VALUE...]: the daemon in the background; returns when it is ready.
start_wg() {
  local node=$1 name; name=$(wg_name "$2"); shift 2
  in_ns "$node" env LOG_LEVEL=verbose "$@" "$VPN_BIN_DIR/vpn-server" wireguard "$name" \
    >>"$(log_of "$name")" 2>&1 </dev/null
}

# wg_on NODE ARGUMENTS...: wg there.
wg_on() { local node=$1; shift; in_ns "$node" wg "$@"; }

# daemon_ended LETTER: no process serves that interface any more, and its socket is gone.
# shellcheck disable=SC2062 # the pattern comes from the standard input
daemon_ended() { [[ ! -e $(socket_of "$1") ]] && ! grep -q -s -z -x -f - /proc/[0-9]*/cmdline <<<"$(wg_name "$1")"; }

# uapi LETTER TEXT: says TEXT, with its \n, on the socket, and prints the answer.
uapi() {
  python3 - "$(socket_of "$1")" "$2" <<'CODE'
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(5)
s.connect(sys.argv[1])
s.sendall(sys.argv[2].encode().decode("unicode_escape").encode())
s.shutdown(socket.SHUT_WR)
while data := s.recv(65536):
    sys.stdout.write(data.decode())
CODE
}

# two_peers_up [KEEPALIVE]: left and right on one cable, each with an interface, left's pointing at right.
two_peers_up() {
  add_node left right
  link_nodes left eth0 right eth0
  give_address left eth0 198.51.100.1/24
  give_address right eth0 198.51.100.2/24
  LEFT_KEY=$(wg genkey) RIGHT_KEY=$(wg genkey)
  LEFT=$(wg pubkey <<<"$LEFT_KEY") RIGHT=$(wg pubkey <<<"$RIGHT_KEY")
  start_wg left a
  start_wg right b
  wg_conf "$LEFT_KEY" 51821 "$RIGHT" 10.9.0.2/32 198.51.100.2:51822 "${1:-0}" >"$SCRATCH/left.conf"
  wg_conf "$RIGHT_KEY" 51822 "$LEFT" 10.9.0.1/32 '' 0 >"$SCRATCH/right.conf"
  wg_on left setconf "$(wg_name a)" "$SCRATCH/left.conf"
  wg_on right setconf "$(wg_name b)" "$SCRATCH/right.conf"
  give_address left "$(wg_name a)" 10.9.0.1/24
  give_address right "$(wg_name b)" 10.9.0.2/24
  ip -n "$(ns left)" link set "$(wg_name a)" up
  ip -n "$(ns right)" link set "$(wg_name b)" up
}

# wg_conf KEY PORT PEER ALLOWED_IPS ENDPOINT KEEPALIVE
wg_conf() {
  printf '[Interface]\nPrivateKey = %s\nListenPort = %s\n[Peer]\nPublicKey = %s\nAllowedIPs = %s\n' "$1" "$2" "$3" "$4"
  [[ -z $5 ]] || printf 'Endpoint = %s\n' "$5"
  printf 'PersistentKeepalive = %s\n' "$6"
}

# handshake_of NODE LETTER PEER: seconds since 1970, 0 for never.
handshake_of() { wg_on "$1" show "$(wg_name "$2")" latest-handshakes | awk -v peer="$3" '$1 == peer { print $2 }'; }
