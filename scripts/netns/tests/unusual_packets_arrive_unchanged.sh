#!/usr/bin/env bash
# Rare protocols, IP options, extension headers, fragments, all TCP flags, missing and wrong checksums: every packet comes out
# of the tunnel with the bytes that went in. A wrong checksum stays wrong: to judge it is the receiver's business.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

two_clients_up

declare -A PROGRAM_OF=([client]=laptop [second]=phone [gateway]=server)

# unusual FROM_NODE FROM TO_NODE TO HOPS
unusual() {
  local label=unusual-$2-$4 receiver=${PID[${PROGRAM_OF[$3]}]}
  start_script "$3" "$label" listening unusual_packets.py receive vpn0 "$2" "$4" "$5"
  # All wait in the socket's buffer and are then taken as one batch: that is where runs would be found in them.
  kill -STOP "$receiver"
  in_ns "$1" python3 "$REPO/scripts/netns/unusual_packets.py" send vpn0 "$2" "$4"
  sleep 0.5
  kill -CONT "$receiver"
  wait_until 30 grep -q 'came unchanged' "$(log_of "$label")" || die "the receiver did not end"
  expect_not "$(tail -n 1 "$(log_of "$label")") from $1 to $3" grep missing "$(log_of "$label")"
}

for address in address4_of address6_of; do
  laptop=$($address laptop) phone=$($address phone)
  gateway=$GATEWAY_INSIDE
  if [[ $laptop == *:* ]]; then gateway=$GATEWAY_INSIDE6; fi
  unusual client "$laptop" gateway "$gateway" 0
  unusual gateway "$gateway" client "$laptop" 0
  unusual client "$laptop" second "$phone" 1           # forwarded between two clients
done
