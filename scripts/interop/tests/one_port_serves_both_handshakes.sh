#!/usr/bin/env bash
# vpn-server with a hybrid client and a WireGuard client on one port, with and without a preshared key: both get through, also
# to each other, and the status says of each what it is.
# shellcheck source=scripts/interop/lab.sh
source "$(dirname "$0")/../lab.sh"
only_ours "it is about vpn-server"
not_for kernel "the machine's cable ends at ours, not at a gateway"

gateway_up
new_key theirs
(umask 077; wg genpsk >"$(dir_of gateway)/etc/phone.psk")
add_peer phone wireguard "$(public_key theirs)" 9 'preshared_key_file = "../phone.psk"'
add_client laptop
start_server
start_client laptop
start_theirs 9 preshared-key "$(dir_of gateway)/etc/phone.psk"

wait_up
expect_ping client $GATEWAY_INSIDE
expect_soon 10 "the WireGuard client has a session" ping_once theirs $GATEWAY_INSIDE
expect_ping theirs $GATEWAY_INSIDE
expect_ping theirs "$(address4_of laptop)"
expect_ping client 10.66.7.9
expect_equal "the hybrid client is reported as such" "hybrid true up" \
  "$(reported laptop handshake) $(reported laptop post_quantum) $(reported laptop state)"
expect_equal "the WireGuard client is reported as such" "wireguard up $(public_key theirs)" \
  "$(reported phone handshake) $(reported phone state) $(reported phone public_key)"
expect_equal "with its address" "$(endpoint_of theirs)" "$(reported phone endpoint | sed 's/^\[::ffff:\(.*\)\]/\1/')"

# The same client without the preshared key: no post-quantum secret is left in its session.
rm "$(dir_of gateway)/etc/peers.d/phone.toml"
add_peer phone wireguard "$(public_key theirs)" 9
on gateway vpn-server reload -c "$(server_toml)"
stop theirs
start_theirs 9
expect_soon 10 "the WireGuard client has a session without a preshared key" ping_once theirs $GATEWAY_INSIDE
expect_equal "it is not reported as post-quantum" false "$(reported phone post_quantum)"
expect_ping client $GATEWAY_INSIDE
