#!/usr/bin/env bash
# kill -9 of the server under traffic: after its restart the client finds back by itself, in less than 20 s.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

tunnel_up
spawn client ping ping -i 0.2 $WEB
expect_ping client $WEB

stop server KILL
expect_no_ping client $WEB
start_server
expect_soon 20 "traffic flows again" ping_once client $WEB
expect "the client is the process that it was" is_running laptop
