#!/usr/bin/env bash
# A client with the kill switch: from the moment it starts, through everything that makes tunnels leak, until after it was
# killed, nothing leaves its host but the tunnel, not even from sockets that are bound to an interface.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"
# shellcheck source=scripts/netns/leaks.sh
source "$(dirname "$0")/../leaks.sh"

lab_up
init_server
add_client laptop
toml_set "$(client_toml laptop)" interface kill_switch true
toml_set "$(client_toml laptop)" interface lan '"deny"'
is_locked() { in_ns client nft list table inet vpn_vpn0_kill_switch; }

start_client laptop
wait_until 10 is_locked || die "there is no kill switch"
watch_client
start_script client applications sending applications.py $WEB $WEB6 192.0.2.1 2001:db8:1::1 \
  -- eth0 $WEB $WEB6 192.0.2.1 2001:db8:1::1
start_server
wait_up
expect_ping client $WEB
expect_ping client $WEB6
expect "the status says that the kill switch is in force" jq -e '.interface.kill_switch' <(client_status)

hostile_routes
advertise_router
expect_ping client $WEB
expect_not "a host of the link is not reached" in_ns client ping -c 1 -W 1 -I eth0 192.0.2.1
expect_not "nor does it reach the client" in_ns router ping -c 1 -W 1 192.0.2.2
lose_path
expect_no_ping client $WEB
find_path
join_second_network
expect_soon 20 "the tunnel is back on another interface" ping_once client $WEB
change_address
expect_soon 20 "the tunnel is back with another address" ping_once client $WEB

stop laptop KILL
expect_not "a killed client leaves its host locked" ping_once client $WEB
start_client laptop
wait_up
expect_soon 10 "the next start connects" ping_once client $WEB
expect_no_leak "nothing left the client but the tunnel"
