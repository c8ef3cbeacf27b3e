#!/usr/bin/env bash
# Both directions at once through a network that loses, repeats, damages and reorders datagrams: with either suite and over
# either family, to the gateway and through it, everything arrives as it was sent, and no kernel sees a wrong checksum.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

RELAY=192.0.2.1 RELAY6=2001:db8:1::1                     # the router's own addresses on the clients' side
TARGETS=("$GATEWAY_INSIDE" "$GATEWAY_INSIDE6" "$WEB" "$WEB6")

lab_up
init_server
add_client laptop
start_bad_network router $RELAY $GATEWAY
start_bad_network router $RELAY6 $GATEWAY6
start_server

exchange_all() {                                         # ENDPOINT SUITE
  local target
  toml_set "$(client_toml laptop)" peer endpoint "\"$1\""
  toml_set "$(client_toml laptop)" interface suite "\"$2\""
  start_client laptop
  wait_up client 30                                      # handshake messages are lost, too
  expect_equal "the session uses $2" "$2" "$(client_status | jq -r '.peers[0].suite')"
  for target in "${TARGETS[@]}"; do
    expect "TCP with $target by way of $1" exchange_from client tcp "$target" "${EXCHANGE_MEGABYTES:-4}"
    expect "UDP with $target by way of $1" exchange_from client udp "$target" 100
  done
  stop laptop
}

# The gateway has its addresses inside only while the server runs.
wait_until 10 in_ns gateway ping -q -c 1 -W 1 $GATEWAY_INSIDE6 || die "the gateway has no address inside"
for target in $GATEWAY_INSIDE $GATEWAY_INSIDE6; do start_exchange gateway "$target"; done
for target in $WEB $WEB6; do start_exchange web "$target"; done

exchange_all "$RELAY:$PORT" chacha20-poly1305
if grep -qwE 'aes|pmull' /proc/cpuinfo; then exchange_all "[$RELAY6]:$PORT" aes-256-gcm; else
  exchange_all "[$RELAY6]:$PORT" chacha20-poly1305
fi

drops() { server_status | jq -r ".drops.$1"; }
expect "the repeated ones were recognised" test "$(drops replay)" -gt 0
expect "the damaged ones were recognised" test "$(drops bad_tag)" -gt 0
expect_equal "no packet came out broken" 0 "$(drops bad_payload)"
for node in client gateway web; do expect_equal "no wrong checksum at $node" 0 "$(checksum_errors $node)"; done
for relay in $RELAY $RELAY6; do
  stop "bad-$relay"
  for fate in lost repeated damaged reordered; do
    expect "the network had $fate some" grep -qE "^there.* [1-9][0-9]* $fate" "$(log_of "bad-$relay")"
  done
done
