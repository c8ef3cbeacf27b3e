#!/usr/bin/env bash
# As with the kernel's WireGuard, the interface may move to a namespace without any other way out: the UDP socket stays where
# the daemon was started.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"
# shellcheck source=scripts/netns/uapi.sh
source "$(dirname "$0")/../uapi.sh"

two_peers_up
expect_ping left 10.9.0.2
add_node inner
ip -n "$(ns left)" link set "$(wg_name a)" netns "$(ns inner)"
give_address inner "$(wg_name a)" 10.9.0.1/24
ip -n "$(ns inner)" link set "$(wg_name a)" up
expect_soon 5 "traffic flows from the other namespace" ping_once inner 10.9.0.2
expect_ping inner 10.9.0.2
expect_equal "from the old one's address" 198.51.100.1:51821 "$(wg_on right show "$(wg_name b)" endpoints | cut -f2)"
expect_equal "wg configures it from there" 51821 "$(wg_on inner show "$(wg_name a)" listen-port)"
ip -n "$(ns inner)" link del "$(wg_name a)"
expect_soon 5 "deleting it there ends the daemon" daemon_ended a
