#!/usr/bin/env bash
# Shows the VPN at work on one machine: builds it, makes a small internet of network namespaces, sends traffic through a
# gateway with NAT, looks at the wire, measures, and removes everything again. About a minute after the build.
#
#   scripts/demo.sh [--no-build]
#
# Nothing of the host is touched except for Debian packages that are missing; no traffic leaves the machine.

# shellcheck source=scripts/netns/lab.sh
source "$(dirname "$0")/netns/lab.sh"

MARKER="this-line-is-plaintext-$RANDOM$RANDOM"           # stands in every line of the download
IPERF_SECONDS=3
SUMMARY=()                                               # "what|result" for the table at the end
declare -A BARE=()                                       # direction -> throughput without the VPN

main() {
  case ${1:-} in
    '' | --no-build) ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; return ;;
    *) die "unknown option $1; try --help" ;;
  esac
  need_root "$@"
  step "Packages"
  need_packages "${LAB_PACKAGES[@]}"
  pass "everything is there"
  if [[ ${1:-} != --no-build ]]; then build; fi
  need_programs
  cleanup_on_exit

  local started=$SECONDS
  make_internet
  measure_bare_path
  start_vpn
  watch_the_wire_while pings_and_downloads
  show_the_wire
  show_status
  measure_tunnel
  show_processes
  stop_vpn
  record "time after the build" "$((SECONDS - started)) s"
  print_summary
}

record() { SUMMARY+=("$1|$2"); }

build() {
  step "Build (cargo build --release; the first time takes minutes)"
  need_cargo
  need_packages cc:build-essential                       # for the C and assembly parts of the cryptographic library
  cargo_as_caller build --release --locked --bin vpn-server --bin vpn-client
  pass "$VPN_BIN_DIR/vpn-server and vpn-client"
}

make_internet() {
  step "A small internet: client - router - gateway, and a web server beyond"
  lab_up
  sed -n '/^#      client/,/^#  *2001.*client if/s/^#//p' "$REPO/scripts/netns/lab.sh"
  start_web
  local i
  for ((i = 0; i < 40000; i++)); do echo "$MARKER $i"; done >"$(dir_of web)/download"
  if [[ -n $(in_ns web ip route show match 10.66.0.2) ]]; then die "the web server has a route to the tunnel pool"; fi
  pass "the web server has no route to 10.66.0.0/16: only address translation can bring it answers"
  pass "without the VPN it sees $(fetch "http://$WEB/whoami"), the client itself"
}

start_vpn() {
  step "Gateway: vpn-server init, client add, run"
  init_server
  add_client laptop
  start_server
  sed 's/^/    /' "$(log_of init)"
  pass "vpn-server listens on UDP port $PORT in the gateway's namespace"

  step "Client: vpn-client up laptop.toml"
  capture handshake clients "udp port $PORT"
  local from=$EPOCHREALTIME
  start_client laptop
  wait_up
  pass "session is up $(elapsed_ms "$from") ms after the start of the program"
  in_ns client ip -brief address show vpn0 | sed 's/^/    /'
}

elapsed_ms() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%d", (b - a) * 1000 }'; }

watch_the_wire_while() {
  capture outside clients                                # between client and gateway: what a provider would see
  capture behind web                                     # between gateway and web server: proof that the check can fail
  "$@"
  stop_capture behind
  stop_capture outside
  stop_capture handshake
}

pings_and_downloads() {
  step "Through the tunnel: ping, HTTP, address translation"
  ping_line $GATEWAY_INSIDE "gateway"
  ping_line $GATEWAY_INSIDE6 "gateway, IPv6"
  ping_line $WEB "web server"
  ping_line $WEB6 "web server, IPv6"

  local wanted got
  wanted=$(sha256 "$(dir_of web)/download")
  got=$(fetch "http://$WEB/download" | sha256)
  [[ $got == "$wanted" ]] || die "the download's checksum differs: $got instead of $wanted"
  pass "download of $(stat -c %s "$(dir_of web)/download") bytes, SHA-256 ${got:0:16}… equal on both sides"
  record "HTTP download" "SHA-256 equal"

  saw "http://$WEB/whoami" $GATEWAY IPv4
  saw "http://[$WEB6]/whoami" $GATEWAY6 IPv6
  note "the web server's own log:"
  tail -n 3 "$(log_of web)" | sed 's/^/    /'
}

ping_line() {
  local result
  result=$(in_ns client ping -q -c 5 -i 0.2 -W 2 "$1") || die "no answer from $1 ($2)"
  result=$(awk -F/ '/^rtt/ { print $5 " ms" }' <<<"$result")
  pass "ping $1 ($2): $result"
  record "ping, $2" "$result"
}

# saw URL ADDRESS FAMILY: the web server must see the gateway's address.
saw() {
  local seen; seen=$(fetch "$1")
  [[ $seen == "$2" ]] || die "the web server saw $seen instead of the gateway's $2"
  pass "the web server sees the gateway, $seen"
  record "source address at the web server, $3" "$seen"
}

show_the_wire() {
  step "On the wire between client and gateway"
  local others packets
  others=$(count_captured outside "(ip or ip6) and not icmp6 and not udp port $PORT")
  packets=$(count_captured outside "udp port $PORT")
  ((packets > 0)) || die "the capture is empty"
  if ((others > 0)); then
    captured outside -c 5 "(ip or ip6) and not icmp6 and not udp port $PORT" >&2
    die "$others packets passed outside the tunnel"
  fi
  pass "$packets packets, all of them UDP port $PORT"

  grep -qa "$MARKER" "$SCRATCH/behind.pcap" || die "the marker is not even in the plaintext capture: this check proves nothing"
  if grep -qa "$MARKER" "$SCRATCH/outside.pcap"; then die "plaintext in the capture"; fi
  pass "'${MARKER:0:22}…' is readable behind the gateway and nowhere before it"
  record "plaintext on the wire" "none in $packets packets"

  wire_line 5 "init     " "ephemeral keys: X25519 and ML-KEM-768"
  wire_line 6 "response " "X25519 key, ML-KEM ciphertext, sealed signature"
  wire_line 7 "finish   " "client identity and signature, sealed"
  wire_line 4 "data     " "ciphertext and tag"
}

# wire_line TYPE NAME MEANING: the first datagram of that type with the start of its bytes.
wire_line() {
  local hex
  # 28 bytes of IPv4 and UDP headers, of which tcpdump -x prints everything but the link layer.
  hex=$(captured handshake -x -c 1 "ip and udp[8] = $1" | awk '/^\t0x/ { for (i = 2; i <= NF; i++) printf "%s", $i }')
  [[ -n $hex ]] || die "no message of type $1 was captured"
  printf '    type %s %s %4d bytes  %s…  %s\n' "$1" "$2" $((${#hex} / 2 - 28)) \
    "$(fold -w 2 <<<"${hex:56:32}" | paste -sd ' ')" "$3"
}

show_status() {
  step "Status of both ends"
  local filter='.handshake == "hybrid" and .post_quantum == true and .state == "up"'
  client_status | jq -e ".peers[0] | $filter" >/dev/null || die "the client does not report a hybrid, post-quantum session"
  server_status | jq -e ".peers[] | select(.name == \"laptop\") | $filter" >/dev/null ||
    die "the server does not report a hybrid, post-quantum session"
  note "vpn-server status"
  on gateway vpn-server status -c "$(server_toml)" | sed 's/^/    /'
  note "vpn-client status"
  on client vpn-client status | sed 's/^/    /'
  pass "both say: hybrid handshake, post-quantum"
  record "handshake" "$(client_status | jq -r '.peers[0] | "\(.handshake), post-quantum, \(.suite)"')"
}

measure_bare_path() {
  step "Throughput without the VPN"
  spawn web iperf iperf3 --forceflush -s -B $WEB
  wait_until 5 grep -q listening "$(log_of iperf)" || die "iperf3 did not start"
  measure bare
}

measure_tunnel() {
  step "Throughput through tunnel and address translation"
  measure tunnel
  note "all of client, router, gateway, web server and both iperf3 share this machine's $(nproc) cores"
}

# measure NAME: one TCP stream client to web server in both directions.
measure() {
  local direction result
  for direction in up down; do
    local options=(-t "$IPERF_SECONDS" -J)
    if [[ $direction == down ]]; then options+=(-R); fi
    result=$(in_ns client iperf3 -c $WEB "${options[@]}" |
      jq -r '.end.sum_received.bits_per_second / 1e9 * 100 | round / 100 | "\(.) Gbit/s"')
    pass "$1, $direction: $result"
    if [[ $1 == bare ]]; then BARE[$direction]=$result
    else record "TCP $direction, one stream" "$result (without the VPN: ${BARE[$direction]})"; fi
  done
}

show_processes() {
  step "Processes"
  local label
  for label in server laptop; do
    pass "$(printf '%-11s %s' "vpn-${label/laptop/client}" "$(process_cost "${PID[$label]}")")"
    record "vpn-${label/laptop/client}" "$(process_cost "${PID[$label]}")"
  done
}

process_cost() {
  local rss ticks
  rss=$(awk '/^VmRSS/ { printf "%.1f MB", $2 / 1024 }' "/proc/$1/status")
  ticks=$(sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }')
  printf '%s resident, %s s of CPU so far' "$rss" "$(awk -v t="$ticks" -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.2f", t / hz }')"
}

stop_vpn() {
  step "Stop"
  stop laptop
  local seen; seen=$(fetch "http://$WEB/whoami")
  [[ $seen == 192.0.2.2 ]] || die "after the client's stop the web server sees $seen instead of the client"
  pass "the client is gone, and the web server sees 192.0.2.2 again"
  stop server
  if [[ -n $(in_ns gateway nft list ruleset) ]]; then die "the server left nft rules behind"; fi
  pass "the server is gone, and no firewall rule is left"
}

print_summary() {
  local row
  step "Summary"
  for row in "${SUMMARY[@]}"; do printf '  %-38s %s\n' "${row%%|*}" "${row#*|}"; done
}

main "$@"
