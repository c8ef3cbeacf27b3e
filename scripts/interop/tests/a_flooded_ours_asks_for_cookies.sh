#!/usr/bin/env bash
# Somebody who knows our public key floods ours with initiations: the traffic of who is connected already flows on, and who
# connects meanwhile is asked for a cookie and then let in. (runs alone: it measures)
# shellcheck source=scripts/interop/lab.sh
source "$(dirname "$0")/../lab.sh"

pair_up
join stranger ours 203.0.113
pings() { in_ns theirs ping -q -c 200 -i 0.02 "$(inside ours)" >>"$(log_of "$1")" 2>&1 || true; }
pings before
spawn stranger flood python3 "$REPO/scripts/interop/flood_initiations.py" \
  203.0.113.1 $PORT "$(public_key ours)" "$FLOOD_RATE" 60
sleep 1                                                  # the flood has to be felt
pings during
measured "established session: $(lost_of during) of $(sent_of during) pings lost, average and longest" \
  "$(latency_of during) ms, without the flood $(latency_of before) ms"

record_wire newcomer "udp port $PORT"
was_given_a_cookie() { test "$(count_captured newcomer "$(message 3 ours)")" -ge 1; }
for attempt in 1 2 3 4 5 6 7 8; do                       # a few strangers a second are let in without one
  part
  introduce ours theirs
  introduce theirs ours endpoint "$(endpoint_of ours)"
  expect_soon 20 "a newcomer connects during the flood, attempt $attempt" ping_once theirs "$(inside ours)"
  expect "the flood was still on" is_running flood
  if was_given_a_cookie; then break; fi
done
stop flood
stop_capture newcomer
measured "flood: $(<"$(log_of flood)")"

expect "the newcomer was given a cookie" was_given_a_cookie
expect "and came back with it" test "$(count_captured newcomer "$(message 1 theirs) and udp[140:4] != 0")" -ge 1
expect "less than 3 % of the pings were lost" test $(($(lost_of during) * 100)) -lt $(($(sent_of during) * 3))
