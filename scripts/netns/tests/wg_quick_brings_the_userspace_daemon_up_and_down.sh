#!/usr/bin/env bash
# wg-quick takes the daemon where the kernel has no WireGuard: with a default route, up and down, and nothing stays behind.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"
# shellcheck source=scripts/netns/uapi.sh
source "$(dirname "$0")/../uapi.sh"

ln -s "$(realpath "$VPN_BIN_DIR/vpn-server")" "$SCRATCH/vpn-wireguard"
two_peers_up
ip -n "$(ns left)" link del "$(wg_name a)"
wait_until 5 daemon_ended a || die "left's first daemon does not end"

config=$SCRATCH/$(wg_name q).conf
printf '[Interface]\nAddress = 10.9.0.1/24\nPrivateKey = %s\n[Peer]\nPublicKey = %s\nEndpoint = 198.51.100.2:51822\nAllowedIPs = 0.0.0.0/0\n' \
  "$LEFT_KEY" "$RIGHT" >"$config"
chmod 600 "$config"
in_ns left sh -c 'echo 1 >/proc/sys/net/ipv4/conf/all/src_valid_mark'      # wg-quick sets it and leaves it so
before=$(kernel_state left)
wg_quick() { in_ns left env "WG_QUICK_USERSPACE_IMPLEMENTATION=$SCRATCH/vpn-wireguard" wg-quick "$1" "$config"; }
if in_ns left ip link add "$(wg_name k)" type wireguard 2>/dev/null; then
  note "this kernel has WireGuard, which wg-quick prefers: nothing to test"
  exit 0
fi

expect "wg-quick up works" wg_quick up
expect "it took the daemon" test -S "$(socket_of q)"
expect_ping left 10.9.0.2
expect_equal "our own datagrams are marked and do not loop" 0xca6c "$(wg_on left show "$(wg_name q)" fwmark)"
expect_match "the handshake went around the tunnel" '^198\.51\.100\.1:' "$(wg_on right show "$(wg_name b)" endpoints | cut -f2)"
expect "wg-quick down works" wg_quick down
expect_soon 5 "the daemon has ended and its socket is gone" daemon_ended q
expect_same_state "nothing stays behind" "$before" left
