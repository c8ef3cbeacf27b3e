#!/usr/bin/env bash
# With a persistent keepalive on one side only, whichever, that side opens the session and sends empty packets, without any
# traffic.
# shellcheck source=scripts/interop/lab.sh
source "$(dirname "$0")/../lab.sh"

start_pair
keepalives_of() { captured "$2" "$(message 4 "$1")" | awk '$NF == 32' | wc -l; }       # SIDE RECORDING
has_sent_three() { (($(keepalives_of "$1" "$1") >= 3)); }
for sender in ours theirs; do
  receiver=theirs
  if [[ $sender == theirs ]]; then receiver=ours; fi
  record_wire $sender udp
  introduce $receiver $sender
  introduce $sender $receiver persistent-keepalive 1 endpoint "$(endpoint_of $receiver)"
  expect_soon 10 "keepalives of $sender" has_sent_three $sender
  expect "ours knows of a handshake" handshake_is_newer ours theirs 0
  stop_capture $sender
  expect_equal "nobody asks for another session" 1 "$(count_captured $sender "$(message 1)")"
  part
done
