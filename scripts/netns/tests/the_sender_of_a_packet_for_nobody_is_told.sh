#!/usr/bin/env bash
# A packet to a client that was never there, or to an address of the pool that nobody has: its sender is told at once, on the
# gateway and at a client, over IPv4 and IPv6, as by the kernel's WireGuard. Programs fail instead of waiting for minutes.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

tunnel_up
add_client phone                                        # known, and never there
absent=$(address4_of phone) absent6=$(address6_of phone)

# told NODE ADDRESS: the first answer to a ping says that there is nobody.
told() {
  local said
  said=$(in_ns "$1" ping -n -c 1 -W 3 "$2" 2>&1) || true
  printf '%s\n' "$said"
  grep -qiE 'host unreachable|address unreachable' <<<"$said"
}
# refused_at_once NODE ADDRESS: a connection fails within 3 s, and not for want of an answer. The interpreter's start does not count. It is not always
# the first SYN: the kernel does not hear of an answer that comes while it is still sending, and sends the next one after 1 s.
refused_at_once() {
  in_ns "$1" timeout 30 python3 -c '
import errno, socket, sys, time
began = time.monotonic()
try: socket.create_connection((sys.argv[1], 22), 10)
except OSError as error:
    waited = time.monotonic() - began
    sys.exit(0 if error.errno == errno.EHOSTUNREACH and waited < 3 else f"{error} after {waited:.1f} s")
sys.exit("connected")' "$2"
}

for node in gateway client; do
  for address in "$absent" "$absent6" 10.66.77.7 fd66::77:7; do
    expect "$node is told of $address" told "$node" "$address"
  done
  expect "a connection from $node to an absent client fails at once" refused_at_once "$node" "$absent"
  expect "a connection from $node to an absent client fails at once over IPv6" refused_at_once "$node" "$absent6"
done

expect_ping client $GATEWAY_INSIDE
drops() { server_status | jq ".drops.$1"; }
expect "the gateway has counted them" test "$(drops no_endpoint)" -gt 0 -a "$(drops no_route)" -gt 0

# A flood draws no more than some: 64 at once and 100 a second for each thread.
answers() { in_ns gateway nstat -asz IcmpInDestUnreachs | awk '!/^#/ { print $2 }'; }
before=$(answers)
in_ns gateway timeout 2 python3 -c '
import socket
while True:
    try: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"", ("10.66.77.7", 9))
    except OSError: pass' || true
drawn=$(($(answers) - before))
limit=$((($(nproc) + 1) * (64 + 300)))
expect "a flood draws a bounded number of answers ($drawn)" test "$drawn" -gt 10 -a "$drawn" -lt $limit
