#!/usr/bin/env bash
# The daemon does not seal into its own interface: neither to where a forged source leads, nor to where `wg set` says.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"
# shellcheck source=scripts/netns/uapi.sh
source "$(dirname "$0")/../uapi.sh"

two_peers_up
expect_ping left 10.9.0.2
in_ns right sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
in_ns left nft -f - <<'RULES'
table inet forge {
  chain out {
    type filter hook postrouting priority 300
    udp dport 51822 numgen inc mod 2 == 0 ip saddr set 10.9.0.77
    udp dport 51822 ip saddr 198.51.100.1 ip saddr set 10.9.0.1
  }
}
RULES
expect "all of 40 pings are answered, none of which comes from where left is" in_ns left ping -q -c 40 -i 0.05 -W 2 -w 10 10.9.0.2
expect_equal "right still sends to left's own address" "$LEFT	198.51.100.1:51821" "$(wg_on right show "$(wg_name b)" endpoints)"

for inside in 10.9.0.2:51822 10.9.0.99:51822; do
  wg_on left set "$(wg_name a)" peer "$RIGHT" endpoint $inside
  expect_equal "wg set does not move the endpoint to $inside" "$RIGHT	198.51.100.2:51822" "$(wg_on left show "$(wg_name a)" endpoints)"
  expect_match "the log says why" "$inside.*inside the tunnel|inside the tunnel.*$inside" "$(<"$(log_of "$(wg_name a)")")"
done
expect_ping left 10.9.0.2
# A more than usual prefix that covers the endpoint in use: the kernel would send into the interface, and so would we.
wg_on left set "$(wg_name a)" peer "$RIGHT" allowed-ips 10.9.0.2/32,198.51.100.0/24
expect_equal "an endpoint that has come to lie inside is given up" "$RIGHT	(none)" "$(wg_on left show "$(wg_name a)" endpoints)"
wg_on left set "$(wg_name a)" peer "$RIGHT" allowed-ips 10.9.0.2/32,0.0.0.0/0
expect_equal "and taken again when it lies outside" "$RIGHT	198.51.100.2:51822" "$(wg_on left show "$(wg_name a)" endpoints)"
expect_ping left 10.9.0.2

# Routes that nobody has told us of, and no mark to lead around them.
entered() { in_ns left cat "/sys/class/net/$(wg_name a)/statistics/tx_bytes"; }
before=$(entered)
ip -n "$(ns left)" route add 0.0.0.0/1 dev "$(wg_name a)"
ip -n "$(ns left)" route add 128.0.0.0/1 dev "$(wg_name a)"
ip -n "$(ns left)" route del 198.51.100.0/24 dev eth0
in_ns left ping -q -c 20 -i 0.05 -W 1 10.9.0.2 >/dev/null || true
sleep 2
bytes=$(($(entered) - before))
expect "nothing runs in circles where routes lead datagrams into their own tunnel ($bytes bytes)" test "$bytes" -lt 60000
ip -n "$(ns left)" route add 198.51.100.0/24 dev eth0 src 198.51.100.1
expect_soon 10 "data passes when they no longer do" ping_once left 10.9.0.2
