#!/usr/bin/env bash
# A gateway without the nft command: the server uses iptables instead, and removes its rules again.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
mkdir "$SCRATCH/bin"
ln -sf -t "$SCRATCH/bin" /usr/local/bin/* /sbin/* /bin/* /usr/sbin/* /usr/bin/* 2>/dev/null || true
rm "$SCRATCH/bin/nft"
path_before=$PATH
init_server
add_client laptop
start_web

PATH=$SCRATCH/bin
expect_not "nft is out of reach" command -v nft
start_server
PATH=$path_before
start_client laptop
wait_up
expect_ping client $WEB
expect_equal "the web server sees the gateway" $GATEWAY "$(fetch "http://$WEB/whoami")"
expect_match "the translation is an iptables rule" '10\.66\.0\.0/16|vpn' "$(in_ns gateway iptables-save -t nat)"
stop server
expect_equal "no rule is left after the stop" '' "$(in_ns gateway iptables-save | grep -E '^-A' || true)"
