#!/usr/bin/env bash
# Whichever offloads are used: data arrives as it was sent, TCP and UDP, both ways, hybrid and wireguard; and the status says
# what is in force.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

RUNS=20                                                   # of UDP, 36,000 bytes each
NODES=(gateway client second)

lab_up
add_client_node second
start_web
spawn web udp python3 "$REPO/scripts/netns/udp_runs.py" echo 7000
head -c 2M /dev/urandom >"$(dir_of web)/file"
wanted=$(sha256 "$(dir_of web)/file")
init_server
add_client laptop
add_wireguard_client wg
write_wireguard_profile wg

# restart_with VALUE: all three programs, with this `offload` in their files.
restart_with() {
  local label
  for label in laptop wg server; do stop "$label"; done
  toml_set "$(server_toml)" interface offload "$1"
  for label in laptop wg; do toml_set "$(client_toml "$label")" interface offload "$1"; done
  start_server
  start_client laptop
  start_client wg second
  wait_up client
  wait_up second
}

# in_force NODE: the offloads of the program there, as its status tells.
in_force() {
  if [[ $1 == gateway ]]; then server_status; else client_status "$1"; fi | jq -c .interface.offload
}

# of_these WORD...: what is to be in force with these and no others, on this kernel.
of_these() {
  jq -c --arg words " $* " '
    {tun_checksum: "checksum", tun_tcp: "tso", tun_udp: "uso", udp_gso: "gso", udp_gro: "gro"} as $names
    | with_entries(.key as $key | .value = (.value and ($words | contains(" " + $names[$key] + " "))))' <<<"$all"
}

# carries_data NODE: 2 MB of TCP each way, one of them over IPv6, and UDP there and back.
carries_data() {
  local node=$1 got
  got=$(in_ns "$node" curl -sS --fail --max-time 20 "http://$WEB/file" | tee "$SCRATCH/copy" | sha256) || return 1
  [[ $got == "$wanted" ]] || { echo "2 MB arrive at $node as $got" >&2; return 1; }
  in_ns "$node" curl -sS --fail --max-time 20 -T "$SCRATCH/copy" "http://[$WEB6]/upload" || return 1
  got=$(sha256 "$(dir_of web)/upload")
  [[ $got == "$wanted" ]] || { echo "2 MB arrive from $node as $got" >&2; return 1; }
  in_ns "$node" python3 "$REPO/scripts/netns/udp_runs.py" ask $WEB 7000 $RUNS
}

restart_with '"auto"'
all=$(in_force gateway)
expect "this kernel has the offloads that every kernel has" jq -e '.tun_checksum and .tun_tcp' <<<"$all"
note "in force with \"auto\": $all"
for words in "checksum tso uso gso gro" "" checksum "checksum tso" "checksum uso" gso gro; do
  # The first is what "auto" has started already.
  if [[ $words != *gso\ gro ]]; then
    value="[\"${words// /\", \"}\"]"
    [[ -n $words ]] || value='"off"'
    restart_with "$value"
  fi
  for node in "${NODES[@]}"; do
    expect_equal "$node uses these offloads and no others: ${words:-none}" "$(of_these "$words")" "$(in_force "$node")"
  done
  expect "hybrid: TCP and UDP arrive as they were sent" carries_data client
  expect "wireguard: TCP and UDP arrive as they were sent" carries_data second
done

toml_set "$(server_toml)" interface offload '"off"'
expect_exit 1 "a reload with other offloads is refused" on gateway vpn-server reload -c "$(server_toml)"
expect_match "and says what it needs" "offload changed, which needs a restart" "$output"

stop laptop
expect "the command line counts for more than the file" on client vpn-client up "$(client_toml laptop)" --offload checksum,gso
expect_equal "also for a client in the background" "$(of_these checksum gso)" "$(in_force client)"
expect_match "the text says it as well" "offload +checksum, gso" "$(on client vpn-client status)"
expect "it stops" on client vpn-client down "$(client_toml laptop)"
