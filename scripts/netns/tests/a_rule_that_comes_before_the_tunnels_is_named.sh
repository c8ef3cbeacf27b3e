#!/usr/bin/env bash
# Another program's rule comes before a full tunnel's, or its route before a split tunnel's: `up`, `status` and `doctor` name it, say
# what to do, and are silent when it is gone. The rules that every host has, and those of a second instance, are not told of.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

warnings() { client_status | jq -r '.interface.warnings[]?'; }
names() { warnings | grep -qE "$1"; }
is_silent() { [[ -z $(warnings) ]]; }
host() { ip -n "$(ns client)" "$@"; }
# shown RULE: `ip rule` shows it in these words.
shown() { grep -qF "${1/: /:$'\t'}" < <(host rule; host -6 rule); }

lab_up
init_server
add_client laptop
start_server
host route add default via 192.0.2.1 table 77
host -6 route add default via 2001:db8:1::1 table 78
host rule add pref 1001 from all lookup 77
host rule add pref 1002 from 192.0.2.2 ipproto tcp lookup 77
expect "the tunnel comes up" on client vpn-client up "$(client_toml laptop)" --wait=10s
expect_match "up names the rule, and says what to do" 'warning: .*takes eth0.*1001: from all lookup 77.*remove that rule, or give it a number above 31263' \
  "$(<"$(log_of expect)")"
expect_match "the status does" '1001: from all lookup 77' "$(on client vpn-client status)"
doctor=$(on client vpn-client doctor || true)
expect_match "doctor does" 'warning +tunnel +vpn0: .*1001: from all lookup 77' "$doctor"
expect_match "and notes the one that depends on more" 'note .*1002: from 192.0.2.2 ipproto tcp lookup 77' "$doctor"
host rule del pref 1001
expect_soon 3 "it is told of until it is gone" is_silent
host rule add pref 1003 to 203.0.113.0/24 lookup 77
expect_soon 3 "one for some destinations as well" names '203.0.113.1 takes eth0.*1003: '
host rule del pref 1003
host -6 rule add pref 1004 lookup 78
expect_soon 3 "and one of IPv6" names '1004: from all lookup 78'
host -6 rule del pref 1004
host rule add pref 1006 not fwmark 51820 lookup 51820
sleep 1
expect "rules that lead nowhere are none" is_silent

# By such a rule main's routes come before the tunnel's, as by wg-quick's when it starts after us: traffic really passes.
capture beside clients icmp and host $WEB
host rule add pref 1005 lookup main suppress_prefixlength 0
host route add 203.0.113.0/24 via 192.0.2.1
expect_soon 3 "a route of main that a rule leads to is named with the rule" \
  names '203.0.113.1 takes eth0.*"1005: from all lookup main suppress_prefixlength 0" .there 203.0.113.0/24 via 192.0.2.1.: remove that rule'
in_ns client ping -q -c 1 -W 1 $WEB >/dev/null || true
stop_capture beside
expect "it does pass" test "$(count_captured beside)" -gt 0
expect_match "doctor notes the rule" 'note .*1005: from all lookup main suppress_prefixlength 0' "$(on client vpn-client doctor || true)"
host rule del pref 1005
expect_soon 3 "without the rule the route is none" is_silent
host route del 203.0.113.0/24
for rule in '' '-6' 'to 203.0.113.0/24' 'goto'; do
  case $rule in
    goto) host rule add pref 1008 goto 32766; named='goto 32766' ;;
    -6) host -6 rule add pref 1008 lookup main; named='lookup main" .there default via 2001:db8:1::1' ;;
    *) host rule add pref 1008 ${rule:+to 203.0.113.0/24} lookup main; named='lookup main" .there default via 192.0.2.1' ;;
  esac
  expect_soon 3 "a rule that leads to main's default route is named ($rule)" names "the rule \"1008: from all ?.*$named"
  expect_not "nobody is to remove the default route" names 'remove that route'
  host rule del pref 1008 2>/dev/null || host -6 rule del pref 1008
  expect_soon 3 "until it is gone" is_silent
done
host rule add pref 1009 fwmark 0/0xff iif lo tos 0x04 ipproto udp dport 53 lookup 77
doctor=$(on client vpn-client doctor || true)
noted=$(grep -oE '1009: from all [^(]*[^( ]' <<<"$doctor")
expect "a rule is written as ip writes it ($noted)" shown "$noted"
host rule del pref 1009
on client vpn-client down

toml_set "$(client_toml laptop)" peer allowed_ips '["0.0.0.0/0"]'
expect "a full tunnel without IPv6 comes up" on client vpn-client up "$(client_toml laptop)" --wait=10s
expect "with nothing to tell" is_silent
host -6 rule add pref 1011 lookup 78
expect_soon 3 "a rule that leads what it lacks past it is named" names 'takes eth0.*1011: from all lookup 78'
host -6 rule del pref 1011
on client vpn-client down

toml_set "$(client_toml laptop)" peer allowed_ips '["10.66.0.0/16", "203.0.112.0/22", "fd66::/64"]'
expect "a split tunnel comes up" on client vpn-client up "$(client_toml laptop)" --wait=10s
expect "with nothing to tell" is_silent
host route add 203.0.113.0/25 via 192.0.2.1
expect_soon 3 "a longer route is named" names '203.0.113.1 takes eth0.*203.0.113.0/25 via 192.0.2.1'
host route del 203.0.113.0/25
expect_soon 3 "until it is gone" is_silent
for kind in blackhole unreachable prohibit; do
  host route add $kind 203.0.113.0/25
  expect_soon 3 "one that refuses is named" names "203.0.113.1 is refused.*\"$kind 203.0.113.0/25\".*remove that route"
  host route del $kind 203.0.113.0/25
  expect_soon 3 "until it is gone" is_silent
done
host rule add pref 1010 lookup main
sleep 1
expect "a rule that only asks main earlier is none" is_silent
host rule del pref 1010
host link set vpn0 down
expect_soon 3 "of an interface that is down its own state is the cause" names 'own is missing: set its interface up'
expect_not "and not the default route" names 'remove that'
host link set vpn0 up
expect_soon 5 "until it is up" is_silent
on client vpn-client down
