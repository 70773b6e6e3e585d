#!/bin/bash
# Real servers drained by hand: nothing breaks, new connections go elsewhere, and the daemon does not forget the drain.
# shellcheck source=harness.sh
source "$(dirname "$0")/harness.sh"
LAB_VIA=nsenter

SERVICE=$VIP:80
# A short time-out of closing connections, so that a drain ends within the test.
FLAGS=(--vip "$SERVICE" --scheduler rr --tcp-fin-timeout 1s)

drained() { [[ $(server_status "$1" drained) != null ]]; }

left() { echo $(($(server_status "$1" active) + $(server_status "$1" inactive))); }

# overrides   prints the path of the file of this instance's drains
overrides() { echo "$(run_directory)/overrides.json"; }

# downloads_on COUNT HOST   whether the host has at least that many downloads
downloads_on() { (($(held | awk -v s="$2" '$1 == s { print $2 }') >= $1)); }

test_a_drain_breaks_nothing_and_ends_when_the_last_connection_does() {
    local name drain code=0
    director_start "${FLAGS[@]}" --backends "$RS1,$RS2,$RS3"
    for name in one two three; do download_start "$name" --limit-rate 20M; done
    load_start 40
    wait_until 10 "60 requests" load_has 60
    LAB_VIA=nsenter spawn director "$LAB_DIR/drain" "$IPVSD" drain "$RS2" --wait
    drain=$SPAWNED
    wait_until 5 "rs2 to be drained" drained "$RS2"
    # The load takes turns as well, so only the names of the servers are compared.
    equal "$(fetch 30 | served | awk '{ print $1 }' | xargs)" "rs1 rs3" "who serves new requests"
    equal "$(server_status "$RS2" effectiveWeight)" 0 "rs2's weight"
    equal "$(server_status "$RS2" health)" up "rs2's health"
    matches "$(ipvsd status)" "$RS2 .*, drained since 20" "status"
    for name in one two three; do download_correct "$name"; done
    wait_until 30 "the end of the drain" ended "$drain"
    wait "$drain" || code=$?
    equal "$code" 0 "exit code of drain --wait"
    load_stop
    no_failures "through the drain" <<<"$(load)"
    matches "$(<"$LAB_DIR/drain")" "$RS2 in $SERVICE/tcp: drained, [1-9][0-9]* active" "what drain says first"
    matches "$(tail -n 1 "$LAB_DIR/drain")" "$RS2: no connections are left" "what drain says last"
    equal "$(left "$RS2")" 0 "connections left"
    # The command printed what remained at least once before the end.
    sed -nE 's/.*: ([0-9]+) active and ([0-9]+) inactive.*/\1 \2/p' "$LAB_DIR/drain" >"$LAB_DIR/steps"
    between "$(wc -l <"$LAB_DIR/steps")" 1 100 "lines of what remains"
    exits 0 ipvsd undrain "$RS2"
    equal "$(fetch 30 | served | xargs)" "rs1 10 rs2 10 rs3 10" "who serves after undrain"
    [ ! -e "$(overrides)" ] || fail "overrides are left: $(cat "$(overrides)")"
}

test_a_time_out_leaves_the_connections_and_the_drain() {
    director_start "${FLAGS[@]}" --backends "$RS1,$RS2"
    hold 1 4
    equal "$(held | xargs)" "rs1 2 rs2 2" "held connections"
    exits 4 ipvsd drain "$RS2" --timeout 1s
    matches "$OUTPUT" "2 active and 0 inactive connections are left after 1s; it stays drained" "drain"
    equal "$(fetch 10 | served)" "rs1 10" "who serves"
    # A second drain changes nothing, and says since when the server is drained.
    exits 0 ipvsd drain "$RS2"
    matches "$OUTPUT" "$RS2 in $SERVICE/tcp: drained since 20.*, 2 active" "a second drain"
    exits 0 ipvsd drain "$RS2" --json
    equal "$(jq -r '"\(.changed) \(.services[0].active)"' <<<"$OUTPUT")" "false 2" "a third, in JSON"
    equal "$(held | xargs)" "rs1 2 rs2 2" "connections still held"
    exits 0 ipvsd undrain "$RS2"
    exits 0 ipvsd undrain "$RS2"
    matches "$OUTPUT" "not drained" "a second undrain"
    # The request that `drain --timeout` makes at its end does not reverse an undrain.
    exits 0 in_ns director curl -s -w ' %{http_code}' --unix-socket "$(run_directory)/control.sock" http://ipvsd/drain \
        -d "{\"server\":\"$RS2\",\"moveDatagrams\":true,\"onlyIfDrained\":true}"
    matches "$OUTPUT" "$RS2 is no longer drained: .* 409$" "a drain of an undrained server"
    exits 0 ipvsd undrain "$RS2"
    matches "$OUTPUT" "not drained" "an undrain after it"
}

test_a_quorum_is_not_broken_by_hand() {
    director_start "${FLAGS[@]}" --backends "$RS1,$RS2"
    exits 0 ipvsd drain "$RS1"
    exits 5 ipvsd drain "$RS2"
    matches "$OUTPUT" "$SERVICE/tcp would be left with a usable weight of 0, and it loses its quorum below 1 .*--force" "the refusal"
    equal "$(fetch 10 | served)" "rs2 10" "who serves after the refusal"
    exits 0 ipvsd drain "$RS2" --force
    equal "$(fetch 3 | served)" "" "who serves when all are drained"
    exits 0 ipvsd undrain "$RS1"
    exits 0 ipvsd undrain "$RS2"
    no_failures "after undrain" <<<"$(fetch 10)"
}

# The default is like IPVS's with expire_quiescent_template=0.
test_persistent_clients_keep_coming_to_a_drained_server() {
    local mine other
    director_start "${FLAGS[@]}" --backends "$RS1,$RS2" --persistent 5m
    mine=$(fetch 3 --interface 10.9.0.1 | served)
    equal "${mine#* }" 3 "requests that one server has of one client"
    if [[ $mine == rs1* ]]; then mine=$RS1 other=rs2; else mine=$RS2 other=rs1; fi
    exits 0 ipvsd drain "$mine"
    matches "$OUTPUT" "persistent clients of the last 5m keep coming" "drain"
    equal "$(fetch 3 --interface 10.9.0.1 | served | grep -c "$other" || true)" 0 "that client's requests elsewhere"
    equal "$(fetch 3 --interface 10.9.0.2 | served)" "$other 3" "another client's requests"
    exits 0 ipvsd undrain "$mine"
}

# As with expire_quiescent_template=1, clients' connections go on, and their new connections go to another server.
test_persistent_clients_move_where_the_drain_says_so() {
    local client served mine=()
    director_start "${FLAGS[@]}" --backends "$RS1,$RS2" --persistent 5m
    for client in 1 2 3 4 5 6; do
        served=$(fetch 1 --interface "10.9.0.$client" | served)
        [[ $served != rs2* ]] || mine+=("10.9.0.$client")
    done
    equal ${#mine[@]} 3 "clients of rs2"
    download_start mine --limit-rate 20M --interface "${mine[0]}"
    equal "$(download_server mine)" rs2 "whose the download is"
    exits 0 ipvsd drain "$RS2" --json
    equal "$(jq -r '.services[0].movesPersistent' <<<"$OUTPUT")" false "whether a drain moves clients by itself"
    equal "$(fetch 2 --interface "${mine[0]}" | served)" "rs2 2" "requests of a client that stays"
    exits 0 ipvsd drain "$RS2" --move-persistent
    matches "$OUTPUT" "drained, [1-9][0-9]* active.*" "a second drain"
    matches "$OUTPUT" "persistent clients go elsewhere with their next connection" "what becomes of the clients"
    equal "$(fetch 3 --interface "${mine[0]}" | served)" "rs1 3" "requests of a client that moves"
    # The next daemon also moves these clients. A drain without the option does not take the move back.
    director_kill
    equal "$(fetch 1 --interface "${mine[1]}" | served)" "rs1 1" "requests of a client without a daemon"
    director_start "${FLAGS[@]}" --backends "$RS1,$RS2" --persistent 5m
    exits 0 ipvsd drain "$RS2" --json
    equal "$(jq -r '"\(.changed) \(.services[0].movesPersistent)"' <<<"$OUTPUT")" "false true" "a third drain"
    equal "$(fetch 3 --interface "${mine[2]}" | served)" "rs1 3" "requests of a client after a restart"
    download_correct mine
    exits 0 ipvsd undrain "$RS2"
    equal "$(fetch 3 --interface "${mine[0]}" | served)" "rs1 3" "requests of a client that has moved, after undrain"
    equal "$({ fetch 2 --interface 10.9.0.20; fetch 2 --interface 10.9.0.21; } | served | xargs)" "rs1 2 rs2 2" "new clients"
}

# A command that waits goes on waiting through the restart.
test_a_wait_lasts_through_a_restart_of_the_daemon() {
    local drain code=0
    director_start "${FLAGS[@]}" --backends "$RS1,$RS2"
    hold 1 2
    LAB_VIA=nsenter spawn director "$LAB_DIR/restart" "$IPVSD" drain "$RS2" --timeout 1m --json
    drain=$SPAWNED
    wait_until 5 "rs2 to be drained" drained "$RS2"
    director_kill
    director_start "${FLAGS[@]}" --backends "$RS1,$RS2"
    ! ended "$drain" || fail "drain ended: $(<"$LAB_DIR/restart")"
    release all
    wait_until 20 "the end of the drain" ended "$drain"
    wait "$drain" || code=$?
    equal "$code" 0 "exit code of drain: $(<"$LAB_DIR/restart")"
    equal "$(jq -r .changed "$LAB_DIR/restart" | head -n 1)" true "what it said first"
    equal "$(tail -n 1 "$LAB_DIR/restart" | jq '.services[0].active + .services[0].inactive')" 0 "what it said last"
    exits 0 ipvsd undrain "$RS2"
}

test_a_drain_survives_kill_and_restart_and_take_over() {
    local old since
    director_start "${FLAGS[@]}" --backends "$RS1,$RS2"
    exits 0 ipvsd drain "$RS2"
    since=$(server_status "$RS2" drained)
    director_kill
    equal "$(fetch 10 | served)" "rs1 10" "who serves without a daemon"
    equal "$(server_status "$RS2" drained 2>/dev/null)" "$since" "drained since, without a daemon"
    equal "$(server_status "$RS1" drained 2>/dev/null)" null "the other one, without a daemon"
    director_start "${FLAGS[@]}" --backends "$RS1,$RS2"
    equal "$(server_status "$RS2" drained)" "$since" "drained since, after kill -9"
    equal "$(fetch 10 | served)" "rs1 10" "who serves after kill -9"
    old=$DIRECTOR_PID
    director_spawn director "${FLAGS[@]}" --backends "$RS1,$RS2" --replace
    DIRECTOR_PID=$SPAWNED
    wait_until 10 "the old director's end" ended "$old"
    wait_until 20 "the new director" director_ready "$DIRECTOR_PID"
    equal "$(fetch 10 | served)" "rs1 10" "who serves after --replace"
    director_stop
    director_start "${FLAGS[@]}" --backends "$RS1,$RS2"
    equal "$(server_status "$RS2" drained)" "$since" "drained since, after stop and start"
    equal "$(fetch 10 | served)" "rs1 10" "who serves after stop and start"
    matches "$(director_log)" "$RS2 is drained since" "the log"
    exits 0 ipvsd undrain "$RS2"
    director_kill
    director_start "${FLAGS[@]}" --backends "$RS1,$RS2"
    equal "$(fetch 10 | served | xargs)" "rs1 5 rs2 5" "who serves after undrain and kill -9"
}

test_a_damaged_file_stops_nothing_and_is_kept() {
    local file
    director_start "${FLAGS[@]}" --backends "$RS1,$RS2"
    exits 0 ipvsd drain "$RS2"
    file=$(overrides)
    director_kill
    echo '{"drains":[{"server":"10.0.0.1' >"$file"
    exits 3 ipvsd status
    matches "$OUTPUT" "without drains: read overrides $file" "status without a daemon"
    matches "$(<"$file")" '"10.0.0.1$' "what status left as it was"
    director_start "${FLAGS[@]}" --backends "$RS1,$RS2"
    equal "$(fetch 10 | served | xargs)" "rs1 5 rs2 5" "who serves"
    matches "$(director_log)" "error.*overrides .*kept as .*damaged" "the log"
    matches "$(<"$file.damaged")" '"10.0.0.1$' "what was set aside"
    rm "$file.damaged"
}

# who_is_drained   prints the drains in status, the file of drains, and the names of the files beside it
who_is_drained() {
    ipvsd status --json | jq -c '[.services[].servers[] | [.address, .drained, .effectiveWeight]]'
    cat "$(overrides)" 2>/dev/null || true
    ls -A "$(run_directory)"
}

# refused VERB REASON   expects VERB to be refused for rs2 with REASON, and to change nothing
refused() {
    local before
    before=$(who_is_drained)
    exits 71 ipvsd "$1" "$RS2"
    matches "$OUTPUT" "^ipvsd: $RS2 is not $1ed, nothing has changed: .*overrides.json.*: $2" "the refusal"
    equal "$(who_is_drained)" "$before" "what is drained after the refusal"
}

test_what_cannot_be_written_down_is_refused_as_a_whole() {
    local directory
    directory=$(run_directory)
    mkdir -p "$directory"
    mount -t tmpfs -o size=256k tmpfs "$directory"
    # The trap removes both mounts that may be there, however the test ends.
    # shellcheck disable=SC2064 # as it is called now
    trap "while umount -l '$directory' 2>/dev/null; do :; done" EXIT
    director_start "${FLAGS[@]}" --backends "$RS1,$RS2"
    mount --bind "$directory" "$directory"
    mount -o remount,bind,ro "$directory"
    refused drain "Read-only file system"
    umount "$directory"
    dd if=/dev/zero of="$directory/filler" bs=4096 status=none 2>/dev/null || true
    refused drain "No space left on device"
    equal "$(fetch 10 | served | xargs)" "rs1 5 rs2 5" "who serves after refused drains"
    rm "$directory/filler"
    exits 0 ipvsd drain "$RS2"
    mount --bind "$directory" "$directory"
    mount -o remount,bind,ro "$directory"
    refused undrain "Read-only file system"
    umount "$directory"
    equal "$(fetch 10 | served)" "rs1 10" "who serves after a refused undrain"
    exits 0 ipvsd undrain "$RS2"
    equal "$(fetch 10 | served | xargs)" "rs1 5 rs2 5" "who serves after undrain"
    director_stop
}

# freeze_services   has the kernel refuse writes to the table of services, until the table is made anew
freeze_services() { bpftool map freeze pinned "$(pin_directory)/services"; }

# The packet program's rows are written before the kernel refuses, so they have to be taken back.
test_what_the_data_plane_refuses_changes_nothing() {
    local before
    director_start --vip "$VIP:80,$VIP:8080" --scheduler rr --backends "$RS1,$RS2"
    before=$(who_is_drained)
    freeze_services
    exits 71 ipvsd drain "$RS2"
    matches "$OUTPUT" "^ipvsd: $RS2 is not drained, the data plane refuses: .*map listeners: Operation not permitted" "the refusal"
    equal "$(who_is_drained)" "$before" "what is drained after the refusal"
    equal "$(fetch 10 | served | xargs)" "rs1 5 rs2 5" "who serves after a refused drain"
    [[ $(ipvsd events --json --last 10) != *drained* ]] || fail "an event of a drain: $(ipvsd events --json --last 10)"
    # The next daemon finds no drain either.
    director_stop
    director_start --vip "$VIP:80,$VIP:8080" --scheduler rr --backends "$RS1,$RS2"
    equal "$(fetch 10 | served | xargs)" "rs1 5 rs2 5" "who serves after a restart"
    exits 0 ipvsd drain "$RS2"
    before=$(who_is_drained)
    freeze_services
    exits 71 ipvsd undrain "$RS2"
    matches "$OUTPUT" "^ipvsd: $RS2 is not undrained, the data plane refuses: " "the refusal of undrain"
    equal "$(who_is_drained)" "$before" "what is drained after a refused undrain"
    equal "$(fetch 10 | served)" "rs1 10" "who serves after a refused undrain"
    director_stop
    director_start --vip "$VIP:80,$VIP:8080" --scheduler rr --backends "$RS1,$RS2"
    exits 0 ipvsd undrain "$RS2"
}

# Without a data plane the file changes at once, and the next start reads it.
test_a_drain_is_taken_back_without_a_daemon() {
    local before file
    before=$(machine_state director)
    file=$(overrides)
    director_start "${FLAGS[@]}" --backends "$RS1,$RS2"
    exits 0 ipvsd drain "$RS2" --service "$SERVICE"
    director_stop
    exits 64 ipvsd undrain "$RS2" --service "$VIP:81"
    matches "$OUTPUT" "not drained in $VIP:81/tcp alone \(accepted: --service $SERVICE/tcp\)" "undrain of another service"
    exits 0 ipvsd undrain "$RS2"
    matches "$OUTPUT" "^$RS2 is undrained: no director runs here, and nothing forwards; .* in $file" "undrain"
    same_state "$before" "$(machine_state director)"
    # Without a director, only a drain in the file can be undone, and no further drain is accepted.
    exits 3 ipvsd undrain "$RS2"
    matches "$OUTPUT" "no director runs here.*; nor is $RS2 drained in $file" "a second undrain"
    exits 3 ipvsd drain "$RS1" --wait
    same_state "$before" "$(machine_state director)"
    director_start "${FLAGS[@]}" --backends "$RS1,$RS2"
    equal "$(fetch 10 | served | xargs)" "rs1 5 rs2 5" "who serves"
}

# Only a director changes the data plane, so an undrain without one changes the file alone.
test_a_data_plane_without_a_daemon_keeps_its_drains() {
    local written
    director_start "${FLAGS[@]}" --backends "$RS1,$RS2"
    exits 0 ipvsd drain "$RS2"
    director_kill
    written=$(<"$(overrides)")
    exits 3 ipvsd undrain "$RS2"
    matches "$OUTPUT" "no director runs here .*its data plane forwards.*then undrain; or 'ipvsd cleanup'" "undrain"
    exits 3 ipvsd drain "$RS1"
    equal "$(<"$(overrides)")" "$written" "what is written down"
    equal "$(fetch 10 | served)" "rs1 10" "who serves"
    director_start "${FLAGS[@]}" --backends "$RS1,$RS2"
    exits 0 ipvsd undrain "$RS2"
}

test_cleanup_names_the_drains_that_it_keeps() {
    local kept
    kept="^kept for the next start, in $(overrides): $RS2 is drained in $SERVICE/tcp since 20.* \('ipvsd undrain $RS2'\)"
    director_start "${FLAGS[@]}" --backends "$RS1,$RS2"
    exits 0 ipvsd drain "$RS2" --service "$SERVICE"
    exits 75 ipvsd cleanup --dry-run
    matches "$OUTPUT" "a director runs with pid $DIRECTOR_PID" "cleanup --dry-run beside a director"
    exits 75 ipvsd cleanup
    director_kill
    exits 0 ipvsd cleanup --dry-run
    matches "$OUTPUT" "would remove" "cleanup --dry-run"
    matches "$(tail -n 1 <<<"$OUTPUT")" "$kept" "what cleanup --dry-run says last"
    exits 0 ipvsd cleanup
    matches "$(tail -n 1 <<<"$OUTPUT")" "$kept" "what cleanup says last"
    exits 0 ipvsd undrain "$RS2"
    exits 0 ipvsd cleanup
    equal "$OUTPUT" "nothing to remove" "cleanup after undrain"
    # A file that cannot be read is left alone.
    mkdir -p "$(run_directory)"
    echo '{"drains":[' >"$(overrides)"
    exits 71 ipvsd undrain "$RS2"
    matches "$OUTPUT" "nothing has changed: read overrides $(overrides)" "undrain of a damaged file"
    exits 0 ipvsd cleanup
    matches "$OUTPUT" "kept: read overrides $(overrides)" "cleanup beside a damaged file"
    rm "$(overrides)"
    rmdir "$(run_directory)"
}

test_what_is_not_there_is_named() {
    director_start "${FLAGS[@]}" --backends "$RS1,$RS2"
    exits 64 ipvsd drain 10.0.0.77
    matches "$OUTPUT" "10.0.0.77 is no real server here \(accepted: $RS1, $RS2\)" "an unknown server"
    exits 64 ipvsd drain "$RS1" --service "$VIP:81"
    matches "$OUTPUT" "$VIP:81/tcp is no service here \(accepted: $VIP:80/tcp\)" "an unknown service"
    exits 64 ipvsd drain rs1
    exits 64 ipvsd drain "$RS1" --timeout soon
    exits 64 ipvsd undrain 10.0.0.77
    exits 0 ipvsd drain --help
    matches "$OUTPUT" "quorum" "drain --help"
}

run_tests
