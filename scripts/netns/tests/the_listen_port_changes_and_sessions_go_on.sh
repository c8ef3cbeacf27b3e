#!/usr/bin/env bash
# wg set … listen-port, while packets flow: the other side follows, without a new handshake. Port 0 takes any.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"
# shellcheck source=scripts/netns/uapi.sh
source "$(dirname "$0")/../uapi.sh"

two_peers_up
expect_ping left 10.9.0.2
before=$(handshake_of left a "$RIGHT")
wg_on left set "$(wg_name a)" listen-port 51900
expect_ping left 10.9.0.2
expect_ping right 10.9.0.1
expect_equal "the other side has followed" 198.51.100.1:51900 "$(wg_on right show "$(wg_name b)" endpoints | cut -f2)"
wg_on left set "$(wg_name a)" listen-port 0
port=$(wg_on left show "$(wg_name a)" listen-port)
expect "another port is chosen ($port)" test "$port" -ne 0 -a "$port" -ne 51900
expect_ping left 10.9.0.2
expect_equal "all in one session" "$before" "$(handshake_of left a "$RIGHT")"
expect_equal "only that port is open" "$port" "$(in_ns left ss -Hlun | grep -oE ':[0-9]+ ' | tr -d ': ' | sort -u | xargs)"
