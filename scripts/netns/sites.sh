# shellcheck shell=bash
# Sites for tests of links between them: each a gateway that runs vpn-server, and a host in the network behind it.
#
#   NAME_host 10.N.0.2/24 ── 10.N.0.1  NAME  192.0.2.(112 + 16 N + 2)/28 ── router      tunnel address 10.99.0.N
#
# N counts from 1 in the order of add_site. To be sourced after assert.sh.

declare -A SITE_NUMBER=() SITE_KEY=()

outside_of() { printf '192.0.2.%d' $((112 + 16 * SITE_NUMBER[$1] + ${2:-2})); }     # SITE [HOST]
inside_of() { printf '10.99.0.%d' "${SITE_NUMBER[$1]}"; }
network_of() { printf '10.%d.0.0/24' "${SITE_NUMBER[$1]}"; }
host_of() { printf '10.%d.0.2' "${SITE_NUMBER[$1]}"; }
site_toml() { printf '%s/etc/server.toml' "$(dir_of "$1")"; }

# add_site NAME: the machines and the site's identity; no configuration yet.
add_site() {
  local site=$1 number=$((${#SITE_NUMBER[@]} + 1))
  SITE_NUMBER[$site]=$number
  add_node "$site" "${site}_host"
  link_nodes "$site" eth0 router "site$number"
  give_address router "site$number" "$(outside_of "$site" 1)/28"
  give_address "$site" eth0 "$(outside_of "$site")/28"
  ip -n "$(ns "$site")" route add default via "$(outside_of "$site" 1)"
  link_nodes "${site}_host" eth0 "$site" lan
  give_address "$site" lan "10.$number.0.1/24"
  give_address "${site}_host" eth0 "$(host_of "$site")/24"
  ip -n "$(ns "${site}_host")" route add default via "10.$number.0.1"
  mkdir -p "$(dir_of "$site")/etc"
  (umask 077; on "$site" vpn-server genkey >"$(dir_of "$site")/etc/identity.key")
  SITE_KEY[$site]=$(on "$site" vpn-server pubkey <"$(dir_of "$site")/etc/identity.key")
  (umask 077; cat >"$(site_toml "$site")") <<TOML
[interface]
name = "vpn0"
identity_file = "identity.key"
listen = "[::]:$PORT"
addresses = ["$(inside_of "$site")/32"]

[gateway]
nat = false
TOML
}

# link_site SITE PEER ENDPOINT|- NETWORK...: tells the site of a peer, with the networks that are reached through it.
link_site() {
  local site=$1 peer=$2 endpoint=$3 networks; shift 3
  networks=$(printf ', "%s"' "$@")
  {
    printf '\n[[peer]]\nname = "%s"\npublic_key = "%s"\nallowed_ips = [%s]\n' "$peer" "${SITE_KEY[$peer]}" "${networks:2}"
    [[ $endpoint == - ]] || printf 'endpoint = "%s"\npersistent_keepalive = 25\n' "$endpoint:$PORT"
  } >>"$(site_toml "$site")"
}

start_site() { run_on "$1" "site-$1" vpn-server run -c "$(site_toml "$1")"; }

# move_site SITE HOST: the site's outer address changes, as that of an office with a dynamic one.
move_site() {
  in_ns "$1" ip address flush dev eth0 scope global
  give_address "$1" eth0 "$(outside_of "$1" "$2")/28"
  in_ns "$1" ip route replace default via "$(outside_of "$1" 1)"
}

# sites_reach A B: a host behind the one reaches a host behind the other.
sites_reach() { ping_once "${1}_host" "$(host_of "$2")"; }
