#!/usr/bin/env bash
# `vpn-server client add --wireguard` on a running server without a WireGuard key: it gets one and serves the client at once,
# and nobody else notices. Disabled, the client is refused; with rotated keys, the old ones are.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
init_server
toml_unset "$(server_toml)" interface wireguard_key_file
rm "$(dir_of gateway)/etc/wireguard.key"
add_client laptop
start_server
start_client laptop
wait_up
add_client_node second
rekeys_before=$(server_status | jq '.peers[0].rekeys')

change_client() { on gateway vpn-server client "$@" -c "$(server_toml)"; }

expect "a WireGuard client is added to the running server" add_wireguard_client phone
write_wireguard_profile phone
start_client phone second
wait_up second
expect_ping second $WEB
expect_ping client $WEB
expect_equal "the other client's session went on" "$rekeys_before" "$(server_status | jq '.peers[0].rekeys')"

expect "the client is disabled" change_client disable phone
expect_no_ping second $WEB
expect_equal "the server says so" disabled "$(server_status | jq -r '.peers[] | select(.name == "phone").state')"
expect "the client is enabled" change_client enable phone
expect_soon 20 "it is connected again" ping_once second $WEB

expect "the client is renamed" change_client rename phone tablet
expect_ping second $WEB

expect "its keys are rotated" change_client rotate tablet --out "$SCRATCH/tablet.conf"
expect_no_ping second $WEB
stop phone
write_wireguard_profile tablet
start_client tablet second
wait_up second
expect_ping second $WEB
