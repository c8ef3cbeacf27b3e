#!/usr/bin/env bash
# One host is a gateway and has a client with a default route. The gateway's datagrams stay out of that tunnel, whichever of the two starts
# first, and also where nothing else that comes in is answered.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

own=$SCRATCH/own
gateway_there() { on client vpn-server "$@" -c "$own/server.toml"; }
start_gateway_there() {
  run_on client own vpn-server run -c "$own/server.toml"
  wait_until 10 gateway_there status --json || die "the second gateway does not start"
}
reaches_it() { ping_once second 10.77.0.1; }

lab_up
add_client_node second
init_server
add_client laptop
toml_set "$(client_toml laptop)" interface inbound '"refuse"'
start_server
on client vpn-server init --dir "$own" --endpoint 192.0.2.2:51821 --pool 10.77.0.0/16 >>"$(log_of init)" 2>&1
toml_set "$own/server.toml" interface name '"vpn1"'
toml_set "$own/server.toml" interface listen '"[::]:51821"'
gateway_there client add guest --out "$SCRATCH/guest.toml" >>"$(log_of init)" 2>&1
toml_set "$SCRATCH/guest.toml" peer allowed_ips '["10.77.0.0/16"]'

start_gateway_there
start_client laptop
expect_soon 10 "the tunnel is up" ping_once client $WEB
start_client guest second
expect_soon 10 "a client of the gateway on the same host connects" reaches_it
stop own
stop guest
start_gateway_there
start_client guest second
expect_soon 10 "and again, when the gateway has started after the tunnel" reaches_it
