#!/usr/bin/env bash
# WG_TUN_FD: a TUN device that another program made, with virtio_net_hdr or without, with several queues or without, and
# with a name of its own.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"
# shellcheck source=scripts/netns/uapi.sh
source "$(dirname "$0")/../uapi.sh"

two_peers_up
ip -n "$(ns left)" link del "$(wg_name a)"
wait_until 5 daemon_ended a || die "left's first daemon does not end"
hand_over() { # FLAGS OFFLOADS
  in_ns left python3 - "$1" "$2" "$(wg_name a)" "$VPN_BIN_DIR/vpn-server" <<'CODE' >>"$(log_of daemon)" 2>&1
import fcntl, os, struct, sys
flags, offloads, name, program = int(sys.argv[1], 0), *sys.argv[2:]
fd = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", name.encode(), flags))  # TUNSETIFF
os.set_inheritable(fd, True)
os.environ.update(WG_TUN_FD=str(fd), VPN_OFFLOAD=offloads, LOG_LEVEL="verbose")
os.execv(program, [program, "wireguard", "other0"])
CODE
}
in_force() { sed -n 's/.*ready to be configured.* offload=//p' "$(log_of daemon)" | tail -n 1; }
# Flags: IFF_TUN | IFF_NO_PI is 0x1001, IFF_VNET_HDR 0x4000, IFF_MULTI_QUEUE 0x100. Without IFF_VNET_HDR the device has no offloads.
while read -r flags offloads wanted; do
  expect "the daemon starts on a device with flags $flags, offloads $offloads" hand_over "$flags" "$offloads"
  expect_equal "it uses $wanted" "$wanted" "$(in_force)"
  expect "the socket has the device's name" test -S "$(socket_of a)"
  wg_on left setconf "$(wg_name a)" "$SCRATCH/left.conf"
  give_address left "$(wg_name a)" 10.9.0.1/24
  ip -n "$(ns left)" link set "$(wg_name a)" up
  expect_soon 5 "the other side takes the new session" ping_once left 10.9.0.2
  expect_ping left 10.9.0.2 -s 1200
  ip -n "$(ns left)" link del "$(wg_name a)"
  expect_soon 5 "it ends with the device" daemon_ended a
done <<'CASES'
0x1001 gso,checksum,tso gso
0x1101 off off
0x5001 checksum,tso,gro checksum,tso,gro
0x5101 checksum checksum
0x5001 off off
CASES
expect_not "a device that was opened without IFF_NO_PI is refused" hand_over 0x4001 auto
expect_match "it says why" 'without packet information \(IFF_TUN \| IFF_NO_PI\)' "$(tail -n 3 "$(log_of daemon)")"
expect_exit 1 "a descriptor that is no TUN device is refused" env WG_TUN_FD=0 "$VPN_BIN_DIR/vpn-server" wireguard -f "$(wg_name a)"
expect_match "it says why" 'not a TUN device' "$output"
