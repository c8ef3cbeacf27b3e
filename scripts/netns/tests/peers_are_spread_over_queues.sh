#!/usr/bin/env bash
# A gateway with several queues, each with a thread, and as many clients as to have some at different ones: all of them reach
# the web and each other. The port that the queues share is not for others to join.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

QUEUES=4
threads() { cat "/proc/${PID[server]}"/task/*/comm | grep -cx packet; }
# fault_of VALUE: what `check` says of that number of queues.
fault_of() {
  toml_set "$(server_toml)" interface queues "$1"
  expect_exit 1 "queues = $1 is refused" on gateway vpn-server check -c "$(server_toml)"
}
# bound: the sockets on our port that anything arrives on; those at 100::1, which nobody has, only send.
bound() { in_ns gateway ss -Hlun "sport = $PORT" | grep -vF '[100::1]'; }

lab_up
init_server
for value in 0 257 '"many"' 1.5; do
  fault_of "$value"
  expect_match "with line and remedy" 'server.toml:[0-9]+.*queues' "$(tr '\n' ' ' <<<"$output")"
done
toml_set "$(server_toml)" interface queues $QUEUES
nodes=(client second third fourth fifth sixth)
for node in "${nodes[@]:1}"; do add_client_node "$node"; done
for node in "${nodes[@]}"; do add_client "at-$node"; done
start_server
expect_equal "each queue has a thread" $QUEUES "$(threads)"
expect_equal "and a socket" $QUEUES "$(bound | wc -l)"
expect_match "the device has several queues" multi_queue "$(in_ns gateway ip -d link show vpn0)"
for node in "${nodes[@]}"; do start_client "at-$node" "$node"; done
for node in "${nodes[@]}"; do wait_up "$node"; done

for node in "${nodes[@]}"; do expect_ping "$node" $WEB -i 0.01; done
for node in "${nodes[@]:1}"; do expect_ping client "$(address4_of "at-$node")" -i 0.01; done

start_web
head -c 5000000 /dev/urandom >"$(dir_of web)/blob"
pids=()
for node in "${nodes[@]}"; do
  in_ns "$node" curl -sS --fail --max-time 60 -o "$SCRATCH/blob-$node" "http://$WEB/blob" &
  pids+=($!)
done
wait "${pids[@]}"
for node in "${nodes[@]}"; do
  expect_equal "$node has fetched it whole" "$(sha256 "$(dir_of web)/blob")" "$(sha256 "$SCRATCH/blob-$node")"
done
expect_equal "no packet was taken for a replay" 0 "$(server_status | jq .drops.replay)"

# Sockets that share a port could be joined: not by a second server.
cp -r "$(dir_of gateway)/etc" "$(dir_of gateway)/other"
other=$(dir_of gateway)/other/server.toml
toml_set "$other" interface name '"vpn1"'
toml_set "$other" interface addresses '["10.67.0.1/16"]'
expect_exit 1 "a second server cannot share the port" on gateway vpn-server run -c "$other"
expect_match "and says why" "port $PORT is in use" "$output"

toml_set "$(server_toml)" interface queues 1
expect_exit 1 "a reload with another number is refused" on gateway vpn-server reload -c "$(server_toml)"
expect_match "and says what it needs" "queues changed, which needs a restart" "$output"
