#!/bin/bash
# Start, stop, kill, take over, adopt, clean up: what clients notice (nothing) and what remains (nothing).
source "$(dirname "$0")/harness.sh"
LAB_VIA=netns

BACKENDS=$RS1,$RS2,$RS3
ROUNDS=${ROUNDS:-20}

test_killed_with_minus_9_and_restarted_20_times_under_load() {
    director_start --vip $VIP --backends $BACKENDS
    load_start 100
    download_start long --limit-rate 15M
    wait_until 10 "a first request" load_has 20
    local round
    for ((round = 1; round <= ROUNDS; round++)); do
        director_kill
        director_start --vip $VIP --backends $BACKENDS
    done
    load_stop
    no_failures "through $ROUNDS kills" <<<"$(load)"
    download_correct long
}

test_taken_over_with_replace_20_times_under_load() {
    director_start --vip $VIP --backends $BACKENDS
    load_start 100
    download_start long --limit-rate 15M
    wait_until 10 "a first request" load_has 20
    local round old
    for ((round = 1; round <= ROUNDS; round++)); do
        old=$DIRECTOR_PID
        director_spawn director --vip $VIP --backends $BACKENDS --replace
        DIRECTOR_PID=$SPAWNED
        wait_until 10 "the old director's end" ended "$old"
        wait_until 10 "the new director" director_ready "$DIRECTOR_PID"
    done
    load_stop
    no_failures "through $ROUNDS take-overs" <<<"$(load)"
    download_correct long
}

test_killed_director_keeps_forwarding() {
    director_start --vip $VIP --backends $BACKENDS --scheduler rr
    director_kill
    no_failures "without a daemon" <<<"$(fetch 60)"
    director_start --vip $VIP --backends $BACKENDS --scheduler rr
}

test_stop_keep_and_adoption_change_nothing_for_a_flow() {
    director_start --vip $VIP --backends $BACKENDS
    load_start 50
    download_start long --limit-rate 20M
    wait_until 10 "some requests" load_has 50
    local before
    before=$(ipvsd status --json | jq .forwarded)
    exits 0 ipvsd stop --keep
    wait_until 10 "the director's end" ended "$DIRECTOR_PID"
    wait "$DIRECTOR_PID" || fail "the stopped director's exit code $?"
    no_failures "without a daemon" <<<"$(fetch 60)"
    director_start --vip $VIP --backends $BACKENDS
    load_stop
    no_failures "through stop --keep and start" <<<"$(load)"
    between "$(ipvsd status --json | jq .forwarded)" "$before" 100000000 "forwarded, counted on by the next daemon"
    download_correct long
}

test_stop_removes_everything() {
    local before
    before=$(machine_state director)
    director_start --vip $VIP --backends $BACKENDS
    exits 0 ipvsd stop
    wait_until 10 "the director's end" ended "$DIRECTOR_PID"
    DIRECTOR_PID=
    same_state "$before" "$(machine_state director)"
}

test_other_flags_change_only_what_differs() {
    director_start --vip $VIP --backends $RS1,$RS2 --scheduler rr
    download_start one --limit-rate 20M
    download_start two --limit-rate 20M
    exits 0 ipvsd stop --keep
    wait_until 10 "the director's end" ended "$DIRECTOR_PID"
    director_start --vip $VIP --backends $RS1,$RS2,$RS3 --scheduler wrr
    equal "$(fetch 30 | served | xargs)" "rs1 10 rs2 10 rs3 10" "who served 30 requests"
    director_kill
    director_start --vip $VIP --backends $RS1,$RS3 --scheduler rr
    equal "$(fetch 30 | served | xargs)" "rs1 15 rs3 15" "who served 30 requests"
    # Also the one from the real server that is no longer named.
    local name
    for name in one two; do download_correct $name; done
}

test_a_second_start_names_the_first() {
    director_start --vip $VIP --backends $BACKENDS
    exits 75 ipvsd --vip $VIP --backends $BACKENDS
    matches "$OUTPUT" "\\b$DIRECTOR_PID\\b" "the second director's message"
    no_failures "after a second start" <<<"$(fetch 20)"
}

test_status_reads_the_pins_of_a_dead_daemon() {
    director_start --vip $VIP --backends $BACKENDS
    fetch 30 | no_failures "before"
    director_kill
    exits 3 ipvsd status
    matches "$OUTPUT" "$VIP" "status"
    matches "$OUTPUT" "$RS1" "status"
    matches "$OUTPUT" "not running|no daemon|dead|without" "status"
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
        director_start --vip $VIP --backends $BACKENDS
        fetch 20 | no_failures "a running director"
        director_stop $signal || fail "exit code $? after SIG$signal"
        same_state "$before" "$(machine_state director)"
        matches "$(tail -n 5 "$LAB_DIR/director.log")" "remove|restor|clean" "the last words"
    done
}

test_cleanup_after_a_kill_removes_everything() {
    local before
    before=$(machine_state director)
    director_start --vip $VIP --backends $BACKENDS
    fetch 20 | no_failures "a running director"
    director_kill
    exits 0 ipvsd cleanup
    same_state "$before" "$(machine_state director)"
    exits 0 ipvsd cleanup
}

test_originals_survive_kills_and_restarts() {
    local before
    before=$(machine_state director)
    director_start --vip $VIP --backends $BACKENDS
    director_kill
    director_start --vip $VIP --backends $RS1
    director_kill
    director_start --vip $VIP --backends $BACKENDS
    director_stop
    same_state "$before" "$(machine_state director)"
}

# Both ways into a namespace, and back and forth between them: `ip netns exec` hides bpffs, nsenter does not.
test_ip_netns_exec_and_nsenter_see_the_same_director() {
    local via other
    for via in netns nsenter; do
        other=nsenter
        [[ $via == netns ]] || other=netns
        LAB_VIA=$via
        director_start --vip $VIP --backends $BACKENDS
        no_failures "started by $via" <<<"$(fetch 30)"
        LAB_VIA=$other
        exits 0 ipvsd status
        exits 75 ipvsd --vip $VIP --backends $BACKENDS
        director_kill
        no_failures "its daemon killed" <<<"$(fetch 30)"
        exits 3 ipvsd status
        director_start --vip $VIP --backends $BACKENDS
        no_failures "adopted by $other" <<<"$(fetch 30)"
        director_stop
    done
}

run_tests
