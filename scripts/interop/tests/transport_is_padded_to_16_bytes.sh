#!/usr/bin/env bash
# What ours sends, seen on the cable: each payload is a multiple of 16 bytes or as long as the MTU, and with the usual MTU of
# 1420 no datagram is longer than 1500 bytes or in fragments, over IPv6 neither.
# shellcheck source=scripts/interop/lab.sh
source "$(dirname "$0")/../lab.sh"
if [[ $OURS != vpn-server && $OURS != wireguard-go ]]; then skip "$OURS does not pad"; fi

start_pair
for outer in 4 6; do
  # wireguard-go of 2025 garbles IPv6 addresses once it has sent to an IPv4 one.
  if ((outer == 6)); then kill_and_restart ours theirs; fi
  for mtu in 1420 1381; do
    for side in ours theirs; do in_ns $side ip link set "$(interface_of $side)" mtu $mtu; done
    introduce theirs ours endpoint "$(endpoint_of ours $outer)"
    introduce ours theirs endpoint "$(endpoint_of theirs $outer)"
    record_wire "$outer-$mtu"
    expect_soon 10 "a session over IPv$outer" ping_once ours "$(inside theirs)"
    in_ns ours python3 "$REPO/scripts/interop/every_length.py" "$(inside theirs)" $mtu >>"$(log_of lengths)"
    stop_capture "$outer-$mtu"
    part

    # Lengths of UDP payloads: 32 bytes of header and tag around each packet.
    captured "$outer-$mtu" "$(message 4 ours)" | awk '{ print $NF - 32 }' >"$SCRATCH/payloads"
    count=$(wc -l <"$SCRATCH/payloads")
    expect "$count datagrams were seen" test "$count" -gt $((mtu - 40))
    wrong=$(awk -v mtu=$mtu '$1 % 16 && $1 != mtu' "$SCRATCH/payloads" | sort -nu | tr '\n' ' ')
    expect_equal "IPv$outer, MTU $mtu: each is padded to 16 bytes or cut at the MTU" "" "$wrong"
    expect_equal "the longest fills the MTU" $mtu "$(sort -n "$SCRATCH/payloads" | tail -n 1)"
    ours="(src host $(outside ours) or src host $(outside6 ours))"
    fragments=$(count_captured "$outer-$mtu" "$ours and ((ip and ip[6:2] & 0x1fff != 0) or (ip6 and ip6[6] == 44))")
    expect_equal "nothing is in fragments" 0 "$fragments"
    expect_equal "nothing is longer than 1500 bytes" 0 "$(count_captured "$outer-$mtu" "$ours and greater 1515")"
  done
done
