#!/usr/bin/env bash
# One subject, one round: brings a pair of it up, measures, takes it down. For scripts/bench.sh, which also sources it.
#
#   scripts/bench/pair.sh SUBJECT ROUND SECONDS UDP_RATE FILE     appends one line of JSON for each measurement to FILE

# shellcheck source=scripts/bench/subjects.sh
source "$(dirname "${BASH_SOURCE[0]}")/subjects.sh"

measure_pair() {
  SUBJECT=$1 ROUND=$2 TIME=$3 RATE=$4 LINES_FILE=$5
  cleanup_on_exit
  start_pair "$SUBJECT"
  spawn gateway iperf3 iperf3 -s
  wait_until 5 in_ns gateway sh -c 'ss -Hltn "sport = 5201" | grep -q .' || die "iperf3 does not listen"

  measure_ping ping-idle
  measure_transfer tcp-1-up
  measure_transfer tcp-1-down -R
  measure_transfer tcp-4-up -P 4
  measure_transfer tcp-4-down -P 4 -R
  measure_transfer udp-1372 -u -l 1372 -b "$RATE"
  measure_transfer udp-64 -u -l 64 -b 0
  measure_ping_under_load
  measure_memory
  python3 "$REPO/scripts/bench/readings.py" summary "$LINES_FILE"
}

# record KIND MEASURE FILE [CPU_SECONDS]: what a program has printed becomes a line.
record() {
  python3 "$REPO/scripts/bench/readings.py" "$1" "$SUBJECT" "$ROUND" "${@:2}" >>"$LINES_FILE"
}

# cpu_ticks: user and system time of both tunnel processes so far, in ticks of a hundredth of a second.
cpu_ticks() {
  local node sum=0 stat
  for node in gateway client; do
    stat=$(<"/proc/${PID[$node]}/stat")
    # After the name, which may contain anything: state is field 3, utime 14, stime 15.
    sum=$((sum + $(awk '{ print $12 + $13 }' <<<"${stat##*) }")))
  done
  echo "$sum"
}

transfer() { in_ns client timeout $((TIME + 20)) iperf3 -c $GATEWAY_INSIDE -t "$TIME" -J "$@"; }

# measure_transfer MEASURE OPTIONS...: of iperf3.
measure_transfer() {
  local measure=$1 before; shift
  before=$(cpu_ticks)
  transfer "$@" >"$SCRATCH/$measure" || die "iperf3 failed: $(jq -r '.error // "it ended without a word"' "$SCRATCH/$measure")"
  record transfer "$measure" "$SCRATCH/$measure" $(($(cpu_ticks) - before))
}

# measure_ping MEASURE: as many as fit into one second.
measure_ping() {
  in_ns client ping -n -c 200 -i 0.005 -W 1 $GATEWAY_INSIDE >"$SCRATCH/$1" || die "no answer to pings ($1)"
  record ping "$1" "$SCRATCH/$1"
}

measure_ping_under_load() {
  transfer -P 4 >"$SCRATCH/load" &
  local load=$!
  sleep 0.2                                              # until the streams fill the path
  in_ns client ping -n -i 0.02 -w "$TIME" $GATEWAY_INSIDE >"$SCRATCH/ping-loaded" || die "no answer to pings under load"
  wait "$load" || die "iperf3 failed under the pings"
  record ping ping-loaded "$SCRATCH/ping-loaded"
}

measure_memory() {
  local node
  for node in gateway client; do
    record memory "memory-$node" "/proc/${PID[$node]}/status"
  done
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then measure_pair "$@"; fi
