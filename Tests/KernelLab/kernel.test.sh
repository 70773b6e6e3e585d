#!/bin/bash
# The namespace scenario with the kernel's own ipip: what decapsulates here is no stand-in.
# shellcheck source=../Namespaces/harness.sh
source "$(dirname "$0")/../Namespaces/harness.sh"
LAB_VIA=netns

test_tunl0_is_the_kernels_ipip() {
    local host
    for host in rs1 rs2 rs3; do
        matches "$(ip -n "$(ns "$host")" -d link show tunl0)" "link/ipip" "tunl0 of $host"
        matches "$(ip -n "$(ns "$host")" -o addr show tunl0)" "$VIP/32" "tunl0 of $host"
    done
}

test_requests_through_native_XDP_reach_every_server() {
    director_start --vip "$VIP" --backends "$RS1,$RS2,$RS3" --scheduler rr
    local lines
    lines=$(fetch 90)
    no_failures "90 requests" <<<"$lines"
    equal "$(served <<<"$lines" | xargs)" "rs1 30 rs2 30 rs3 30" "who served 90 requests"
    equal "$(ipvsd status --json | jq -r .xdp.mode)" native "XDP mode"
    exits 0 in_ns client ping -c 2 -W 8 "$VIP"
}

test_download_and_upload_are_intact() {
    director_start --vip "$VIP" --backends "$RS1,$RS2,$RS3"
    download_start down
    download_correct down
    local answer
    answer=$(in_ns client curl -s --max-time 100 -T "$LAB_BIG" -o /dev/null -w '%{http_code} %header{x-server}' "http://$VIP/upload/up")
    matches "$answer" "^201 rs" "upload"
    equal "$(sha256sum <"$LAB_DIR/${answer#* }/upload/up")" "$BIG_SHA256" "sha256 of the upload"
}

test_too_big_is_answered_from_the_vip() {
    director_start --vip "$VIP" --backends "$RS1"
    equal "$(in_ns client "$PYTHON" "$TESTS/udp.py" too-big "$VIP" 5353 1500)" \
        "mtu 1480 from $VIP origin 2 type 3 code 4" "a datagram of 1500 bytes with DF"
    in_ns client ip route flush cache
}

# A datagram of 1,472 bytes fills the client's MTU, so that it is fragmented after encapsulation; longer ones come in
# fragments, of which the first fill it, too.
test_large_datagrams_without_df_arrive_whole() {
    local host length lines before
    for host in rs1 rs2 rs3; do spawn "$host" "$LAB_DIR/$host.udp" "$PYTHON" "$TESTS/udp.py" serve "$host" 5354; disown; done
    director_start --vip "$VIP:5354/udp" --backends "$RS1,$RS2,$RS3" --scheduler rr --check ping
    equal "$(in_ns director sysctl -n net.ipv4.ip_forward)" 0 "ip_forward of the director"
    for length in 1472 3000 9000 60000; do
        lines=$(in_ns client "$PYTHON" "$TESTS/udp.py" large "$VIP" 5354 "$length" 6)
        equal "$(served <<<"$lines" | xargs)" "rs1 2 rs2 2 rs3 2" "who got 6 datagrams of $length bytes whole"
    done
    between "$(ipvsd status --json | jq '.events["fragmented-after-encapsulation"]')" 24 1000 "packets left to the kernel"
    equal "$(ipvsd status --json | jq '.reasons["dropped-too-big-without-df"] + .reasons["dropped-fragment-without-first"]')" \
        0 "fragments dropped"
}

test_a_killed_server_is_taken_out_and_comes_back() {
    director_start --vip "$VIP" --backends "$RS1,$RS2,$RS3"
    load_start 8
    wait_until 10 "40 requests" load_has 40
    server_kill rs2
    wait_until 6 "rs2 to be taken out" unhealthy "$RS2"
    echo "# rs2 out after $WAITED_MS ms, emulated"
    no_failures "after rs2 was taken out" <<<"$(fetch 30)"
    server_start rs2
    wait_until 15 "rs2 to be back" healthy "$RS2"
    load_stop
}

test_a_dead_tunnel_is_told_from_a_dead_service() {
    director_start --vip "$VIP:80" --backends "$RS1,$RS2"
    no_failures "before" <<<"$(fetch 10)"
    ip -n "$(ns rs2)" link set tunl0 down
    wait_until 6 "rs2 to be taken out" unhealthy "$RS2"
    matches "$(director_log | grep -F "$RS2")" 'tunl0|tunnel|decapsulation' "what the log says about $RS2"
    ip -n "$(ns rs2)" link set tunl0 up
    wait_until 15 "rs2 to be back" healthy "$RS2"
}

test_a_killed_director_forwards_and_is_adopted() {
    director_start --vip "$VIP" --backends "$RS1,$RS2,$RS3"
    director_kill
    no_failures "without a daemon" <<<"$(fetch 20)"
    exits 0 ipvsd explain 10.0.0.1:40000 "$VIP:80"
    matches "$OUTPUT" "^verdict +forwarded to 10.0.0.1[123] " "what a packet's way is said to be"
    director_start --vip "$VIP" --backends "$RS1,$RS2,$RS3"
    no_failures "adopted" <<<"$(fetch 20)"
}

test_undo_and_sigterm_leave_nothing() {
    local before after
    after=$(machine_state rs1)
    in_ns rs1 "$IPVSD" realserver-setup --undo >/dev/null 2>&1
    before=$(machine_state rs1)
    matches "$before" "tunl0" "the kernel's own tunl0, which must stay"
    exits 0 in_ns rs1 "$IPVSD" realserver-setup --vip "$VIP"
    same_state "$after" "$(machine_state rs1)"
    exits 0 in_ns rs1 "$IPVSD" realserver-setup --undo
    same_state "$before" "$(machine_state rs1)"
    before=$(machine_state director)
    director_start --vip "$VIP" --backends "$RS2"
    director_stop
    same_state "$before" "$(machine_state director)"
}

run_tests
