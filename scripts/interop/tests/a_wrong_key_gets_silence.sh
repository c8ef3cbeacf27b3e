#!/usr/bin/env bash
# An initiator that is not configured, and one that has another public key for ours: not one datagram goes back.
# shellcheck source=scripts/interop/lab.sh
source "$(dirname "$0")/../lab.sh"

start_pair
record_wire strangers udp
introduce theirs ours endpoint "$(endpoint_of ours)"
expect_no_ping theirs "$(inside ours)"
part

new_key nobody
wg_set ours peer "$(public_key theirs)" allowed-ips "$(inside theirs)/32"
wg_set theirs peer "$(public_key nobody)" allowed-ips "$(inside ours)/32" endpoint "$(endpoint_of ours)"
expect_no_ping theirs "$(inside ours)"
stop_capture strangers
expect "$PEER has sent initiations" test "$(count_captured strangers "$(message 1 theirs)")" -ge 2
expect_equal "ours has sent nothing" 0 "$(count_captured strangers src host "$(outside ours)")"
expect_equal "ours knows of no handshake" 0 "$(last_handshake ours theirs)"
