#!/usr/bin/env bash
# kill -9 of a client whose journal is lost, emptied, zeroed or cut: `down`, `cleanup`, `doctor` and the next start find what is in
# force by its marks and names. What a client that runs has in force stays, whatever has become of its files.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"
source "$(dirname "$0")/../machine.sh"

lab_up
init_server
add_client laptop
start_server
own_files
echo 'nameserver 192.0.2.53' >"$ETC/resolv.conf"
toml_set "$(client_toml laptop)" interface kill_switch true
toml_set "$(client_toml laptop)" interface dns '["10.66.0.1"]'
journal=$(dir_of client)/state/vpn0.journal
start_client laptop
wait_until 10 client_answers || die "the client did not start"
stop laptop
before=$(kernel_state client | grep -v '^/proc/sys') resolver=$(<"$ETC/resolv.conf")

# Settings have no mark and no name: without a journal their values from before are not known.
expect_clean() {
  expect_equal "$1: rules, routes and firewall are as before" "$before" "$(kernel_state client | grep -v '^/proc/sys')"
  expect_equal "$1: so is the resolver file" "$resolver" "$(<"$ETC/resolv.conf")"
}
lost() { rm "$journal"; }
folder_lost() { rm -r "$(dir_of client)/state" "$(dir_of client)/run"; }
emptied() { truncate --size 0 "$journal"; }
zeroed() { local size; size=$(stat -c %s "$journal"); truncate --size 0 "$journal"; truncate --size "$size" "$journal"; }
cut_short() { sed -i '3,$d' "$journal"; }
header_only() { sed -i '2,$d' "$journal"; }
killed_with() {
  start_client laptop
  wait_until 10 client_answers || die "the client did not start"
  [[ $(<"$ETC/resolv.conf") != "$resolver" ]] || die "the resolver file is not replaced"
  kill -KILL "${PID[laptop]}"
  "$1"
}

for damage in lost folder_lost emptied zeroed cut_short header_only; do
  killed_with $damage
  expect_match "$damage: doctor names it" 'left behind.*vpn0' "$(on client vpn-client doctor)"
  expect_match "$damage: status names the kill switch" 'kill switch of vpn0 is still in force' "$(on client vpn-client status 2>&1)"
  expect_match "$damage: cleanup says what it did" 'vpn0: undone' "$(on client vpn-client cleanup 2>&1)"
  expect_clean "$damage, cleanup"
  expect_match "$damage: a second cleanup has nothing to do" '^nothing was left behind' "$(on client vpn-client cleanup)"
  killed_with $damage
  expect_match "$damage: down says what it did" 'undone what was left of vpn0' "$(on client vpn-client down "$(client_toml laptop)" 2>&1)"
  expect_clean "$damage, down"
done

killed_with cut_short
start_client laptop
wait_up
stop laptop
expect_clean "after the next start and stop"

start_client laptop
wait_until 10 client_answers || die "the client did not start"
kill -KILL "${PID[laptop]}"
lost
in_ns client nft flush ruleset                          # now no name says whose the rules are
echo "$resolver" >"$ETC/resolv.conf"; rm -f "$ETC"/resolv.conf.*
expect_match "doctor names rules of a mark" 'rules and [0-9]+ routes of the firewall mark 52000' "$(on client vpn-client doctor)"
expect_match "down of one interface names them and what removes them" 'firewall mark 52000.*vpn-client cleanup' \
  "$(on client vpn-client down "$(client_toml laptop)" 2>&1)"
expect_match "cleanup removes them" 'firewall mark 52000, of no interface.*removed' "$(on client vpn-client cleanup)"
expect_clean "nameless"

rules_of_others() {
  in_ns client ip rule add fwmark 0x1234 lookup 900 priority 31100
  in_ns client ip rule add from 192.0.2.9 lookup 901 priority 31101 protocol kernel
  in_ns client ip route add 192.0.2.77/32 via 192.0.2.1 table 52199
}
rules_of_others
others=$(kernel_state client)
expect "cleanup with rules of others in our places" on client vpn-client cleanup
expect_equal "leaves them alone" "$others" "$(kernel_state client)"
in_ns client ip rule del priority 31100
in_ns client ip rule del priority 31101
in_ns client ip route flush table 52199

# A client that runs.
start_client laptop
wait_up
running=$(kernel_state client)
mv "$(dir_of client)/state" "$SCRATCH/moved"            # what it holds open stays open
mv "$(dir_of client)/run" "$SCRATCH/moved_run"
expect_match "cleanup without its folders names the client's device" 'firewall tables .*vpn_vpn0_kill_switch.* left alone: a device vpn0 is there' "$(on client vpn-client cleanup)"
expect_match "and its mark" 'firewall mark 52000 are in use by a program that runs' "$(on client vpn-client cleanup)"
expect "down of the same name succeeds" on client vpn-client down "$(client_toml laptop)"
kill -STOP "${PID[laptop]}"
expect "so does cleanup while it is suspended" on client vpn-client cleanup
kill -CONT "${PID[laptop]}"
expect_equal "everything of it is still in force" "$running" "$(kernel_state client)"
rm -rf "$(dir_of client)"/{state,run}
mv "$SCRATCH/moved" "$(dir_of client)/state"
mv "$SCRATCH/moved_run" "$(dir_of client)/run"
rm "$journal"
expect "a client whose journal was removed stops" on client vpn-client down
expect_equal "and undoes all it did, settings too" "$before" "$(kernel_state client | grep -v '^/proc/sys')"

killed_with true
sed -i '2s/made/mad /' "$journal"
on client vpn-client cleanup >"$SCRATCH/output" 2>&1
expect_match "cleanup names the journal that it sets aside, and what to do" 'damaged-1 is a journal that could not be read in full: see' "$(<"$SCRATCH/output")"
expect_match "doctor too" 'damaged-1 is a journal that could not be read' "$(on client vpn-client doctor)"
rm "$journal.damaged-1"
expect_match "until it is removed" 'ok +left behind +nothing' "$(on client vpn-client doctor)"
expect_clean "damaged"
