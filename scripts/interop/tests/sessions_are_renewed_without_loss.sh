#!/usr/bin/env bash
# Ours renews its session early (VPN_TEST_REKEY_AFTER), again and again, while pings go both ways: none is lost.
# shellcheck source=scripts/interop/lab.sh
source "$(dirname "$0")/../lab.sh"
only_ours "only ours can shorten the time to a new session"

start_pair VPN_TEST_REKEY_AFTER=2
introduce theirs ours
introduce ours theirs endpoint "$(endpoint_of theirs)"        # ours initiates: a responder does not renew
expect_soon 10 "a session" ping_once ours "$(inside theirs)"

in_ns ours ping -q -c 1500 -i 0.01 "$(inside theirs)" >"$(log_of there)" 2>&1 &
in_ns theirs ping -q -c 1500 -i 0.01 "$(inside ours)" >"$(log_of back)" 2>&1 &
for round in 1 2 3; do
  before=$(last_handshake ours theirs) before_there=$(last_handshake theirs ours)
  expect_soon 12 "renewal $round is seen by ours" handshake_is_newer ours theirs "$before"
  expect_soon 3 "renewal $round is seen by $PEER" handshake_is_newer theirs ours "$before_there"
done
wait
for label in there back; do expect_equal "$label: nothing was lost" 0 "$(lost_of $label)"; done
