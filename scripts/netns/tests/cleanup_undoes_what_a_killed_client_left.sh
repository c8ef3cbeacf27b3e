#!/usr/bin/env bash
# kill -9 of the client, then `vpn-client cleanup` alone, without another start.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
init_server
add_client laptop
start_server
before=$(kernel_state client)

start_client laptop
wait_up
stop laptop KILL
expect_match "doctor says that something was left behind" 'left behind.*vpn0' "$(on client vpn-client doctor)"
expect "cleanup succeeds" on client vpn-client cleanup
expect_same_state "rules, routes, links, nft ruleset and sysctls are as before" "$before" client
expect_ping client $WEB
expect "a second cleanup has nothing to do and succeeds" on client vpn-client cleanup
expect "doctor finds nothing wrong" jq -e 'all(.verdict == "good")' <(on client vpn-client doctor --json)
