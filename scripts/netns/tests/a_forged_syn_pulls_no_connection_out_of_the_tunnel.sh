#!/usr/bin/env bash
# A host has a connection from before its full tunnel, and answers connections from outside. Somebody forges a SYN with the addresses and
# ports of that connection: it does not count as one that came in, and nothing that is sent on it leaves beside the tunnel; with a kill
# switch neither.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

HOST=192.0.2.2 SERVICE=7777

# nothing_leaves WHAT: with the client's configuration as it is.
nothing_leaves() {
  local port
  rm -f "$SCRATCH/go"
  start_script client "held-$1" holding answering.py hold $WEB $SERVICE "$SCRATCH/go"
  port=$(grep -oE '[0-9]+' "$(log_of "held-$1")" | head -n 1)
  start_client laptop
  wait_up
  expect "$1: a forged SYN" in_ns web python3 "$REPO/scripts/netns/forged_syn.py" $WEB $SERVICE $HOST "$port"
  sleep 0.3
  capture "beside-$1" clients "tcp port $SERVICE and src host $HOST and greater 60"
  touch "$SCRATCH/go"
  sleep 2
  stop_capture "beside-$1"
  expect_equal "$1: nothing leaves beside the tunnel" 0 "$(count_captured "beside-$1" 'tcp[13] & 8 != 0')"
  expect "$1: a connection from outside is answered" in_ns web python3 "$REPO/scripts/netns/answering.py" ask $HOST 22
  stop laptop
  stop "held-$1"
}

lab_up
init_server
add_client laptop
start_server
start_script web service serving answering.py serve $SERVICE $WEB
start_script client own serving answering.py serve 22 $HOST
toml_set "$(client_toml laptop)" interface inbound '"allow"'
nothing_leaves routing
toml_set "$(client_toml laptop)" interface kill_switch true
nothing_leaves kill-switch
