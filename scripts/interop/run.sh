#!/usr/bin/env bash
# Tests of interoperation: our WireGuard daemon against implementations of others, in network namespaces. Runs the files
# in tests/ (all, or those named) with each peer, several at a time, and shows a table of peers and scenarios.
#
#   scripts/interop/run.sh [--peer NAME]... [--jobs N] [--keep-logs DIR] [TEST...]     TEST may be a part of a file's name
#
# Peers come from scripts/interop/peers.sh; one that is missing is named as skipped. OURS=NAME puts another implementation
# into the place of ours, which tests the tests. A file that says "runs alone" in its head runs when nothing else does.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/interop/lab.sh
source "$here/lab.sh"

ALL_PEERS=(wireguard-go boringtun gotatun)
CHOSEN=() NAMES=() KEEP='' JOBS=6                        # most of the time they wait for a timer of the protocol
declare -A STATE=() TOOK=() LAB_OF=()                    # by "peer/test"
declare -A RUNNING=()                                    # process id -> "peer/test"
TESTS_RUN=0

main() {
  read_options "$@"
  need_root "$@"
  need_packages "${INTEROP_PACKAGES[@]}"
  cleanup_on_exit
  local peer present=() started=$SECONDS
  for peer in "${CHOSEN[@]}"; do
    if [[ -e $(program_of "$peer") ]]; then present+=("$peer"); else warn "skipped: there is no $(program_of "$peer")"; fi
  done
  ((${#present[@]})) || die "none of the implementations is there: run scripts/interop/peers.sh first"
  run_all "${present[@]}"
  print_table "${present[@]}"
  print_sums $((SECONDS - started))
}

read_options() {
  while (($#)); do
    case $1 in
      --peer) CHOSEN+=("${2:?--peer needs a name}"); shift 2 ;;
      --jobs) JOBS=${2:?--jobs needs a number}; shift 2 ;;
      --keep-logs) KEEP=$(realpath -m "${2:?--keep-logs needs a directory}"); shift 2 ;;
      -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
      -*) die "unknown option $1; try --help" ;;
      *) NAMES+=("$1"); shift ;;
    esac
  done
  ((${#CHOSEN[@]})) || CHOSEN=("${ALL_PEERS[@]}")
}

# run_all PEER...: first those that bear company, then those that measure.
run_all() {
  local test peer together=() alone=()
  for test in "$here"/tests/*.sh; do
    selected "$(basename "$test" .sh)" || continue
    if sed -n 2,6p "$test" | grep -q 'runs alone'; then alone+=("$test"); else together+=("$test"); fi
  done
  ((${#together[@]} + ${#alone[@]})) || die "no test is called that"
  for test in "${together[@]}"; do
    for peer; do
      ((${#RUNNING[@]} < JOBS)) || reap_one
      launch "$peer" "$test"
    done
  done
  while ((${#RUNNING[@]})); do reap_one; done
  for test in "${alone[@]}"; do
    for peer; do launch "$peer" "$test"; reap_one; done
  done
}

selected() {
  local name
  ((${#NAMES[@]})) || return 0
  for name in "${NAMES[@]}"; do [[ $1 == *$name* ]] && return 0; done
  return 1
}

# launch PEER FILE: under `timeout`, with a LAB_ID of its own, so that even after a kill -9 its remains can be found.
launch() {
  local key; key=$1/$(basename "$2" .sh)
  LAB_OF[$key]=$$-$((TESTS_RUN += 1))
  TOOK[$key]=$EPOCHREALTIME
  mkdir -p "$SCRATCH/$1"
  PEER=$1 OURS=$OURS LAB_ID=${LAB_OF[$key]} LAB_KEEP_LOGS=${KEEP:+$KEEP/$key} TMPDIR=$SCRATCH \
    timeout --kill-after=20 "${TEST_SECONDS:-300}" bash "$2" >"$SCRATCH/$key.out" 2>&1 </dev/null &
  RUNNING[$!]=$key
}

# reap_one: waits for whichever test ends next, and reports it.
reap_one() {
  local pid status=0 key
  wait -n -p pid "${!RUNNING[@]}" || status=$?
  key=${RUNNING[$pid]}
  unset "RUNNING[$pid]"
  (LAB_ID=${LAB_OF[$key]} remove_lab) || true
  TOOK[$key]=$(awk -v a="${TOOK[$key]}" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
  case $status in
    0) STATE[$key]=ok; pass "$key (${TOOK[$key]} s)$(notes_of "$key")" ;;
    "$SKIPPED") STATE[$key]=-; note "$key: $(grep '^skipped: ' "$SCRATCH/$key.out")" ;;
    *) STATE[$key]=FAILED; show_failure "$key" "$status" ;;
  esac
}

# notes_of KEY: what a test has measured, from its lines "measured: …".
notes_of() { sed -n 's/^ *measured: /; /p' "$SCRATCH/$1.out" | tr -d '\n'; }

show_failure() {
  ((${2} == 124)) && echo "  ended after ${TEST_SECONDS:-300} s without a result" >>"$SCRATCH/$1.out"
  printf '  %sFAILED%s  %s (%s s)\n' "$RED" "$PLAIN" "$1" "${TOOK[$1]}"
  sed 's/^/        /' "$SCRATCH/$1.out"
  if [[ -n $KEEP ]]; then mkdir -p "$KEEP/$1"; cp "$SCRATCH/$1.out" "$KEEP/$1/output"; fi
}

# print_table PEER...: a line for each scenario, a column for each peer.
print_table() {
  local test name peer
  printf '\n%s%-58s' "$BOLD" "$OURS with"
  printf '%14s' "$@"
  printf '%s\n' "$PLAIN"
  for test in "$here"/tests/*.sh; do
    name=$(basename "$test" .sh)
    selected "$name" || continue
    printf '%-58s' "${name//_/ }"
    for peer; do printf '%14s' "${STATE[$peer/$name]}"; done
    echo
  done
}

print_sums() {
  local state passed=0 failed=0 skipped=0
  for state in "${STATE[@]}"; do
    case $state in
      ok) passed=$((passed + 1)) ;;
      -) skipped=$((skipped + 1)) ;;
      *) failed=$((failed + 1)) ;;
    esac
  done
  printf '\ninteroperation tests: %d passed, %d failed, %d skipped in %d s\n' "$passed" "$failed" "$skipped" "$1"
  if ((failed)); then exit 1; fi
}

main "$@"
