#!/usr/bin/env bash
# Different preshared keys, and one on one side only, whoever initiates: no session, no traffic.
# shellcheck source=scripts/interop/lab.sh
source "$(dirname "$0")/../lab.sh"

start_pair
(umask 077; wg genpsk >"$SCRATCH/psk"; wg genpsk >"$SCRATCH/other"; : >"$SCRATCH/none")
for keys in "psk other" "psk none" "none psk"; do
  read -r here there <<<"$keys"

  introduce ours theirs preshared-key "$SCRATCH/$here"
  introduce theirs ours preshared-key "$SCRATCH/$there" endpoint "$(endpoint_of ours)"
  expect_no_ping theirs "$(inside ours)"
  expect_equal "ours knows of no handshake" 0 "$(last_handshake ours theirs)"
  part

  introduce theirs ours preshared-key "$SCRATCH/$there"
  introduce ours theirs preshared-key "$SCRATCH/$here" endpoint "$(endpoint_of theirs)"
  expect_no_ping ours "$(inside theirs)"
  expect_equal "ours knows of no handshake" 0 "$(last_handshake ours theirs)"
  part
done
