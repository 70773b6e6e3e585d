#!/bin/bash
# Starts that fail, stops that leave something, and their messages. File systems and tables without room.
# shellcheck source=harness.sh
source "$(dirname "$0")/harness.sh"
LAB_VIA=nsenter

# The lab has no real servers, as nothing is forwarded here.
scenario_up() { lab_up; }

FLAGS=(--vip "$VIP" --backends "$RS1" --check none)

# services FILE COUNT SERVERS [SERVER] [PORT]   writes a configuration of COUNT services with SERVERS real servers each.
# The numbers of real servers follow SERVER, and the ports follow PORT.
services() {
    local service server number
    {
        echo "defaults: {scheduler: rr, check: none}"
        echo "services:"
        for ((service = 1; service <= $2; service++)); do
            echo "- listeners: $VIP:$((${5:-0} + service))"
            echo "  servers:"
            for ((server = 0; server < $3; server++)); do
                number=$((${4:-0} + server))
                echo "  - 10.2.$((number / 200)).$((number % 200 + 1))"
            done
        done
    } >"$1.new"
    mv "$1.new" "$1"
}

# A program that makes requests at full speed, each on a connection of its own. It prints their number now and then.
POLL='import socket, sys, time
count = 0
while True:
    try:
        with socket.socket(socket.AF_UNIX) as it:
            it.settimeout(2)
            it.connect(sys.argv[1])
            it.sendall(b"GET /status HTTP/1.1\r\nHost: ipvsd\r\nConnection: close\r\n\r\n")
            count += 1
            if count % 20 == 1: print(count, flush=True)
    except OSError:
        time.sleep(0.0005)'

poll_start() {
    : >"$LAB_DIR/polls"
    spawn director "$LAB_DIR/polls" "$PYTHON" -c "$POLL" "$(run_directory)/control.sock"
    POLLER=$SPAWNED
    disown "$POLLER"
}

poll_stop() { kill "$POLLER"; }

polled() { (($(tail -n 1 "$LAB_DIR/polls") > $1)); }

test_a_start_that_fails_under_polls_says_why() {
    local before round
    before=$(machine_state director)
    poll_start
    for ((round = 1; round <= 20; round++)); do
        exits 69 ipvsd "${FLAGS[@]}" --interface eth9
        matches "$OUTPUT" "find interface eth9: no such interface" "what start $round says"
    done
    polled 20 || fail "no daemon was polled"
    poll_stop
    same_state "$before" "$(machine_state director)"
}

test_an_end_under_polls_is_in_good_order() {
    local before round
    before=$(machine_state director)
    for round in 1 2 3; do
        director_start "${FLAGS[@]}"
        poll_start
        wait_until 5 "polls" polled 20
        director_stop || fail "exit code $? of a director that ends under polls"
        poll_stop
    done
    same_state "$before" "$(machine_state director)"
}

# look_at LOCK   holds the lock shared for 0.3 s, as long as a reader may take on a busy machine.
look_at() {
    exec 9<"$1"
    flock -s 9
    sleep 0.3 &
    exec 9<&-
}

test_a_start_waits_for_a_look_at_its_lock() {
    local lock
    lock=$(run_directory)/lock
    mkdir -p "${lock%/*}"
    touch "$lock"
    look_at "$lock"
    exits 3 ipvsd status
    matches "$OUTPUT" "no director runs" "a status look beside the other one"
    look_at "$lock"
    director_start "${FLAGS[@]}"
    director_stop
}

test_a_stop_that_leaves_something_names_it() {
    local before pin
    before=$(machine_state director)
    director_start "${FLAGS[@]}"
    pin=$(pin_directory)/tick
    # A directory in the pin's place is not a pin, and is not removed like one.
    rm "$pin"
    mkdir "$pin"
    exits 71 ipvsd stop
    matches "$OUTPUT" "left in this machine: .*pin $pin.*ipvsd cleanup" "stop"
    wait_until 10 "the director's end" ended "$DIRECTOR_PID"
    DIRECTOR_PID=
    rmdir "$pin"
    exits 0 ipvsd cleanup
    rmdir "${pin%/*}"
    same_state "$before" "$(machine_state director)"
}

test_a_stop_without_room_in_run_removes_everything() {
    local before directory code=0
    before=$(machine_state director)
    directory=$(run_directory)
    mkdir -p "$directory"
    mount -t tmpfs -o size=128k run "$directory"
    # shellcheck disable=SC2064 # as it is now
    trap "{ umount -l '$directory'; rmdir '$directory'; } 2>/dev/null || true" EXIT
    # The removal of many VIPs takes more pages of the journal.
    local many=()
    mapfile -t many < <(printf -- '--vip\n10.3.0.%d\n' {1..100})
    director_start "${FLAGS[@]}" "${many[@]}"
    fill "$directory"
    exits 0 ipvsd stop
    matches "$OUTPUT" "^stopped$" "stop"
    wait_until 10 "the director's end" ended "$DIRECTOR_PID"
    wait "$DIRECTOR_PID" || code=$?
    DIRECTOR_PID=
    equal "$code" 0 "the director's exit code"
    matches "$(director_log)" "removed everything" "the log"
    [ ! -e "$directory/journal" ] || fail "the journal is left: $(<"$directory/journal")"
    # A failed start names the lack of room, and leaves nothing.
    fill "$directory"
    exits 71 ipvsd "${FLAGS[@]}"
    matches "$OUTPUT" "No space left on device" "a start"
    umount "$directory"
    rmdir "$directory"
    same_state "$before" "$(machine_state director)"
}

fill() { head -c 1M /dev/zero >>"$1/full" 2>/dev/null || true; }

# A configuration that is too large for the tables is refused with its place in the file, before any change.
test_check_refuses_what_a_start_refuses() {
    local file=$LAB_DIR/many.yaml said
    services "$file" 1 1025
    sed -i 's/scheduler: rr/scheduler: wlc/' "$file"
    exits 64 ipvsd check "$file"
    said=$OUTPUT
    matches "$said" "many.yaml:4: servers: 1025 real servers in a service of scheduler wlc .*1024 at most" "check"
    exits 64 ipvsd --config "$file"
    equal "$OUTPUT" "$said" "what a start says"
    sed -i 's/scheduler: wlc/scheduler: rr/' "$file"
    exits 0 ipvsd check "$file"
    director_start --config "$file"
    sed -i 's/scheduler: rr/scheduler: wlc/' "$file"
    exits 64 ipvsd reload
    equal "$OUTPUT" "$said" "what a reload says"
    director_stop
}

# Other people choose the names of interfaces and the values in files.
test_no_text_of_others_reaches_the_terminal_raw() {
    local name=$'e\e[31m0'
    ip -n "$(ns director)" link add "$name" type veth peer name quiet
    exits 69 ipvsd "${FLAGS[@]}" --interface eth9
    matches "$OUTPUT" 'there are: .*e\\u001b\[31m0' "the names of interfaces"
    plain "a start"
    director_start "${FLAGS[@]}" --interface "$name" --xdp native
    exits 0 ipvsd status
    matches "$OUTPUT" 'on e\\u001b\[31m0' "status"
    plain "status"
    OUTPUT=$(director_log)
    matches "$OUTPUT" 'forwarding .* on e\\u001b\[31m0' "the log"
    plain "the log"
    director_stop
    ip -n "$(ns director)" link del "$name"
    printf 'services:\n- listeners: "%s\\nipvsd: all is well\\e[2J"\n  servers: %s\n' "$VIP" "$RS1" >"$LAB_DIR/odd.yaml"
    exits 64 ipvsd check "$LAB_DIR/odd.yaml"
    equal "$(wc -l <<<"$OUTPUT")" 1 "lines of check"
    plain "check"
}

# plain WHAT   expects OUTPUT to have no control characters besides line ends
plain() { [[ $OUTPUT != *[$'\x01'-$'\x09'$'\x0b'-$'\x1f'$'\x7f']* ]] || fail "$1: a raw control character in ${OUTPUT@Q}"; }

# records   prints the log, and expects each of its lines to be a record in JSON
records() {
    jq -es 'all(.[]; (.time | test("^[0-9-]+T[0-9:]+[.][0-9]{3}Z$")) and .level and .part and .message)' \
        <"$LAB_DIR/director.log" >/dev/null || fail "a line that is no record: $(director_log)"
    director_log
}

test_the_log_in_json() {
    director_start "${FLAGS[@]}" --log-format json
    director_stop
    matches "$(records | jq -r .message)" "^forwarding $VIP" "the sentences"
    matches "$(records | jq -r .part)" "^Director$" "the parts"
    exits 64 in_ns director "$IPVSD" "${FLAGS[@]}" --log-format xml
    matches "$OUTPUT" "--log-format xml: unknown format \(accepted: text, json\)" "the error"
}

test_a_reload_changes_the_format_of_the_log() {
    local file=$LAB_DIR/format.yaml
    services "$file" 1 1
    director_start --config "$file"
    sed -i '1i log-format: json' "$file"
    exits 0 ipvsd reload
    matches "$OUTPUT" "reloaded: settings changed" "what it says"
    # A file that is refused is logged.
    echo "nonsense: 1" >>"$file"
    exits 64 ipvsd reload
    equal "$(tail -n 1 "$LAB_DIR/director.log" | jq -r .path)" "$file" "the file that the last record names"
    matches "$(head -n 1 "$LAB_DIR/director.log")" " notice ipvsd: \[Director\] forwarding" "the first record"
    director_stop
}

# A row of a table is held until the sweep has seen that no connection has it.
test_all_real_servers_can_be_exchanged_twice_in_a_row() {
    local file=$LAB_DIR/servers.yaml base
    services "$file" 1 120
    director_start --config "$file"
    for base in 1000 2000 3000; do
        services "$file" 1 120 "$base"
        exits 0 ipvsd reload
    done
    director_stop
}

test_all_services_can_be_exchanged_twice_in_a_row() {
    local file=$LAB_DIR/services.yaml base
    services "$file" 30 1
    director_start --config "$file"
    for base in 1000 2000 3000; do
        services "$file" 30 1 0 "$base"
        exits 0 ipvsd reload
    done
    director_stop
}

test_a_refused_reload_uses_up_no_rows() {
    local file=$LAB_DIR/refused.yaml
    services "$file" 1 120
    director_start --config "$file"
    services "$file" 1 120 1000
    exits 0 ipvsd reload
    services "$file" 1 120 2000
    ipvsd reload >/dev/null 2>&1 || true
    # There was room for seven more real servers before the refused reload, and there still is.
    services "$file" 1 127 1000
    exits 0 ipvsd reload
    director_stop
}

run_tests
