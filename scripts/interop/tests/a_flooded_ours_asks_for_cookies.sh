#!/usr/bin/env bash
# Somebody who knows our public key floods ours with initiations: a newcomer still connects, through a cookie, and the
# traffic of who is connected already flows on. (runs alone: it measures)
# shellcheck source=scripts/interop/lab.sh
source "$(dirname "$0")/../lab.sh"

pair_up
join stranger ours 203.0.113
join late ours 192.0.2
start_daemon late
equip late
wg_set ours peer "$(public_key late)" allowed-ips "$(inside late)/32"
wg_set late peer "$(public_key ours)" allowed-ips "$(inside ours)/32" endpoint 192.0.2.1:$PORT

in_ns theirs ping -q -c 100 -i 0.02 "$(inside ours)" >>"$(log_of before)"
spawn late late-wire tcpdump --immediate-mode -U -n -s 256 -i eth0 -w "$SCRATCH/late.pcap" udp
spawn stranger flood python3 "$REPO/scripts/interop/flood_initiations.py" 203.0.113.1 $PORT "$(public_key ours)" "$FLOOD_RATE" 30
spawn theirs pings ping -q -i 0.02 "$(inside ours)"
sleep 1                                                  # the flood has to be felt before the newcomer comes
expect_soon 20 "a newcomer connects during the flood" ping_once late "$(inside ours)"
expect "the flood was still on" is_running flood
stop pings INT
stop flood
measured "$(<"$(log_of flood)"), established session: $(lost_of pings) pings lost of $(sent_of pings)," \
  "average and longest $(latency_of pings) ms, without the flood $(latency_of before) ms"

stop late-wire
seen() { tcpdump -nn -r "$SCRATCH/late.pcap" "$@" 2>/dev/null | wc -l; }
expect "the newcomer was given a cookie" test "$(seen "src host 192.0.2.1 and udp[8:4] == 0x03000000")" -ge 1
expect "and came back with it" test "$(seen "dst host 192.0.2.1 and udp[8:4] == 0x01000000 and udp[140:4] != 0")" -ge 1
expect "less than 2 % of the pings were lost" test $(($(lost_of pings) * 50)) -lt "$(sent_of pings)"
