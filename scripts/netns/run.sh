#!/usr/bin/env bash
# End-to-end tests in network namespaces: runs the files in tests/ (all, or those named).
#
#   scripts/netns/run.sh [--keep-logs DIR] [--jobs N] [NAME...]     NAME may be a part of a file's name; N at a time, 1 by default
#
# Each test has its own namespaces and TEST_SECONDS (300) to end. What one prints is shown only if it fails.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/netns/lab.sh
source "$here/lab.sh"

main() {
  local keep='' jobs=1 names=()
  while (($#)); do
    case $1 in
      --keep-logs) keep=$(realpath -m "${2:?--keep-logs needs a directory}"); shift 2 ;;
      --jobs) jobs=${2:?--jobs needs a number}; shift 2 ;;
      -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; return ;;
      -*) die "unknown option $1; try --help" ;;
      *) names+=("$1"); shift ;;
    esac
  done
  need_root ${keep:+--keep-logs "$keep"} --jobs "$jobs" "${names[@]}"
  need_packages "${LAB_PACKAGES[@]}"
  need_programs
  cleanup_on_exit

  local test lab number=0 started=$SECONDS
  for test in "$here"/tests/*.sh; do
    selected "$test" "${names[@]}" || continue
    lab=$$-$((number += 1))
    ((number <= jobs)) || wait -n || true
    { run_test "$test" "$lab" "$keep" && touch "$SCRATCH/$lab.passed"; } &
  done
  wait || true
  local passed; passed=$(find "$SCRATCH" -maxdepth 1 -name '*.passed' | wc -l)
  ((number)) || die "no test is called that"
  printf '\nnetwork namespace tests: %d passed, %d failed in %d s\n' "$passed" $((number - passed)) $((SECONDS - started))
  if ((passed < number)); then exit 1; fi
}

# However this ends, so do the tests that still run.
before_removal() {
  local job
  for job in $(jobs -p); do pkill -TERM -P "$job"; done
}

selected() {
  local test=$1 name; shift
  (($#)) || return 0
  for name; do [[ $(basename "$test" .sh) == *$name* ]] && return 0; done
  return 1
}

# run_test FILE LAB KEEP: under `timeout`, with a LAB_ID of its own, so that even after a kill -9 its remains can be found.
run_test() {
  local name started=$EPOCHREALTIME status=0 seconds
  name=$(basename "$1" .sh)
  LAB_ID=$2 LAB_KEEP_LOGS=${3:+$3/$name} TMPDIR=$SCRATCH \
    timeout --kill-after=20 "${TEST_SECONDS:-300}" bash "$1" >"$SCRATCH/$name.out" 2>&1 </dev/null || status=$?
  (LAB_ID=$2 remove_lab) || true
  seconds=$(awk -v a="$started" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
  if ((status == 0)); then
    pass "$name ($seconds s)"
    return 0
  fi
  ((status == 124)) && echo "  ended after ${TEST_SECONDS:-300} s without a result" >>"$SCRATCH/$name.out"
  # In one piece: others may be reporting as well.
  printf '  %sFAILED%s  %s (%s s)\n%s\n' "$RED" "$PLAIN" "$name" "$seconds" "$(sed 's/^/        /' "$SCRATCH/$name.out")"
  if [[ -n $3 ]]; then mkdir -p "$3/$name"; cp "$SCRATCH/$name.out" "$3/$name/output"; fi
  return 1
}

main "$@"
