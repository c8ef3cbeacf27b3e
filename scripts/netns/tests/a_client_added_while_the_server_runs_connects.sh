#!/usr/bin/env bash
# `vpn-server client add` needs no restart, and disturbs nobody.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

tunnel_up
add_client_node second
add_client phone
start_client phone second
wait_up second
expect_ping second $WEB
expect_ping client $WEB
