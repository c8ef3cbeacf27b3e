#!/usr/bin/env bash
# TCP at full speed, with all that the kernel merges and splits on the way: 50 MB down and up, compared by SHA-256.
# shellcheck source=scripts/interop/lab.sh
source "$(dirname "$0")/../lab.sh"
not_for kernel "there is no web server in the machine"

pair_up
mkdir -p "$(dir_of web)"
spawn theirs web python3 "$REPO/scripts/netns/web_server.py" "$(dir_of web)"
head -c 50M /dev/urandom >"$(dir_of web)/file"
wanted=$(sha256 "$(dir_of web)/file")
fetch_inside() { in_ns ours curl -sS --fail --max-time 60 "$@"; }
for address in "$(inside theirs)" "[$(inside6 theirs)]"; do
  expect_soon 10 "the web server answers" fetch_inside -o /dev/null "http://$address/whoami"
  expect_equal "down from $address" "$wanted" "$(fetch_inside "http://$address/file" | tee "$SCRATCH/copy" | sha256)"
  fetch_inside -T "$SCRATCH/copy" "http://$address/upload"
  expect_equal "up to $address" "$wanted" "$(sha256 "$(dir_of web)/upload")"
done
