#!/usr/bin/env bash
# kill -9 of the client, then a normal start and stop: rules, routes, nft ruleset and sysctls as if nothing had been.
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
start_client laptop
wait_up
stop laptop
expect_same_state "rules, routes, links, nft ruleset and sysctls are as before" "$before" client
