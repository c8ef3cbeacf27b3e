#!/usr/bin/env bash
# `vpn-server client remove` on a running server ends that client's session at once, and nobody else's.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

two_clients_up
expect_ping client $WEB

expect "client remove succeeds" on gateway vpn-server client remove laptop -c "$(server_toml)"
expect_soon 5 "the removed client is cut off" eval "! ping_once client $GATEWAY_INSIDE"
expect_no_ping client $WEB
expect_ping second $WEB
expect_equal "the server lists only the other one" phone "$(server_status | jq -r '.peers[].name')"
