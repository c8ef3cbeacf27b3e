#!/usr/bin/env bash
# Ours gets another address, then another port: the other side follows, and the session goes on without a new handshake.
# shellcheck source=scripts/interop/lab.sh
source "$(dirname "$0")/../lab.sh"

pair_up
expect_ping ours "$(inside theirs)"
established=$(last_handshake ours theirs)
roam ours 11
expect_soon 5 "ours reaches $PEER from its new address" ping_once ours "$(inside theirs)"
expect_ping theirs "$(inside ours)"
expect "$PEER has followed" endpoint_is theirs ours "$(endpoint_of ours)"

wg_set ours listen-port 40000
expect_soon 5 "ours reaches $PEER from its new port" ping_once ours "$(inside theirs)"
expect_ping theirs "$(inside ours)"
expect "$PEER has followed" endpoint_is theirs ours "$(outside ours):40000"
if [[ $OURS == vpn-server ]]; then
  expect_equal "it is the same session" "$established" "$(last_handshake ours theirs)"
fi
