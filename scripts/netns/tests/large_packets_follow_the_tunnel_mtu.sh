#!/usr/bin/env bash
# MTU 1420 inside: a ping of 1392 bytes (1420 with its headers) passes without fragmentation, one byte more is refused.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

tunnel_up
expect_equal "the client's interface has MTU 1420" 1420 "$(in_ns client cat /sys/class/net/vpn0/mtu)"
expect_ping client $GATEWAY_INSIDE -M 'do' -s 1392
expect_ping client $WEB -M 'do' -s 1392
expect_ping client $WEB6 -M 'do' -s 1372
expect_no_ping client $GATEWAY_INSIDE -M 'do' -s 1393
expect_match "the sender is told the MTU" 'mtu ?= ?1420' \
  "$(in_ns client ping -c 1 -W 1 -M 'do' -s 1393 $GATEWAY_INSIDE 2>&1 || true)"
expect_ping client $WEB -s 4000
