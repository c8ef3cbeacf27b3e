#!/usr/bin/env bash
# kill -9 of the server, then a normal start and stop: the gateway's firewall and sysctls are as if nothing had been.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
init_server
add_client laptop
before=$(kernel_state gateway)

start_server
stop server KILL
start_server
stop server
expect_same_state "rules, routes, links, nft ruleset and sysctls are as before" "$before" gateway
