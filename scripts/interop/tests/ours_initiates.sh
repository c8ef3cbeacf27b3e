#!/usr/bin/env bash
# The other side knows no endpoint and only answers: over IPv4 and IPv6, with and without a preshared key.
# shellcheck source=scripts/interop/lab.sh
source "$(dirname "$0")/../lab.sh"

start_pair
(umask 077; wg genpsk >"$SCRATCH/psk")
for family in 4 6; do
  # wireguard-go of 2025 garbles IPv6 addresses once it has sent to an IPv4 one.
  if ((family == 6)); then kill_and_restart ours theirs; fi
  for psk in /dev/null "$SCRATCH/psk"; do
    introduce theirs ours preshared-key "$psk"
    introduce ours theirs preshared-key "$psk" endpoint "$(endpoint_of theirs $family)"
    expect_soon 10 "a session over IPv$family, preshared key: $(basename "$psk")" ping_once ours "$(inside theirs)"
    expect_ping ours "$(inside theirs)"
    expect_ping theirs "$(inside6 ours)"
    expect "the other side knows of a handshake" handshake_is_newer theirs ours 0
    part
  done
done
