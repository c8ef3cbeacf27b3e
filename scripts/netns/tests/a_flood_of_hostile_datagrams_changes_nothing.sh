#!/usr/bin/env bash
# A stranger who recorded a client's whole session sends the server hundreds of thousands of repeated, damaged and
# invented datagrams of every type: the server lives, its memory stays bounded, and the client's traffic flows on.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
add_client_node stranger
init_server
add_client laptop
start_server
capture session gateway udp dst port $PORT
start_client laptop
wait_up
expect_ping client $WEB
stop_capture session

server=${PID[server]}
resident() { awk '$1 == "VmRSS:" { print $2 }' "/proc/$server/status"; }          # in kB
threads() { awk '$1 == "Threads:" { print $2 }' "/proc/$server/status"; }
endpoint() { server_status | jq -r '.peers[] | select(.name == "laptop") | .endpoint'; }
drops() { server_status | jq -r ".drops.$1"; }
memory_before=$(resident) threads_before=$(threads) endpoint_before=$(endpoint)

spawn client pings ping -q -i 0.02 -w 8 $GATEWAY_INSIDE
in_ns stranger python3 "$REPO/scripts/netns/hostile_datagrams.py" $GATEWAY $PORT "${HOSTILE_DATAGRAMS:-400000}" \
  "${HOSTILE_RATE:-70000}" "$SCRATCH/session.pcap" | tee "$(log_of hostile)"
expect "the stranger had recorded the handshake" grep -qE '^[1-9][0-9]* captured' "$(log_of hostile)"
wait_until 10 grep -q 'packet loss' "$(log_of pings)" || die "the pings did not end"

# Not 0: on a machine that is busy otherwise the flood may fill the socket's buffer for a moment.
lost=$(grep -oE '[0-9.]+% packet loss' "$(log_of pings)" | cut -d. -f1 | tr -dc 0-9)
expect "less than 5 % of the pings were lost ($lost %)" test "$lost" -lt 5
expect "the same process runs" test -d "/proc/$server"
expect_equal "with all its threads" "$threads_before" "$(threads)"
expect_equal "the client is where it was: repeated packets moved nothing" "$endpoint_before" "$(endpoint)"
for reason in replay bad_mac malformed unknown_index bad_tag; do
  expect "the server counts what it drops: $reason" test "$(drops "$reason")" -gt 0
done
grown=$(($(resident) - memory_before))
expect "its memory grew by less than 48 MB (by $grown kB)" test "$grown" -lt 49152
expect_ping client $WEB
