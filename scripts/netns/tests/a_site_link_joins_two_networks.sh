#!/usr/bin/env bash
# Two vpn-servers that name each other as peers, a network behind each; the router between them sees ciphertext only.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
add_node office_host factory factory_host
link_nodes office_host eth0 gateway lan
give_address gateway lan 10.1.0.1/24
give_address office_host eth0 10.1.0.2/24
ip -n "$(ns office_host)" route add default via 10.1.0.1
link_nodes factory eth0 router factory
give_address router factory 192.0.2.129/25
give_address factory eth0 192.0.2.130/25
ip -n "$(ns factory)" route add default via 192.0.2.129
link_nodes factory_host eth0 factory lan
give_address factory lan 10.2.0.1/24
give_address factory_host eth0 10.2.0.2/24
ip -n "$(ns factory_host)" route add default via 10.2.0.1

make_key() {                                           # NODE: prints its public key
  mkdir -p "$(dir_of "$1")/etc"
  (umask 077; on "$1" vpn-server genkey >"$(dir_of "$1")/etc/identity.key")
  on "$1" vpn-server pubkey <"$(dir_of "$1")/etc/identity.key"
}
configure() {                                          # NODE ADDRESS PEER PEER_KEY PEER_ADDRESS PEER_NETWORK PEER_ENDPOINT
  (umask 077; cat >"$(dir_of "$1")/etc/server.toml") <<TOML
[interface]
name = "vpn0"
identity_file = "identity.key"
listen = "[::]:$PORT"
addresses = ["$2/32"]

[gateway]
nat = false

[[peer]]
name = "$3"
public_key = "$4"
allowed_ips = ["$5/32", "$6"]
endpoint = ["$7:$PORT"]
persistent_keepalive = 25
TOML
}
office_key=$(make_key gateway)
factory_key=$(make_key factory)
configure gateway 10.99.0.1 factory "$factory_key" 10.99.0.2 10.2.0.0/24 192.0.2.130
configure factory 10.99.0.2 office "$office_key" 10.99.0.1 10.1.0.0/24 $GATEWAY
for node in gateway factory; do
  run_on $node "server-$node" vpn-server run -c "$(dir_of $node)/etc/server.toml"
done

expect_soon 15 "a host in the office reaches a host in the factory" ping_once office_host 10.2.0.2
capture middle factory
expect_ping factory_host 10.1.0.2 -p 706c61696e74657874                # the payload spells "plaintext"
stop_capture middle
expect_equal "nothing but UDP port $PORT passed the middle" 0 \
  "$(count_captured middle "ip and not udp port $PORT")"
expect_not "its payload is not readable there" grep -qa plaintextplaintext "$SCRATCH/middle.pcap"
