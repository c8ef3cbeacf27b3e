#!/usr/bin/env bash
# Removing the socket, deleting the interface, SIGINT and SIGTERM each end the daemon, and take socket and interface along.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"
# shellcheck source=scripts/netns/uapi.sh
source "$(dirname "$0")/../uapi.sh"

add_node left
name=$(wg_name a)
daemon() { spawn left daemon "$VPN_BIN_DIR/vpn-server" wireguard --foreground "$name"; wait_until 5 wg_on left show "$name" || die "it does not start"; }
all_gone() { process_ended "${PID[daemon]}" && [[ ! -e $(socket_of a) ]] && ! ip -n "$(ns left)" link show "$name"; }

daemon
rm "$(socket_of a)"
expect_soon 2 "removing the socket ends it" all_gone
daemon
ip -n "$(ns left)" link del "$name"
expect_soon 2 "deleting the interface ends it" all_gone
for signal in INT TERM; do
  daemon
  kill -s "$signal" "${PID[daemon]}"
  expect_soon 2 "SIG$signal ends it" all_gone
done

daemon
kill -KILL "${PID[daemon]}"
expect_soon 2 "killed, it leaves the socket only" process_ended "${PID[daemon]}"
expect "the socket is still there" test -S "$(socket_of a)"
daemon
expect "the next one replaces it" wg_on left show "$name"
