#!/usr/bin/env bash
# Down: no sessions, no answers, as in the kernel. Up: peers with a persistent keepalive connect without a packet. The MTU may
# change at any time.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"
# shellcheck source=scripts/netns/uapi.sh
source "$(dirname "$0")/../uapi.sh"

two_peers_up 25
handshake_after() { (($(handshake_of "$1" "$2" "$3") > $4)); }
expect_soon 10 "a peer with a persistent keepalive connects by itself" handshake_after right b "$LEFT" 0
expect_ping right 10.9.0.1
ip -n "$(ns left)" link set "$(wg_name a)" down
down_since=$(date +%s)
sleep 1
wg_on right set "$(wg_name b)" peer "$LEFT" remove
wg_on right set "$(wg_name b)" peer "$LEFT" allowed-ips 10.9.0.1/32 endpoint 198.51.100.1:51821
expect_no_ping right 10.9.0.1
expect_equal "down, it answers no handshake" 0 "$(handshake_of right b "$LEFT")"
ip -n "$(ns left)" link set "$(wg_name a)" up
expect_soon 10 "up again, it connects by itself" handshake_after right b "$LEFT" "$down_since"
expect_ping right 10.9.0.1
for mtu in 1280 1420; do
  ip -n "$(ns left)" link set "$(wg_name a)" mtu $mtu
  ip -n "$(ns right)" link set "$(wg_name b)" mtu $mtu
  expect_ping left 10.9.0.2 -M "do" -s $((mtu - 28))
done
