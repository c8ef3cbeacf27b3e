#!/usr/bin/env bash
# Both directions at once through a network that loses, repeats, damages and reorders datagrams: TCP and UDP, IPv4 and IPv6
# inside, arrive as they were sent. (runs alone: it fills all processors)
# shellcheck source=scripts/interop/lab.sh
source "$(dirname "$0")/../lab.sh"
not_for kernel "there is no Python in the machine"

start_pair
join middle ours 192.0.2
link_nodes theirs eth1 middle theirs
give_address middle theirs 203.0.113.1/24
give_address theirs eth1 203.0.113.2/24
start_bad_network middle 192.0.2.2 203.0.113.2
introduce theirs ours
introduce ours theirs endpoint 192.0.2.2:$PORT
expect_soon 30 "a session with $PEER" ping_once ours "$(inside theirs)"

for address in "$(inside theirs)" "$(inside6 theirs)"; do
  start_exchange theirs "$address"
  expect "TCP with $address" exchange_from ours tcp "$address" "${EXCHANGE_MEGABYTES:-4}"
  expect "UDP with $address" exchange_from ours udp "$address" 100
done
for node in ours theirs; do expect_equal "no wrong checksum at $node" 0 "$(checksum_errors $node)"; done
