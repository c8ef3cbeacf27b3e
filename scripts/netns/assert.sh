# shellcheck shell=bash
# What a test file sources: the laboratory and a few assertions. A test is a script that ends with status 0;
# the first assertion that does not hold ends it and shows the logs of everything that ran.

# shellcheck source=scripts/netns/lab.sh
source "$(dirname "${BASH_SOURCE[0]}")/lab.sh"
need_programs
cleanup_on_exit

# expect WHAT COMMAND...: the command succeeds.
expect() {
  local what=$1; shift
  if "$@" >>"$(log_of expect)" 2>&1; then pass "$what"; else die "$what (status $? of: $*)"; fi
}

# expect_not WHAT COMMAND...: the command fails.
expect_not() {
  local what=$1; shift
  if "$@" >>"$(log_of expect)" 2>&1; then die "$what (succeeded: $*)"; else pass "$what"; fi
}

# expect_soon SECONDS WHAT COMMAND...: the command succeeds within that time.
expect_soon() {
  local limit=$1 what=$2 from=$EPOCHREALTIME; shift 2
  wait_until "$limit" "$@" || die "$what: not within $limit s"
  pass "$what (after $(awk -v a="$from" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }') s)"
}

# expect_equal WHAT WANTED GOT
expect_equal() {
  [[ $2 == "$3" ]] && { pass "$1"; return; }
  diff <(printf '%s\n' "$2") <(printf '%s\n' "$3") >"$(log_of difference)" || true
  die "$1: wanted (<) and got (>) differ"
}

# expect_match WHAT PATTERN TEXT: the extended regular expression occurs, in either case of letters.
expect_match() {
  grep -qiE -- "$2" <<<"$3" && { pass "$1"; return; }
  die "$1: nothing matches /$2/ in: $3"
}

# expect_exit STATUS WHAT COMMAND...: the command ends by itself within 10 s, with that status. Its output is in $output.
expect_exit() {
  local wanted=$1 what=$2 got=0; shift 2
  spawn_and_wait "$@" || got=$?
  ((got == wanted)) || die "$what: exit status $got instead of $wanted; it said: $output"
  pass "$what"
}

spawn_and_wait() {
  local got=0
  "$@" >"$SCRATCH/output" 2>&1 </dev/null &
  local pid=$!
  wait_until 10 process_ended "$pid" || kill -KILL "$pid"        # then the status is 137
  wait "$pid" || got=$?
  output=$(<"$SCRATCH/output")
  return "$got"
}
process_ended() { [[ ! -d /proc/$1 || $(awk '{ print $3 }' "/proc/$1/stat") == Z ]]; }

# expect_ping NODE ADDRESS [OPTIONS...]: three of three answers.
expect_ping() {
  local node=$1 address=$2; shift 2
  expect "$node reaches $address" ping_all "$node" "$address" "$@"
}
expect_no_ping() {
  local node=$1 address=$2; shift 2
  expect_not "$node does not reach $address" in_ns "$node" ping -q -c 3 -i 0.2 -W 1 "$@" "$address"
}
ping_all() {
  local node=$1 address=$2; shift 2
  in_ns "$node" ping -c 3 -i 0.2 -W 2 "$@" "$address" | tee /dev/stderr | grep -q ' 0% packet loss'
}
ping_once() { in_ns "$1" ping -q -c 1 -W 1 "$2"; }

# expect_same_state WHAT BEFORE NODE: rules, routes, links, nft ruleset and sysctls are byte-identical to `kernel_state` before.
expect_same_state() { expect_equal "$1" "$2" "$(kernel_state "$3")"; }
