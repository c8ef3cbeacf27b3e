#!/usr/bin/env bash
# Everything that must hold before a change is merged: format, lints, documentation, dependencies, tests, scripts,
# the end-to-end tests in network namespaces, and those with WireGuard implementations of others. Runs all stages even if
# one fails; exit status 1 if any did.
#
#   scripts/test.sh [--with-deny] [--with-kernel] [--no-netns]
#
#   --with-deny     installs cargo-deny if it is missing (takes minutes)
#   --with-kernel   also tests against the WireGuard of a Linux kernel, in a virtual machine (takes minutes)
#   --no-netns      leaves out the end-to-end tests (the only part that needs root)

# shellcheck source=scripts/netns/lab.sh
source "$(dirname "$0")/netns/lab.sh"
exec </dev/null

WITH_DENY='' WITH_KERNEL='' NETNS=yes
STAGES=()                                                # "state|seconds|name" for the summary
PASSED=0 FAILED=0                                        # tests, and checks that are not made of tests

main() {
  local option
  for option; do
    case $option in
      --with-deny) WITH_DENY=yes ;;
      --with-kernel) WITH_KERNEL=yes ;;
      --no-netns) NETNS='' ;;
      -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; return ;;
      *) die "unknown option $option; try --help" ;;
    esac
  done
  if [[ -n $NETNS ]]; then need_root "$@"; fi
  prepare
  cleanup_on_exit

  stage "cargo fmt" cargo_as_caller fmt --all --check
  stage "cargo clippy" cargo_as_caller clippy --locked --workspace --all-targets --all-features -- -D warnings
  stage "cargo doc" documentation
  other_platforms
  dependencies
  stage "cargo test" cargo_as_caller test --locked --workspace --all-features
  stage "shellcheck" scripts_are_clean
  stage "benchmark reports" python3 -B "$REPO/scripts/bench/test_report.py"
  if [[ -n $NETNS ]]; then
    # The development build, which `cargo test` has made for the tests of the programs: it checks for overflow. The demo runs
    # the release build. Most of the time of these tests is waiting.
    VPN_BIN_DIR=$REPO/target/debug stage "network namespaces" "$REPO/scripts/netns/run.sh" --jobs 3
    interoperation
    VPN_BIN_DIR=$REPO/target/debug stage "benchmark, smoke test" \
      "$REPO/scripts/bench.sh" --quick --no-build --only hybrid-chacha,wireguard --output "$SCRATCH/bench"
    if [[ -n $WITH_KERNEL ]]; then
      VPN_BIN_DIR=$REPO/target/debug stage "interoperation with the kernel" "$REPO/scripts/interop/kernel.sh"
    fi
  else
    skip "network namespaces" "--no-netns"
    skip "interoperation" "--no-netns"
  fi
  summary
}

# As below: tools that cannot be had are no fault of ours.
other_platforms() {
  local name="type check for macOS" status=0
  "$REPO/scripts/cross.sh" tools aarch64-apple-darwin || status=$?
  if ((status == 3)); then
    skip "$name" "the tools for it could not be had"
  else
    stage "$name" "$REPO/scripts/cross.sh" check aarch64-apple-darwin
  fi
}

# A registry that does not answer is no fault of ours: peers that cannot be had are named as skipped, here and in the summary.
interoperation() {
  step "WireGuard peers"
  if ! "$REPO/scripts/interop/peers.sh"; then
    STAGES+=("skipped|0|interoperation with a peer that could not be had")
  fi
  if compgen -G "${VPN_PEERS_DIR:-$REPO/target/peers}/bin/*" >/dev/null; then
    VPN_BIN_DIR=$REPO/target/debug stage "interoperation" "$REPO/scripts/interop/run.sh"
  fi
}

prepare() {
  step "Preparing"
  need_cargo
  need_packages cc:build-essential shellcheck:shellcheck
  if [[ -n $NETNS ]]; then need_packages "${LAB_PACKAGES[@]}" wg:wireguard-tools; fi
  local tool component
  for tool in cargo-fmt:rustfmt cargo-clippy:clippy; do
    component=${tool#*:}
    cargo_as_caller "${component/rustfmt/fmt}" --version >/dev/null 2>&1 && continue
    note "installing $component"
    run_as_caller rustup component add "$component" >/dev/null 2>&1 ||
      die "cargo finds no $component: install that component of your Rust toolchain"
  done
  if [[ -n $WITH_DENY ]] && ! cargo_as_caller deny --version >/dev/null 2>&1; then
    note "installing cargo-deny"
    run_as_caller cargo install --locked --quiet cargo-deny || die "cargo-deny could not be installed"
  fi
  pass "tools are there: $(cargo_as_caller --version)"
}

# stage NAME COMMAND...: runs it, shows its output as it comes, counts its tests (or itself, where it reports none).
stage() {
  local name=$1 from=$SECONDS status=0 log; shift
  log=$SCRATCH/stage
  step "$name"
  "$@" 2>&1 | tee "$log" || status=$?
  count_tests "$log" "$status"
  if ((status == 0)); then
    STAGES+=("ok|$((SECONDS - from))|$name")
  else
    STAGES+=("FAILED|$((SECONDS - from))|$name")
    printf '  %sFAILED%s  %s\n' "$RED" "$PLAIN" "$name"
  fi
}

skip() {
  step "$1"
  warn "skipped: $2"
  STAGES+=("skipped|0|$1 ($2)")
}

# count_tests LOG STATUS: adds up every "N passed" and "N failed" of cargo test and of the runners of end-to-end tests.
count_tests() {
  local passed failed
  passed=$(sum_of passed "$1")
  failed=$(sum_of failed "$1")
  if ((passed + failed == 0)); then                      # a stage without tests is one check
    if (($2 == 0)); then passed=1; else failed=1; fi
  elif (($2 != 0 && failed == 0)); then
    failed=1                                             # it broke before it could count, for example while compiling
  fi
  PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed))
}

sum_of() {
  awk -v word="$1" '/^(test result:|network namespace tests:|interoperation tests:)/ {
    for (i = 2; i <= NF; i++) if (index($i, word) == 1) n += $(i - 1)
  } END { print n + 0 }' "$2"
}

documentation() {
  (cd "$REPO" && run_as_caller env RUSTDOCFLAGS="-D warnings" "$CARGO" doc --locked --workspace --all-features --no-deps)
}

dependencies() {
  if ! cargo_as_caller deny --version >/dev/null 2>&1; then
    skip "cargo deny" "cargo-deny is not installed; --with-deny installs it"
  elif [[ ! -e $REPO/deny.toml ]]; then
    skip "cargo deny" "there is no deny.toml"
  else
    stage "cargo deny" cargo_as_caller deny --workspace check licenses bans sources
  fi
}

scripts_are_clean() {
  # Each follows what it sources, so the libraries are read again for every file: on all processors.
  (cd "$REPO" && find scripts .ci/run -name '*.sh' -o -name run | sort | xargs -P "$(nproc)" -n 8 shellcheck)
}

summary() {
  local row state seconds name
  step "Summary"
  for row in "${STAGES[@]}"; do
    IFS='|' read -r state seconds name <<<"$row"
    printf '  %-8s %5s s  %s\n' "$state" "$seconds" "$name"
  done
  printf '\n%d passed, %d failed\n' "$PASSED" "$FAILED"
  if ((FAILED)); then exit 1; fi
}

main "$@"
