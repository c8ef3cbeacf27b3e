#!/usr/bin/env bash
# The other side gets another address, then another port; ours follows its packets, in the same session.
# shellcheck source=scripts/interop/lab.sh
source "$(dirname "$0")/../lab.sh"

pair_up
established=$(last_handshake ours theirs)
roam theirs 12
expect_soon 20 "$PEER reaches ours from its new address" ping_once theirs "$(inside ours)"
expect "ours has followed" endpoint_is ours theirs "$(endpoint_of theirs)"
expect_ping ours "$(inside theirs)"
measured "handshakes for the new address: $([[ $(last_handshake ours theirs) == "$established" ]] && echo none || echo one)"

if [[ $PEER == gotatun ]]; then exit; fi                 # it may end when its port is changed
wg_set theirs listen-port 40000
expect_soon 20 "$PEER reaches ours from its new port" ping_once theirs "$(inside ours)"
expect "ours has followed" endpoint_is ours theirs "$(outside theirs):40000"
expect_ping ours "$(inside theirs)"
