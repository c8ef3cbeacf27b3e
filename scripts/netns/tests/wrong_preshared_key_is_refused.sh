#!/usr/bin/env bash
# Same identities, different preshared keys: no session.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
init_server
add_client laptop
toml_unset "$(client_toml laptop)" peer preshared_key_file
toml_set "$(client_toml laptop)" peer preshared_key "\"$(on client vpn-client genpsk)\""
start_server
start_client laptop

sleep 6
expect_not "the client does not get a session" client_is_up
expect "the server shows none" \
  jq -e '.peers[] | select(.name == "laptop") | .state != "up"' <(server_status)
