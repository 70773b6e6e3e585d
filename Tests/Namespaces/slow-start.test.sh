#!/bin/bash
# Slow start and the sorry server from the clients' side: the servers of new connections while a real server's share
# grows, or the quorum is lost.
# shellcheck source=harness.sh
source "$(dirname "$0")/harness.sh"
LAB_VIA=nsenter

config() {
    cat >"$LAB_DIR/ipvsd.yaml.new"
    mv "$LAB_DIR/ipvsd.yaml.new" "$LAB_DIR/ipvsd.yaml"
}

start() { director_start --config "$LAB_DIR/ipvsd.yaml"; }

proven() {
    local server
    for server; do wait_until 10 "$server to be proven" healthy "$server"; done
}

# service SCHEDULER SLOW_START   starts a director with rs1 and rs2, which are checked often
service() {
    config <<FILE
defaults: {interval: 0.2s, timeout: 0.2s}
services:
  - {listeners: "$VIP:80", scheduler: $1, servers: [$RS1, $RS2], slow-start: $2, ${3:-weight: 1}}
FILE
    start
    proven "$RS1" "$RS2"
}

# bring_rs2_back [COMMAND]   takes rs2 down, runs COMMAND, and brings rs2 back
bring_rs2_back() {
    server_kill rs2
    wait_until 6 "rs2 to be taken out" unhealthy "$RS2"
    ${1:-:}
    server_start rs2
    wait_until 10 "rs2 to be back" healthy "$RS2"
}

# tenths LEAST   whether at least LEAST tenths of rs2's weight, which is 1, are in effect
tenths() { (($(server_status "$RS2" 'effectiveWeight * 10 | round') >= $1)); }

whole() { [[ $(server_status "$RS2" effectiveWeight) == 1 && $(server_status "$RS2" wholeShareAt) == null ]]; }

of_rs2() { served | awk '$1 == "rs2" { n = $2 } END { print n + 0 }'; }

# share_grows LEAST MOST   expects rs2 to have LEAST to 15 of 44 requests at first, and later more, up to MOST
share_grows() {
    local first middle
    matches "$(server_status "$RS2" wholeShareAt)" "^20..-" "when rs2 has its whole share"
    first=$(fetch 44 | of_rs2)
    between "$first" "$1" 15 "rs2's requests of 44 at first"
    wait_until 20 "half of rs2's share" tenths 5
    middle=$(fetch 44 | of_rs2)
    between "$middle" $((first + 1)) "$2" "rs2's requests of 44 half-way"
    wait_until 20 "rs2's whole share" whole
}

test_slow_start_with_mh_leaves_connections_alone() {
    service mh 12s "sched-flags: mh-port"
    download_from_rs1
    bring_rs2_back
    matches "$(ipvsd status)" "$RS2 +tunnel +0\.[1-9]/1 .*starts slowly until" "what the table says"
    # Chance decides which clients these are.
    share_grows 0 30
    between "$(fetch 100 | of_rs2)" 30 70 "rs2's requests of 100 in the end"
    download_correct "$LONG"
}

# A client's port decides which server its download has.
download_from_rs1() {
    local i
    for ((i = 0; i < 30; i++)); do
        LONG=long$i
        download_start "$LONG" --limit-rate 6M
        [[ $(download_server "$LONG") != rs1 ]] || return 0
        kill "$(<"$LAB_DIR/$LONG.pid")"
    done
    fail "thirty connections, and none to rs1"
}

test_slow_start_with_wlc() {
    service wlc 15s
    bring_rs2_back "hold 1 10"
    # Without slow start rs2 would get all of them.
    hold 11 14
    between "$(held | awk '$1 == "rs2" { n = $2 } END { print n + 0 }')" 1 3 "connections that rs2 got at first"
    wait_until 20 "rs2's whole share" whole
    hold 15 20
    equal "$(held | awk '$1 == "rs1" { print ($2 >= 12) }')" 1 "connections that stayed with rs1"
    between "$(held | awk '$1 == "rs2" { print $2 }')" 6 8 "connections that rs2 has in the end"
}

test_a_download_from_the_sorry_server_outlives_the_return_of_the_quorum() {
    config <<FILE
defaults: {interval: 0.2s, timeout: 0.2s}
services:
  - {listeners: "$VIP:80", scheduler: rr, servers: [$RS1, $RS2], quorum: 2, sorry-server: $RS3}
FILE
    start
    proven "$RS1" "$RS2"
    equal "$(fetch 20 | served)" $'rs1 10\nrs2 10' "who serves with the quorum"
    server_kill rs2
    wait_until 6 "the sorry server to serve" sorry_serves true
    equal "$(fetch 20 | served)" "rs3 20" "who serves without the quorum"
    download_start long --limit-rate 6M
    equal "$(download_server long)" rs3 "whose the download is"
    server_start rs2
    wait_until 10 "the quorum" sorry_serves false
    [[ ! -e "$LAB_DIR/long.sum" ]] || fail "the download has ended before the quorum's return"
    equal "$(fetch 20 | served)" $'rs1 10\nrs2 10' "who serves with the quorum again"
    download_correct long
}

sorry_serves() { [[ $(ipvsd status --json | jq '.services[0].quorum.sorryServerServes') == "$1" ]]; }

run_tests
