#!/usr/bin/env bash
# Two servers, or two clients, on one interface name: the second one exits 1 with a message; the first one is not disturbed.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

tunnel_up
expect_exit 1 "a second server is refused" on gateway vpn-server run -c "$(server_toml)"
expect_match "it says why" 'already|in use|running' "$output"
expect_exit 1 "a second client is refused" on client vpn-client up "$(client_toml laptop)" --foreground
expect_match "it says why" 'already|in use|running' "$output"
expect_ping client $WEB
