#!/usr/bin/env bash
# Both sides begin to send at the same moment, so that both initiate: what follows is one working session, every time.
# shellcheck source=scripts/interop/lab.sh
source "$(dirname "$0")/../lab.sh"

start_pair
for round in 1 2 3 4 5; do
  introduce ours theirs endpoint "$(endpoint_of theirs)"
  introduce theirs ours endpoint "$(endpoint_of ours)"
  spawn ours "ours$round" ping -q -c 30 -i 0.05 "$(inside theirs)"
  spawn theirs "theirs$round" ping -q -c 30 -i 0.05 "$(inside ours)"
  for side in ours theirs; do
    wait_until 10 grep -q 'packet loss' "$(log_of $side$round)" || die "the pings of $side did not end"
    lost=$(lost_of "$side$round")
    expect "round $round, $side lost $lost of 30" test "$lost" -le 2
  done
  part
done
