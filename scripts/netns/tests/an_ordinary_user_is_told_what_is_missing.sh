#!/usr/bin/env bash
# Without privileges both programs exit 4 and say what they need.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

lab_up
init_server
add_client laptop
home=$SCRATCH/nobody                                    # everything readable: what is missing is the privilege only
mkdir -p "$home/run" "$home/state"
cp "$VPN_BIN_DIR/vpn-server" "$VPN_BIN_DIR/vpn-client" "$home"
cp -r "$(dir_of gateway)/etc" "$home/etc"
cp "$(client_toml laptop)" "$home"
chown -R 65534:65534 "$home"
as_nobody() {
  local node=$1; shift
  in_ns "$node" setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all \
    env "VPN_RUN_DIR=$home/run" "VPN_STATE_DIR=$home/state" "$@"
}

expect_exit 4 "the server exits 4" as_nobody gateway "$home/vpn-server" run -c "$home/etc/server.toml"
expect_match "it says what it needs" 'root|CAP_NET_ADMIN|permi' "$output"
expect_exit 4 "the client exits 4" as_nobody client "$home/vpn-client" up "$home/laptop.toml" --foreground
expect_match "it says what it needs" 'root|CAP_NET_ADMIN|permi' "$output"
expect_exit 4 "so does a client in the background" as_nobody client "$home/vpn-client" up "$home/laptop.toml"
expect_match "it says what it needs" 'root|CAP_NET_ADMIN|permi' "$output"

expect_exit 4 "doctor exits 4" as_nobody client "$home/vpn-client" doctor
expect_match "and says what it could not see" 'unknown +TUN device' "$output"

chown -R 0:0 "$home/etc" "$home/laptop.toml"            # now the files are what cannot be read
for command in check run status "client list"; do
  # shellcheck disable=SC2086
  expect_exit 4 "vpn-server $command exits 4 where the configuration is closed to it" \
    as_nobody gateway "$home/vpn-server" $command -c "$home/etc/server.toml"
done
expect_exit 4 "so does vpn-client up" as_nobody client "$home/vpn-client" up "$home/laptop.toml"
chown 0:0 "$home/state"
chmod 0700 "$home/state"
expect_exit 4 "cleanup does not claim that nothing was left behind" as_nobody client "$home/vpn-client" cleanup
