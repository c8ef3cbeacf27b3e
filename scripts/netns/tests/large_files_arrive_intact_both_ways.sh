#!/usr/bin/env bash
# 200 MB of random bytes down and up, compared by SHA-256.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

tunnel_up
start_web
head -c 200M /dev/urandom >"$(dir_of web)/file"
wanted=$(sha256 "$(dir_of web)/file")
FETCH_SECONDS=90

expect_equal "200 MB arrive intact at the client" "$wanted" "$(fetch "http://$WEB/file" | tee "$SCRATCH/copy" | sha256)"
fetch -T "$SCRATCH/copy" "http://$WEB/upload"
expect_equal "200 MB arrive intact at the web server" "$wanted" "$(sha256 "$(dir_of web)/upload")"
