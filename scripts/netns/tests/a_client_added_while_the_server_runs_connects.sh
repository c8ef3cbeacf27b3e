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

# Only what the running server does by needs a restart.
toml_set "$(server_toml)" gateway endpoint '"moved.example.org:51820"'
expect "client add after a change of the endpoint for new clients" add_client tablet
toml_set "$(server_toml)" gateway client_to_client false
expect_exit 1 "client add after a change of the gateway" add_client watch
