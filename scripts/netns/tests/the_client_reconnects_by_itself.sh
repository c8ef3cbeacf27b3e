#!/usr/bin/env bash
# Everything that an event tells of: another address, a link that goes and comes, a second uplink, an endpoint without a
# route. The times printed are those from when the network works again; limits are for slow machines.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

# quick WHAT: traffic flows again.
quick() { expect_soon 4 "$1" in_ns client ping -q -c 1 -W 0.3 $GATEWAY_INSIDE; }
handshakes() { client_status | jq '.peers[0].rekeys + 1'; }
not_up() { ! client_is_up; }
# told WORDS: what the client has told the service manager last.
told() { tail -n 1 "$(log_of manager)" | grep -qE "STATUS=$1"; }

lab_up
# A second way out, which nothing uses yet.
link_nodes client eth1 router uplink2
give_address router uplink2 192.0.3.1/24
give_address client eth1 192.0.3.2/24
ip -n "$(ns gateway)" route add 192.0.3.0/24 via 198.51.100.1

init_server
add_client laptop
# First an address that no route leads to, then one that nobody answers at.
toml_set "$(client_toml laptop)" peer endpoint "[\"[2001:db8:dead::1]:$PORT\", \"192.0.2.250:$PORT\", \"$GATEWAY:$PORT\"]"
ip -n "$(ns client)" -6 route del default via 2001:db8:1::1
start_server
spawn client manager python3 -u -c '
import socket, sys
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind(sys.argv[1])
while True: print(manager.recv(4096).decode().replace("\n", " "))' "$SCRATCH/manager"
wait_until 5 test -S "$SCRATCH/manager"
export NOTIFY_SOCKET=$SCRATCH/manager
start_client laptop
unset NOTIFY_SOCKET
wait_until 10 client_answers || die "the client does not answer"
expect_soon 4 "the third endpoint is found behind two that are dead" client_is_up
expect "the service manager hears of the connection" wait_until 3 told 'connected to'
expect "that it is ready" grep -q READY=1 "$(log_of manager)"

expect_exit 0 "status is 0 while connected" on client vpn-client status
before=$(handshakes)
ip -n "$(ns client)" link add noise type bridge
ip -n "$(ns client)" address add 203.0.113.200/32 dev noise
ip -n "$(ns client)" link set noise up
ip -n "$(ns client)" link del noise
ping_all client $GATEWAY_INSIDE >/dev/null 2>&1 || die "an interface of somebody else's disturbs"
expect_equal "another interface coming and going makes no handshake" "$before" "$(handshakes)"

ip -n "$(ns client)" address del 192.0.2.2/24 dev eth0
give_address client eth0 192.0.2.99/24
ip -n "$(ns client)" route replace default via 192.0.2.1
quick "after another address"
is_renewed() { (($(handshakes) > before)); }
expect_soon 4 "the gateway was asked" is_renewed

ip -n "$(ns client)" link set eth0 down
expect "without a way there is no network, and it says so" wait_until 5 told 'no network'
expect_soon 10 "then its peer is not up" not_up
expect_exit 3 "status is 3 then" on client vpn-client status
give_address client eth0 192.0.2.2/24
ip -n "$(ns client)" link set eth0 up
ip -n "$(ns client)" route replace default via 192.0.2.1
quick "after a link that was down"
expect "the service manager hears of that, too" wait_until 5 told 'connected to'

ip -n "$(ns client)" route replace default via 192.0.3.1
quick "after another default route"
comes_from() { server_status | jq -r '.peers[0].endpoint' | grep -q "$1"; }
expect_soon 4 "the server's status names the other uplink" comes_from '192\.0\.3\.2:'
