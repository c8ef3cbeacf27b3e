#!/usr/bin/env bash
# vpn-server with a hybrid client and a WireGuard client on one port: both get through, also to each other, and the status
# says of each what it is. The WireGuard client is configured by the file that `client add` has made.
# shellcheck source=scripts/interop/lab.sh
source "$(dirname "$0")/../lab.sh"
only_ours "it is about vpn-server"
not_for kernel "the machine's cable ends at ours, not at a gateway"

gateway_up
phone=$SCRATCH/phone.conf
on gateway vpn-server client add phone --wireguard --out "$phone" -c "$(server_toml)" >>"$(log_of init)" 2>&1
add_client laptop
start_server
start_client laptop

# from_file SECTION KEY
from_file() {
  awk -v section="[$1]" -v key="$2" '
    /^\[/ { here = ($0 == section) }
    here && $1 == key { sub(/^[^=]*= */, ""); print }' "$phone"
}
inside_phone=$(from_file Interface Address | grep -oE '([0-9]+\.){3}[0-9]+')
from_file Interface PrivateKey >"$SCRATCH/theirs.key"
from_file Peer PublicKey >"$SCRATCH/gateway.pub"
from_file Peer PresharedKey >"$SCRATCH/phone.psk"
status_of() { reported "$1" '| "\(.handshake) \(.post_quantum) \(.psk) \(.state)"'; }

start_theirs "$inside_phone" preshared-key "$SCRATCH/phone.psk"
wait_up
expect_ping client $GATEWAY_INSIDE
expect_soon 10 "the WireGuard client has a session" ping_once theirs $GATEWAY_INSIDE
expect_ping theirs $GATEWAY_INSIDE
expect_ping theirs "$(address4_of laptop)"
expect_ping client "$inside_phone"
expect_equal "the hybrid client is reported as such" "hybrid true true up" "$(status_of laptop)"
expect_equal "the WireGuard client is reported as such" "wireguard false true up" "$(status_of phone)"
expect_equal "with its key" "$(wg pubkey <"$SCRATCH/theirs.key")" "$(reported phone .public_key)"
expect_equal "with its endpoint" "$(endpoint_of theirs)" "$(reported phone .endpoint | sed 's/^\[::ffff:\(.*\)\]/\1/')"

# The same client without a preshared key.
toml_unset "$(dir_of gateway)/etc/peers.d/phone.toml" peer preshared_key_file
on gateway vpn-server reload -c "$(server_toml)"
stop theirs
start_theirs "$inside_phone"
expect_soon 10 "the WireGuard client has a session without a preshared key" ping_once theirs $GATEWAY_INSIDE
expect_equal "and is reported so" "wireguard false false up" "$(status_of phone)"
expect_ping client $GATEWAY_INSIDE
