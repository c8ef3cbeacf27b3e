#!/usr/bin/env bash
# A tunnel is up and in use, and no address changes, when a router begins to lose what is longer than 1400 bytes, all fragments, and
# says nothing. Both ends find out while they send, connections that had stalled go on, and the session stays.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

tunnel_up
for node in client gateway; do ip -n "$(ns $node)" link set eth0 gso_max_segs 1; done
start_web
head -c 300K /dev/urandom >"$(dir_of web)/file"
wanted=$(sha256 "$(dir_of web)/file")
has_mtu() { local mtu; mtu=$(jq -r '[.peers[] | select(.state == "up") | .mtu] | first' <<<"$1"); ((mtu >= 1336 && mtu <= 1340)); }
client_has_found_it() { has_mtu "$(client_status)"; }
gateway_has_found_it() { has_mtu "$(server_status)"; }
handshakes() { client_status | jq '.peers[0].handshakes'; }

expect_equal "a download before" "$wanted" "$(fetch "http://$WEB/file" | sha256)"
before=$(handshakes)
in_ns router nft -f - <<'RULES'
table inet narrower {
  chain forward {
    type filter hook forward priority 0
    ip frag-off & 0x3fff != 0 drop
    ip protocol udp ip length > 1400 drop
  }
}
RULES
spawn client download curl -sS --fail --max-time 30 -o "$SCRATCH/download" "http://$WEB/file"
spawn client upload curl -sS --fail --max-time 30 -T "$(dir_of web)/file" "http://$WEB/upload"
expect_soon 12 "the client notices" client_has_found_it
expect_soon 12 "the gateway notices" gateway_has_found_it
transfers_are_over() { ! is_running download && ! is_running upload; }
expect_soon 15 "the transfers that had stalled end" transfers_are_over
expect_equal "the download is whole" "$wanted" "$(sha256 "$SCRATCH/download")"
expect_equal "the upload is whole" "$wanted" "$(sha256 "$(dir_of web)/upload")"
expect_equal "it was one session" "$before" "$(handshakes)"
