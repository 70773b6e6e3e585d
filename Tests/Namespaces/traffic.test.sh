#!/bin/bash
# Clients' traffic: TCP and UDP on any port or on one, ICMP, large transfers, packets that are too big.
# shellcheck source=harness.sh
source "$(dirname "$0")/harness.sh"
LAB_VIA=netns

scenario_up() {
    lab_up
    usual_servers
    local host
    for host in rs1 rs2 rs3; do
        spawn $host "$LAB_DIR/$host.udp" "$PYTHON" "$TESTS/udp.py" serve $host 5353
        disown
        # iperf3 is bound to the VIP, as its UDP answers would otherwise come from the server's own address.
        spawn $host "$LAB_DIR/$host.iperf" iperf3 -s -B $VIP
        disown
        wait_until 10 "iperf3 on $host" listening $host 5201
    done
}

BACKENDS=$RS1,$RS2,$RS3

client() { LAB_VIA=nsenter in_ns client "$@"; }

udp() { client "$PYTHON" "$TESTS/udp.py" "$@"; }

# Expects each packet for the VIP to be counted once: received = forwarded + reasons, once the counters rest.
accounted() {
    local received ends
    SAMPLE=
    wait_until 10 "the counters to rest" at_rest
    read -r received ends <<<"$SAMPLE"
    between "$received" 1 1000000000 "packets received"
    equal "$received" "$ends" "received packets, against the sum of forwarded packets and all reasons"
}

at_rest() {
    local last=$SAMPLE
    SAMPLE=$(ipvsd status --json | jq -r '"\(.received) \(.forwarded + ([.reasons[]] | add))"')
    [[ -n $SAMPLE && $SAMPLE == "$last" ]]
}

test_ping_to_the_vip() {
    director_start --vip "$VIP" --backends "$BACKENDS"
    exits 0 client ping -c 5 -i 0.05 -W 2 "$VIP"
    matches "$OUTPUT" "5 received" "ping"
    exits 0 client ping -c 2 -i 0.05 -W 2 -s 1400 -M "do" "$VIP"
    accounted
}

test_any_port_service_takes_tcp_and_udp() {
    director_start --vip "$VIP" --backends "$BACKENDS" --scheduler rr
    no_failures "port 80" <<<"$(fetch 30)"
    equal "$(client curl -s -o /dev/null --max-time 5 -w '%{http_code}' "http://$VIP:8080/")" 200 "port 8080"
    local answers
    answers=$(udp ask "$VIP" 5353 30)
    equal "$(sort <<<"$answers" | uniq -c | xargs)" "10 rs1 10 rs2 10 rs3" "who answered 30 datagrams"
    equal "$(ipvsd status --json | jq -c '.services[0] | [.vip, .port]')" "[\"$VIP\",null]" "the service"
    accounted
}

test_ports_that_are_named_are_the_only_ones() {
    director_start --vip "$VIP:80" --vip "$VIP:5353/udp" --backends "$BACKENDS" --scheduler rr
    no_failures "port 80" <<<"$(fetch 30)"
    equal "$(udp ask "$VIP" 5353 30 | sort | uniq -c | xargs)" "10 rs1 10 rs2 10 rs3" "who answered 30 datagrams"
    exits 7 client curl -s --max-time 5 "http://$VIP:8080/"
    equal "$(ipvsd status --json | jq -c '[.services[] | [.port, (.protocol | ascii_downcase)]] | sort')" \
        '[[80,"tcp"],[5353,"udp"]]' "the services"
    accounted
}

test_several_vips_and_commas() {
    director_start --vip "$VIP:80/tcp,$VIP:8080" --backends "$RS1" --backends "$RS2,$RS3" --scheduler rr
    equal "$(fetch 30 | served | xargs)" "rs1 10 rs2 10 rs3 10" "who served port 80"
    equal "$(client curl -s --max-time 5 -o /dev/null -w '%{http_code}' "http://$VIP:8080/")" 200 "port 8080"
}

test_the_directors_own_ports_are_not_the_vips() {
    director_start --vip "$VIP" --backends "$BACKENDS"
    LAB_VIA=nsenter spawn director "$LAB_DIR/own" "$PYTHON" -m http.server --bind 0.0.0.0 2222
    local own=$SPAWNED
    wait_until 10 "the director's own server" listening director 2222
    equal "$(client curl -s -o /dev/null --max-time 5 -w '%{http_code}' http://10.0.0.2:2222/)" 200 "the director's address"
    exits 7 client curl -s --max-time 5 "http://$VIP:2222/"
    kill "$own"
    wait "$own" 2>/dev/null || true
}

test_download_of_100_MB() {
    director_start --vip "$VIP" --backends "$BACKENDS"
    download_start down
    download_correct down
    accounted
}

test_upload_of_100_MB() {
    director_start --vip "$VIP" --backends "$BACKENDS"
    upload up "$LAB_BIG" 60
    accounted
}

# upload NAME FILE SECONDS   uploads the file by PUT, and compares its checksum on the real server
upload() {
    local server expected
    expected=$(sha256sum <"$2")
    server=$(client curl -s --max-time $(($3 * LAB_SLOW)) -T "$2" -o /dev/null -w '%{http_code} %header{x-server}' \
        "http://$VIP/upload/$1") || fail "upload $1: curl's exit code $?"
    matches "$server" "^20[14] rs[1-3]$" "upload $1"
    equal "$(sha256sum <"$LAB_DIR/${server#* }/upload/$1")" "$expected" "sha256 of upload $1"
    rm -f "$LAB_DIR/${server#* }/upload/$1"
}

one_megabyte() { [ -e "$LAB_DIR/1M" ] || head -c 1000000 "$LAB_BIG" >"$LAB_DIR/1M"; }

icmp_filtered() {
    client nft "add table inet lab
        add chain inet lab in { type filter hook input priority 0; }
        add chain inet lab out { type filter hook output priority 0; }
        add rule inet lab in ip protocol icmp drop
        add rule inet lab out ip protocol icmp drop"
}

icmp_unfiltered() { client nft delete table inet lab; }

test_upload_through_an_icmp_filter() {
    director_start --vip "$VIP" --backends "$BACKENDS"
    one_megabyte
    icmp_filtered
    upload filtered "$LAB_DIR/1M" 10
    icmp_unfiltered
}

# The two halves of the test above show that it tests something.
test_without_the_mss_clamp_the_directors_icmp_saves_the_upload_and_nothing_else() {
    local host
    director_start --vip "$VIP" --backends "$BACKENDS"
    one_megabyte
    for host in rs1 rs2 rs3; do
        LAB_VIA=nsenter in_ns "$host" "$IPVSD" realserver-setup --undo >/dev/null 2>&1
        LAB_VIA=nsenter in_ns "$host" "$IPVSD" realserver-setup --vip "$VIP" --mss off >/dev/null 2>&1
    done
    client ip route flush cache
    icmp_filtered
    exits 28 client curl -s --max-time 3 -T "$LAB_DIR/1M" -o /dev/null "http://$VIP/upload/stalls"
    icmp_unfiltered
    upload saved "$LAB_DIR/1M" 10
    client ip route flush cache
    for host in rs1 rs2 rs3; do LAB_VIA=nsenter in_ns "$host" "$IPVSD" realserver-setup --undo >/dev/null 2>&1; done
    LAB_VIA=nsenter realservers_setup rs1 rs2 rs3
}

test_too_big_is_answered_from_the_vip_with_the_right_mtu() {
    director_start --vip "$VIP" --backends "$BACKENDS"
    client ip route flush cache
    equal "$(udp too-big "$VIP" 5353 1500)" "mtu 1480 from $VIP origin 2 type 3 code 4" "a datagram of 1500 bytes with DF"
    client ip route flush cache
    equal "$(udp too-big "$VIP" 5353 1481)" "mtu 1480 from $VIP origin 2 type 3 code 4" "a datagram of 1481 bytes with DF"
    client ip route flush cache
    matches "$(udp too-big "$VIP" 5353 1480)" "answered" "a datagram of 1480 bytes with DF"
    client ip route flush cache
    between "$(ipvsd status --json | jq '[.reasons | to_entries[] | select(.key | test("big")) | .value] | add')" 2 100 "counted as too big"
    accounted
}

test_connections_lists_the_flow_table() {
    director_start --vip "$VIP" --backends "$BACKENDS" --scheduler rr
    hold 1 1
    udp ask "$VIP" 5353 2 >/dev/null
    local line json host
    host=$(download_server hold1)
    wait_until 5 "the download to be listed" listed ESTABLISHED
    line=$(ipvsd connections --state ESTABLISHED)
    matches "$line" "TCP +1[45]:[0-9][0-9] +ESTABLISHED +10\\.0\\.0\\.1:[0-9]+ +$VIP:80 +10\\.0\\.0\\.1${host#rs}" "the download's line"
    json=$(ipvsd connections --json)
    equal "$(jq -c '[.[] | select(.protocol == "udp") | [.client, .vip, .port, .state]] | unique' <<<"$json")" \
        "[[\"10.0.0.1\",\"$VIP\",5353,\"UDP\"]]" "UDP flows"
    equal "$(ipvsd connections --vip "$VIP:5353/udp" --count)" 2 "flows of port 5353"
    equal "$(ipvsd connections --client 10.0.0.2 --count)" 0 "flows of another client"
    exits 64 ipvsd connections --state open
    director_kill
    equal "$(ipvsd connections --state ESTABLISHED --count)" 1 "connections without a daemon"
    exits 0 ipvsd cleanup
    exits 3 ipvsd connections
}

listed() { [ "$(ipvsd connections --state "$1" --count)" = 1 ]; }

test_iperf3_both_ways() {
    # mh: iperf3's control and data connections must meet the same server.
    director_start --vip "$VIP" --backends "$BACKENDS" --scheduler mh
    local way rate
    for way in "" -R; do
        # shellcheck disable=SC2086 # one word or none
        exits 0 client timeout $((30 * LAB_SLOW)) iperf3 -c $VIP -t 2 $way -J --connect-timeout 5000
        rate=$(jq '.end.sum_received.bits_per_second / 1000000 | floor' <<<"$OUTPUT")
        between "$rate" $((LAB_SLOW > 1 ? 1 : 100)) 1000000 "Mbit/s of iperf3 $way"
    done
    exits 0 client timeout $((30 * LAB_SLOW)) iperf3 -c "$VIP" -t 2 -u -b 20M -l 1400 -J --connect-timeout 5000
    between "$(jq '.end.sum.lost_percent | floor' <<<"$OUTPUT")" 0 1 "per cent of iperf3's datagrams lost"
}

test_counters_say_what_happened() {
    director_start --vip "$VIP:80" --backends "$BACKENDS" --scheduler rr
    no_failures "requests" <<<"$(fetch 300)"
    local json
    json=$(ipvsd status --json)
    equal "$(jq -c '[.services[0].servers[].connections]' <<<"$json")" "[100,100,100]" "connections"
    between "$(jq '[.services[0].servers[].packets] | add' <<<"$json")" 1200 6000 "packets"
    between "$(jq .forwarded <<<"$json")" 1200 6000 "forwarded"
    accounted
    exits 0 ipvsd status
    matches "$OUTPUT" "$VIP:80 +rr" "status"
    matches "$OUTPUT" "$RS1.*tunnel" "status"
}

test_generic_mode_on_request() {
    director_start --vip "$VIP" --backends "$BACKENDS" --xdp generic
    equal "$(ipvsd status --json | jq -r .xdp.mode)" generic "XDP mode"
    no_failures "generic XDP" <<<"$(fetch 60)"
    accounted
}

test_native_mode_by_default() {
    director_start --vip "$VIP" --backends "$BACKENDS"
    equal "$(ipvsd status --json | jq -c '[.xdp.mode, .xdp.interfaces]')" '["native",["eth0"]]' "XDP mode"
    matches "$(ip -n "$(ns director)" -d link show eth0)" "prog/xdp" "the link"
}

test_the_vip_is_announced_by_gratuitous_arp() {
    watch_packet client eth0 "arp and arp[14:4] = 0x0a000064 and arp[24:4] = 0x0a000064"
    director_start --vip "$VIP" --backends "$BACKENDS"
    matches "$(watched)" "Request who-has $VIP.*tell $VIP" "the announcement"
}

test_no_address_leaves_the_address_to_others() {
    director_start --vip "$VIP" --backends "$BACKENDS" --no-address --interface eth0
    equal "$(ip -n "$(ns director)" -o addr show to "$VIP" | wc -l)" 0 "the VIP's addresses on the director"
    client ip route add "$VIP" via 10.0.0.2
    no_failures "routed to the director" <<<"$(fetch 20)"
    client ip route del "$VIP" via 10.0.0.2
}

# Whether the kernel can trace programs, by bpftool's own probe.
traces_programs() {
    [[ $(bpftool -j feature probe kernel 2>/dev/null | jq .program_types.have_tracing_prog_type) == true ]] &&
        ! grep -q '\[confidentiality\]' /sys/kernel/security/lockdown 2>/dev/null
}

# The kernel lab shows what is captured. Here the outcome follows from the kernel's abilities.
test_capture_works_where_the_kernel_traces_and_is_refused_elsewhere() {
    local code=0 message="kernel does not let the director's program be traced.*(capture|trac).*: "
    if traces_programs; then message="[0-9]+ packets captured, 0 lost"; else code=71; fi
    director_start --vip "$VIP" --backends "$BACKENDS"
    exits "$code" ipvsd capture --seconds 1
    matches "$OUTPUT" "$message" "its last words"
    no_failures "afterwards" <<<"$(fetch 10)"
    accounted
}

run_tests
