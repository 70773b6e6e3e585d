#!/bin/bash
# Every scheduler's distribution, the affinity of flows, weights.
# shellcheck source=harness.sh
source "$(dirname "$0")/harness.sh"
LAB_VIA=nsenter

BACKENDS=$RS1,$RS2,$RS3

scenario_up() {
    lab_up
    usual_servers
    local host
    for host in rs1 rs2 rs3; do spawn $host "$LAB_DIR/$host.udp" "$PYTHON" "$TESTS/udp.py" serve $host 5353; disown; done
}

# requests COUNT "rs1 N rs2 N ..."   expects COUNT requests to have these shares
requests() {
    local lines
    lines=$(fetch "$1")
    no_failures "$1 requests" <<<"$lines"
    equal "$(served <<<"$lines" | xargs)" "$2" "who served $1 requests"
}

test_rr_gives_every_server_exactly_a_third() {
    director_start --vip "$VIP" --backends "$BACKENDS" --scheduler rr
    requests 300 "rs1 100 rs2 100 rs3 100"
}

test_rr_ignores_weights_except_zero() {
    director_start --vip "$VIP" --backends "$RS1=5,$RS2=1,$RS3=0" --scheduler rr
    requests 300 "rs1 150 rs2 150"
}

test_wrr_follows_weights() {
    director_start --vip "$VIP" --backends "$RS1=3,$RS2=1,$RS3=0" --scheduler wrr
    requests 400 "rs1 300 rs2 100"
}

test_lc_counts_connections_not_weights() {
    director_start --vip "$VIP" --backends "$RS1=9,$RS2,$RS3" --scheduler lc
    hold 1 9
    equal "$(held | xargs)" "rs1 3 rs2 3 rs3 3" "nine connections held"
    release rs1
    wait_until 5 "rs1 to have no active connection" active_is "$RS1" 0
    hold 10 12
    equal "$(held | xargs)" "rs1 3 rs2 3 rs3 3" "after rs1's ended and three more came"
}

active_is() { [[ $(server_status "$1" active) == "$2" ]]; }

test_wlc_is_the_default_and_weighs_connections() {
    director_start --vip "$VIP" --backends "$RS1=3,$RS2=1"
    equal "$(ipvsd status --json | jq -r '.services[0].scheduler')" wlc "the scheduler"
    hold 1 8
    equal "$(held | xargs)" "rs1 6 rs2 2" "eight connections held"
    wait_until 5 "rs1's active connections to be counted" active_is "$RS1" 6
}

test_wlc_spreads_short_requests() {
    director_start --vip "$VIP" --backends "$BACKENDS"
    local lines
    lines=$(fetch 300)
    no_failures "wlc" <<<"$lines"
    for server in rs1 rs2 rs3; do
        between "$(grep -c "$server\$" <<<"$lines")" 60 140 "$server of 300 requests"
    done
}

test_mh_keeps_one_client_on_one_server() {
    director_start --vip "$VIP" --backends "$BACKENDS" --scheduler mh
    local lines address
    for address in 10.9.1.1 10.9.1.2 10.9.1.3; do
        lines=$(fetch 20 --interface "$address")
        no_failures "mh from $address" <<<"$lines"
        equal "$(served <<<"$lines" | wc -l)" 1 "servers that one client address met"
    done
}

test_mh_spreads_client_addresses() {
    director_start --vip "$VIP" --backends "$BACKENDS" --scheduler mh
    local answers server again
    answers=$(in_ns client "$PYTHON" "$TESTS/udp.py" ask "$VIP" 5353 300 10.9.2.1)
    equal "$(grep -c failed <<<"$answers" || true)" 0 "datagrams without an answer"
    # Each server is expected to have 100 clients. 3.5 standard deviations of a fair draw are 29.
    for server in rs1 rs2 rs3; do between "$(grep -cx "$server" <<<"$answers")" 71 129 "$server of 300 clients"; done
    again=$(in_ns client "$PYTHON" "$TESTS/udp.py" ask "$VIP" 5353 300 10.9.2.1)
    equal "$(paste -d= <(echo "$answers") <(echo "$again") | awk -F= '$1 != $2' | wc -l)" 0 "clients whose server changed"
}

test_mh_moves_only_the_lost_servers_clients() {
    director_start --vip "$VIP" --backends "$BACKENDS" --scheduler mh
    local before after moved
    before=$(in_ns client "$PYTHON" "$TESTS/udp.py" ask "$VIP" 5353 200 10.9.5.1)
    director_stop
    director_start --vip "$VIP" --backends "$RS1,$RS3" --scheduler mh
    after=$(in_ns client "$PYTHON" "$TESTS/udp.py" ask "$VIP" 5353 200 10.9.5.1)
    equal "$(grep -cE 'rs2|failed' <<<"$after" || true)" 0 "answers of rs2, and missing ones"
    moved=$(paste -d' ' <(echo "$before") <(echo "$after") | awk '$1 != "rs2" && $1 != $2' | wc -l)
    between "$moved" 0 12 "clients of the remaining servers that moved, of 200"
}

test_lblc_gives_the_vip_one_server_while_it_can_bear_it() {
    director_start --vip "$VIP" --backends "$BACKENDS" --scheduler lblc
    requests 30 "rs1 30"
    # The third connection finds rs1 with two active connections, more than its weight, and the others idle.
    hold 1 4
    equal "$(held | xargs)" "rs1 2 rs2 2" "four connections held"
}

test_lblcr_gives_the_vip_a_set_of_servers() {
    director_start --vip "$VIP" --backends "$BACKENDS" --scheduler lblcr
    hold 1 6
    equal "$(held | xargs)" "rs1 2 rs2 2 rs3 2" "six connections held"
}

overloaded_is() { [[ $(server_status "$1" overloaded) == "$2" ]]; }

test_a_server_at_its_upper_threshold_gets_nothing_until_it_is_below_the_lower() {
    director_start --vip "$VIP" --backends "$RS1=1:2,$RS2=1:0" --u-threshold 100 --scheduler rr
    hold 1 6
    equal "$(held | xargs)" "rs1 2 rs2 4" "six connections held"
    equal "$(server_status "$RS1" upperThreshold) $(server_status "$RS1" lowerThreshold)" "2 2" "thresholds of rs1"
    equal "$(server_status "$RS2" upperThreshold)" null "upper threshold of rs2"
    equal "$(server_status "$RS1" overloaded) $(server_status "$RS2" overloaded)" "true false" "who is overloaded"
    matches "$(ipvsd status | grep -F "$RS1 ")" "overloaded .from 2 on." "status of rs1"
    requests 10 "rs2 10"
    # Closed connections count for as long as they are remembered.
    release rs1
    wait_until 60 "rs1 to be free again" overloaded_is "$RS1" false
    hold 7 8
    equal "$(held | xargs)" "rs1 1 rs2 5" "two more"
}

test_a_service_whose_servers_are_all_overloaded_refuses() {
    director_start --vip "$VIP" --backends "$RS1,$RS2" -x 1 --scheduler wlc
    hold 1 2
    equal "$(held | xargs)" "rs1 1 rs2 1" "two connections held"
    exits 7 in_ns client curl -s -o /dev/null --max-time 5 "http://$VIP/"
}

test_the_maglev_table_has_the_size_that_was_asked_for() {
    director_start --vip "$VIP" --backends "$BACKENDS" --scheduler mh --maglev-size 65537
    equal "$(ipvsd status --json | jq '.services[0].maglevSize')" 65537 "slots"
    no_failures "mh" <<<"$(fetch 10)"
}

test_a_connection_stays_on_its_server_while_others_go_round() {
    director_start --vip "$VIP" --backends "$BACKENDS" --scheduler rr
    # One connection has 40 requests in two seconds. Other clients' requests come between them.
    LAB_VIA=nsenter spawn client "$LAB_DIR/keep" curl -s -o /dev/null --max-time $((20 * LAB_SLOW)) --rate 20/s \
        -w '%{num_connects} %{http_code} %header{x-server}\n' "http://$VIP/?[1-40]"
    local keep=$SPAWNED others
    others=$(fetch 100)
    no_failures "other clients" <<<"$others"
    equal "$(served <<<"$others" | wc -l)" 3 "servers that the others met"
    wait_until 20 "the end of 40 requests" ended "$keep"
    equal "$(wc -l <"$LAB_DIR/keep")" 40 "requests on the one connection"
    equal "$(awk '{ n += $1 } END { print n }' "$LAB_DIR/keep")" 1 "connections made"
    equal "$(awk '{ print $2, $3 }' "$LAB_DIR/keep" | sort -u | wc -l)" 1 "servers that it met"
}

test_weight_zero_gets_no_new_flow_and_keeps_the_old() {
    director_start --vip "$VIP" --backends "$RS1,$RS2" --scheduler rr
    download_start one --limit-rate 20M
    download_start two --limit-rate 20M
    local quiesced
    quiesced=$(download_server one)
    director_kill
    if [[ $quiesced == rs1 ]]; then
        director_start --vip "$VIP" --backends "$RS1=0,$RS2" --scheduler rr
    else
        director_start --vip "$VIP" --backends "$RS1,$RS2=0" --scheduler rr
    fi
    equal "$(fetch 50 | grep -c "$quiesced\$" || true)" 0 "new requests to the quiesced server"
    download_correct one
    download_correct two
}

# servers_of ADDRESS   prints the real servers that 12 requests of the client meet
servers_of() {
    local lines
    lines=$(fetch 12 --interface "$1")
    no_failures "requests of $1" <<<"$lines"
    served <<<"$lines" | awk '{ print $1 }' | xargs
}

test_a_persistent_client_stays() {
    director_start --vip "$VIP:80" --backends "$BACKENDS" --scheduler rr --persistent 5m
    local address all=
    for address in 10.9.1.1 10.9.1.2 10.9.1.3; do
        matches "$(servers_of "$address")" '^rs[123]$' "servers of $address"
        all+=" $(servers_of "$address")"
    done
    equal "$(xargs -n 1 <<<"$all" | sort | xargs)" "rs1 rs2 rs3" "servers of three clients"
    matches "$(ipvsd status)" "rr persistent 300" "status"
    equal "$(ipvsd status --json | jq -c '[.services[0].persistence, .services[0].persistencePrefixLength]')" "[300,32]" \
        "persistence in status"
}

test_a_netmask_makes_clients_one() {
    director_start --vip "$VIP:80" --backends "$BACKENDS" --scheduler rr --persistent 5m --persistent-netmask 255.255.255.0
    local first
    first=$(servers_of 10.9.1.1)
    matches "$first" '^rs[123]$' "servers of 10.9.1.1"
    equal "$(servers_of 10.9.1.2) $(servers_of 10.9.1.3)" "$first $first" "servers of its neighbours"
}

# A client's HTTP and its datagrams meet the same server, as with IPVS's fwmark services.
test_one_service_of_two_listeners() {
    director_start --vip "$VIP:80,$VIP:5353/udp" --one-service --backends "$BACKENDS" --scheduler rr --persistent 5m
    local first
    first=$(servers_of 10.9.1.1)
    equal "$(in_ns client "$PYTHON" "$TESTS/udp.py" ask "$VIP" 5353 6 | sort -u)" "$(served <<<"$(fetch 3)" | awk '{ print $1 }')" \
        "who answers the datagrams and the requests of one client"
    matches "$first" '^rs[123]$' "servers of 10.9.1.1"
    equal "$(ipvsd status --json | jq -c '[(.services | length), (.services[0].listeners | map(.port))]')" '[1,[80,5353]]' \
        "services and listeners in status"
}

test_one_packet_scheduling() {
    director_start --vip "$VIP:5353/udp" --backends "$BACKENDS" --scheduler rr --check ping
    equal "$(in_ns client "$PYTHON" "$TESTS/udp.py" repeat "$VIP" 5353 9 | sort | uniq -c | awk '{ print $1 }')" 9 \
        "answers to one flow from one server"
    director_stop
    director_start --vip "$VIP:5353/udp" --backends "$BACKENDS" --scheduler rr --check ping --one-packet
    equal "$(in_ns client "$PYTHON" "$TESTS/udp.py" repeat "$VIP" 5353 9 | sort | uniq -c | awk '{ print $2, $1 }' | xargs)" \
        "rs1 3 rs2 3 rs3 3" "who answers the datagrams of one flow"
    equal "$(ipvsd connections --count)" 0 "connections"
}

test_timeouts_are_as_asked() {
    director_start --vip "$VIP:5353/udp" --backends "$BACKENDS" --check ping --udp-timeout 3s
    equal "$(in_ns client "$PYTHON" "$TESTS/udp.py" repeat "$VIP" 5353 2 | sort -u | wc -l)" 1 "servers of one flow"
    between "$(ipvsd connections --json | jq -s 'flatten | map(.expires // .remaining // 0) | max | floor')" 0 3 "seconds left"
    wait_until 12 "the flow to expire" no_connections
}

# datagrams COUNT   sends datagrams that are always of the same flow, and prints who answers them
datagrams() { in_ns client "$PYTHON" "$TESTS/udp.py" repeat "$VIP" 5353 "$1" 40000 | uniq -c | awk '{ print $2, $1 }' | xargs; }

address_of() { local name=${1^^}; echo "${!name}"; }

# log_service [WITHOUT [WAY [TIMEOUT]]]   writes a configuration without the real server WITHOUT. WAY is
# on-server-removal, and TIMEOUT is the time-out of UDP.
log_service() {
    local host servers=()
    for host in rs1 rs2 rs3; do [[ $host == "${1:-}" ]] || servers+=("$(address_of "$host")"); done
    cat >"$LAB_DIR/ipvsd.yaml" <<END
timeouts: {udp: ${3:-5m}}
defaults: {check: ping${2:+, on-server-removal: $2}}
services: [{listeners: "$VIP:5353/udp", scheduler: rr, servers: [$(IFS=,; echo "${servers[*]}")]}]
END
}

# The sender never pauses for as long as the time-out, like a sender of logs.
test_datagrams_leave_a_removed_server() {
    local mine
    log_service
    director_start --config "$LAB_DIR/ipvsd.yaml"
    mine=$(datagrams 3)
    matches "$mine" '^rs[123] 3$' "who answers the datagrams of one flow"
    log_service "${mine% 3}"
    exits 0 ipvsd reload
    matches "$(datagrams 3)" '^rs[123] 3$' "who answers after the reload"
    [[ $(datagrams 3) != "$mine" ]] || fail "$mine, although it is no longer configured"
}

test_datagrams_may_finish_on_a_removed_server() {
    local mine
    log_service none finish 4s
    director_start --config "$LAB_DIR/ipvsd.yaml"
    mine=$(datagrams 3)
    log_service "${mine% 3}" finish 4s
    exits 0 ipvsd reload
    equal "$(datagrams 3)" "$mine" "who answers after the reload"
    another_answers() { [[ $(datagrams 1) != "${mine% 3} 1" ]]; }
    wait_until 20 "the datagrams to leave ${mine% 3}" another_answers
    matches "$(datagrams 3)" '^rs[123] 3$' "who answers then"
}

test_datagrams_leave_a_drained_server_when_the_wait_has_ended() {
    local mine address
    log_service
    director_start --config "$LAB_DIR/ipvsd.yaml"
    mine=$(datagrams 3)
    address=$(address_of "${mine% 3}")
    exits 0 ipvsd drain "$address"
    equal "$(datagrams 3)" "$mine" "who answers once it is drained"
    exits 4 ipvsd drain "$address" --timeout 1s
    matches "$OUTPUT" "after 1s; it stays drained and keeps its TCP connections; its datagrams follow --on-server-removal" "drain"
    matches "$(datagrams 3)" '^rs[123] 3$' "who answers when the wait has ended"
    [[ $(datagrams 3) != "$mine" ]] || fail "$mine, although the wait has ended"
    matches "$(director_log)" "datagram flows of real server $address of $VIP:5353/udp move" "the log"
    # A daemon that is started later also moves the flows.
    equal "$(jq -c '[.drains[].movesDatagrams]' "$(run_directory)/overrides.json")" "[true]" "what is written down"
    exits 0 ipvsd undrain "$address"
}

no_connections() { [[ $(ipvsd connections --count) == 0 ]]; }

run_tests
