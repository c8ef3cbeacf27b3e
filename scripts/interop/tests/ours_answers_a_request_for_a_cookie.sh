#!/usr/bin/env bash
# The other side is flooded and asks for cookies: ours, which initiates, comes back with one and connects. (runs alone: the
# flood must be felt)
# shellcheck source=scripts/interop/lab.sh
source "$(dirname "$0")/../lab.sh"

start_pair
introduce theirs ours
if [[ $PEER == kernel ]]; then FLOOD_RATE=4000; fi       # an emulated processor does not get to anything else with more
record_wire ours "udp src port $PORT and dst port $PORT"
# From our own address, because gotatun asks only those addresses for cookies that send it too much.
spawn ours flood python3 "$REPO/scripts/interop/flood_initiations.py" \
  "$(outside theirs)" $PORT "$(public_key theirs)" "$FLOOD_RATE" 60
sleep 1                                                  # the flood has to be felt
was_given_a_cookie() { test "$(count_captured ours "$(message 3 theirs)")" -ge 1; }
for attempt in 1 2 3 4 5 6 7 8; do                       # who counts by the second may have just begun a new one
  introduce ours theirs endpoint "$(endpoint_of theirs)"
  expect_soon 20 "ours connects during the flood, attempt $attempt" ping_once ours "$(inside theirs)"
  expect "the flood was still on" is_running flood
  if was_given_a_cookie; then break; fi
  wg_set ours peer "$(public_key theirs)" remove
done
stop flood
stop_capture ours
expect "ours was given a cookie" was_given_a_cookie
expect "and came back with it" test "$(count_captured ours "$(message 1 ours) and udp[140:4] != 0")" -ge 1
measured "$(<"$(log_of flood)")"
