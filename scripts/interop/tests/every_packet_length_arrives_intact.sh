#!/usr/bin/env bash
# Packets of every length up to the MTU, IPv4 and IPv6 inside, there and back, compared byte by byte; with two MTUs, one of
# them no multiple of 4.
# shellcheck source=scripts/interop/lab.sh
source "$(dirname "$0")/../lab.sh"

pair_up
for mtu in 1420 1381; do
  for side in ours theirs; do in_ns $side ip link set "$(interface_of $side)" mtu $mtu; done
  for pair in "ours theirs" "theirs ours"; do
    read -r from to <<<"$pair"
    if [[ $from$PEER == theirskernel ]]; then continue; fi          # there is no Python in the machine
    for address in "$(inside "$to")" "$(inside6 "$to")"; do
      expect "from $from to $address with MTU $mtu" \
        in_ns "$from" python3 "$REPO/scripts/interop/every_length.py" "$address" $mtu
    done
  done
done
