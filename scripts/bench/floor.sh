#!/usr/bin/env bash
# Builds the floor of the benchmarks: our programs without encryption, otherwise as in a release, into target/floor/floor.
# They say so in their log and in their status ("suite": "none"). For scripts/bench.sh --only null-cipher,...
#
#   scripts/bench/floor.sh

# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/../lib.sh"

need_cargo
need_packages cc:build-essential
cd "$REPO"
run_as_caller env RUSTFLAGS="--cfg null_cipher" \
  "$CARGO" build --locked --profile floor --target-dir target/floor --bin vpn-server --bin vpn-client
