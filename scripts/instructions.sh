#!/usr/bin/env bash
# Counts the instructions of the packet path under callgrind and compares them with vpn_core/benches/instructions/counts.txt, so
# that a regression shows on a machine too noisy for a clock. Leaves everything as it is where valgrind is missing.
#
#   scripts/instructions.sh [--update] [NAME...]     NAME may be a part of a workload's name; --update stores all the counts
#
# Exit status 1 if something takes over 2 % more than is stored. Counts change with the compiler, with libraries and with the
# CPU's instruction sets (valgrind knows none beyond AVX2); who changes one of those stores them anew.

# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

STORED=$REPO/vpn_core/benches/instructions/counts.txt
TOLERANCE=2                                              # per cent
UPDATE='' WORSE=0 BETTER=0

main() {
  local names=()
  while (($#)); do
    case $1 in
      --update) UPDATE=yes ;;
      -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; return ;;
      -*) die "unknown option $1; try --help" ;;
      *) names+=("$1") ;;
    esac
    shift
  done
  if [[ -n $UPDATE ]] && ((${#names[@]})); then die "--update stores all counts: name none"; fi
  if ! command -v valgrind >/dev/null; then warn "skipped: valgrind is not installed"; return; fi
  need_packages jq:jq
  need_cargo
  cleanup_on_exit

  step "Build (cargo bench --no-run)"
  local program; program=$(built)
  [[ -x $program ]] || die "cargo did not say where the program is"
  step "Instructions"
  count_all "$program" "${names[@]}" >"$SCRATCH/counts"
  if [[ -n $UPDATE ]]; then store; else compare; fi
}

built() {
  cargo_as_caller bench --locked -p vpn_core --bench instructions --no-run --message-format=json |
    jq -r 'select(.reason == "compiler-artifact" and .target.name == "instructions") | .executable'
}

# count_all PROGRAM [NAME...]: a line "workload elements instructions" each.
count_all() {
  local program=$1 name elements; shift
  while read -r name elements; do
    if selected "$name" "$@"; then echo "$name $elements $(count "$program" "$name")"; fi
  done < <("$program")
}

selected() {
  local name=$1 part; shift
  (($#)) || return 0
  for part; do [[ $name == *$part* ]] && return 0; done
  return 1
}

count() {
  local log=$SCRATCH/valgrind instructions
  valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect='*measured_region*' "$1" "$2" >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; die "valgrind failed on $2"; }
  instructions=$(awk '/Collected *:/ { print $NF }' "$log")
  ((instructions > 0)) || die "nothing was counted for $2"
  echo "$instructions"
}

store() {
  {
    echo "# Instructions of one job each, by scripts/instructions.sh --update: workload, elements in a job, instructions."
    made_by
    cat "$SCRATCH/counts"
  } >"$STORED"
  compare
  note "stored in ${STORED#"$REPO/"}"
}

# made_by: what counts depend on beside our own code, as one line of the file.
made_by() {
  local sets; sets=$(grep -m 1 -oE '\b(aes|pclmulqdq|avx2|pmull|sha2)\b' /proc/cpuinfo | sort -u | tr '\n' ' ')
  printf '# with %s, %s, %s\n' "$(run_as_caller rustc --version | cut -d' ' -f1,2)" "$(uname -m)" "${sets% }"
}

compare() {
  [[ -e $STORED ]] || die "there are no stored counts: --update makes them"
  if [[ $(sed -n 2p "$STORED") != "$(made_by)" ]]; then
    warn "stored ${STORED##*/} was made otherwise:$(sed -n '2s/^#//p' "$STORED"); here it is$(made_by | tr -d '#')"
  fi
  printf '  %-34s %14s %14s %12s %9s\n' workload stored now "each" change
  local name elements now stored
  while read -r name elements now; do
    stored=$(awk -v name="$name" '$1 == name { print $3 }' "$STORED")
    show "$name" "$elements" "$now" "$stored"
  done <"$SCRATCH/counts"
  if ((BETTER)); then note "$BETTER better than stored: keep that with --update"; fi
  if ((WORSE)); then die "$WORSE worse than stored by over $TOLERANCE %"; fi
}

# show NAME ELEMENTS NOW STORED: a line of the table.
show() {
  local change=new colour='' thousandths
  if [[ -n $4 ]]; then
    thousandths=$((($3 - $4) * 1000 / $4))
    change=$(awk -v now="$3" -v was="$4" 'BEGIN { printf "%+.1f %%", (now - was) * 100 / was }')
    if ((thousandths > TOLERANCE * 10)); then WORSE=$((WORSE + 1)) colour=$RED
    elif ((thousandths < -TOLERANCE * 10)); then BETTER=$((BETTER + 1)) colour=$GREEN; fi
  fi
  printf '  %-34s %14s %14s %12s %s%9s%s\n' "$1" "${4:--}" "$3" $(($3 / $2)) "$colour" "$change" "$PLAIN"
}

main "$@"
