#!/usr/bin/env bash
# client_to_client = true: the gateway forwards between its clients.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
add_client_node second
init_server
toml_set "$(server_toml)" gateway client_to_client true
add_client laptop
add_client phone
start_server
start_client laptop client
start_client phone second
wait_up client
wait_up second

expect_ping client "$(address4_of phone)"
expect_ping second "$(address4_of laptop)"
expect_ping client "$(address6_of phone)"
