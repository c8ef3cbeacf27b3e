#!/usr/bin/env bash
# The client's own address changes (another Wi-Fi): the session goes on, and the server learns the new endpoint.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

tunnel_up
expect_ping client $WEB
in_ns client ip address del 192.0.2.2/24 dev eth0
give_address client eth0 192.0.2.99/24
in_ns client ip route replace default via 192.0.2.1

expect_soon 20 "traffic flows again" ping_once client $WEB
endpoint=$(server_status | jq -r '.peers[] | select(.name == "laptop") | .endpoint')
expect_match "the server's status names the new address" '192\.0\.2\.99' "$endpoint"
