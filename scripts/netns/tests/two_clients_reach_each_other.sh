#!/usr/bin/env bash
# client_to_client = true: the gateway forwards between its clients.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

two_clients_up true

expect_ping client "$(address4_of phone)"
expect_ping second "$(address4_of laptop)"
expect_ping client "$(address6_of phone)"
