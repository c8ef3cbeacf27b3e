#!/usr/bin/env bash
# A client without a kill switch and with an IPv4 tunnel only: whatever routes others hand out, nothing that asks for a route
# gets one beside the tunnel. While the interface is gone, too. Rules that somebody deletes come back.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"
# shellcheck source=scripts/netns/leaks.sh
source "$(dirname "$0")/../leaks.sh"

lab_up
init_server
add_client laptop
toml_set "$(client_toml laptop)" peer allowed_ips '["0.0.0.0/0"]'
has_rules() { ip -n "$(ns client)" rule show | grep -q ipproto; }

start_client laptop
wait_until 10 has_rules || die "the client made no rules"
watch_client
start_script client applications sending applications.py $WEB $WEB6 192.0.2.1 2001:db8:1::1 -- eth0 $WEB $WEB6
start_server
wait_up
expect_ping client $WEB
expect_not "IPv6, which the tunnel lacks, is refused" in_ns client ping -c 1 -W 1 $WEB6

hostile_routes
advertise_router
expect_ping client $WEB
lose_path
expect_no_ping client $WEB
find_path
join_second_network
expect_soon 20 "the tunnel is back on another interface" ping_once client $WEB
change_address
expect_soon 20 "the tunnel is back with another address" ping_once client $WEB
stop laptop KILL
expect_not "a killed client leaves its routes refused" ping_once client $WEB
sleep 0.5                                               # for the applications
# The kernel tells the link which groups it listens to, and looks at no route for that.
expect_no_leak "nothing left the client but the tunnel, and membership reports" "igmp or (ip6[6] = 0 and ip6[40] = 58)"
stop applications

expect_exit 0 "cleanup undoes what the killed client has left" on client vpn-client cleanup
leave_networks
expect_ping client 192.0.2.1
before=$(kernel_state client)

start_client laptop
wait_up
rules() { for family in -4 -6; do ip -n "$(ns client)" $family rule show; done; in_ns client nft --stateless list tables; }
held=$(rules)
are_back() { [[ $held == "$(rules)" ]]; }
for priority in $(ip -n "$(ns client)" rule show | awk -F: '$1 > 0 && $1 < 32766 { print $1 }'); do
  ip -n "$(ns client)" rule del pref "$priority"
done
in_ns client nft flush ruleset
expect_soon 5 "deleted rules and a flushed firewall come back" are_back
expect_ping client $WEB
stop laptop
expect_same_state "an orderly stop leaves everything as before" "$before" client
start_client laptop
wait_up
stop laptop KILL
expect_exit 0 "cleanup" on client vpn-client cleanup
expect_same_state "and so does a cleanup after a kill" "$before" client
