#!/usr/bin/env bash
# Tunnel MTUs from 576 to 9000 over a network of 1500 bytes, and large ones over one of 9000: both directions at once, IPv4
# and IPv6 inside, to the gateway and through it. A packet that fits passes whole; of one byte more the sender is told.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

tunnel_up
for target in $GATEWAY_INSIDE $GATEWAY_INSIDE6; do start_exchange gateway "$target"; done
for target in $WEB $WEB6; do start_exchange web "$target"; done

set_outer_mtu() {
  local end node iface
  for end in "client eth0" "router cl1" "router clients" "router gateway" "gateway eth0" "router web" "web eth0"; do
    read -r node iface <<<"$end"
    ip -n "$(ns "$node")" link set "$iface" mtu "$1"
  done
}
set_inner_mtu() { local node; for node in client gateway; do ip -n "$(ns $node)" link set vpn0 mtu "$1"; done; }
# both_know MTU: either end has heard in a new handshake what the other takes now.
both_know() { jq -en --argjson mtu "$1" '[inputs.peers[] | select(.state == "up") | .mtu] == [$mtu, $mtu]' <(client_status) <(server_status); }

# carry MTU ADDRESS_OF_GATEWAY ADDRESS_OF_WEB HEADERS: HEADERS are those of a ping in bytes.
carry() {
  expect "a ping of $1 bytes passes whole" in_ns client ping -q -c 1 -W 5 -M 'do' -s $(($1 - $4)) "$2"
  expect_match "the sender of one byte more is told" "mtu ?[=:]? ?$1" \
    "$(in_ns client ping -c 1 -W 0.1 -M 'do' -s $(($1 - $4 + 1)) "$2" 2>&1 || true)"
  expect "TCP with $2 at $1" exchange_from client tcp "$2" 3
  expect "TCP with $3 at $1" exchange_from client tcp "$3" 3
  expect "UDP with $3 at $1" exchange_from client udp "$3" 60
}

carry_all() {                                            # OUTER_MTU MTU...
  local mtu; set_outer_mtu "$1"
  for mtu in "${@:2}"; do
    set_inner_mtu "$mtu"
    expect_soon 5 "both ends know that $mtu bytes are taken" both_know "$mtu"
    carry "$mtu" $GATEWAY_INSIDE $WEB 28
    if ((mtu >= 1280)); then carry "$mtu" $GATEWAY_INSIDE6 $WEB6 48; fi          # less is no link for IPv6
  done
}

carry_all 9000 8920
carry_all 1500 9000 1500 1420 1280 576
for node in client gateway web; do expect_equal "no wrong checksum at $node" 0 "$(checksum_errors $node)"; done
