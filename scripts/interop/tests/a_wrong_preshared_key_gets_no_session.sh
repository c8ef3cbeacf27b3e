#!/usr/bin/env bash
# Different preshared keys, and one on one side only, whoever initiates: no session, no traffic.
# shellcheck source=scripts/interop/lab.sh
source "$(dirname "$0")/../lab.sh"

start_pair
(umask 077; wg genpsk >"$SCRATCH/psk"; wg genpsk >"$SCRATCH/other"; : >"$SCRATCH/none")
for keys in "psk other" "psk none" "none psk"; do
  read -r here there <<<"$keys"
  for initiator in ours theirs; do
    responder=$([[ $initiator == ours ]] && echo theirs || echo ours)
    introduce ours theirs preshared-key "$SCRATCH/$here"
    introduce theirs ours preshared-key "$SCRATCH/$there"
    wg set "$(interface_of $initiator)" peer "$(public_key "$responder")" endpoint "$(endpoint_of "$responder")"
    expect_not "$initiator with $here and $there gets through" in_ns $initiator ping -q -c 3 -i 0.2 -W 1 "$(inside "$responder")"
    expect_equal "ours knows of no handshake" 0 "$(last_handshake ours theirs)"
    part
  done
done
