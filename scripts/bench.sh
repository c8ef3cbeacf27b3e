#!/usr/bin/env bash
# Measures the tunnel beside other userspace ones: throughput, loss, packet rate, delay, processor time and memory of
# pairs of programs in two network namespaces on a cable. All subjects take turns, so that drift of the machine hits all.
#
#   scripts/bench.sh [--rounds N] [--seconds N] [--only A,B] [--output DIR] [--udp-rate RATE] [--quick] [--no-build] [--publish]
#
#   --rounds N       so many times every subject (7)
#   --seconds N      duration of each of the seven transfers of a subject and round (4)
#   --only A,B       these subjects: hybrid-aes hybrid-chacha wireguard (ours), wireguard-go boringtun gotatun, and null-cipher
#   --output DIR     results.jsonl, table.md and chart.svg go there (target/bench)
#   --udp-rate RATE  of the datagrams whose loss is counted, as iperf3 takes it (500M)
#   --quick          one round of one second: shows that everything runs, its figures mean nothing
#   --no-build       takes the programs of target/release, or of VPN_BIN_DIR, as they are
#   --publish        measures the floor and the memory too, and puts all of it into docs/performance.md
#
# Others come from VPN_PEERS_DIR/bin (target/peers/bin); one that is missing is left out. null-cipher is the floor: what the
# tunnel would cost without encryption. It is built apart, in target/floor, and measured only when named.

# shellcheck source=scripts/bench/pair.sh
source "$(dirname "$0")/bench/pair.sh"

ROUNDS=7 SECONDS_EACH=4 UDP_RATE=500M OUTPUT=$REPO/target/bench ONLY='' QUICK='' BUILD=yes PUBLISH=''
PAIR=''                                                  # process id of the pair that is being measured
PAIRS=0 FAILED=0

main() {
  read_options "$@"
  need_root "$@"
  need_packages "${LAB_PACKAGES[@]}" wg:wireguard-tools
  cleanup_on_exit
  local subjects wanted=()
  IFS=, read -ra wanted <<<"$ONLY"
  if [[ -n $BUILD ]]; then build "${wanted[@]}"; fi
  need_programs
  mapfile -t subjects < <(choose "${wanted[@]}")
  ((${#subjects[@]})) || die "none of these subjects can be measured here"
  mkdir -p "$OUTPUT"
  : >"$OUTPUT/results.jsonl"
  describe_run "${subjects[@]}" >>"$OUTPUT/results.jsonl"
  measure_all "${subjects[@]}"
  report
  if ((FAILED)); then exit 1; fi
}

read_options() {
  local given=("$@")
  while (($#)); do
    case $1 in
      --rounds) ROUNDS=${2:?--rounds needs a number}; shift ;;
      --seconds) SECONDS_EACH=${2:?--seconds needs a number}; shift ;;
      --only) ONLY=${2:?--only needs names}; shift ;;
      --output) OUTPUT=$(realpath -m "${2:?--output needs a directory}"); shift ;;
      --udp-rate) UDP_RATE=${2:?--udp-rate needs a rate}; shift ;;
      --quick) ROUNDS=1 SECONDS_EACH=1 QUICK=yes ;;
      --no-build) BUILD='' ;;
      --publish) PUBLISH=yes ;;
      -h | --help) sed -n '2,18s/^# \{0,1\}//p' "$0"; exit 0 ;;
      *) die "unknown option $1 in: ${given[*]}; try --help" ;;
    esac
    shift
  done
  [[ $ROUNDS =~ ^[1-9][0-9]*$ && $SECONDS_EACH =~ ^[1-9][0-9]*$ ]] || die "--rounds and --seconds are whole numbers above 0"
  if [[ -n $PUBLISH ]]; then
    [[ -z $QUICK$ONLY ]] || die "--publish wants all subjects and full rounds"
    printf -v ONLY '%s,' "${SUBJECTS[@]}" null-cipher
    if why_not wireguard-go >/dev/null; then die "the others are missing: run scripts/interop/peers.sh first"; fi
  fi
}

build() {
  step "Build (cargo build --release)"
  need_cargo
  need_packages cc:build-essential
  cargo_as_caller build --release --locked --bin vpn-server --bin vpn-client
  if [[ " $* " == *" null-cipher "* ]]; then "$REPO/scripts/bench/floor.sh"; fi
}

# choose [NAME...]: those of them that can be measured here; all of them if none is named, except the floor.
choose() {
  local names=("$@") name reason
  ((${#names[@]})) || names=("${SUBJECTS[@]}")
  for name in "${names[@]}"; do
    if ! is_subject "$name"; then die "no subject is called $name; try --help"; fi
    if reason=$(why_not "$name"); then warn "$name is left out: $reason"; else echo "$name"; fi
  done
}

# describe_run SUBJECT...: the first line of the results.
describe_run() {
  local subject versions=()
  for subject; do versions+=("$subject=$(version_of "$subject")"); done
  python3 "$REPO/scripts/bench/readings.py" run "$ROUNDS" "$SECONDS_EACH" "$UDP_RATE" "${versions[@]}"
}

# measure_all SUBJECT...: round by round; each round begins with another subject.
measure_all() {
  local subjects=("$@") count=$# round turn subject from=$SECONDS
  for ((round = 1; round <= ROUNDS; round++)); do
    step "Round $round of $ROUNDS"
    for ((turn = 0; turn < count; turn++)); do
      subject=${subjects[(round - 1 + turn) % count]}
      measure_one "$subject" "$round"
    done
  done
  note "$PAIRS pairs in $((SECONDS - from)) s, $FAILED of them failed"
}

# measure_one SUBJECT ROUND: in a process and with a LAB_ID of its own; a failure costs this pair only.
measure_one() {
  local from=$SECONDS status=0 lines=$SCRATCH/lines.jsonl said=$SCRATCH/pair.out
  PAIRS=$((PAIRS + 1))
  : >"$lines"
  # In the background, because a trap waits for what is in the foreground.
  LAB_ID=$LAB_ID-$PAIRS TMPDIR=$SCRATCH bash "$REPO/scripts/bench/pair.sh" "$1" "$2" "$SECONDS_EACH" "$UDP_RATE" "$lines" \
    >"$said" 2>&1 </dev/null &
  PAIR=$!
  wait "$PAIR" || status=$?
  PAIR=''
  if ((status)); then
    FAILED=$((FAILED + 1))
    warn "$1 failed in round $2 (status $status); its figures of this round are left out"
    sed 's/^/        /' "$said" >&2
    return
  fi
  cat "$lines" >>"$OUTPUT/results.jsonl"
  pass "$(printf '%-14s' "$1") $(tail -n 1 "$said") ($((SECONDS - from)) s)"
}

report() {
  local results=$OUTPUT/results.jsonl
  python3 -B "$REPO/scripts/bench/report.py" table "$results" >"$OUTPUT/table.md"
  python3 -B "$REPO/scripts/bench/report.py" chart "$results" >"$OUTPUT/chart.svg"
  step "Result"
  cat "$OUTPUT/table.md"
  if [[ -n $PUBLISH ]]; then publish; fi
  note "everything is in $OUTPUT"
}

publish() {
  ((FAILED == 0)) || die "not published: a pair failed"
  step "Memory"
  "$REPO/scripts/bench/memory.sh" | tee "$OUTPUT/memory.md"
  { echo '![The same as a chart](performance.svg)'; echo; cat "$OUTPUT/table.md"; } | into_document figures
  into_document memory <"$OUTPUT/memory.md"
  cp "$OUTPUT/chart.svg" "$REPO/docs/performance.svg"
}

into_document() { python3 -B "$REPO/scripts/bench/report.py" publish "$1" "$REPO/docs/performance.md"; }

# before_removal: what `finish` does first: the pair gets the word to clean up after itself.
before_removal() {
  [[ -n $PAIR ]] || return 0
  kill -TERM "$PAIR" 2>/dev/null
  remove_lab 2>/dev/null                                 # ends what the pair waits for, while it does the same
  wait "$PAIR"
}

main "$@"
