#!/usr/bin/env bash
# Three sites, each linked to both others: every pair talks directly, a site's own longer routes win over the link's, and one
# site that stops does not disturb the link of the others.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"
# shellcheck source=scripts/netns/sites.sh
source "$(dirname "$0")/../sites.sh"

lab_up
sites=(north south west)
for site in "${sites[@]}"; do add_site "$site"; done
for site in "${sites[@]}"; do
  for peer in "${sites[@]}"; do
    [[ $site == "$peer" ]] && continue
    networks=("$(inside_of "$peer")/32" "$(network_of "$peer")")
    [[ $site/$peer == north/west ]] && networks+=(10.30.0.0/16)
    link_site "$site" "$peer" "$(outside_of "$peer")" "${networks[@]}"
  done
done
# A part of what the west announces to the north is the north's own, behind another router there.
give_address west lan 10.30.8.1/24
give_address north_host eth0 10.30.7.1/24
ip -n "$(ns north)" route add 10.30.7.0/24 via "$(host_of north)"
for site in "${sites[@]}"; do start_site "$site"; done

for site in "${sites[@]}"; do
  for peer in "${sites[@]}"; do
    [[ $site == "$peer" ]] || expect_soon 15 "$site reaches $peer" sites_reach "$site" "$peer"
  done
done

capture southern site2
expect "a network of the west is reached through the link" ping_once north 10.30.8.1
expect "a part of it that has a longer route is not" ping_once north 10.30.7.1
expect_not "which is meant, and no warning" grep 'and not the tunnel' "$(log_of site-north)"
expect "from west to north" sites_reach west north
stop_capture southern
expect_equal "nothing between north and west passed the south" 0 \
  "$(count_captured southern "udp and not host $(outside_of north)")"

stop site-south
expect "north and west do not notice that the south stopped" sites_reach north west
expect_not "and the south is gone" sites_reach north south
start_site south
expect_soon 15 "the south is back" sites_reach north south
expect_soon 15 "for the west, too" sites_reach south west
