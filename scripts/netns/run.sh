#!/usr/bin/env bash
# End-to-end tests in network namespaces: runs the files in tests/ (all, or those named), one after the other.
#
#   scripts/netns/run.sh [--keep-logs DIR] [NAME...]     NAME may be a part of a file's name
#
# Each test has its own namespaces and TEST_SECONDS (300) to end. What one prints is shown only if it fails.

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/netns/lab.sh
source "$here/lab.sh"

main() {
  local keep='' names=()
  while (($#)); do
    case $1 in
      --keep-logs) keep=$(realpath -m "${2:?--keep-logs needs a directory}"); shift 2 ;;
      -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; return ;;
      -*) die "unknown option $1; try --help" ;;
      *) names+=("$1"); shift ;;
    esac
  done
  need_root ${keep:+--keep-logs "$keep"} "${names[@]}"
  need_packages "${LAB_PACKAGES[@]}"
  need_programs
  cleanup_on_exit

  local test passed=0 failed=0 started=$SECONDS
  for test in "$here"/tests/*.sh; do
    selected "$test" "${names[@]}" || continue
    if run_test "$test" "$keep"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
  done
  ((passed + failed)) || die "no test is called that"
  printf '\nnetwork namespace tests: %d passed, %d failed in %d s\n' "$passed" "$failed" $((SECONDS - started))
  if ((failed)); then exit 1; fi
}

selected() {
  local test=$1 name; shift
  (($#)) || return 0
  for name; do [[ $(basename "$test" .sh) == *$name* ]] && return 0; done
  return 1
}

# run_test FILE KEEP: under `timeout`, with a LAB_ID of its own, so that even after a kill -9 its remains can be found.
run_test() {
  local name started=$EPOCHREALTIME status=0 lab seconds
  name=$(basename "$1" .sh)
  lab=$$-$((TESTS_RUN += 1))
  LAB_ID=$lab LAB_KEEP_LOGS=${2:+$2/$name} TMPDIR=$SCRATCH \
    timeout --kill-after=20 "${TEST_SECONDS:-300}" bash "$1" >"$SCRATCH/$name.out" 2>&1 </dev/null || status=$?
  (LAB_ID=$lab remove_lab) || true
  seconds=$(awk -v a="$started" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
  if ((status == 0)); then
    pass "$name ($seconds s)"
    return 0
  fi
  ((status == 124)) && echo "  ended after ${TEST_SECONDS:-300} s without a result" >>"$SCRATCH/$name.out"
  printf '  %sFAILED%s  %s (%s s)\n' "$RED" "$PLAIN" "$name" "$seconds"
  sed 's/^/        /' "$SCRATCH/$name.out"
  if [[ -n $2 ]]; then mkdir -p "$2/$name"; cp "$SCRATCH/$name.out" "$2/$name/output"; fi
  return 1
}

TESTS_RUN=0
main "$@"
