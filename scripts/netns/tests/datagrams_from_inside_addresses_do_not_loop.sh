#!/usr/bin/env bash
# Somebody without keys gives every fourth honest datagram a source inside the tunnel, in both directions. Whoever took that for
# the peer's endpoint would seal into its own tunnel without end. Both families, both handshakes, a gateway, full and split tunnels.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
add_client_node second
add_client_node third
init_server
add_client laptop
add_client phone
add_wireguard_client tablet
write_wireguard_profile tablet
for name in phone tablet; do
  toml_set "$(client_toml $name)" peer allowed_ips '["10.66.0.0/16", "fd66::/64"]'
done
toml_set "$(client_toml phone)" peer endpoint "\"[$GATEWAY6]:$PORT\""
for node in gateway client second third; do
  in_ns $node sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
done
start_server
start_client laptop client
start_client phone second
start_client tablet third
for node in client second third; do wait_up $node; done

endpoints() {
  local node
  server_status | jq -r '.peers[].endpoint' | sort
  for node in client second third; do client_status $node | jq -r '.peers[0].endpoint'; done
}
inner_drops() { jq -r '.drops.inner_address // 0'; }
ticks() {                                               # of all four programs, in hundredths of a second
  local label
  for label in server laptop phone tablet; do awk '{ print $14 + $15 }' "/proc/${PID[$label]}/stat"; done |
    awk '{ sum += $1 } END { print sum }'
}
forge() {                                               # sources: one client's own address, one that nobody has, the gateway's
  in_ns router nft -f - <<RULES
table inet forge
delete table inet forge
table inet forge {
  chain out {
    type filter hook postrouting priority 300
    ip daddr $GATEWAY udp dport $PORT numgen inc mod 8 == 1 ip saddr set $(address4_of laptop)
    ip daddr $GATEWAY udp dport $PORT numgen inc mod 8 == 5 ip saddr set 10.66.77.77
    ip6 daddr $GATEWAY6 udp dport $PORT numgen inc mod 4 == 1 ip6 saddr set $(address6_of phone)
    ip saddr $GATEWAY udp sport $PORT numgen inc mod 4 == 1 ip saddr set $GATEWAY_INSIDE
    ip6 saddr $GATEWAY6 udp sport $PORT numgen inc mod 4 == 1 ip6 saddr set $GATEWAY_INSIDE6
  }
}
RULES
}

before=$(endpoints)
forge
from=$(ticks)
for node in client second third; do
  expect "all of 40 pings of $node are answered" in_ns $node ping -q -c 40 -i 0.05 -W 2 -w 10 $GATEWAY_INSIDE
done
spent=$(($(ticks) - from))
expect_equal "every endpoint is what it was" "$before" "$(endpoints)"
expect "forged sources were seen by the gateway" test "$(server_status | inner_drops)" -gt 20
for node in client second third; do
  expect "and by $node" test "$(client_status $node | inner_drops)" -gt 5
done
expect "nothing runs in circles ($spent hundredths of a second of CPU)" test "$spent" -lt 200

stop laptop
stop tablet
start_client laptop client
start_client tablet third
for node in client third; do
  expect_soon 15 "$node connects although handshakes are forged as well" client_is_up $node
  expect_soon 5 "and has data" ping_once $node $GATEWAY_INSIDE
done
expect_not "no endpoint is inside" grep -E '^(10\.66\.|\[fd66:)' <<<"$(endpoints)"
