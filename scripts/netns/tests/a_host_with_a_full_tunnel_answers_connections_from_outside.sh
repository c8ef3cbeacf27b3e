#!/usr/bin/env bash
# A rented server runs a client with a default route. Connections that come in at its own address, such as SSH, go on, and new ones are
# answered: in both families, also in the one that the tunnel lacks, and with `inbound` alone. What the host begins itself takes the tunnel.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

HOST=192.0.2.2 HOST6=2001:db8:1::2 SERVICE=22
ask() { in_ns web python3 "$REPO/scripts/netns/answering.py" ask "$@"; }
inbound() { client_status | jq -r .interface.inbound; }
host() { ip -n "$(ns client)" "$@"; }
# binds LABEL PROGRAM ADDRESS PORT: a program of that name has a UDP socket there.
BIND='import socket, sys, time; s = socket.socket(type=socket.SOCK_DGRAM); s.setsockopt(1, 2, 1); s.bind((sys.argv[1], int(sys.argv[3]))); time.sleep(99)'
PYTHON=$(python3 -c 'import sys; print(sys.executable)')
# shellcheck disable=SC2016 # The inner shell expands them.
binds() { spawn client "$1" bash -c 'exec -a "$0" "$1" -c "$2" "$3" -host-port "$4"' "$2" "$PYTHON" "$BIND" "$3" "$4"; }
beside() { in_ns client curl -s --max-time 3 "http://$WEB/whoami"; }
warnings() { client_status | jq -r '.interface.warnings[]?'; }
notes() { client_status | jq -r '.interface.notes[]?'; }
notes_port() { notes | grep -qE "by UDP may get no answer.*: port $1: nothing"; }
notes_nothing() { [[ -z $(notes) ]]; }
is_silent() { [[ -z $(warnings) ]]; }
reload() { kill -HUP "${PID[laptop]}"; }
says() { [[ $(inbound) == "$1" ]]; }

lab_up
init_server
add_client laptop
start_server
start_web
start_script client service serving answering.py serve $SERVICE $HOST
before=$(kernel_state client)
# Connection tracking is off until the tunnel's tables ask for it.
start_script web talk talking answering.py talk $HOST $SERVICE
start_script web talk6 talking answering.py talk $HOST6 $SERVICE
start_client laptop
wait_up
expect_match "the log says so, and why" 'answered beside the tunnel.*SSH session from 203.0.113.2' "$(<"$(log_of laptop)")"
expect "new connections are answered" ask $HOST $SERVICE
expect "over IPv6 as well" ask $HOST6 $SERVICE
expect "so are pings" in_ns web ping -q -c 1 -W 1 $HOST
expect "and datagrams" ask $HOST $SERVICE udp
expect_equal "what the host begins itself takes the tunnel" $GATEWAY "$(beside)"

expect "there is nothing to tell" is_silent
start_script client anywhere serving answering.py serve 5300 0.0.0.0
expect_not "a UDP service on all addresses is not answered" ask $HOST 5300 udp
expect_soon 25 "which the status notes" notes_port 5300
expect "and is no warning" is_silent
expect_match "doctor notes it" 'note +tunnel +vpn0: .*by UDP may get no answer.*: port 5300: nothing' "$(on client vpn-client doctor || true)"
stop anywhere

# Sockets on all addresses that ask for nothing, or are answered: the kernel's, a published port's, and one beside a socket at the host's address.
host link add flannel.1 type vxlan id 1 dev eth0 dstport 8472
host link add other.1 type vxlan id 2 dev eth0 dstport 5301
host link set flannel.1 up
host link set other.1 up
binds published docker-proxy 0.0.0.0 5302
binds bound named $HOST 5303
binds bound_too named 0.0.0.0 5303
# Nobody outside asks at the address of a bridge for virtual machines.
host link add virbr0 type bridge
host addr add 192.168.122.1/24 dev virbr0
binds inner dnsmasq 192.168.122.1 5304
binds public named 0.0.0.0 5304
expect_soon 25 "one beside a socket at an inner address is noted, and none that needs no note" notes_port 5304
for device in flannel.1 other.1 virbr0; do host link del $device; done
stop public
start_script client anywhere serving answering.py serve 5300 0.0.0.0

in_ns client nft flush ruleset
expect_soon 5 "after the firewall was cleared, too" ask $HOST $SERVICE
expect_equal "which it did not leave" $GATEWAY "$(beside)"
sleep 1
expect_not "the connections from before are still there" grep -h answered "$(log_of talk)" "$(log_of talk6)"

toml_set "$(client_toml laptop)" interface inbound '"refuse"'
reload
expect_soon 5 "a reload refuses" says refuse
expect_soon 25 "and has nothing to note of UDP" notes_nothing
expect_not "what comes in then" ask $HOST $SERVICE
toml_set "$(client_toml laptop)" interface inbound '"allow"'
reload
expect_soon 5 "and another allows it" says allow
expect "as before" ask $HOST $SERVICE
stop laptop
expect_same_state "all is as it was" "$before" client

toml_unset "$(client_toml laptop)" interface inbound
toml_set "$(client_toml laptop)" peer allowed_ips '["0.0.0.0/0"]'
start_client laptop
wait_up
expect "the UDP service that is not answered is noted from the start" notes_port 5300
expect "the family that the tunnel lacks is answered" ask $HOST6 $SERVICE
expect_not "and not open" in_ns client ping -q -c 1 -W 1 $WEB6
stop laptop

toml_set "$(client_toml laptop)" interface kill_switch true
start_client laptop
wait_up
expect_equal "with the kill switch it is off" refuse "$(inbound)"
expect_not "so that nobody is answered" ask $HOST $SERVICE
expect "which is no warning" is_silent
stop laptop
toml_set "$(client_toml laptop)" interface inbound '"allow"'
start_script web session talking answering.py talk $HOST $SERVICE
start_client laptop
wait_up
expect "unless it is asked for" ask $HOST $SERVICE
expect_equal "and what the host begins itself takes the tunnel" $GATEWAY "$(beside)"
sleep 5.5
expect_not "a session from before is still there" grep answered "$(log_of session)"
