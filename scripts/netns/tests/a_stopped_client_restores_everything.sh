#!/usr/bin/env bash
# `vpn-client down`: the client's routes, rules and sysctls are as before, and it speaks to the internet directly again.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
init_server
add_client laptop
start_server
start_web
before=$(kernel_state client)

start_client laptop
wait_up
expect_equal "with the tunnel, the web server sees the gateway" $GATEWAY "$(fetch "http://$WEB/whoami")"
expect "vpn-client down succeeds" on client vpn-client down
expect_soon 10 "the client's process ends" eval '! is_running laptop'
expect_same_state "rules, routes, links, nft ruleset and sysctls are as before" "$before" client
expect_equal "without it, the client itself" 192.0.2.2 "$(fetch "http://$WEB/whoami")"
expect_exit 3 "status then exits 3" on client vpn-client status
