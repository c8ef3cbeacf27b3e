#!/usr/bin/env bash
# client_to_client = false: clients reach the gateway and the internet, but not each other.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

two_clients_up false

expect_ping client $GATEWAY_INSIDE
expect_ping client $WEB
expect_no_ping client "$(address4_of phone)"
expect_no_ping second "$(address4_of laptop)"
expect_no_ping client "$(address6_of phone)"
