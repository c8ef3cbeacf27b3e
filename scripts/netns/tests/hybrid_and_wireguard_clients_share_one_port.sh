#!/usr/bin/env bash
# A hybrid client and one that speaks WireGuard's handshake use the gateway's one UDP port, and both ends say which is which.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

tunnel_up
add_client_node second

# The key is made by the client, as an app would make it.
key=$("$VPN_BIN_DIR/vpn-client" genkey --wireguard)
add_wireguard_client wg --public-key "$("$VPN_BIN_DIR/vpn-client" pubkey --wireguard <<<"$key")"
write_wireguard_profile wg "$key"
start_client wg second
wait_up second

expect_ping client $WEB
expect_ping second $WEB
expect_ping second $WEB6
expect_ping second "$(address4_of laptop)"

as_reported() { jq -r '.peers[] | "\(.name) \(.handshake) \(.post_quantum) \(.psk) \(.state)"' <<<"$1" | sort; }
expect_equal "the server reports both rightly" $'laptop hybrid true true up\nwg wireguard false true up' \
  "$(as_reported "$(server_status)")"
expect_equal "the WireGuard client reports its server rightly" "server wireguard false true up" \
  "$(as_reported "$(client_status second)")"
expect_match "the text says it as well" 'wireguard, post-quantum by its preshared key only' \
  "$(on gateway vpn-server status -c "$(server_toml)")"
