#!/usr/bin/env bash
# WG_TUN_FD: a TUN device that another program made, with virtio_net_hdr or without, and with a name of its own.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"
# shellcheck source=scripts/netns/uapi.sh
source "$(dirname "$0")/../uapi.sh"

two_peers_up
ip -n "$(ns left)" link del "$(wg_name a)"
wait_until 5 daemon_ended a || die "left's first daemon does not end"
hand_over() { # FLAGS
  in_ns left python3 - "$1" "$(wg_name a)" "$VPN_BIN_DIR/vpn-server" <<'CODE' >>"$(log_of daemon)" 2>&1
import fcntl, os, struct, sys
flags, name, program = int(sys.argv[1], 0), sys.argv[2], sys.argv[3]
fd = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", name.encode(), flags))  # TUNSETIFF
os.set_inheritable(fd, True)
os.environ["WG_TUN_FD"] = str(fd)
os.execv(program, [program, "wireguard", "other0"])
CODE
}
for flags in 0x1001 0x5001; do                            # IFF_TUN | IFF_NO_PI, and IFF_VNET_HDR
  expect "the daemon starts on a device with flags $flags" hand_over $flags
  expect "the socket has the device's name" test -S "$(socket_of a)"
  wg_on left setconf "$(wg_name a)" "$SCRATCH/left.conf"
  give_address left "$(wg_name a)" 10.9.0.1/24
  ip -n "$(ns left)" link set "$(wg_name a)" up
  expect_soon 5 "the other side takes the new session" ping_once left 10.9.0.2
  expect_ping left 10.9.0.2 -s 1200
  ip -n "$(ns left)" link del "$(wg_name a)"
  expect_soon 5 "it ends with the device" test ! -e "$(socket_of a)"
done
expect_exit 1 "a descriptor that is no TUN device is refused" env WG_TUN_FD=0 "$VPN_BIN_DIR/vpn-server" wireguard -f "$(wg_name a)"
expect_match "it says why" 'not a TUN device' "$output"
