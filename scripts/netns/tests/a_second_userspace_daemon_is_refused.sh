#!/usr/bin/env bash
# A name that is in use, here or in another network namespace of the host, is refused with a message and exit status 1; the
# first daemon is not disturbed.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"
# shellcheck source=scripts/netns/uapi.sh
source "$(dirname "$0")/../uapi.sh"

add_node left right
name=$(wg_name a)
start_wg left a
for mode in '' --foreground; do
  # shellcheck disable=SC2086 # no option is no argument
  expect_exit 1 "the interface's name is refused ${mode:-in the background}" on left vpn-server wireguard $mode "$name"
  expect_match "it says why" "$name.*already" "$output"
  # shellcheck disable=SC2086
  expect_exit 1 "the socket's name is refused ${mode:-in the background}" on right vpn-server wireguard $mode "$name"
  expect_match "it says why" 'already running' "$output"
  expect_not "no interface stays behind" ip -n "$(ns right)" link show "$name"
done
expect "the first one still answers" wg_on left show "$name"
expect_exit 2 "an impossible name is refused" on left vpn-server wireguard sixteen_bytes_xx
