#!/usr/bin/env bash
# The endpoint is an IPv6 address; what is inside is IPv4 and IPv6.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

tunnel_up "[$GATEWAY6]:$PORT"
capture path gateway "udp port $PORT"
expect_ping client $WEB
expect_ping client $WEB6
stop_capture path
expect "the packets travelled over IPv6" test "$(count_captured path ip6)" -gt 0
expect_equal "and not over IPv4" 0 "$(count_captured path ip)"
