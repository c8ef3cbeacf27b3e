#!/usr/bin/env bash
# kill -9 and a start in the same breath: the kernel still holds the lock, the port and the device of the old process.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

tunnel_up
for round in 1 2 3; do
  kill -KILL "${PID[laptop]}"
  start_client laptop
  kill -KILL "${PID[server]}"
  start_server
  expect_soon 15 "round $round: the tunnel is back" ping_once client $GATEWAY_INSIDE
done
