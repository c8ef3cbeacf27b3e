#!/usr/bin/env bash
# A pulled cable, a path that loses everything, and one key on two machines: `status` has the reason, and has it no longer when
# that is over. Limits are for slow machines.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

# traffic NODE: a packet to the gateway every half a second, whatever comes back.
traffic() { spawn "$1" "traffic-$1" ping -q -i 0.5 $GATEWAY_INSIDE; }
client_says() { client_status | jq -er '.peers[0].reason' | grep -q "$1"; }
server_says() { server_status | jq -er '.peers[0].reason' | grep -q "$1"; }
is_well() { client_status | jq -e '.peers[0] | .state == "up" and .reason == null'; }
is_renewed() { client_status | jq -e '.peers[0].rekeys > 0'; }
server_is_well() { server_status | jq -e '.peers[0] | .state == "up" and .reason == null'; }

tunnel_up
traffic client
expect "no reason while all is well" is_well
expect "nor at the gateway" server_is_well

ip -n "$(ns router)" link set cl1 down
expect_soon 3 "the cable is out" client_says 'eth0 has no carrier'
expect_match "the text says so, too" 'reason +no network: eth0' "$(on client vpn-client status || true)"
ip -n "$(ns router)" link set cl1 up
expect_soon 3 "the cable is in again" is_well
expect_soon 5 "the gateway was asked" is_renewed

in_ns router nft 'table inet hole { chain forward { type filter hook forward priority 0; udp dport 51820 drop; }; }'
from=$EPOCHREALTIME
expect_soon 9 "nothing comes back" client_says 'nothing has come back for [67] s'
expect "not before 6 s" awk -v a="$from" -v b="$EPOCHREALTIME" 'BEGIN { exit !(b - a >= 5.5) }'
in_ns router nft delete table inet hole
expect_soon 4 "something does" is_well

add_client_node second
run_on second copy vpn-client up "$(client_toml laptop)" --foreground
wait_up second
traffic second
expect_soon 20 "the gateway hears one key from two places" server_says 'used from two places in turn.* 192\.0\.2\.[23]:.* 192\.0\.2\.[23]:'
expect_equal "its log says so once" 1 "$(grep -c 'two places' "$(log_of server)")"
