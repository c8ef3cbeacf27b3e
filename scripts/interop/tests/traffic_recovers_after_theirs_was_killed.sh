#!/usr/bin/env bash
# kill -9 and a new start of the other side: at once when it speaks first; when ours does, after ours has noticed that
# nobody answers (15 s after its first packet).
# shellcheck source=scripts/interop/lab.sh
source "$(dirname "$0")/../lab.sh"

pair_up
expect_ping ours "$(inside theirs)"
kill_and_restart theirs
introduce theirs ours endpoint "$(endpoint_of ours)"
expect_recovery 3 theirs ours

kill_and_restart theirs
introduce theirs ours                                   # knows no endpoint: it can only answer
expect_recovery 20 ours theirs
expect_ping theirs "$(inside ours)"
