#!/usr/bin/env bash
# A client with `dns` and a default route: the system asks the servers in the tunnel, the client itself finds its endpoint's
# name outside, and the resolver file is afterwards what it was, also after kill -9.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"
# shellcheck source=scripts/netns/machine.sh
source "$(dirname "$0")/../machine.sh"

lab_up

own_files
mkdir "$RUN/dhcp"
echo 'nameserver 192.0.2.1' >"$RUN/dhcp/resolv.conf"
ln -s ../run/dhcp/resolv.conf "$ETC/resolv.conf"

asks() { grep -q "$2 asks for $3 " "$(log_of "$1")"; }
address_of() { machine getent ahostsv4 "$1" | awk 'NR == 1 { print $1 }'; }
resolves_to() { [[ $(address_of "$1") == "$2" ]]; }
overwrite() { echo "nameserver 192.0.2.1 # $1" >"$ETC/new" && mv "$ETC/new" "$ETC/resolv.conf"; }
is_ours() { grep -q "^nameserver $GATEWAY_INSIDE$" "$ETC/resolv.conf"; }

echo 'web.test 203.0.113.99' >"$SCRATCH/outside"
echo "web.test $WEB" >"$SCRATCH/inside"
start_script router outside serving name_server.py 192.0.2.1 "$SCRATCH/outside"
init_server "gateway.test:$PORT"
add_client laptop
toml_set "$(client_toml laptop)" interface dns "[\"$GATEWAY_INSIDE\"]"
toml_set "$(client_toml laptop)" interface kill_switch true     # The client's own questions pass it.
start_server
start_script gateway inside serving name_server.py $GATEWAY_INSIDE "$SCRATCH/inside"
before=$(etc_state) kernel=$(kernel_state client)
expect "names are looked up outside before" resolves_to web.test 203.0.113.99

# The endpoint's name does not exist yet: default route and name servers are in force before there is a session.
start_client laptop
wait_until 15 client_answers || die "the client does not answer"
expect "the file lists our server" is_ours
expect_equal "and no other" 1 "$(grep -c nameserver "$ETC/resolv.conf")"
expect_no_ping client $WEB
capture outside clients udp port 53
echo "gateway.test $GATEWAY" >>"$SCRATCH/outside"
expect_soon 30 "the endpoint's name is found beside the tunnel" client_is_up
stop_capture outside
expect_match "and it alone is asked for there" 'gateway\.test' "$(captured outside)"
expect_equal "nothing else" '' "$(captured outside | grep '?' | grep -v 'gateway\.test' || true)"

expect "names are looked up in the tunnel" resolves_to web.test $WEB
expect "by the client's tunnel address" asks inside "$(address4_of laptop)" web.test
expect_match "the status says so" "\"$GATEWAY_INSIDE\" \"file\"" \
  "$(client_status | jq -c '.interface.dns[0], .interface.dns_backend' | tr '\n' ' ')"
expect_match "to people too" "name servers +$GATEWAY_INSIDE \(file\)" "$(on client vpn-client status)"

overwrite first
expect_soon 5 "a file that somebody overwrites is ours again" is_ours
toml_set "$(client_toml laptop)" interface dns '[]'
kill -HUP "${PID[laptop]}"
expect_soon 5 "a reload without \`dns\` gives back what was written last" grep -q first "$ETC/resolv.conf"
rm "$ETC/resolv.conf"; ln -s ../run/dhcp/resolv.conf "$ETC/resolv.conf"
before=$(etc_state)
toml_set "$(client_toml laptop)" interface dns "[\"$GATEWAY_INSIDE\"]"
kill -HUP "${PID[laptop]}"
expect_soon 5 "a reload with it sets them again" is_ours
stop laptop
expect_equal "after the end /etc is as before" "$before" "$(etc_state)"
expect_same_state "and the kernel's state too" "$kernel" client

start_client laptop
expect_soon 15 "once more" is_ours
stop laptop KILL
expect "after kill -9 the file is still ours" is_ours
expect "cleanup" on client vpn-client cleanup
expect_equal "puts /etc back" "$before" "$(etc_state)"
