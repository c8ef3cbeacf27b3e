#!/usr/bin/env bash
# wg set, setconf, syncconf, show and showconf work on the daemon as on the kernel's WireGuard. A syncconf that leaves a peer
# as it is leaves its session, too.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"
# shellcheck source=scripts/netns/uapi.sh
source "$(dirname "$0")/../uapi.sh"

two_peers_up
expect_ping left 10.9.0.2
name=$(wg_name a)
shown() { wg_on left show "$name" "$1"; }
expect_equal "the public key is shown" "$LEFT" "$(shown public-key)"
expect_equal "the port is shown" 51821 "$(shown listen-port)"
expect_equal "the endpoint is shown" "$RIGHT	198.51.100.2:51822" "$(shown endpoints)"
expect_equal "the other side has learned ours" "$LEFT	198.51.100.1:51821" "$(wg_on right show "$(wg_name b)" endpoints)"
age=$(($(date +%s) - $(handshake_of left a "$RIGHT")))
expect "the handshake was just now ($age s)" test "$age" -ge 0 -a "$age" -le 10
expect_match "bytes are counted" '	[1-9][0-9]*	[1-9][0-9]*$' "$(shown transfer)"
expect_equal "showconf gives back what setconf took" \
  "$(grep -v Persistent "$SCRATCH/left.conf" | grep . | sort)" "$(wg_on left showconf "$name" | grep . | sort)"

before=$(handshake_of left a "$RIGHT")
other=$(wg genkey | wg pubkey)
psk=$(wg genpsk)
{ cat "$SCRATCH/left.conf"; printf '[Peer]\nPublicKey = %s\nPresharedKey = %s\nAllowedIPs = 10.9.7.0/24, fd09::/64\n' "$other" "$psk"; } \
  >"$SCRATCH/more.conf"
wg_on left syncconf "$name" "$SCRATCH/more.conf"
expect_ping left 10.9.0.2
expect_equal "syncconf leaves the session of the unchanged peer" "$before" "$(handshake_of left a "$RIGHT")"
shown_of() { shown "$1" | awk -F '\t' -v peer="$2" '$1 == peer { print $2 }'; }
expect_equal "the new peer is there" "10.9.7.0/24 fd09::/64" "$(shown_of allowed-ips "$other")"
expect_equal "with its preshared key" "$psk" "$(shown_of preshared-keys "$other")"

wg_on left set "$name" peer "$other" allowed-ips 10.9.0.2/32
expect_equal "an allowed IP moves to the peer that is given it" "(none)" "$(shown_of allowed-ips "$RIGHT")"
expect_no_ping left 10.9.0.2
wg_on left set "$name" peer "$other" remove peer "$RIGHT" allowed-ips 10.9.0.2/32
expect_equal "one peer is left" "$RIGHT	10.9.0.2/32" "$(shown allowed-ips)"
expect_ping left 10.9.0.2
wg_on left set "$name" private-key <(wg genkey)
expect_no_ping left 10.9.0.2
