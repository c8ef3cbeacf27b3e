#!/usr/bin/env bash
# The other side is flooded and asks for cookies: ours, which initiates, comes back with one and connects. (runs alone: the
# flood must be felt)
# shellcheck source=scripts/interop/lab.sh
source "$(dirname "$0")/../lab.sh"

start_pair
introduce theirs ours
rates=("$FLOOD_RATE" 30000 60000)                        # how much is load is theirs to say, and depends on the machine
if [[ $PEER == kernel ]]; then rates=(4000); fi          # an emulated processor does not get to anything else with more
record_wire ours "udp src port $PORT and dst port $PORT"
was_given_a_cookie() { test "$(count_captured ours "$(message 3 theirs)")" -ge 1; }

# connect_during_a_flood RATE: until ours was given a cookie; several times, as who counts by the second may have just
# begun a new one. The flood comes from our own address, because gotatun asks only those for cookies that send it too much.
connect_during_a_flood() {
  local attempt
  spawn ours flood python3 "$REPO/scripts/interop/flood_initiations.py" \
    "$(outside theirs)" $PORT "$(public_key theirs)" "$1" 60
  sleep 1                                                # the flood has to be felt
  for attempt in 1 2 3 4 5 6 7 8; do
    introduce ours theirs endpoint "$(endpoint_of theirs)"
    expect_soon 20 "ours connects during the flood, attempt $attempt" ping_once ours "$(inside theirs)"
    expect "the flood was still on" is_running flood
    if was_given_a_cookie; then break; fi
    wg_set ours peer "$(public_key theirs)" remove
  done
  stop flood
}

for rate in "${rates[@]}"; do
  connect_during_a_flood "$rate"
  if was_given_a_cookie; then break; fi
done
stop_capture ours
if ! was_given_a_cookie; then skip "$PEER asked for no cookie under $rate initiations a second"; fi
expect "and came back with it" test "$(count_captured ours "$(message 1 ours) and udp[140:4] != 0")" -ge 1
measured "$(<"$(log_of flood)")"
