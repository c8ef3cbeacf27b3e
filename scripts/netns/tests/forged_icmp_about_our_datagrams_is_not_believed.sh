#!/usr/bin/env bash
# Somebody without keys tells gateway and client by ICMP that their datagrams were too long, quoting the port. Where the peer can be
# probed nothing changes: no datagram is cut, no packet gets shorter. A WireGuard peer over IPv6, for which such a message is the
# only way to learn of a narrow path, gets its datagrams in pieces, until the kernel forgets it, and nothing is lost.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

tunnel_up
add_wireguard_client wg
write_wireguard_profile wg
# One datagram at a time reaches the router, so that the length it sees is that of a datagram.
for node in client gateway; do ip -n "$(ns $node)" link set eth0 gso_max_segs 1; done
start_web
head -c 2M /dev/urandom >"$(dir_of web)/file"
wanted=$(sha256 "$(dir_of web)/file")

set_endpoint() { sed -i "s/^endpoint = .*/endpoint = \"$2\"/" "$(client_toml "$1")"; }
client_port() { server_status | jq -r '[.peers[] | select(.state == "up") | .endpoint] | first' | grep -oE '[0-9]+$'; }
forge() { in_ns router python3 "$REPO/scripts/netns/forged_icmp.py" "$@"; }

# forge_both GATEWAY CLIENT MTU: to either end of the tunnel about the other.
forge_both() {
  local port; port=$(client_port)
  expect "ICMP to the gateway" forge "$1" $PORT "$2" "$port" "$3"
  expect "ICMP to the client" forge "$2" "$port" "$1" $PORT "$3"
}
# carries WHAT: bulk data both ways, recorded.
carries() {
  capture bulk clients "host $2"
  expect_equal "$1: a download arrives" "$wanted" "$(fetch "http://$WEB/file" | sha256)"
  expect "$1: an upload arrives" fetch -T "$(dir_of web)/file" "http://$WEB/upload"
  expect_equal "$1: intact" "$wanted" "$(sha256 "$(dir_of web)/upload")"
  stop_capture bulk
  expect "$1: that was recorded" test "$(count_captured bulk)" -gt 1000
}
fragments() { count_captured bulk '(ip[6:2] & 0x3fff != 0) or (ip6[6] == 44)'; }
limits() { jq -rn '[inputs.peers[] | select(.state == "up") | .mtu] | join(" ")' <(client_status) <(server_status); }

forge_both $GATEWAY 192.0.2.2 600
carries "hybrid over IPv4" $GATEWAY
expect_equal "no datagram is cut" 0 "$(fragments)"
expect_equal "no packet becomes shorter" "1420 1420" "$(limits)"
stop laptop

set_endpoint laptop "[$GATEWAY6]:$PORT"
start_client laptop
wait_up
forge_both $GATEWAY6 2001:db8:1::2 1280
carries "hybrid over IPv6" $GATEWAY6
expect_equal "no datagram is cut" 0 "$(fragments)"
expect_equal "no packet becomes shorter" "1420 1420" "$(limits)"
stop laptop

start_client wg
wait_up
forge_both $GATEWAY 192.0.2.2 600
carries "WireGuard over IPv4" $GATEWAY
expect_equal "no datagram is cut" 0 "$(fragments)"
stop wg

set_endpoint wg "[$GATEWAY6]:$PORT"
start_client wg
wait_up
forge_both $GATEWAY6 2001:db8:1::2 1280
carries "WireGuard over IPv6" $GATEWAY6
expect "its datagrams are cut" test "$(fragments)" -gt 100
for node in client gateway; do in_ns $node ip -6 route flush cache; done          # ten minutes pass
carries "WireGuard over IPv6, later" $GATEWAY6
expect_equal "its datagrams are whole again" 0 "$(fragments)"
