# shellcheck shell=bash
# The leak laboratory: applications that send without pause, everything that leaves the client recorded, and the events
# that make tunnels leak. Source it after assert.sh.

# What a client with a tunnel may send: our datagrams to the gateway, DHCP, and neighbour discovery (types 133 to 136).
ALLOWED_OUTSIDE="(udp dst port $PORT and (dst host $GATEWAY or dst host $GATEWAY6))
  or (udp src port 68 and dst port 67) or (udp src port 546 and dst port 547)
  or (icmp6 and ip6[40] >= 133 and ip6[40] <= 136)"

# watch_client: records what comes from the client's interfaces, eth0 and, once it is there, eth1.
watch_client() { capture leaks-eth0 cl1 -B 8192 "inbound and (ip or ip6)"; }

# expect_no_leak WHAT [ALSO_ALLOWED]: of what was recorded, everything is allowed. There is something, too.
expect_no_leak() {
  local name leaks
  for name in "$SCRATCH"/leaks-*.pcap; do
    name=$(basename "$name" .pcap)
    stop_capture "$name"
    leaks=$(captured "$name" -e "not ($ALLOWED_OUTSIDE ${2:+or $2})")
    [[ -z $leaks ]] || die "$1: seen on ${name#leaks-}: ${leaks:0:1000}"
    (($(count_captured "$name" "udp dst port $PORT"))) || die "$1: nothing of ours was seen on ${name#leaks-} either"
  done
  pass "$1"
}

# The events. Each leaves the tunnel working.

lose_path() { in_ns router nft 'add table ip lost; add chain ip lost f { type filter hook forward priority 0; policy drop; }'; }
find_path() { in_ns router nft delete table ip lost; }

# hostile_routes: what a DHCP server can hand out (option 121): routes longer than the tunnel's.
hostile_routes() {
  ip -n "$(ns client)" route add "$WEB/32" via 192.0.2.1
  ip -n "$(ns client)" route add 0.0.0.0/1 via 192.0.2.1
  ip -n "$(ns client)" route add 128.0.0.0/1 via 192.0.2.1
  ip -n "$(ns client)" -6 route add "$WEB6/128" via 2001:db8:1::1
}

advertise_router() {
  in_ns router python3 "$REPO/scripts/netns/router_advertisement.py" clients 2001:db8:66::
  expect_soon 5 "the client takes an address from the advertisement" client_has 2001:db8:66:
}
client_has() { ip -n "$(ns client)" address show | grep -q "$1"; }

# join_second_network: an interface eth1 with default routes that come before eth0's.
join_second_network() {
  link_nodes client eth1 router second
  capture leaks-eth1 second -B 8192 "inbound and (ip or ip6)"
  give_address router second 192.0.3.1/24 2001:db8:4::1/64
  give_address client eth1 192.0.3.2/24 2001:db8:4::2/64
  ip -n "$(ns client)" route del 0.0.0.0/1
  ip -n "$(ns client)" route del 128.0.0.0/1
  ip -n "$(ns client)" route replace default via 192.0.3.1
  ip -n "$(ns client)" -6 route replace default via 2001:db8:4::1
}

# change_address: the client is another host of its network from one moment to the next.
change_address() {
  ip -n "$(ns client)" address del 192.0.3.2/24 dev eth1
  ip -n "$(ns client)" address add 192.0.3.77/24 dev eth1
  ip -n "$(ns client)" route replace default via 192.0.3.1
}

# leave_networks: eth0 as it was, for what comes after the events.
leave_networks() {
  ip -n "$(ns client)" link del eth1
  ip -n "$(ns client)" route del "$WEB/32"
  ip -n "$(ns client)" -6 route del "$WEB6/128"
  in_ns client sh -c 'echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_ra'
  ip -n "$(ns client)" -6 address flush dev eth0 to 2001:db8:66::/64
  ip -n "$(ns client)" -6 route flush proto ra
  ip -n "$(ns client)" -6 route flush 2001:db8:66::/64
  ip -n "$(ns client)" route replace default via 192.0.2.1
}
