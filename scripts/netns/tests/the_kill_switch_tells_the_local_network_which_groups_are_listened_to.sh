#!/usr/bin/env bash
# With the kill switch and lan = "allow", membership reports (IGMP, MLD) reach the private networks of this host, and no other link. With
# lan = "deny" none leaves.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

# listen INTERFACE: joins a group of each family there, and leaves them.
listen() {
  in_ns client python3 - "$1" <<'PY'
import socket, struct, sys, time
index = socket.if_nametoindex(sys.argv[1])
four = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
four.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("239.255.255.250") + struct.pack("=4si", b"\0" * 4, index))
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, "ff05::c") + struct.pack("=I", index))
time.sleep(1.5)
PY
}
REPORTS='igmp or (ip6[6] = 0 and ip6[40] = 58)'

lab_up
link_nodes client lan router home
give_address client lan 192.168.7.2/24
wait_until 5 in_ns client sh -c 'ip -6 address show dev lan scope link -tentative | grep -q fe80' ||
  die "the laboratory: no link-local address"
init_server
add_client laptop
toml_set "$(client_toml laptop)" interface kill_switch true
start_server
start_client laptop
wait_up
capture home home "inbound and ($REPORTS)"
capture uplink cl1 "inbound and igmp"
listen lan
listen eth0
stop_capture home
stop_capture uplink
expect_match "IGMP reaches the private network" 'igmp' "$(captured home)"
expect_match "so does MLD" 'ICMP6, multicast listener' "$(captured home)"
expect_equal "and not the other link" 0 "$(count_captured uplink)"
stop laptop

toml_set "$(client_toml laptop)" interface lan '"deny"'
start_client laptop
wait_up
capture denied home "inbound and ($REPORTS)"
listen lan
stop_capture denied
expect_equal "lan = \"deny\" tells nobody" 0 "$(count_captured denied)"
