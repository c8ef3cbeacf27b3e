#!/usr/bin/env bash
# A link between two sites of which only one knows where the other is, in both roles; then both change their addresses.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"
# shellcheck source=scripts/netns/sites.sh
source "$(dirname "$0")/../sites.sh"

lab_up
for site in office factory; do add_site "$site"; done
cp -p "$(site_toml office)" "$SCRATCH/office.toml"
cp -p "$(site_toml factory)" "$SCRATCH/factory.toml"

link_up() {                                            # CALLER CALLED
  local caller=$1 called=$2 site
  for site in office factory; do cp -p "$SCRATCH/$site.toml" "$(site_toml "$site")"; done
  link_site "$caller" "$called" "$(outside_of "$called")" "$(inside_of "$called")/32" "$(network_of "$called")"
  link_site "$called" "$caller" - "$(inside_of "$caller")/32" "$(network_of "$caller")"
  start_site "$called"
  start_site "$caller"
}

for pair in "office factory" "factory office"; do
  read -r caller called <<<"$pair"
  link_up "$caller" "$called"
  expect_soon 15 "the $caller opens the link, and the $called reaches it" sites_reach "$called" "$caller"
  expect "the other way as well" sites_reach "$caller" "$called"
  if [[ $pair == "office factory" ]]; then
    stop site-office
    stop site-factory
  fi
done

move_site factory 3                                    # The caller: what it sends next tells where it is.
expect_soon 20 "the caller moved, and is reached" sites_reach office factory
for site in office factory; do stop "site-$site"; done

# Both know where the other is at first. One moves: what it sends to the other's address tells.
for site in office factory; do cp -p "$SCRATCH/$site.toml" "$(site_toml "$site")"; done
link_site office factory "$(outside_of factory 3)" "$(inside_of factory)/32" "$(network_of factory)"
link_site factory office "$(outside_of office)" "$(inside_of office)/32" "$(network_of office)"
for site in office factory; do start_site "$site"; done
expect_soon 15 "both may open the link" sites_reach office factory
move_site office 4
expect_soon 20 "the office moved, and is reached" sites_reach factory office
move_site factory 5
expect_soon 20 "then the factory moved, and is reached" sites_reach office factory
expect "and reaches the office" sites_reach factory office
