#!/usr/bin/env bash
# A path narrower than the client's own link. First its router sends ICMP and cuts what may be cut; whether the limit is found
# by that or by probes is not told apart. Then it loses silently what is too long for it, and all fragments: a black hole. Last
# one of 1280 bytes, less than a tunnel of 1280 needs.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
init_server
add_client laptop
add_wireguard_client wg
write_wireguard_profile wg
# One datagram at a time reaches the router, so that the length it sees is that of a datagram.
for node in client gateway; do ip -n "$(ns $node)" link set eth0 gso_max_segs 1; done
start_server
start_web
head -c 3M /dev/urandom >"$(dir_of web)/file"
wanted=$(sha256 "$(dir_of web)/file")

# narrow MTU: what the router takes to either side. Routes, and not interfaces: those lose what is too long on arrival.
narrow() {
  ip -n "$(ns router)" route replace 198.51.100.0/24 dev gateway src 198.51.100.1 mtu "$1"
  ip -n "$(ns router)" route replace 192.0.2.0/24 dev clients src 192.0.2.1 mtu "$1"
  ip -n "$(ns router)" -6 route replace 2001:db8:2::/64 dev gateway metric 1 mtu "$1"
  ip -n "$(ns router)" -6 route replace 2001:db8:1::/64 dev clients metric 1 mtu "$1"
}

# black_hole MTU [RULE]: neither ICMP of the router nor anything longer comes out.
black_hole() {
  in_ns router nft -f - <<RULES
table inet hole {
  chain forward {
    type filter hook forward priority 0
    iifname clients jump narrow
    oifname clients jump narrow
  }
  chain narrow {
    meta length > $1 drop
    ${2:-}
  }
}
RULES
}

over_ipv6() { sed -i "s/^endpoint = .*/endpoint = \"[$GATEWAY6]:$PORT\"/" "$(client_toml "$1")"; }
over_ipv4() { sed -i "s/^endpoint = .*/endpoint = \"$GATEWAY:$PORT\"/" "$(client_toml "$1")"; }

mtu_of() { case $1 in client) client_status ;; gateway) server_status ;; esac | jq -r '[.peers[] | select(.state == "up") | .mtu] | first'; }
has_mtu() { local got; got=$(mtu_of "$1"); [[ $got =~ ^[0-9]+$ ]] && ((got >= $2 && got <= $3)); }
link_mtu() { in_ns client cat /sys/class/net/vpn0/mtu; }
link_follows() { [[ $(link_mtu) == "$(mtu_of client)" ]]; }

# connect PROFILE: from nothing, so that neither end knows anything of the path.
connect() {
  start_client "$1"
  wait_up
}
disconnect() {
  stop "$1"
  in_ns client ip -6 route flush cache; in_ns gateway ip -6 route flush cache
  in_ns client ip route flush cache; in_ns gateway ip route flush cache
}

# carries WHAT: bulk data down and up, and packets that fill the tunnel, both ways. More is told its sender, and then cut.
carries() {
  local mtu laptop; mtu=$(link_mtu)
  laptop=$(in_ns client ip -4 -o addr show dev vpn0 | grep -oE 'inet [0-9.]+' | cut -d' ' -f2)
  expect_equal "$1: a download arrives" "$wanted" "$(fetch "http://$WEB/file" | sha256)"
  expect "$1: an upload arrives" fetch -T "$(dir_of web)/file" "http://$WEB/upload"
  expect_equal "$1: intact" "$wanted" "$(sha256 "$(dir_of web)/upload")"
  expect "$1: a full packet of IPv4 passes" in_ns client ping -q -c 1 -W 3 -M 'do' -s $((mtu - 28)) $WEB
  expect "$1: a full packet of IPv6 passes" in_ns client ping -q -c 1 -W 3 -M 'do' -s $((mtu - 48)) $WEB6
  expect "$1: the gateway's full packet passes" in_ns gateway ping -q -c 1 -W 3 -M 'do' -s $((mtu - 28)) "$laptop"
  expect "$1: the gateway's longer one that may be cut" in_ns gateway ping -q -c 2 -i 0.3 -W 3 -M dont -s 1380 "$laptop"
  expect "$1: the gateway's longer one after it was told" in_ns gateway ping -q -c 3 -i 0.3 -W 3 -s 1380 "$laptop"
}

narrow 1400
connect laptop
expect_soon 6 "a router with ICMP: the client's limit is what 1400 bytes leave" has_mtu client 1336 1340
expect_soon 6 "and the gateway's" has_mtu gateway 1336 1340
expect_soon 2 "the interface follows" link_follows
carries "1400 bytes over IPv4, ICMP passes"
disconnect laptop

black_hole 1400 "ip frag-off & 0x3fff != 0 drop; exthdr frag exists drop"
connect laptop
expect_soon 6 "a black hole over IPv4: the client has found it" has_mtu client 1336 1340
expect_soon 6 "and the gateway" has_mtu gateway 1336 1340
carries "black hole of 1400 bytes over IPv4"
disconnect laptop

over_ipv6 laptop
connect laptop
expect_soon 6 "a black hole over IPv6: the client has found it" has_mtu client 1316 1320
expect_soon 6 "and the gateway" has_mtu gateway 1316 1320
carries "black hole of 1400 bytes over IPv6"
disconnect laptop

# Fragments pass from here on: without them no tunnel with IPv6 in it fits.
in_ns router nft delete table inet hole
narrow 1280
black_hole 1280
connect laptop
expect_soon 6 "1280 bytes over IPv6: the client keeps what IPv6 needs" has_mtu client 1280 1280
expect_soon 6 "and the gateway" has_mtu gateway 1280 1280
carries "black hole of 1280 bytes over IPv6"
disconnect laptop

in_ns router nft delete table inet hole
over_ipv6 wg
connect wg
expect_equal "WireGuard over 1280 bytes: a download arrives" "$wanted" "$(fetch "http://$WEB/file" | sha256)"
expect "WireGuard over 1280 bytes: an upload arrives" fetch -T "$(dir_of web)/file" "http://$WEB/upload"
