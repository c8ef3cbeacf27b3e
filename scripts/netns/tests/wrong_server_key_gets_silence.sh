#!/usr/bin/env bash
# A client with a wrong public key for the server: not one packet comes back, and the client says what to check.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
init_server
add_client laptop
start_server
stranger=$(on gateway vpn-server genkey | on gateway vpn-server pubkey)
toml_set "$(client_toml laptop)" peer public_key "\"$stranger\""

capture path gateway "udp port $PORT"
start_client laptop
expect_soon 25 "the client says that nobody answers, and what to look at" \
  grep -qiE 'no (answer|response|reply)|not answer|unanswered|timed out' "$(log_of laptop)"
stop_capture path
expect "the client did send handshakes" test "$(count_captured path "src host 192.0.2.2")" -gt 0
expect_equal "the server sent nothing at all" 0 "$(count_captured path "src host $GATEWAY")"
expect_not "the client does not claim to be up" client_is_up
