#!/usr/bin/env bash
# A NAT router between client and server forgets the client and gives it another source port.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
translate_to() {                                        # PORT that the router uses for the client from now on
  in_ns router nft -f - <<RULES
table ip nat
delete table ip nat
table ip nat {
  chain out { type nat hook postrouting priority 100; ip saddr 192.0.2.2 udp dport $PORT snat to 198.51.100.1:$1; }
}
RULES
  in_ns router conntrack -F
}
endpoint_port() { server_status | jq -r '.peers[] | select(.name == "laptop") | .endpoint' | grep -q "198.51.100.1.*:$1\$"; }

translate_to 40001 2>>"$(log_of nat)"
init_server
add_client laptop
start_server
start_client laptop
wait_up
expect_ping client $WEB
expect "the server sees the router's first port" endpoint_port 40001

translate_to 40002 2>>"$(log_of nat)"
expect_soon 20 "traffic flows again" ping_once client $WEB
expect "the server sees the router's second port" endpoint_port 40002
