#!/bin/bash
# A start over a data plane of layout 3, which forwards meanwhile. No flow is lost, reset or moved, even if the start is
# killed.
# shellcheck source=harness.sh
source "$(dirname "$0")/harness.sh"
LAB_VIA=nsenter

# The program that turns a data plane of the present layout into a data plane of layout 3.
WRITER=$(dirname "$IPVSD")/layout-3-writer
# STREAMS streams send PACKETS packets in all. Other packets come besides.
STREAMS=2 PACKETS=${MIGRATION_PACKETS:-1000000}

scenario_up() {
    [ -x "$WRITER" ] || fail "no program at $WRITER: swift build --product layout-3-writer"
    lab_up
    usual_servers
    local host
    for host in rs1 rs2 rs3; do
        spawn $host "$LAB_DIR/$host.udp" "$PYTHON" "$TESTS/migration.py" serve $host 5353 5354
        disown
    done
    # The second service has listeners of the first one's VIP and protocols.
    cat >"$LAB_DIR/ipvsd.yaml" <<CONF
defaults: {scheduler: rr, check: none, servers: [$RS1, $RS2, $RS3]}
services:
- listeners: [$VIP:80/tcp, $VIP:5354/udp]
- listeners: $VIP
CONF
}

traffic() { LAB_VIA=nsenter spawn client "$LAB_DIR/$1" "$PYTHON" "$TESTS/migration.py" "${@:2}"; disown "$SPAWNED"; }

layout() { "$PYTHON" "$TESTS/migration.py" version "$(pin_directory)/settings" "$@"; }

# Makes a data plane of layout 3 that forwards without a daemon.
layout_3() {
    director_start --config "$LAB_DIR/ipvsd.yaml"
    director_kill
    in_ns director "$WRITER" "$(pin_directory)"
    equal "$(layout)" 3 "the layout"
}

# traffic_start PACKETS RATE   starts streams of PACKETS numbered datagrams in all, RATE new flows of each protocol a
# second, and three downloads
traffic_start() {
    local number
    DROPPED=$(dropped)
    rm -f "$LAB_DIR"/{end*,stream*,flows}
    for ((number = 1; number <= STREAMS; number++)); do
        traffic "stream$number" stream "$VIP" $((5352 + number)) $(($1 / STREAMS)) "$LAB_DIR/end"
    done
    traffic flows flows "$VIP" 5353,5354 80,8080 "$2" 2 "$LAB_DIR/end"
    for number in 1 2 3; do download_start "long$number" --limit-rate 2M; done
}

# traffic_end SECONDS   waits for the streams to send all of their datagrams, and expects that nothing was lost
traffic_end() {
    local number file lost dropped
    for ((number = 1; number <= STREAMS; number++)); do
        wait_until "$1" "stream $number: $(tail -n 1 "$LAB_DIR/stream$number")" through "$number"
    done
    touch "$LAB_DIR/end"
    for file in "$LAB_DIR"/stream? "$LAB_DIR/flows"; do
        wait_until 20 "the end of ${file##*/}" ended_with_a_number "$file"
        [[ $(<"$file") =~ ^[0-9\ ]+$ ]] || fail "${file##*/}: $(head -n 6 "$file" | paste -sd';')"
    done
    lost=$(awk '{ sum += $2 } END { print sum + 0 }' "$LAB_DIR"/stream? "$LAB_DIR/flows")
    dropped=$(($(dropped) - DROPPED))
    # A queue of the lab that ran over on a busy machine is not the director's fault.
    ((lost <= dropped)) || fail "$lost datagrams are lost, of which the queues of the lab dropped $dropped"
    for number in 1 2 3; do download_correct "long$number"; done
}

ended_with_a_number() { tail -n 1 "$1" | grep -qE '^[0-9]+( [0-9]+)?$|^failed'; }

# Prints the number of packets for which the lab's interfaces had no room.
dropped() {
    local host
    for host in switch client director rs1 rs2 rs3; do ip -n "$(ns "$host")" -s -j link show; done |
        jq -s '[.[][].stats64 | .rx.dropped + .tx.dropped] | add'
}

through() { [ -e "$LAB_DIR/end.$((5352 + $1))" ] || [ -s "$LAB_DIR/stream$1" ]; }

# in_use LEAST   whether the table has at least that many flows, with or without a daemon
in_use() { (($(ipvsd connections --count) >= $1)); }

# Expects status and the flow table to agree on the number of active connections. Between the two questions a connection
# may begin or end.
counted() { wait_until 10 "status to count the active connections of the table" is_counted; }

is_counted() {
    local counted table
    counted=$(ipvsd status --json | jq '[.services[].servers[].active] | add')
    table=$(ipvsd connections --json | jq 'map(select(.state | test("SYN_RECV|ESTABLISHED"))) | length')
    [[ $counted == "$table" ]]
}

# Checks that a migration has left nothing.
whole() {
    local left
    equal "$(layout)" 4 "the layout"
    left=$(waiting_pins)
    [[ -z $left ]] || fail "left in the pins: $left"
}

# Prints the pins that exist only during a migration.
waiting_pins() { find "$(pin_directory)" -name '*-4' ! -name 'link-*'; }

test_a_million_packets_pass_while_a_start_migrates_layout_3() {
    local file sent=0
    layout_3
    traffic_start "$PACKETS" 500
    wait_until 20 "2000 flows" in_use 2000
    director_start --config "$LAB_DIR/ipvsd.yaml"
    whole
    no_failures "after the start" <<<"$(fetch 30)"
    traffic_end 90
    for file in "$LAB_DIR"/stream? "$LAB_DIR/flows"; do ((sent += $(cut -d" " -f1 "$file"))); done
    ((sent >= PACKETS)) || fail "$sent packets and flows, $PACKETS are the least"
    counted
    exits 0 ipvsd status
    director_stop
}

test_kills_at_any_moment_of_a_migration() {
    local round kill pin met=0
    for round in 1 2 3 4; do
        layout_3
        traffic_start 20000 100
        wait_until 20 "300 flows" in_use 300
        for kill in 1 2 3 4 5; do
            pin=$(pin_directory)/$(printf '%s\n' services-4 counters-4 tick-4 director-4 carried_counters | sed -n "${kill}p")
            director_spawn director --config "$LAB_DIR/ipvsd.yaml"
            DIRECTOR_PID=$SPAWNED
            seen "$pin"
            # The sleep sets the moment of the kill, and is no wait: up to 0.09 s after the pin.
            sleep "0.0$((RANDOM % 10))"
            director_kill
            [[ -z $(waiting_pins) ]] || ((met += 1))
            in_use 1 || fail "no flow is in use after kill $kill of round $round"
        done
        director_start --config "$LAB_DIR/ipvsd.yaml"
        whole
        traffic_end 20
        counted
        director_stop
    done
    echo "$met of 20 kills met a migration that had begun"
    ((met > 0)) || fail "no kill met a migration that had begun"
}

# seen FILE   waits until the start has made FILE, the start has ended, or as long as a start may take to come so far
seen() {
    local limit=$(($(now_ms) + 1500 * LAB_SLOW))
    until [ -e "$1" ] || ended "$DIRECTOR_PID" || (($(now_ms) >= limit)); do :; done
}

test_a_program_refuses_the_layout_of_a_newer_one_and_leaves_it_forwarding() {
    director_start --config "$LAB_DIR/ipvsd.yaml"
    director_kill
    layout 5 >/dev/null
    exits 71 ipvsd --config "$LAB_DIR/ipvsd.yaml"
    matches "$OUTPUT" "layout is version 5, mine is 4" "a start"
    no_failures "meanwhile" <<<"$(fetch 30)"
    layout 4 >/dev/null
    director_start --config "$LAB_DIR/ipvsd.yaml"
    no_failures "afterwards" <<<"$(fetch 30)"
    director_stop
}

run_tests
