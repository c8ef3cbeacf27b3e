#!/usr/bin/env bash
# kill -9 of the client and `down` or `cleanup` in the same breath, while the kernel still takes the old process apart; several
# of them at once; a client that is suspended.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

tunnel_up
stop laptop
before=$(kernel_state client)

round() {
  start_client laptop
  wait_until 10 client_answers || die "the client did not start"
  kill -KILL "${PID[laptop]}"
  "$@" >"$SCRATCH/output" 2>&1 || die "$*: it said: $(<"$SCRATCH/output")"
  expect_same_state "$*: everything is as before" "$before" client
}
down=(on client vpn-client down) cleanup=(on client vpn-client cleanup)
for _ in 1 2 3; do
  round "${down[@]}"
  expect_match "down says what it did" 'undone what was left of vpn0' "$(<"$SCRATCH/output")"
  round "${cleanup[@]}"
  expect_match "cleanup says what it did" 'vpn0: undone' "$(<"$SCRATCH/output")"
done
both() {
  local one two
  "${down[@]}" & one=$!
  "${cleanup[@]}" & two=$!
  "${down[@]}" && wait "$one" && wait "$two"
}
round both

start_client laptop
wait_up
expect "three at once of a client that runs: all succeed" both
expect_same_state "everything is as before" "$before" client

start_client laptop
wait_up
expect_match "cleanup names a client that runs" 'vpn0: in use by a node that runs' "$("${cleanup[@]}")"
kill -STOP "${PID[laptop]}"
"${down[@]}" >"$SCRATCH/output" 2>&1 && die "down of a suspended client claims to have stopped it"
expect_match "down of a suspended client names the process and what ends it" "kill -9 ${PID[laptop]}" "$(<"$SCRATCH/output")"
kill -KILL "${PID[laptop]}"
expect "down after that" "${down[@]}"
expect_same_state "everything is as before" "$before" client
expect_exit 0 "down again" "${down[@]}"
expect_match "has nothing to do" 'nothing to do' "$output"

# Killed while it undoes.
start_client laptop
wait_up
kill -TERM "${PID[laptop]}"
sleep 0.02
kill -KILL "${PID[laptop]}"
expect "down of a client that was killed on its way out" "${down[@]}"
expect_same_state "everything is as before" "$before" client
