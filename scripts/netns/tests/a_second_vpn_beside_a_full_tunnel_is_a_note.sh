#!/usr/bin/env bash
# Another VPN beside a full tunnel, such as Tailscale, and a container's rule reach their own networks their own way: `up` and `doctor` note it once,
# and nobody is told to remove the rule. A rule that takes everything, or the tunnel's own network, is a warning beside them.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

warnings() { client_status | jq -r '.interface.warnings[]?'; }
names() { warnings | grep -qE "$1"; }
is_silent() { [[ -z $(warnings) ]]; }
notes() { client_status | jq -r '.interface.notes[]?'; }
has_notes() { [[ $(notes | wc -l) == "$1" ]]; }
host() { ip -n "$(ns client)" "$@"; }

lab_up
init_server
add_client laptop
start_server
host link add tailscale0 type veth peer name tailscale1
host link set tailscale1 up
host link set tailscale0 up
host rule add pref 5210 fwmark 0x80000/0xff0000 lookup main
host rule add pref 5250 fwmark 0x80000/0xff0000 unreachable
host rule add pref 5270 lookup 52
for peer in {2..60}; do host route add "100.64.0.$peer" dev tailscale0 table 52; done
expect "the tunnel comes up" on client vpn-client up "$(client_toml laptop)" --wait=10s
said=$(<"$(log_of expect)")
expect_match "up notes the other VPN" 'note: another program reaches its own networks through tailscale0 by the rule "5270: from all lookup 52"' "$said"
expect "once" test "$(grep -c 5270 <<<"$said")" = 1
expect "and warns of nothing" is_silent
doctor=$(on client vpn-client doctor || true)
expect_match "doctor notes it" 'note +tunnel +vpn0: another program .*5270: from all lookup 52' "$doctor"
expect_not "and has no warning of the tunnel" grep -q 'warning *tunnel' <<<"$doctor"
host rule add pref 512 to 10.7.0.5 lookup main
expect_soon 3 "a rule for one container without its route is a note as well" has_notes 2
expect "and no warning" is_silent

host route add default via 192.0.2.1 table 77
host rule add pref 6000 lookup 77
expect_soon 3 "a rule that takes everything is named beside all that" names '6000: from all lookup 77" .there default'
host rule del pref 6000
expect_soon 3 "until it is gone" is_silent
host route add 10.66.0.0/24 dev tailscale0 table 52
expect_soon 3 "so is the other VPN where it takes the tunnel's own network" names 'takes tailscale0.*5270: from all lookup 52" .there 10.66.0.0/24.: remove'
host route del 10.66.0.0/24 dev tailscale0 table 52
expect_soon 3 "which is a note again" is_silent
expect "as before" has_notes 2
host rule del pref 5270
host rule del pref 512
expect_soon 3 "without the rules there is nothing to note" has_notes 0
on client vpn-client down
