#!/usr/bin/env bash
# Somebody else has the UDP port: exit 1, the message names the port, and nothing stays behind.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
init_server
spawn gateway squatter python3 -c "
import socket, time
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(('::', $PORT)); time.sleep(600)"
wait_until 5 in_ns gateway sh -c "ss -Hlun 'sport = $PORT' | grep -q ." || die "the port is not taken"
before=$(kernel_state gateway)

expect_exit 1 "the server exits 1" on gateway vpn-server run -c "$(server_toml)"
expect_match "the message names the port" "$PORT" "$output"
expect_same_state "nothing stays behind" "$before" gateway
