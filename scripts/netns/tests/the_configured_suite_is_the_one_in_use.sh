#!/usr/bin/env bash
# One end that wants ChaCha20-Poly1305 has it, whatever the other one can do; a reload does not change the suite.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

suites() { printf '%s, %s' "$(server_status | jq -r '.peers[0].suite')" "$(client_status | jq -r '.peers[0].suite')"; }

tunnel_up
fast=chacha20-poly1305
if grep -qwE 'aes|pmull' /proc/cpuinfo; then fast=aes-256-gcm; fi
expect_equal "both ends use what this CPU runs fast" "$fast, $fast" "$(suites)"

stop laptop
toml_set "$(client_toml laptop)" interface suite '"chacha20-poly1305"'
start_client laptop
wait_up
expect_ping client $GATEWAY_INSIDE
expect_equal "the client's wish counts at both ends" "chacha20-poly1305, chacha20-poly1305" "$(suites)"

if [[ $fast == aes-256-gcm ]]; then
  toml_set "$(server_toml)" interface suite '"chacha20-poly1305"'
  expect_exit 1 "a reload with another suite is refused" on gateway vpn-server reload -c "$(server_toml)"
  expect_match "and says what it needs" "suite changed, which needs a restart" "$output"
fi
