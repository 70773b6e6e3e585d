#!/bin/bash
# Start, stop, kill, take over, adopt, clean up: what clients notice (nothing) and what remains (nothing).
# shellcheck source=harness.sh
source "$(dirname "$0")/harness.sh"
LAB_VIA=netns

BACKENDS=$RS1,$RS2,$RS3
ROUNDS=${ROUNDS:-20}

test_killed_with_minus_9_and_restarted_20_times_under_load() {
    director_start --vip "$VIP" --backends "$BACKENDS"
    load_start 100
    download_start long --limit-rate 15M
    wait_until 10 "a first request" load_has 20
    local round
    for ((round = 1; round <= ROUNDS; round++)); do
        director_kill
        director_start --vip "$VIP" --backends "$BACKENDS"
    done
    load_stop
    no_failures "through $ROUNDS kills" <<<"$(load)"
    download_correct long
}

test_taken_over_with_replace_20_times_under_load() {
    director_start --vip "$VIP" --backends "$BACKENDS"
    load_start 100
    download_start long --limit-rate 15M
    wait_until 10 "a first request" load_has 20
    local round old
    for ((round = 1; round <= ROUNDS; round++)); do
        old=$DIRECTOR_PID
        director_spawn director --vip "$VIP" --backends "$BACKENDS" --replace
        DIRECTOR_PID=$SPAWNED
        wait_until 10 "the old director's end" ended "$old"
        wait_until 20 "the new director" director_ready "$DIRECTOR_PID"
    done
    load_stop
    no_failures "through $ROUNDS take-overs" <<<"$(load)"
    download_correct long
}

# Each VIP makes one address, and one line of the journal.
test_a_thousand_vips_come_and_go() {
    local before
    before=$(machine_state director)
    {
        echo "services:"
        for ((i = 0; i < 1000; i++)); do
            echo "- {listeners: \"10.1.$((i / 250)).$((i % 250 + 1)):80\", servers: [$RS1], check: none}"
        done
    } >"$LAB_DIR/many.yaml"
    director_start --config "$LAB_DIR/many.yaml"
    equal "$(ip -n "$(ns director)" -o addr show dev eth0 | grep -c ' 10\.1\.')" 1000 "VIPs on eth0"
    director_kill
    # The journal of a killed daemon names all VIPs.
    equal "$(ipvsd cleanup --dry-run | grep -c 'address 10\.1\.')" 1000 "VIPs in the journal"
    director_start --config "$LAB_DIR/many.yaml"
    exits 0 ipvsd stop
    matches "$OUTPUT" "^stopped$" "stop"
    wait_until 10 "the director's end" ended "$DIRECTOR_PID"
    DIRECTOR_PID=
    between "$(wc -l <"$LAB_DIR/director.log")" 1 20 "lines of the log"
    between "$(awk 'length > most { most = length } END { print most }' "$LAB_DIR/director.log")" 100 1000 \
        "characters of the log's longest line"
    same_state "$before" "$(machine_state director)"
}

test_killed_director_keeps_forwarding() {
    director_start --vip "$VIP" --backends "$BACKENDS" --scheduler rr
    director_kill
    no_failures "without a daemon" <<<"$(fetch 60)"
    director_start --vip "$VIP" --backends "$BACKENDS" --scheduler rr
}

# Without a daemon only the packets of new flows free entries of the flow table.
test_a_killed_directors_thresholds_do_not_stay_reached() {
    director_start --vip "$VIP:80" --backends "$RS1,$RS2" -x 5 --scheduler rr --tcp-timeout 3s --tcp-fin-timeout 2s
    wait_until 5 "rs1 to be healthy" healthy "$RS1"
    director_kill
    local request
    for ((request = 0; request < 12; request++)); do
        in_ns client curl -s -o /dev/null --max-time 3 "http://$VIP/" || true
    done
    exits 7 in_ns client curl -s --max-time 3 "http://$VIP/"
    wait_until 40 "a client to be served again" in_ns client curl -sf --max-time 1 "http://$VIP/"
    director_start --vip "$VIP:80" --backends "$RS1,$RS2" -x 5 --scheduler rr
    director_stop
}

test_stop_keep_and_adoption_change_nothing_for_a_flow() {
    director_start --vip "$VIP" --backends "$BACKENDS"
    load_start 50
    download_start long --limit-rate 20M
    wait_until 10 "some requests" load_has 50
    local before
    before=$(ipvsd status --json | jq .forwarded)
    exits 0 ipvsd stop --keep
    wait_until 10 "the director's end" ended "$DIRECTOR_PID"
    wait "$DIRECTOR_PID" || fail "the stopped director's exit code $?"
    no_failures "without a daemon" <<<"$(fetch 60)"
    director_start --vip "$VIP" --backends "$BACKENDS"
    load_stop
    no_failures "through stop --keep and start" <<<"$(load)"
    between "$(ipvsd status --json | jq .forwarded)" "$before" 100000000 "forwarded, counted on by the next daemon"
    download_correct long
}

test_stop_removes_everything() {
    local before
    before=$(machine_state director)
    director_start --vip "$VIP" --backends "$BACKENDS"
    exits 0 ipvsd stop
    wait_until 10 "the director's end" ended "$DIRECTOR_PID"
    DIRECTOR_PID=
    same_state "$before" "$(machine_state director)"
}

test_other_flags_change_only_what_differs() {
    director_start --vip "$VIP" --backends "$RS1,$RS2" --scheduler rr
    download_start one --limit-rate 20M
    download_start two --limit-rate 20M
    exits 0 ipvsd stop --keep
    wait_until 10 "the director's end" ended "$DIRECTOR_PID"
    director_start --vip "$VIP" --backends "$RS1,$RS2,$RS3" --scheduler wrr
    equal "$(fetch 30 | served | xargs)" "rs1 10 rs2 10 rs3 10" "who served 30 requests"
    director_kill
    director_start --vip "$VIP" --backends "$RS1,$RS3" --scheduler rr
    equal "$(fetch 30 | served | xargs)" "rs1 15 rs3 15" "who served 30 requests"
    # The download from the real server that is no longer named is complete, too.
    local name
    for name in one two; do download_correct "$name"; done
}

test_a_second_start_names_the_first() {
    director_start --vip "$VIP" --backends "$BACKENDS"
    exits 75 ipvsd --vip "$VIP" --backends "$BACKENDS"
    matches "$OUTPUT" "\\b$DIRECTOR_PID\\b" "the second director's message"
    no_failures "after a second start" <<<"$(fetch 20)"
}

test_status_reads_the_pins_of_a_dead_daemon() {
    director_start --vip "$VIP" --backends "$BACKENDS"
    fetch 30 | no_failures "before"
    director_kill
    exits 3 ipvsd status
    matches "$OUTPUT" "$VIP" "status"
    matches "$OUTPUT" "$RS1" "status"
    matches "$OUTPUT" "no director runs" "status"
    exits 3 ipvsd status --json
    exits 0 ipvsd cleanup
}

test_status_without_anything() {
    exits 3 ipvsd status
}

test_sigterm_and_sigint_remove_everything_and_say_so() {
    local before signal
    before=$(machine_state director)
    for signal in TERM INT; do
        director_start --vip "$VIP" --backends "$BACKENDS"
        fetch 20 | no_failures "a running director"
        director_stop "$signal" || fail "exit code $? after SIG$signal"
        same_state "$before" "$(machine_state director)"
        matches "$(tail -n 5 "$LAB_DIR/director.log")" "remove|restor|clean" "the last words"
    done
}

test_cleanup_after_a_kill_removes_everything() {
    local before
    before=$(machine_state director)
    director_start --vip "$VIP" --backends "$BACKENDS"
    fetch 20 | no_failures "a running director"
    director_kill
    exits 0 ipvsd cleanup
    same_state "$before" "$(machine_state director)"
    exits 0 ipvsd cleanup
}

test_originals_survive_kills_and_restarts() {
    local before
    before=$(machine_state director)
    director_start --vip "$VIP" --backends "$BACKENDS"
    director_kill
    director_start --vip "$VIP" --backends "$RS1"
    director_kill
    director_start --vip "$VIP" --backends "$BACKENDS"
    director_stop
    same_state "$before" "$(machine_state director)"
}

# Directors are started by both ways into a namespace, and commands by the other way. `ip netns exec` hides bpffs, and
# nsenter does not.
test_ip_netns_exec_and_nsenter_see_the_same_director() {
    local via other
    for via in netns nsenter; do
        other=nsenter
        [[ $via == netns ]] || other=netns
        LAB_VIA=$via
        director_start --vip "$VIP" --backends "$BACKENDS"
        no_failures "started by $via" <<<"$(fetch 30)"
        LAB_VIA=$other
        exits 0 ipvsd status
        exits 75 ipvsd --vip "$VIP" --backends "$BACKENDS"
        director_kill
        no_failures "its daemon killed" <<<"$(fetch 30)"
        exits 3 ipvsd status
        director_start --vip "$VIP" --backends "$BACKENDS"
        no_failures "adopted by $other" <<<"$(fetch 30)"
        director_stop
    done
}

test_a_take_over_that_cannot_work_leaves_the_running_daemon_alone() {
    director_start --vip "$VIP:80" --backends "$BACKENDS" --check-interval 0.3s --check-timeout 0.3s
    load_start 40
    exits 69 ipvsd --vip "$VIP:80" --backends "$BACKENDS" --interface eth9 --replace
    matches "$OUTPUT" eth9 "the message"
    still_there
    exits 64 ipvsd --vip "$VIP:80" --backends "$BACKENDS" --scheduler fastest --replace
    matches "$OUTPUT" fastest "the message"
    still_there
    load_stop
    no_failures "through two take-overs that failed" <<<"$(load)"
    wait_until 5 "rs2 to be healthy" healthy "$RS2"
    server_kill rs2
    wait_until 6 "rs2 to be taken out" unhealthy "$RS2"
    no_failures "rs2 out" <<<"$(fetch 30)"
    server_start rs2
    wait_until 6 "rs2 to be back" healthy "$RS2"
}

still_there() { equal "$(ipvsd status --json | jq .pid)" "$DIRECTOR_PID" "the daemon's pid"; }

test_a_start_that_fails_while_it_adopts_leaves_the_old_data_plane() {
    local before kept
    before=$(machine_state director)
    director_start --vip "$VIP" --backends "$BACKENDS" --check none
    exits 0 ipvsd stop --keep
    wait_until 10 "the director's end" ended "$DIRECTOR_PID"
    DIRECTOR_PID=
    # Another program's device has taken the place of the director's own.
    ip -n "$(ns director)" link del ipvsd0
    ip -n "$(ns director)" link add ipvsd0 type veth peer name ipvsdx
    kept=$(machine_state director)
    exits 71 ipvsd --vip 10.0.0.101 --backends "$RS1"
    matches "$OUTPUT" "ipvsd0 .*ipvsd1" "the message"
    same_state "$kept" "$(machine_state director)"
    no_failures "the old VIP after a start that failed" <<<"$(fetch 60)"
    exits 3 ipvsd status
    matches "$OUTPUT" "$VIP" "status"
    if grep -qF 10.0.0.101 <<<"$OUTPUT"; then fail "status knows the VIP of the start that failed"; fi
    ip -n "$(ns director)" link del ipvsd0
    director_start --vip "$VIP" --backends "$BACKENDS" --check none
    no_failures "adopted" <<<"$(fetch 30)"
    director_stop
    same_state "$before" "$(machine_state director)"
}

# Without the journal, pins, ipvsd0 and programs are found by their names. The VIP's origin is not known, so the VIP
# stays, and a message names it.
test_a_lost_journal_loses_neither_the_data_plane_nor_its_removal() {
    local before journal
    before=$(machine_state director)
    director_start --vip "$VIP" --backends "$BACKENDS"
    journal=$(run_directory)/journal
    director_kill
    rm "$journal"
    # A start that fails leaves what was there.
    exits 69 ipvsd --vip "$VIP" --backends "$RS1" --interface eth9
    matches "$OUTPUT" "does not name: .*device ipvsd0" "what the start says"
    no_failures "after a start that failed" <<<"$(fetch 30)"
    rm "$journal"
    director_start --vip "$VIP" --backends "$BACKENDS"
    no_failures "taken over without a journal" <<<"$(fetch 30)"
    wait_until 5 "rs1 to be healthy" healthy "$RS1"
    director_kill
    rm "$journal"
    exits 0 ipvsd cleanup --dry-run
    matches "$OUTPUT" "would remove device ipvsd0" "what would be removed"
    matches "$OUTPUT" "would remove ingress program on eth0" "what would be removed"
    exits 0 ipvsd cleanup
    matches "$OUTPUT" "ip addr del $VIP/32 dev eth0" "what cleanup says"
    ip -n "$(ns director)" addr del "$VIP/32" dev eth0
    same_state "$before" "$(machine_state director)"
    exits 0 ipvsd cleanup
    matches "$OUTPUT" "nothing to remove" "what cleanup says"
}

test_a_damaged_journal_is_named_with_what_to_do() {
    local before journal
    before=$(machine_state director)
    director_start --vip "$VIP" --backends "$BACKENDS"
    journal=$(run_directory)/journal
    director_kill
    echo '{"version' >"$journal"
    exits 71 ipvsd cleanup
    matches "$OUTPUT" "mv $journal $journal.damaged" "the advice"
    exits 71 ipvsd --vip "$VIP" --backends "$BACKENDS"
    matches "$OUTPUT" "mv $journal $journal.damaged" "the advice"
    no_failures "the data plane meanwhile" <<<"$(fetch 30)"
    exits 1 ipvsd doctor
    matches "$OUTPUT" "^not checked: .*journal cannot be read" "what the doctor says"
    rm "$journal"
    exits 0 ipvsd cleanup
    ip -n "$(ns director)" addr del "$VIP/32" dev eth0
    same_state "$before" "$(machine_state director)"
}

test_a_larger_table_takes_over_every_connection() {
    local before old
    before=$(machine_state director)
    director_start --vip "$VIP" --backends "$BACKENDS" --connections 50000
    equal "$(ipvsd status --json | jq .flowTableSize)" 131072 "entries of the flow table"
    download_start long --limit-rate 15M
    load_start 100
    wait_until 10 "100 requests" load_has 100
    old=$DIRECTOR_PID
    director_spawn director --vip "$VIP" --backends "$BACKENDS" --connections 2000000 --replace
    DIRECTOR_PID=$SPAWNED
    wait_until 10 "the old director's end" ended "$old"
    wait_until 20 "the new director" director_ready "$DIRECTOR_PID"
    equal "$(ipvsd status --json | jq .flowTableSize)" 4194304 "entries of the flow table that took over"
    wait_until 20 "500 requests" load_has 500
    load_stop
    no_failures "while the table grew" <<<"$(load)"
    download_correct long
    director_stop
    same_state "$before" "$(machine_state director)"
}

# The worst moment for a kill is not known, so the kills are spread over the second that a growth takes here.
test_killed_at_any_moment_of_a_growth() {
    local before round connections=50000
    before=$(machine_state director)
    director_start --vip "$VIP" --backends "$BACKENDS" --connections "$connections"
    # The downloads take 25 s, which outlast the deaths on a busy machine, too.
    for round in 1 2 3; do download_start "long$round" --limit-rate 4M; done
    load_start 100
    wait_until 10 "100 requests" load_has 100
    for ((round = 1; round <= 14; round++)); do
        director_kill
        ((connections = connections * 3 / 2))
        director_spawn director --vip "$VIP" --backends "$BACKENDS" --connections "$connections"
        DIRECTOR_PID=$SPAWNED
        # The sleep sets the moment of the kill, and is no wait: 0.04 s to 0.56 s after the start.
        sleep "$(printf '0.%02d' $((round * 4)))"
    done
    director_kill
    director_start --vip "$VIP" --backends "$BACKENDS" --connections "$connections"
    between "$(ipvsd status --json | jq .flowTableSize)" "$connections" 134217728 "entries of the flow table"
    wait_until 10 "500 requests" load_has 500
    load_stop
    no_failures "while growing tables were killed" <<<"$(load)"
    # Between one question and the next a connection may begin or end.
    wait_until 5 "status to count the active connections of the table" active_is_counted
    between "$(active_in_table)" 3 30 "active connections"
    for round in 1 2 3; do download_correct "long$round"; done
    director_stop
    same_state "$before" "$(machine_state director)"
}

active_in_table() { ipvsd connections --json | jq 'map(select(.state | test("SYN_RECV|ESTABLISHED"))) | length'; }

active_is_counted() { [[ $(ipvsd status --json | jq '[.services[].servers[].active] | add') == "$(active_in_table)" ]]; }

test_adoption_in_another_xdp_mode() {
    local before mode
    before=$(machine_state director)
    director_start --vip "$VIP" --backends "$BACKENDS"
    equal "$(xdp_mode)" native "XDP mode"
    for mode in generic native; do
        exits 0 ipvsd stop --keep
        wait_until 10 "the director's end" ended "$DIRECTOR_PID"
        director_start --vip "$VIP" --backends "$BACKENDS" --xdp "$mode"
        equal "$(xdp_mode)" "$mode" "XDP mode after --xdp $mode"
        no_failures "in $mode mode" <<<"$(fetch 60)"
    done
    director_stop
    same_state "$before" "$(machine_state director)"
}

xdp_mode() { ipvsd status --json | jq -r .xdp.mode; }

test_adoption_with_check_none_removes_the_programs_of_checks() {
    local before left
    before=$(machine_state director)
    director_start --vip "$VIP" --backends "$BACKENDS"
    matches "$(ip -n "$(ns director)" -o link show)" ipvsd0 "the links"
    director_kill
    director_start --vip "$VIP" --backends "$BACKENDS" --check none
    left=$(machine_state director | grep clsact || true)
    equal "${left:0:200}" "" "left of the checks"
    no_failures "unchecked" <<<"$(fetch 30)"
    director_stop
    same_state "$before" "$(machine_state director)"
}

test_status_of_a_daemon_that_does_not_answer() {
    local start
    director_start --vip "$VIP" --backends "$BACKENDS"
    kill -STOP "$DIRECTOR_PID"
    start=$(now_ms)
    exits 3 ipvsd status
    between $(($(now_ms) - start)) 0 $((6000 * LAB_SLOW)) "milliseconds that status took"
    matches "$OUTPUT" "\\b$DIRECTOR_PID\\b.*answer|answer.*\\b$DIRECTOR_PID\\b" "status"
    no_failures "beside a daemon that does not answer" <<<"$(fetch 20)"
    kill -CONT "$DIRECTOR_PID"
    wait_until 5 "the daemon to answer again" ipvsd status
}

# Commands that have given up meanwhile must have no effect later.
test_a_daemon_that_does_not_answer_is_asked_for_nothing_later() {
    local name start codes=()
    director_start --vip "$VIP" --backends "$BACKENDS" --check none
    kill -STOP "$DIRECTOR_PID"
    start=$(now_ms)
    asked replace --vip "$VIP" --backends "$BACKENDS" --check none --replace
    asked drain drain "$RS1"
    asked stop stop
    asked keep stop --keep
    asked events events
    asked follow events --follow
    asked metrics metrics
    # A killed command has given up, too, long before its own time-out.
    asked interrupted undrain "$RS2"
    wait_until 5 "the undrain to connect" connected interrupted
    kill -9 "$(<"$LAB_DIR/asked.interrupted.pid")"
    for name in replace drain stop keep events follow metrics; do
        wait_until 12 "$name to give up" test -s "$LAB_DIR/asked.$name.code"
        matches "$(<"$LAB_DIR/asked.$name")" "\\b$DIRECTOR_PID\\b.* does not answer" "$name"
        codes+=("$(<"$LAB_DIR/asked.$name.code")")
    done
    between $(($(now_ms) - start)) 0 $((12000 * LAB_SLOW)) "milliseconds until all had given up"
    equal "${codes[*]}" "75 3 3 3 3 3 3" "exit codes"
    kill -CONT "$DIRECTOR_PID"
    wait_until 5 "the daemon to answer again" still_there
    # The daemon answers these commands after all requests from before.
    exits 0 ipvsd drain "$RS3"
    exits 0 ipvsd undrain "$RS3"
    still_there
    equal "$(server_status "$RS1" drained)" null "rs1, drained"
    equal "$(grep -cE 'drained|stopp' "$LAB_DIR/director.log")" 2 "lines of drains and stops in the log"
    no_failures "after all that" <<<"$(fetch 20)"
    # A daemon that answers carries out a command.
    director_replaced
}

# connected NAME   whether the command of that name has a connection to a Unix socket in the director's namespace
connected() {
    [ -s "$LAB_DIR/asked.$1.pid" ] && in_ns director ss -Hxp state connected | grep -q "pid=$(<"$LAB_DIR/asked.$1.pid"),"
}

# asked NAME ARGUMENT...   runs the program with these arguments in the background
asked() {
    local name=$1
    shift
    (
        trap - EXIT ERR
        code=0
        nsenter --net="/run/netns/$(ns director)" -- "$IPVSD" "$@" >"$LAB_DIR/asked.$name" 2>&1 </dev/null &
        echo $! >"$LAB_DIR/asked.$name.pid"
        wait $! 2>/dev/null || code=$?
        echo "$code" >"$LAB_DIR/asked.$name.code"
    ) &
    disown $!
}

director_replaced() {
    local old=$DIRECTOR_PID
    director_spawn director --vip "$VIP" --backends "$BACKENDS" --check none --replace
    DIRECTOR_PID=$SPAWNED
    wait_until 10 "the old director's end" ended "$old"
    wait_until 20 "the new director" director_ready "$DIRECTOR_PID"
}

test_sighup_without_a_file_is_refused_and_ends_nothing() {
    director_start --vip "$VIP" --backends "$BACKENDS"
    kill -HUP "$DIRECTOR_PID"
    wait_until 5 "the refusal in the log" grep -q "not reloaded" "$LAB_DIR/director.log"
    matches "$(director_log)" "started without --config" "the log"
    still_there
    exits 64 ipvsd reload
    matches "$OUTPUT" "started without --config" "reload"
    no_failures "after SIGHUP" <<<"$(fetch 20)"
}

test_what_cannot_be_printed_is_a_failure() {
    director_start --vip "$VIP" --backends "$RS1" --check none
    local command
    for command in status "status --json" metrics "drain $RS1 --force" connections; do
        # shellcheck disable=SC2086 # words
        exits 74 to_full $command
        matches "$OUTPUT" "write to standard output" "$command"
    done
    # rs1 was drained all the same, and drains outlive the director.
    exits 0 ipvsd undrain "$RS1"
}

to_full() { in_ns director timeout 20 "$IPVSD" "$@" >/dev/full; }

# Scripts rely on each key of the JSON.
test_status_as_json_always_has_the_same_keys() {
    director_start --vip "$VIP" --backends "$RS1,$RS2" --check none
    same_keys "$(ipvsd status --json)" "a running daemon"
    equal "$(ipvsd status --json | jq .pid)" "$DIRECTOR_PID" "the daemon's pid"
    director_kill
    same_keys "$(ipvsd status --json 2>/dev/null || true)" "a dead one"
    exits 0 ipvsd cleanup
}

same_keys() {
    equal "$(jq -c '[.services[].servers[] | has("reason") and has("since")]' <<<"$1")" "[true,true]" "$2: reason and since"
    equal "$(jq -c '.xdp | has("mode")' <<<"$1")" true "$2: xdp.mode"
}

run_tests
