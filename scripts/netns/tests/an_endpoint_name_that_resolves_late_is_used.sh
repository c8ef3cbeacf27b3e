#!/usr/bin/env bash
# A client that starts before its endpoint's name resolves: until then nothing leaves beside the tunnel, afterwards it connects.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
hosts=/etc/netns/$(ns client)/hosts                      # `ip netns exec` shows it as /etc/hosts
mkdir -p "${hosts%/*}"
trap 'rm -rf "${hosts%/*}"; finish' EXIT
echo "127.0.0.1 localhost" >"$hosts"
init_server "gateway.test:$PORT"
add_client laptop
start_server

start_client laptop
wait_until 15 client_answers
expect_no_ping client $WEB
echo "$GATEWAY gateway.test" >>"$hosts"
expect_soon 30 "it connects once the name resolves" client_is_up
expect_ping client $GATEWAY_INSIDE
expect_match "the default route leads into the tunnel" 'dev vpn0' "$(in_ns client ip route get $WEB)"
