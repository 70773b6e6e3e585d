#!/bin/bash
# ipvsd explain: a packet ends as its explanation says, with a daemon and without one.
# shellcheck source=harness.sh
source "$(dirname "$0")/harness.sh"
LAB_VIA=nsenter

CLIENT=10.0.0.1

host_of() { case $1 in "$RS1") echo rs1 ;; "$RS2") echo rs2 ;; "$RS3") echo rs3 ;; *) echo "$1" ;; esac; }

# said FILTER   applies the jq filter to the JSON in OUTPUT
said() { jq -r "$1" <<<"$OUTPUT"; }

# keeps_its_word PORT   expects a connection from PORT to go to the real server that was named for it
keeps_its_word() {
    local server
    exits 0 ipvsd explain "$CLIENT:$1" "$VIP:80" --json
    server=$(said .server)
    equal "$(fetch 1 --local-port "$1" | served)" "$(host_of "$server") 1" "who serves port $1, said to be $server"
}

test_it_says_who_is_chosen_and_how_the_packet_leaves() {
    local scheduler port=41000
    for scheduler in wrr mh wlc; do
        director_start --vip "$VIP:80" --backends "$RS1=2,$RS2,$RS3" --scheduler "$scheduler"
        wait_until 10 "rs1 to be proven" healthy "$RS1"
        for ((i = 0; i < 5; i++)); do keeps_its_word $((port++)); done
        exits 0 ipvsd explain "$CLIENT:$port" "$VIP:80"
        matches "$OUTPUT" "^service +$VIP:80/tcp: $scheduler" "the service"
        matches "$OUTPUT" "^connection +none" "the connection"
        matches "$OUTPUT" "^way +IPIP 10.0.0.2 -> 10.0.0.1[123], TTL 64, DF, id 0, 80 bytes" "the outer header"
        matches "$OUTPUT" "out of eth0, from ([0-9a-f]{2}:){5}[0-9a-f]{2} to " "how it leaves"
        director_stop
    done
}

test_a_connection_is_found_with_a_daemon_and_without() {
    local server
    director_start --vip "$VIP:80" --backends "$RS1,$RS2" --scheduler rr
    download_start hold1 --limit-rate 1k --local-port 42000
    exits 0 ipvsd explain "$CLIENT:42000" "$VIP:80" --ack --json
    server=$(said .connection.server)
    equal "$(host_of "$server")" "$(download_server hold1)" "the connection's real server"
    equal "$(said '"\(.connection.state) \(.connection.fate) \(.reason) \(.server)"')" \
        "ESTABLISHED kept forwarded $server" "the connection"
    director_kill
    exits 0 ipvsd explain "$CLIENT:42000" "$VIP:80" --ack
    matches "$OUTPUT" "no daemon answers" "without a daemon"
    matches "$OUTPUT" "^connection +ESTABLISHED to $server, idle [0-9.]+ s, expires in [0-9.]+ s; in bucket" "the entry"
    matches "$OUTPUT" "^verdict +forwarded to $server \(counted as forwarded\)" "the verdict"
    keeps_its_word 42001
    rm "$(pin_directory)"/link-*
    exits 1 ipvsd explain "$CLIENT:42000" "$VIP:80" --ack
    matches "$OUTPUT" "the packet program is on no interface" "with the program taken off"
    matches "$OUTPUT" "^verdict +if it came in: forwarded" "the verdict with the program taken off"
    exits 0 ipvsd cleanup
    exits 3 ipvsd explain "$CLIENT:42000" "$VIP:80"
    matches "$OUTPUT" "there is no data plane" "after cleanup"
}

test_it_says_why_a_real_server_is_out() {
    director_start --vip "$VIP:80" --backends "$RS1,$RS2,$RS3" --scheduler rr
    exits 0 ipvsd drain "$RS2"
    server_kill rs1
    wait_until 6 "rs1 to be taken out" unhealthy "$RS1"
    exits 0 ipvsd explain "$CLIENT:43000" "$VIP:80"
    matches "$OUTPUT" " $RS1 .*down since 20.*refused" "the killed one"
    matches "$OUTPUT" " $RS2 +0/1 .*drained since 20" "the drained one"
    matches "$OUTPUT" "-> $RS3 " "who is chosen"
    server_kill rs3
    wait_until 6 "rs3 to be taken out" unhealthy "$RS3"
    exits 1 ipvsd explain "$CLIENT:43000" "$VIP:80"
    matches "$OUTPUT" "^verdict +answered: ICMP port unreachable from $VIP \(counted as answered-no-server\)" "nobody is left"
    exits 0 ipvsd undrain "$RS2"
    server_start rs1
    server_start rs3
}

test_what_is_not_forwarded() {
    director_start --vip "$VIP:80" --backends "$RS1" --scheduler rr
    exits 1 ipvsd explain "$CLIENT:44000" "$VIP:80" --ack
    matches "$OUTPUT" "answered: RST from $VIP \(counted as answered-no-connection\)" "a packet of no connection"
    exits 1 ipvsd explain "$CLIENT:44000" "$VIP:81"
    matches "$OUTPUT" "passed to the director's own stack \(counted as passed-no-service\)" "another port"
    exits 1 ipvsd explain "$CLIENT:44000" 10.0.0.200:80
    matches "$OUTPUT" "10.0.0.200 is no VIP" "another address"
    exits 1 ipvsd explain "$CLIENT:44000" "$VIP:80" --length 1481
    matches "$OUTPUT" "ICMP fragmentation needed from $VIP, MTU 1480 \(counted as answered-too-big\)" "a packet that is too big"
    exits 0 ipvsd explain "$CLIENT:44000" "$VIP:80" --length 1481 --fragmentable
    matches "$OUTPUT" "the kernel fragments it, by way of ipvsd0" "the same without DF"
    exits 0 ipvsd explain "$CLIENT:44000" "$VIP:80" --length 1480
    # None of these commands was counted as a packet, or recorded a connection.
    equal "$(ipvsd status --json | jq -c '[.forwarded, (.reasons | .["answered-no-connection"], .["answered-too-big"])]')" \
        "[0,0,0]" "packets counted"
    equal "$(ipvsd connections --count)" 0 "connections recorded"
    exits 64 ipvsd explain "$CLIENT" "$VIP:80"
    matches "$OUTPUT" "$CLIENT has no port" "no port"
    exits 64 ipvsd explain "$CLIENT:44000" "$VIP"
    exits 64 ipvsd explain "$CLIENT:44000" "$VIP:80/udp" --ack
    exits 64 ipvsd explain "$CLIENT:44000" "$VIP:80" --length 39
    matches "$OUTPUT" "accepted: 40 to 65535" "a length"
}

# answer NUMBER   prints the real server that explain names for the client with that number
answer() { ipvsd explain "10.1.0.$1:46000" "$VIP:80" --json | jq -r .server; }

test_those_who_ask_at_once_get_their_own_answers() {
    local i alone jobs=()
    director_start --vip "$VIP:80" --backends "$RS1,$RS2,$RS3" --scheduler mh
    alone=$(for i in {1..12}; do answer "$i"; done)
    equal "$(sort -u <<<"$alone" | wc -l)" 3 "real servers that are named"
    for i in {1..12}; do
        answer "$i" >"$LAB_DIR/answer$i" &
        jobs+=($!)
    done
    wait "${jobs[@]}"
    equal "$(for i in {1..12}; do cat "$LAB_DIR/answer$i"; done)" "$alone" "the same answers at once"
    director_stop
}

# writes PROGRAM   prints the instructions of the pinned program that write to maps by themselves or by a call
writes() {
    bpftool prog dump xlated pinned "$(pin_directory)/$1" |
        grep -oE 'lock |atomic|xchg|call [a-z_]*(update|delete|push|pop)_elem' | sort -u | paste -sd' '
}

map_id() { bpftool -j map show pinned "$(pin_directory)/$1" | jq .id; }

test_the_program_that_explains_writes_nothing() {
    director_start --vip "$VIP:80" --backends "$RS1" --scheduler rr
    matches "$(writes director)" "atomic|lock|xchg" "what the forwarding program writes by"
    matches "$(writes director)" "update_elem" "what the forwarding program calls"
    equal "$(writes explain)" "" "what the explaining program writes by"
    # The explaining program reads the tables of the program that forwards.
    equal "$(bpftool -j prog show pinned "$(pin_directory)/explain" | jq --argjson table "$(map_id flows)" \
        '.map_ids | index($table) != null')" true "whether it has the flow table"
    director_kill
    exits 0 ipvsd cleanup
    equal "$(ls "$(pin_directory)" 2>/dev/null)" "" "what cleanup leaves pinned"
}

run_tests
