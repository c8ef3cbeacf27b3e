#!/usr/bin/env bash
# `cleanup`, `down` and `doctor` leave alone, and name where that helps, what other programs and the administrator have made, and what
# a client uses whose device has another name or network namespace. What the system does not show is never taken for nothing.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"
source "$(dirname "$0")/../machine.sh"

lab_up
init_server
add_client laptop
start_server
client=$VPN_BIN_DIR/vpn-client
own_files
echo 'nameserver 192.0.2.53' >"$ETC/resolv.conf"
toml_set "$(client_toml laptop)" interface kill_switch true
toml_set "$(client_toml laptop)" interface dns '["10.66.0.1"]'
journal=$(dir_of client)/state/vpn0.journal

# Tables and routes of others.
in_ns client nft -f - <<'NFT'
table inet vpn_killswitch { chain o { type filter hook output priority 0; policy accept; ip daddr 192.0.2.9 drop; }; }
table inet vpn_fw_marks { }
table inet vpn_ok_loop { }
table ip vpn_nat { chain postrouting { type nat hook postrouting priority 100; policy accept; }; }
table inet vpn_office { chain forward { type filter hook forward priority 0; policy accept; }; }
NFT
tables=$(kernel_state client)
expect_match "tables of others are nothing to doctor" 'ok +left behind +nothing' "$(on client vpn-client doctor)"
expect_match "nor to cleanup" '^nothing was left behind' "$(on client vpn-client cleanup)"
expect_same_state "and stay" "$tables" client
in_ns client nft flush ruleset
in_ns client nft add table inet vpn_vpn7_loop
in_ns client nft 'add chain inet vpn_vpn7_loop leaving { type filter hook postrouting priority mangle; policy accept; }'
expect_match "a table with chains like ours and other rules is named" 'vpn_vpn7_loop has a name and chains like' "$(on client vpn-client cleanup)"
expect "and stays" in_ns client nft list table inet vpn_vpn7_loop
in_ns client nft flush ruleset

in_ns client ip route add default dev eth0 table 60000 proto static
in_ns client ip rule add pref 5000 from 10.9.9.9 lookup 60000
in_ns client ip route add 10.50.0.0/16 dev eth0 table 55000 proto static
routes=$(kernel_state client)
said=$(on client vpn-client cleanup)
expect_match "a route that another rule leads to is named" "mark 60000 are left alone: another program's rule" "$said"
expect_match "so is one to which no rule leads" "mark 55000 are left alone: no rule of this program" "$said"
expect_match "doctor says the same" "note +left behind .*mark 55000" "$(on client vpn-client doctor)"
expect "down succeeds" on client vpn-client down "$(client_toml laptop)"
expect_same_state "and all stay" "$routes" client
in_ns client ip rule del pref 5000
in_ns client ip route flush table 60000
in_ns client ip route flush table 55000

# A client that runs, with the same resolver file in another network namespace.
before=$(kernel_state client | grep -v '^/proc/sys')
start_client laptop
wait_up
resolver=$(<"$ETC/resolv.conf")
expect_match "cleanup in another network namespace names whose the resolver file is" 'resolv.conf .*left alone: process [0-9]+ has the tunnel vpn0' \
  "$(on web vpn-client cleanup)"
expect_match "so does doctor" 'note +left behind +/etc/resolv.conf' "$(on web vpn-client doctor)"
expect_equal "it stays" "$resolver" "$(<"$ETC/resolv.conf")"

# Its device has another name.
mv "$(dir_of client)/state" "$SCRATCH/moved"
mv "$(dir_of client)/run" "$SCRATCH/moved_run"
in_ns client ip link set vpn0 down
in_ns client ip link set vpn0 name tunx
in_ns client ip link set tunx up
kill -STOP "${PID[laptop]}"
running=$(kernel_state client)
said=$(on client vpn-client cleanup)
expect_match "cleanup names tables whose mark a socket bears" 'vpn_vpn0_kill_switch.* left alone: a socket bears their mark 52000' "$said"
expect_match "and the resolver file" 'resolv.conf .*left alone: a socket' "$said"
expect_same_state "and leaves them" "$running" client
expect_equal "the file too" "$resolver" "$(<"$ETC/resolv.conf")"

# Without privileges nothing shows the marks of sockets.
powerless() { machine env VPN_RUN_DIR="$SCRATCH/none" VPN_STATE_DIR="$SCRATCH/none" setpriv --bounding-set=-all "$client" "$@"; }
expect_match "where marks are not shown, use is not known" 'mark 52000 .*whether a program uses them is not known' "$(powerless doctor 2>&1)"
expect_not "and nobody is told that it is nothing" grep -q 'no program uses them' <<<"$(powerless doctor 2>&1)"
rm -rf "$(dir_of client)"/{state,run}
mv "$SCRATCH/moved" "$(dir_of client)/state"
mv "$SCRATCH/moved_run" "$(dir_of client)/run"
kill -KILL "${PID[laptop]}"
rm "$journal"
unsure() { machine env VPN_RUN_DIR="$SCRATCH/none" VPN_STATE_DIR="$SCRATCH/none" setpriv --bounding-set=-sys_ptrace "$client" cleanup; }
expect_match "where processes are hidden, the resolver file is left" 'resolv.conf .*processes are not shown' "$(unsure)"
expect_equal "as it is" "$resolver" "$(<"$ETC/resolv.conf")"
expect "cleanup succeeds once nobody lives" on client vpn-client cleanup
expect_equal "the file from before is back" 'nameserver 192.0.2.53' "$(<"$ETC/resolv.conf")"
expect_equal "and nothing is left" "$before" "$(kernel_state client | grep -v '^/proc/sys')"

# An nft that does not work, as in some containers.
toml_set "$(client_toml laptop)" interface kill_switch false
printf '#!/bin/sh\necho "Error: Could not process rule: Operation not supported" >&2\nexit 1\n' >"$SCRATCH/programs/nft"
chmod +x "$SCRATCH/programs/nft"
sed -i 's|^allowed_ips = .*|allowed_ips = ["10.66.0.0/16", "fd66::/64"]|' "$(client_toml laptop)"
start_client laptop
wait_up
kill -KILL "${PID[laptop]}"
said=$(on client vpn-client cleanup 2>&1) || die "cleanup failed: $said"
expect_match "cleanup without a working nft undoes what the journal names" 'vpn0: undone' "$said"
expect_match "and names what it has not seen" 'whether firewall tables were left behind is not known.*Operation not supported' "$said"
expect_equal "nothing is left" "$before" "$(kernel_state client | grep -v '^/proc/sys')"
expect "down succeeds as well" on client vpn-client down "$(client_toml laptop)"
expect_match "doctor says how it is" 'note +left behind +whether firewall tables' "$(on client vpn-client doctor)"
expect_not "and does not tell root to be root" grep -q 'run this as root' <<<"$(on client vpn-client doctor 2>&1)"
rm "$SCRATCH/programs/nft"

# Rules in iptables of a gateway, which has the host's own /etc: iptables is found by a link there.
gateway_client() { VPN_BIN_DIR=${client%/*} on gateway vpn-client "$@"; }
stop server
in_ns gateway iptables -P FORWARD DROP
start_server
kill -KILL "${PID[server]}"
rm "$(dir_of gateway)"/state/*.journal
said=$(gateway_client cleanup)
expect_match "accept rules in FORWARD are named, with what removes them" 'run: iptables -D FORWARD -i vpn0 -j ACCEPT; iptables -D FORWARD -o vpn0' "$said"
expect_match "by doctor too" 'note +left behind +iptables lets traffic of vpn0' "$(gateway_client doctor)"
expect "the commands work" in_ns gateway sh -c "${said##*run: }"
expect_match "and then nothing is left" '^nothing was left behind' "$(gateway_client cleanup)"
