#!/usr/bin/env bash
# Another program's rule or route at the gateway takes what is sent to clients: its status names it until it is gone. Routes of its own, longer than
# every client's and where none of them is, are no matter, nor are shorter ones.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

warnings() { server_status | jq -r '.interface.warnings[]?'; }
names() { warnings | grep -qE "$1"; }
is_silent() { [[ -z $(warnings) ]]; }
host() { ip -n "$(ns gateway)" "$@"; }

lab_up
init_server
add_client laptop
start_server
peer=$(address4_of laptop) peer6=$(address6_of laptop)
expect "a gateway has nothing to tell" is_silent
host route add 10.66.200.0/24 via 198.51.100.1
host route add blackhole 10.0.0.0/8
sleep 1
expect "of a longer route where no client is, and of shorter ones neither" is_silent
host route add 10.66.0.0/24 via 198.51.100.1
expect_soon 3 "a route that takes a client's traffic is named" names '10.66.0.[0-9]+ takes eth0.*"10.66.0.0/24 via 198.51.100.1" of the main'
host route del 10.66.0.0/24
expect_soon 3 "until it is gone" is_silent
host route add default via 198.51.100.1 table 77
host -6 route add default via 2001:db8:2::1 table 78
host rule add pref 1001 to 10.66.0.0/16 lookup 77
expect_soon 3 "so is a rule" names 'takes eth0.*1001: from all to 10.66.0.0/16 lookup 77'
host rule del pref 1001
host -6 rule add pref 1002 to "$peer6" lookup 78
expect_soon 3 "also for one client" names "$peer6 takes eth0.*1002: from all to $peer6 lookup 78"
host -6 rule del pref 1002
host rule add pref 1003 to "$peer" prohibit
expect_soon 3 "and one that refuses" names "$peer is refused, by the rule \"1003: from all to $peer prohibit\""
host rule del pref 1003
expect_soon 3 "until it is gone" is_silent
