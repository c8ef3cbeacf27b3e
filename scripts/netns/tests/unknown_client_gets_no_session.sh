#!/usr/bin/env bash
# A client whose key the server does not know (any more): no session, and the server counts it.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
init_server
add_client laptop
on gateway vpn-server client remove laptop -c "$(server_toml)"
start_server
start_client laptop

expect_soon 15 "the server counts an unknown peer" eval 'server_status | jq -e ".drops.unknown_peer > 0"'
expect_not "the client does not get a session" client_is_up
