#!/usr/bin/env bash
# Both sides begin to send at the same moment, so that both initiate: what follows is one working session, every time.
# shellcheck source=scripts/interop/lab.sh
source "$(dirname "$0")/../lab.sh"

start_pair
for round in 1 2 3 4 5; do
  introduce ours theirs endpoint "$(endpoint_of theirs)"
  introduce theirs ours endpoint "$(endpoint_of ours)"
  in_ns ours ping -q -c 30 -i 0.05 "$(inside theirs)" >"$(log_of ours$round)" 2>&1 &
  in_ns theirs ping -q -c 30 -i 0.05 "$(inside ours)" >"$(log_of theirs$round)" 2>&1 &
  wait
  for side in ours theirs; do
    lost=$(lost_of $side$round)
    expect "round $round, $side lost $lost of 30" test "$lost" -le 2
  done
  part
done
