#!/usr/bin/env bash
# kill -9 of the server under traffic; it comes back under the second of its two addresses. Nothing tells the client of
# that: it finds back by itself, after 15 s of silence.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
init_server
add_client laptop
toml_set "$(client_toml laptop)" peer endpoint "[\"$GATEWAY:$PORT\", \"198.51.100.3:$PORT\"]"
start_server
start_client laptop
wait_up
spawn client ping ping -i 0.2 $WEB
expect_ping client $WEB

stop server KILL
expect_no_ping client $WEB
ip -n "$(ns gateway)" address del $GATEWAY/24 dev eth0
give_address gateway eth0 198.51.100.3/24
ip -n "$(ns gateway)" route replace default via 198.51.100.1
start_server
expect_soon 20 "traffic flows again" ping_once client $WEB
expect "the client is the process that it was" is_running laptop
