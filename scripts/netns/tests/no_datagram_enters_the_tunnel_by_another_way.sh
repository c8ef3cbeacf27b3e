#!/usr/bin/env bash
# Two tunnels between the same hosts, the second inside the first, and an overlay on the first. Somebody without keys gives honest datagrams of
# the first a source inside the second, then inside the overlay: what the gateway seals for that address would be sealed again without end.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

SECOND_PORT=$((PORT + 1)) SECOND_INSIDE=10.67.0.1
second_toml=$(dir_of gateway)/second/server.toml

lab_up
for node in gateway client; do in_ns $node sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0 net.ipv4.conf.default.rp_filter=0; done
init_server
add_client first
toml_set "$(client_toml first)" peer allowed_ips '["10.66.0.0/16"]'
on gateway vpn-server init --dir "$(dir_of gateway)/second" --endpoint "$GATEWAY_INSIDE:$SECOND_PORT" --pool 10.67.0.0/16 >/dev/null
sed -i "s/^listen = .*/listen = \"[::]:$SECOND_PORT\"/" "$second_toml"
toml_set "$second_toml" interface name '"vpn1"'
on gateway vpn-server client add second --out "$(client_toml second)" -c "$second_toml" >/dev/null
toml_set "$(client_toml second)" interface name '"vpn1"'
toml_set "$(client_toml second)" peer allowed_ips '["10.67.0.0/16"]'

start_server
start_client first
wait_up
run_on gateway second-server vpn-server run -c "$second_toml"
run_on client second vpn-client up "$(client_toml second)" --foreground
second_is_up() { in_ns client ping -q -c 1 -W 1 $SECOND_INSIDE; }
expect_soon 15 "a tunnel inside another one has data" second_is_up

overlay() {                                             # NODE OWN OTHER ADDRESS
  ip -n "$(ns "$1")" link add over0 type vxlan id 7 local "$2" remote "$3" dstport 4789
  ip -n "$(ns "$1")" addr add "$4/24" dev over0
  ip -n "$(ns "$1")" link set over0 up
}
overlay gateway $GATEWAY_INSIDE "$(address4_of first)" 10.68.0.1
overlay client "$(address4_of first)" $GATEWAY_INSIDE 10.68.0.2
expect_soon 5 "an overlay on the tunnel has data" in_ns client ping -q -c 1 -W 1 10.68.0.1

# forge SOURCE: one of two datagrams to the first tunnel comes from there. In the end one does for certain, and no honest one after it.
forge() {
  in_ns router nft -f - <<RULES
table inet forge
delete table inet forge
table inet forge {
  chain out {
    type filter hook postrouting priority 300
    ip daddr $GATEWAY udp dport $PORT numgen inc mod 2 == 1 ip saddr set $1
  }
}
RULES
}
endpoint_of_first() { server_status | jq -r '.peers[0].endpoint'; }
is_forged() { [[ $(endpoint_of_first) == "$1":* ]] || { in_ns client ping -q -c 1 -W 1 $GATEWAY_INSIDE >/dev/null; false; }; }
bytes_into_first() { in_ns gateway cat /sys/class/net/vpn0/statistics/tx_bytes; }

for source in "$(address4_of second)" 10.68.0.2; do
  forge "$source"
  expect_soon 10 "the endpoint is $source: nothing of the first tunnel's own says that it is inside" is_forged "$source"
  ip -n "$(ns router)" link set clients down
  before=$(bytes_into_first)
  in_ns gateway ping -q -c 20 -i 0.05 -W 1 -s 1000 "$(address4_of first)" >/dev/null || true
  sleep 2
  spent=$(($(bytes_into_first) - before))
  expect "no datagram went round in circles ($spent bytes entered the tunnel)" test "$spent" -lt 60000
  in_ns router nft delete table inet forge
  ip -n "$(ns router)" link set clients up
  expect_soon 15 "an honest datagram brings the endpoint back" ping_once client $GATEWAY_INSIDE
done
expect_soon 15 "the inner tunnel works again" second_is_up

for label in second first; do stop $label; done
expect_not "the fence goes with its tunnel" sh -c "$(printf '%q ' ip netns exec "$(ns client)" nft list tables) | grep -q _loop"

# The fences know by the order of starts which tunnel may travel inside which. In the other order that is told.
run_on client second vpn-client up "$(client_toml second)" --foreground
wait_until 10 client_answers || die "the client of the inner tunnel does not answer"
start_client first
says_why() { [[ $(on client vpn-client status --json -c "$(client_toml second)") == *'another tunnel'* ]]; }
expect_soon 15 "the inner tunnel, started first, says why it does not connect" says_why
expect_soon 10 "so does its log" grep -q 'started after this one' "$(log_of second)"
stop second
run_on client second vpn-client up "$(client_toml second)" --foreground
expect_soon 15 "started again, it connects" second_is_up
