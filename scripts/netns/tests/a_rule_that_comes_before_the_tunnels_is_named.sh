#!/usr/bin/env bash
# Another program's rule comes before a full tunnel's, or its route before a split tunnel's: `up`, `status` and `doctor` name it, and no longer
# when it is gone. The rules that every host has, and those of a second instance, are not told of.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

warnings() { client_status | jq -r '.interface.warnings[]?'; }
names() { warnings | grep -qE "$1"; }
is_silent() { [[ -z $(warnings) ]]; }
host() { ip -n "$(ns client)" "$@"; }

lab_up
init_server
add_client laptop
start_server
host route add default via 192.0.2.1 table 77
host -6 route add default via 2001:db8:1::1 table 78
host rule add pref 1001 from all lookup 77
host rule add pref 1002 from 192.0.2.2 ipproto tcp lookup 77
expect "the tunnel comes up" on client vpn-client up "$(client_toml laptop)" --wait=10s
expect_match "up names the rule" 'warning: .*takes eth0.*1001: from all lookup 77' "$(<"$(log_of expect)")"
expect_match "the status does" '1001: from all lookup 77' "$(on client vpn-client status)"
doctor=$(on client vpn-client doctor || true)
expect_match "doctor does" 'warning +tunnel +vpn0: .*1001: from all lookup 77' "$doctor"
expect_match "and notes the one that depends on more" 'note .*1002: from 192.0.2.2/32' "$doctor"
host rule del pref 1001
expect_soon 3 "it is told of until it is gone" is_silent
host rule add pref 1003 to 203.0.113.0/24 lookup 77
expect_soon 3 "one for some destinations as well" names '203.0.113.1 takes eth0.*1003: '
host rule del pref 1003
host -6 rule add pref 1004 lookup 78
expect_soon 3 "and one of IPv6" names '1004: from all lookup 78'
host -6 rule del pref 1004
host rule add pref 1005 lookup main suppress_prefixlength 0
host rule add pref 1006 not fwmark 51820 lookup 51820
expect_soon 3 "rules that lead nowhere are none" is_silent
on client vpn-client down

toml_set "$(client_toml laptop)" peer allowed_ips '["10.66.0.0/16", "203.0.112.0/22", "fd66::/64"]'
expect "a split tunnel comes up" on client vpn-client up "$(client_toml laptop)" --wait=10s
expect "with nothing to tell" is_silent
host route add 203.0.113.0/25 via 192.0.2.1
expect_soon 3 "a longer route is named" names '203.0.113.1 takes eth0.*203.0.113.0/25 via 192.0.2.1'
host route del 203.0.113.0/25
expect_soon 3 "until it is gone" is_silent
on client vpn-client down
