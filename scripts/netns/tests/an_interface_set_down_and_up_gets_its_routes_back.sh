#!/usr/bin/env bash
# Somebody sets the tunnel interface down and up again: the kernel has dropped its routes and IPv6 addresses by then, and
# all traffic would go beside the tunnel, unprotected, while the client says "up".
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
before_server=$(kernel_state gateway) before_client=$(kernel_state client)
init_server
add_client laptop
start_server
start_client laptop
wait_up
through_tunnel() { in_ns client ip route get "$1" | grep -q 'dev vpn0'; }
while_up=$(kernel_state client | grep -v fe80)

for node in client gateway; do
  in_ns $node ip link set vpn0 down
  in_ns $node ip link set vpn0 up
done
for address in $WEB $WEB6; do
  expect_soon 5 "$address is reached through the tunnel again" through_tunnel "$address"
done
expect_equal "the client's routes and rules are those from before" "$while_up" "$(kernel_state client | grep -v fe80)"
expect_ping client $WEB
expect_ping client $WEB6
expect_ping gateway "$(address6_of laptop)"

stop laptop
expect_same_state "the client restored everything" "$before_client" client
stop server
expect_same_state "the server restored everything" "$before_server" gateway
