#!/usr/bin/env bash
# kill -9 and a new start of ours: at once when ours speaks first; when the other side does, after it has noticed that
# nobody answers (15 s after its first packet, by the protocol's timers).
# shellcheck source=scripts/interop/lab.sh
source "$(dirname "$0")/../lab.sh"

pair_up
expect_ping theirs "$(inside ours)"
kill_and_restart ours
introduce ours theirs endpoint "$(endpoint_of theirs)"
expect_recovery 3 ours theirs

kill_and_restart ours
introduce ours theirs                                   # knows no endpoint: it can only answer
expect_recovery 25 theirs ours
expect_ping ours "$(inside theirs)"
