#!/usr/bin/env bash
# A request with one bad line is refused as a whole with a negative errno, as wg expects it; a port in use changes nothing.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"
# shellcheck source=scripts/netns/uapi.sh
source "$(dirname "$0")/../uapi.sh"

two_peers_up
expect_ping left 10.9.0.2
state() { wg_on left showconf "$(wg_name a)"; wg_on left show "$(wg_name a)" latest-handshakes; }
before=$(state)
zeros=$(printf '0%.0s' {1..64})
for bad in frobnicate=1 listen_port=65536 "private_key=12" "public_key=$zeros\\nallowed_ip=10.0.0.0/33" \
  "public_key=$zeros\\nendpoint=nowhere:1" "public_key=$zeros\\nprotocol_version=2"; do
  expect_equal "refused: ${bad/$zeros/…}" errno=-22 "$(uapi a "set=1\\nreplace_peers=true\\nprivate_key=$zeros\\n$bad\\n\\n" | head -n 1)"
  expect_equal "nothing changed" "$before" "$(state)"
done
expect_equal "several operations on one connection" "errno=-22 errno=0 errno=0" \
  "$(uapi a 'set=1\nfwmark=x\n\nset=1\nfwmark=7\n\nset=1\nfwmark=0\n\n' | grep . | xargs)"

spawn left squatter python3 -c "
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('0.0.0.0', 51900)); time.sleep(600)"
wait_until 5 in_ns left sh -c "ss -Hlun 'sport = 51900' | grep -q ." || die "the port is not taken"
expect_match "wg says that the port is in use" 'in use' \
  "$(wg_on left set "$(wg_name a)" listen-port 51900 peer "$RIGHT" remove 2>&1 || true)"
expect_equal "nothing changed" "$before" "$(state)"
expect_ping left 10.9.0.2
