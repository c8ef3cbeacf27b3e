#!/usr/bin/env bash
# Two vpn-servers that name each other as peers, a network behind each; the router between them sees ciphertext only.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"
# shellcheck source=scripts/netns/sites.sh
source "$(dirname "$0")/../sites.sh"

lab_up
for site in office factory; do add_site "$site"; done
link_site office factory "$(outside_of factory)" "$(inside_of factory)/32" "$(network_of factory)"
link_site factory office "$(outside_of office)" "$(inside_of office)/32" "$(network_of office)"
for site in office factory; do start_site "$site"; done

expect_soon 15 "a host in the office reaches a host in the factory" sites_reach office factory
capture middle site2
expect_ping factory_host "$(host_of office)" -p 706c61696e74657874     # the payload spells "plaintext"
stop_capture middle
expect_equal "nothing but UDP port $PORT passed the middle" 0 \
  "$(count_captured middle "ip and not udp port $PORT")"
expect_not "its payload is not readable there" grep -qa plaintextplaintext "$SCRATCH/middle.pcap"
