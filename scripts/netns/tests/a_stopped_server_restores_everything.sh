#!/usr/bin/env bash
# SIGTERM to the server, with somebody else's nft rules and settings in place: those stay, ours go.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
in_ns gateway nft -f - <<'RULES'
table inet somebody_elses {
  chain forward { type filter hook forward priority 10; policy accept; tcp dport 25 drop; }
}
RULES
init_server
add_client laptop
before=$(kernel_state gateway)

start_server
start_client laptop
wait_up
expect_ping client $WEB
expect_not "the running server has changed something (or this test proves nothing)" \
  test "$before" = "$(kernel_state gateway)"
stop laptop
stop server
expect_same_state "rules, routes, links, nft ruleset and sysctls are as before" "$before" gateway
