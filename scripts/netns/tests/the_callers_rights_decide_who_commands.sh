#!/usr/bin/env bash
# The control socket asks who calls: the group of [control] sees the status, root commands, and nobody who says nothing is in the way.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
init_server
cp "$VPN_BIN_DIR/vpn-server" "$SCRATCH/vpn-server"     # where others can run it
chmod 0711 "$SCRATCH" "$(dir_of gateway)"
readers=daemon operators=bin                            # groups that every system has
gid() { getent group "$1" | cut -d: -f3; }
as() {
  local groups=$1; shift
  in_ns gateway setpriv --reuid=65534 --regid=65534 "$groups" \
    env "VPN_RUN_DIR=$(dir_of gateway)/run" "$SCRATCH/vpn-server" "$@" -c "$(server_toml)"
}
nobody() { as --clear-groups "$@"; }
reader() { as "--groups=$(gid $readers)" "$@"; }
operator() { as "--groups=$(gid $readers),$(gid $operators)" "$@"; }
socket_group() { stat -c %G:%a "$(dir_of gateway)/run/vpn0.sock"; }

start_server
expect_equal "without [control] the socket is root's" root:660 "$(socket_group)"
expect_exit 4 "and others are refused" reader status
printf '\n[control]\ngroup = "%s"\noperators = "%s"\n' $readers $operators >>"$(server_toml)"
expect "root reloads" on gateway vpn-server reload -c "$(server_toml)"
expect_equal "the socket has the group at once" $readers:660 "$(socket_group)"

expect_exit 0 "a member of the group sees the status" reader status
expect_match "and what it shows" 'vpn0' "$output"
[[ -e /etc/vpn/server.toml ]] && die "this host has a /etc/vpn/server.toml, which the next two commands are about"
without_file() {
  in_ns gateway setpriv --reuid=65534 --regid=65534 "$1" env "VPN_RUN_DIR=$(dir_of gateway)/run" "$SCRATCH/vpn-server" status
}
expect_exit 0 "also where there is no /etc/vpn/server.toml" without_file "--groups=$(gid $readers)"
expect_exit 4 "and who is not a member" without_file --clear-groups
expect_match "is told who may" 'group. in .control. names' "$output"
expect_exit 4 "but reload is refused" reader reload
expect_match "with the reason and the remedy" 'not permitted.*root' "$output"
expect_exit 4 "to an operator, too" operator reload
expect_exit 0 "an operator sees the status" operator status
expect_exit 4 "who is in no group is refused" nobody status
become='import os, socket, sys, time
os.setgroups([int(sys.argv[2])]); os.setgid(65534); os.setuid(65534)
'
request=$become's = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
s.sendall(b"{\"command\":\"stop\"}\n"); print(s.makefile().readline())'
flood=$become's = socket.socket(socket.AF_UNIX); answers = 0
for _ in range(200):
    s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
    try: s.sendall(b"{\"command\":\"stop\"}\n" * 100)
    except OSError: pass
    try: answers = max(answers, len(s.makefile().readlines()))
    except OSError: pass
    s.close()
print(answers)'
expect_equal "of many requests on one connection three are refused" 3 \
  "$(in_ns gateway python3 -c "$flood" "$(dir_of gateway)/run/vpn0.sock" "$(gid $readers)")"
expect_equal "and the log has one warning about this user" 1 "$(grep -c 'refused: not permitted' "$(log_of server)")"
answer=$(in_ns gateway python3 -c "$request" "$(dir_of gateway)/run/vpn0.sock" "$(gid $readers)")
expect_match "stop is refused by the server, not by the command" '"ok":false.*stop. is root' "$answer"
expect "the server still runs" server_status

spawn gateway idle python3 -c "$become"'held = []
for _ in range(200):
    s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); held.append(s)
print("idle", flush=True); time.sleep(60)' "$(dir_of gateway)/run/vpn0.sock" "$(gid $readers)"
expect_soon 5 "somebody holds 200 connections and says nothing" grep -q idle "$(log_of idle)"
from=$EPOCHREALTIME
expect_exit 0 "root is answered" on gateway vpn-server status -c "$(server_toml)"
expect_exit 0 "so is the same user" reader status
expect "within a second" awk -v a="$from" -v b="$EPOCHREALTIME" 'BEGIN { exit !(b - a < 1) }'

stop server
start_server
expect_equal "a restart keeps the group" $readers:660 "$(socket_group)"
toml_set "$(server_toml)" control group '"no-such-group"'
expect_exit 1 "an unknown group is a fault" on gateway vpn-server check -c "$(server_toml)"
expect_match "with line and remedy" 'server.toml:[0-9]+:[0-9]+: .*no-such-group.*groupadd' "$output"
