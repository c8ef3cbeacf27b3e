#!/usr/bin/env bash
# The gateway's endpoint is a link-local address with a zone. The interface comes after the client was started, and comes again with
# another number.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

add_node gateway client
plug_in() {
  link_nodes gateway eth0 client lan
  ip -n "$(ns gateway)" addr add fe80::9/64 dev eth0 nodad
  ip -n "$(ns client)" addr add fe80::5/64 dev lan nodad
}
plug_in
init_server '[fe80::9%lan]:51820'
toml_set "$(server_toml)" gateway nat false             # nothing but this link
add_client laptop
toml_set "$(client_toml laptop)" peer allowed_ips '["10.66.0.0/16", "fd66::/64"]'
start_server
ip -n "$(ns client)" link del lan
expect "a file may name an interface that is not there" on client vpn-client check "$(client_toml laptop)"
start_client laptop
wait_until 5 client_answers || die "the client does not start without the interface"
expect_not "no session without the interface" client_is_up
plug_in
wait_up client 20
expect_ping client $GATEWAY_INSIDE
expect_equal "status shows the interface by its name" '[fe80::9%lan]:51820' "$(client_status | jq -r '.peers[0].endpoint')"
expect_match "so does the server's" '\[fe80::5%eth0\]:' "$(server_status | jq -r '.peers[0].endpoint')"

number=$(in_ns client cat /sys/class/net/lan/ifindex)
ip -n "$(ns client)" link del lan
plug_in
expect_not "the interface has another number" test "$(in_ns client cat /sys/class/net/lan/ifindex)" = "$number"
expect_soon 20 "the client goes on over the new one" ping_once client $GATEWAY_INSIDE
