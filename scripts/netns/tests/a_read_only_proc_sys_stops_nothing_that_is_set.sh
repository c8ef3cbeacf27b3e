#!/usr/bin/env bash
# In many containers /proc/sys cannot be written. What is set already needs no writing, and what is missing is named.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
init_server
add_client laptop
start_server
in_ns client sysctl -qw net.ipv4.conf.all.src_valid_mark=1
# In a mount namespace of its own: the host's /proc/sys stays as it is.
# shellcheck disable=SC2016  # the inner shell expands them
read_only='mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && exec "$@"'
up_read_only() {
  local settings; mapfile -t settings < <(node_env client)
  spawn client laptop unshare -m sh -c "$read_only" sh env "${settings[@]}" "$VPN_BIN_DIR/vpn-client" up "$(client_toml laptop)" --foreground
}

up_read_only
wait_up
expect_ping client $WEB
expect_match "a setting that is wanted, and not needed, is named with its remedy" 'tcp_fwmark_accept.*host' "$(<"$(log_of laptop)")"
stop laptop
expect_equal "what was set stays set" 1 "$(in_ns client sysctl -n net.ipv4.conf.all.src_valid_mark)"
expect_not "nothing is left to undo" grep -q 'not as it was' "$(log_of laptop)"

in_ns client sysctl -qw net.ipv4.conf.all.src_valid_mark=0
: >"$(log_of laptop)"
up_read_only
expect_soon 10 "without what is needed it does not start" process_ended "${PID[laptop]}"
expect_match "and says what is to be set where" 'src_valid_mark.*read-only.*on the host' "$(<"$(log_of laptop)")"
