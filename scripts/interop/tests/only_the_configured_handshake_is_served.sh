#!/usr/bin/env bash
# There is no fallback: a key that is configured for the hybrid handshake cannot come in by WireGuard's, and a key that is
# configured for WireGuard cannot come in by the hybrid one. The first gets silence, the second what any stranger gets.
# shellcheck source=scripts/interop/lab.sh
source "$(dirname "$0")/../lab.sh"
only_ours "it is about vpn-server"
not_for kernel "the machine's cable ends at ours, not at a gateway"

gateway_up
new_key gateway
install -m 0600 "$SCRATCH/gateway.key" "$(dir_of gateway)/etc/wireguard.key"
toml_set "$(server_toml)" interface wireguard_key_file '"wireguard.key"'

# A WireGuard key that could as well be a hybrid identity: about every second one is a point of Ed25519.
for attempt in {1..30}; do
  new_key theirs
  (umask 077; cat >"$(dir_of gateway)/etc/peers.d/phone.toml") <<TOML
[[peer]]
name = "phone"
handshake = "hybrid"
public_key = "$(public_key theirs)"
allowed_ips = ["10.66.7.9/32"]
TOML
  if on gateway vpn-server check -c "$(server_toml)" >>"$(log_of check)" 2>&1; then break; fi
done
expect "the configuration names the WireGuard key as a hybrid peer" on gateway vpn-server check -c "$(server_toml)"

# And the other way: the laptop's identity as a WireGuard key.
add_client laptop
toml_set "$(dir_of gateway)/etc/peers.d/laptop.toml" peer handshake '"wireguard"'
start_server

spawn gateway wire tcpdump --immediate-mode -U -n -s 256 -i any -w "$SCRATCH/gateway.pcap" "udp port $PORT"
wait_until 5 grep -q 'listening on' "$(log_of wire)" || die "tcpdump did not start"
start_theirs 10.66.7.9
expect_no_ping theirs $GATEWAY_INSIDE
start_client laptop
wait_until 3 client_is_up && die "the laptop has a session by a handshake that is not its own"
sleep 0.3
stop wire
seen() { tcpdump -nn -r "$SCRATCH/gateway.pcap" "$@" 2>/dev/null | wc -l; }
expect "the WireGuard client has sent initiations" test "$(seen "dst port $PORT and src host $(outside theirs)")" -ge 1
expect "the laptop has sent inits" test "$(seen "dst port $PORT and src host 192.0.2.2")" -ge 1
expect_equal "the WireGuard client got silence" 0 "$(seen "src port $PORT and src host $GATEWAY")"
# Who the laptop is stands only in its finish, after a response; what matters is that no transport message follows.
expect_equal "no session answered the laptop" 0 "$(seen "src host 192.0.2.1 and udp[8] == 4")"
for name in phone laptop; do expect_equal "$name has no session" idle "$(reported $name .state)"; done
