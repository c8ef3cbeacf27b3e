#!/usr/bin/env bash
# Builds for another platform from this one. Nothing is left outside target/cross.
#
#   scripts/cross.sh check [TARGET] [CARGO ARGUMENTS...]   type check, lints included, of libraries and programs;
#                                                          aarch64-apple-darwin if no target is given
#   scripts/cross.sh test  [TARGET] [CARGO ARGUMENTS...]   unit tests and simulation, under qemu-user;
#                                                          aarch64-unknown-linux-gnu if no target is given
#   scripts/cross.sh tools [TARGET]                        brings what a check needs, and no more
#
# C code that crates bring along (aws-lc) is compiled with zig, which knows the C library of every target. Exit status 3 if
# the tools cannot be had, because a registry does not answer: that says nothing about the code.

# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
exec </dev/null

# What builds for another platform, from PyPI.
TOOL_VERSIONS=(ziglang==0.17.1 cargo-zigbuild==0.24.1)
# The oldest C library that the tests are linked for: that of Debian 12.
GLIBC=2.36

CROSS=$REPO/target/cross
TOOLS=$CROSS/tools
SETTINGS=("CARGO_TARGET_DIR=$CROSS")

main() {
  local verb=${1:-} target=${2:-}
  shift; shift || true
  case $verb in
    check) check "${target:-aarch64-apple-darwin}" "$@" ;;
    test) emulate "${target:-aarch64-unknown-linux-gnu}" "$@" ;;
    tools) bring_tools "${target:-aarch64-apple-darwin}" ;;
    -h | --help) sed -n '2,12s/^# \{0,1\}//p' "$0" ;;
    *) die "say check, test or tools; try --help" ;;
  esac
}

check() {
  local target=$1; shift
  bring_tools "$target"
  zigbuild clippy --locked --workspace --lib --bins --all-features --target "$target" "$@" -- -D warnings
  pass "$target: type-checked, not run"
}

emulate() {
  local target=$1 arch=${1%%-*} sysroot=/usr/${1/unknown-/} runner; shift
  bring_tools "$target"
  need_packages "qemu-$arch-static:qemu-user-static"
  [[ -d $sysroot ]] || need_packages "$sysroot:libc6-${arch/aarch64/arm64}-cross"
  runner=CARGO_TARGET_${target^^}_RUNNER
  SETTINGS+=("${runner//-/_}=qemu-$arch-static -L $sysroot")
  # Tests of real devices need a kernel of that architecture, and are left out; so are those of marked sockets, an option that
  # qemu-user does not know.
  zigbuild test --locked -p vpn_proto -p vpn_engine -p vpn_system -p vpn_core --all-features --target "$target.$GLIBC" --lib --test simulation "$@" \
    -- --skip dns::lookup::tests
}

# bring_tools TARGET: the pinned tools and the standard library of the target; ends with status 3 without them.
bring_tools() {
  need_cargo
  local wanted="${TOOL_VERSIONS[*]}"
  if [[ $(cat "$TOOLS/versions" 2>/dev/null) != "$wanted" ]]; then
    python3 -c 'import ensurepip' 2>/dev/null || need_packages "python3 -m ensurepip:python3-venv"
    note "installing $wanted"
    # shellcheck disable=SC2016  # the inner shell expands them
    run_as_caller sh -c 'python3 -m venv --clear "$0" && "$0/bin/pip" install -q --disable-pip-version-check "$@" &&
      echo "$*" >"$0/versions"' "$TOOLS" "${TOOL_VERSIONS[@]}" || unavailable "PyPI does not give $wanted"
  fi
  run_as_caller rustup target list --installed | grep -qx "$1" ||
    run_as_caller rustup --quiet target add "$1" || unavailable "rustup does not give the target $1"
}

# Cargo itself, with tools that know how to compile and link for the target.
zigbuild() {
  (cd "$REPO" && run_as_caller env "PATH=$TOOLS/bin:${CARGO%/*}:$PATH" "${SETTINGS[@]}" cargo-zigbuild "$@")
}

unavailable() { warn "$*"; exit 3; }

main "$@"
