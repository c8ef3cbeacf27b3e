#!/usr/bin/env bash
# Hybrid peers leave TCP and UDP checksums out: the receiving kernel gets them as partial, whatever leaves it again is right.
# shellcheck source=scripts/netns/assert.sh
source "$(dirname "$0")/../assert.sh"

checksums() { local node=$1; shift; in_ns "$node" python3 "$REPO/scripts/netns/checksums.py" "$@"; }
watch() {                                              # NODE INTERFACE
  spawn "$1" "watch-$1" python3 "$REPO/scripts/netns/checksums.py" watch "$2"
  wait_until 10 grep -q watching "$(log_of "watch-$1")" || die "nothing watches $2 on $1"
}
seen() { grep -E "$2" "$(log_of "watch-$1")"; }         # NODE PATTERN
never_seen() { ! seen "$@"; }
datagram_seen() {                                      # HOST: sends one, too
  in_ns client bash -c "echo hello >/dev/udp/$1/9" && sleep 0.2 && seen web "^in udp .* $1 right"
}

two_clients_up
start_web
head -c 2M /dev/urandom >"$(dir_of web)/file"
spawn second pages python3 -m http.server 8080 --bind "$(address4_of phone)" --directory "$(dir_of web)"
wait_until 10 in_ns second curl -sf -o /dev/null "http://$(address4_of phone):8080/" || die "no server on the second client"

# Nothing behind the gateway is to be left to a network card; a kernel that verifies is at the end of each way.
checksums gateway complete eth0
watch gateway vpn0
watch web eth0
watch second vpn0
wanted=$(sha256 "$(dir_of web)/file")
for host in $WEB "[$WEB6]"; do
  expect_equal "a download from $host is intact" "$wanted" "$(fetch "http://$host/file" | sha256)"
  expect "an upload to $host arrives" fetch -T "$(dir_of web)/file" "http://$host/upload"
  expect_equal "and is intact" "$wanted" "$(sha256 "$(dir_of web)/upload")"
done
expect_equal "a download from the other client is intact" "$wanted" \
  "$(fetch "http://$(address4_of phone):8080/file" | sha256)"

for host in $WEB $WEB6; do
  expect_soon 10 "a connection to $host is opened without a checksum in the tunnel" \
    seen gateway "^in syn .* $host partial"
  expect_soon 10 "and with the right one behind it" seen web "^in syn .* $host right"
  expect_soon 10 "so has a datagram" datagram_seen "$host"
done
expect_soon 10 "between clients it stays left out" seen second "^in syn $(address4_of laptop) .* partial"
expect "no packet behind the gateway lacks its checksum" never_seen web "^in (tcp|syn|udp) ($GATEWAY|$GATEWAY6) .* (partial|wrong)"
for node in gateway web second; do
  expect "$node saw no wrong checksum" never_seen "$node" " wrong$"
done
