#!/usr/bin/env bash
# A client that sends everything to the gateway: ping, HTTP over NAT, IPv4 and IPv6, and only ciphertext on the way.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

tunnel_up
start_web
marker=plaintext-marker-$RANDOM$RANDOM
for ((i = 0; i < 2000; i++)); do echo "$marker $i"; done >"$(dir_of web)/file"

expect_ping client $GATEWAY_INSIDE
expect_ping client $GATEWAY_INSIDE6
expect_ping client $WEB
expect_ping client $WEB6

capture outside clients
capture behind web
expect_equal "the download is intact" "$(sha256 "$(dir_of web)/file")" "$(fetch "http://$WEB/file" | sha256)"
expect_equal "the web server sees the gateway's IPv4 address" $GATEWAY "$(fetch "http://$WEB/whoami")"
expect_equal "the web server sees the gateway's IPv6 address" $GATEWAY6 "$(fetch "http://[$WEB6]/whoami")"
stop_capture outside
stop_capture behind

expect "the capture behind the gateway shows the plaintext" grep -qa "$marker" "$SCRATCH/behind.pcap"
expect_not "the capture before the gateway does not" grep -qa "$marker" "$SCRATCH/outside.pcap"
expect_equal "nothing but UDP port $PORT left the client" 0 \
  "$(count_captured outside "(ip or ip6) and not icmp6 and not udp port $PORT")"

expect "the client's status says hybrid and post-quantum" \
  jq -e '.peers[0] | .handshake == "hybrid" and .post_quantum' <(client_status)
expect "the server's status says the same" \
  jq -e '.peers[] | select(.name == "laptop") | .state == "up" and .handshake == "hybrid" and .post_quantum' <(server_status)
