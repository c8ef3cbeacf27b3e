#!/usr/bin/env bash
# rp_filter = 1, the default of several distributions, on every interface of the client.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
set_strict() { for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 >"$file"; done; }
export -f set_strict
in_ns client bash -c set_strict
init_server
add_client laptop
start_server
start_web
start_client laptop
wait_up

expect_ping client $GATEWAY_INSIDE
expect_ping client $WEB
expect_equal "HTTP works, through the gateway" $GATEWAY "$(fetch "http://$WEB/whoami")"
