#!/usr/bin/env bash
# Lockdown: what a killed client with a kill switch leaves in force stays until somebody lifts it, also when the next start
# fails; and it is undone to the last byte. What `lan` allows beside it.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
give_address router clients 192.168.7.1/24
give_address client eth0 192.168.7.2/24
init_server
add_client laptop
profile=$(client_toml laptop)
toml_set "$profile" interface kill_switch true
start_server
before=$(kernel_state client)
is_locked() { in_ns client nft list table inet vpn_vpn0_kill_switch; }

start_client laptop
wait_up
expect_ping client 192.168.7.1 -I eth0
expect_ping client $WEB
expect_exit 1 "a second start of the same profile is refused" on client vpn-client up "$profile"
expect_match "it says that one runs" 'already running' "$output"
in_ns client nft flush ruleset
expect_soon 5 "a flushed kill switch comes back" is_locked

stop laptop KILL
expect_exit 3 "status of a killed client exits 3" on client vpn-client status
expect_match "and says what is still in force, and how it is lifted" 'kill switch of vpn0.*vpn-client down' "$output"

# A start that fails, because somebody has the port.
toml_set "$profile" interface listen '"0.0.0.0:40000"'
spawn client squatter python3 -c 'import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", 40000)); print("bound", flush=True); time.sleep(600)'
expect_soon 5 "somebody has the port" grep -q bound "$(log_of squatter)"
expect_exit 1 "a start that fails" on client vpn-client up "$profile" --foreground
expect_match "says that the kill switch stays, and what lifts it" 'kill switch.*vpn-client cleanup' "$output"
expect "and it does" is_locked
expect_exit 1 "a start in the background that fails does not lift it either" on client vpn-client up "$profile"
expect "it is still in force" is_locked
expect_not "so nothing leaves" ping_once client $WEB
stop squatter
expect_exit 0 "cleanup lifts it" on client vpn-client cleanup
expect_same_state "everything is as before" "$before" client

toml_set "$profile" interface lan '"deny"'
start_client laptop
wait_up
expect_no_ping client 192.168.7.1 -I eth0
expect_ping client $WEB
stop laptop KILL
expect "locked again" is_locked
toml_set "$profile" interface kill_switch false
start_client laptop
wait_up
expect_not "a start without the kill switch lifts it" is_locked
stop laptop KILL
toml_set "$profile" interface kill_switch true
start_client laptop
wait_up
stop laptop KILL
expect_exit 0 "down lifts it without a client that runs" on client vpn-client down
expect_same_state "everything is as before" "$before" client
expect_exit 0 "down again is no error" on client vpn-client down
