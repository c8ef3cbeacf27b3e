#!/usr/bin/env bash
# A hub and two spokes that know only the hub. The hub has no endpoint for them: they come to it, from addresses that change.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"
# shellcheck source=scripts/netns/sites.sh
source "$(dirname "$0")/../sites.sh"

lab_up
for site in hub east west; do add_site "$site"; done
for spoke in east west; do
  link_site hub "$spoke" - "$(inside_of "$spoke")/32" "$(network_of "$spoke")"
  # Everything of the company's is behind the hub; its own network is nearer.
  link_site "$spoke" hub "$(outside_of hub)" 10.0.0.0/8
done
for site in hub east west; do start_site "$site"; done

expect_soon 15 "the east reaches the hub" sites_reach east hub
expect_soon 15 "the east reaches the west" sites_reach east west
expect "the west reaches the east" sites_reach west east
expect "the hub reaches the east: whoever came is answered" sites_reach hub east
expect_ping east_host "$(host_of west)" -s 1392
start_exchange west_host "$(host_of west)"
expect "data passes both ways at once" exchange_from east_host tcp "$(host_of west)" 5

move_site east 3
expect_soon 20 "the east has another address, and is reached from the west" sites_reach west east
stop site-hub KILL
start_site hub
# The hub has forgotten where its spokes are, and one that is silent has no reason to tell: both have something to send.
both_reach_hub() { sites_reach east hub & sites_reach west hub && wait $!; }
expect_soon 25 "the hub was killed and started, and both spokes found it again" both_reach_hub
expect "and meet there" sites_reach east west
