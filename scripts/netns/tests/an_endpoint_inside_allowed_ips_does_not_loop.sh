#!/usr/bin/env bash
# allowed_ips covers the network that the server's outer address is in: the tunnel's own packets still leave outside.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
init_server
add_client laptop
toml_set "$(client_toml laptop)" peer allowed_ips '["10.66.0.0/16", "198.51.100.0/24"]'
start_server
start_client laptop
wait_up

capture inside clients "icmp"
expect_ping client $GATEWAY_INSIDE
expect_ping client $GATEWAY
expect_ping client 198.51.100.1
stop_capture inside
expect_equal "pings to the endpoint's network went through the tunnel" 0 "$(count_captured inside)"
expect_ping client $WEB
