#!/bin/bash
# What health does over time: slow start, quorum and sorry server, flap damping; and checks that services share.
source "$(dirname "$0")/harness.sh"
LAB_VIA=nsenter

config() {
    cat >"$LAB_DIR/ipvsd.yaml.new"
    mv "$LAB_DIR/ipvsd.yaml.new" "$LAB_DIR/ipvsd.yaml"
}

start() { director_start --config "$LAB_DIR/ipvsd.yaml"; }

says() { grep -qE -- "$1" "$LAB_DIR/director.log"; }

proven() {
    local server
    for server; do wait_until 10 "$server to be proven" healthy "$server"; done
}

# service SCHEDULER SLOW_START   rs1 and rs2, checked often
service() {
    config <<FILE
defaults: {interval: 0.2s, timeout: 0.2s}
services:
  - {listeners: "$VIP:80", scheduler: $1, servers: [$RS1, $RS2], slow-start: $2, ${3:-weight: 1}}
FILE
    start
    proven $RS1 $RS2
}

# rs2 falls, and comes back.
bring_rs2_back() {
    server_kill rs2
    wait_until 6 "rs2 to be taken out" unhealthy $RS2
    ${1:-:}
    server_start rs2
    wait_until 10 "rs2 to be back" healthy $RS2
}

# tenths LEAST   of rs2's weight, 1, are in effect
tenths() { (($(server_status $RS2 'effectiveWeight * 10 | round') >= $1)); }

whole() { [[ $(server_status $RS2 effectiveWeight) == 1 && $(server_status $RS2 wholeShareAt) == null ]]; }

of_rs2() { served | awk '$1 == "rs2" { n = $2 } END { print n + 0 }'; }

# share_grows LEAST MOST   what rs2 has of 44 requests: LEAST to 15 at first, then more and up to MOST
share_grows() {
    local first middle
    matches "$(server_status $RS2 wholeShareAt)" "^20..-" "when rs2 has its whole share"
    first=$(fetch 44 | of_rs2)
    between "$first" "$1" 15 "rs2's requests of 44 at first"
    wait_until 20 "half of rs2's share" tenths 5
    middle=$(fetch 44 | of_rs2)
    between "$middle" $((first + 1)) "$2" "rs2's requests of 44 half-way"
    wait_until 20 "rs2's whole share" whole
}

test_slow_start_with_rr() {
    local before
    service rr 12s
    equal "$(server_status $RS2 effectiveWeight)" 1 "the weight of a server at the director's start"
    bring_rs2_back
    matches "$(ipvsd status)" "$RS2 +tunnel +0\.[1-9]/1 .*starts slowly until" "what the table says"
    # Another daemon goes on with it.
    before=$(server_status $RS2 'effectiveWeight * 10 | round')
    director_kill
    start
    matches "$(server_status $RS2 wholeShareAt)" "^20..-" "when rs2 has its whole share"
    between "$(server_status $RS2 'effectiveWeight * 10 | round')" "$before" 9 "tenths of rs2's weight after kill -9"
    proven $RS2
    share_grows 1 21
    equal "$(fetch 44 | served)" $'rs1 22\nrs2 22' "shares in the end"
}

# ramp   rs2's weight as it rises, each step once, until it is whole
ramp() {
    local weight=0 end
    end=$(($(now_ms) + 25000 * LAB_SLOW))
    while [[ $weight != 1 ]] && (($(now_ms) < end)); do
        weight=$(server_status $RS2 effectiveWeight)
        echo "$weight"
        sleep 0.1
    done | uniq
}

test_slow_start_after_undrain() {
    local steps
    service rr 10s
    exits 0 ipvsd drain $RS2
    equal "$(server_status $RS2 effectiveWeight)" 0 "rs2's weight while it is drained"
    equal "$(fetch 10 | served)" "rs1 10" "who serves meanwhile"
    exits 0 ipvsd undrain $RS2
    wait_until 10 "three tenths of rs2's share" tenths 3
    # Drained half-way, it begins anew.
    exits 0 ipvsd drain $RS2
    equal "$(server_status $RS2 effectiveWeight)" 0 "rs2's weight while it is drained again"
    equal "$(server_status $RS2 wholeShareAt)" null "when a drained server has its whole share"
    exits 0 ipvsd undrain $RS2
    matches "$(server_status $RS2 wholeShareAt)" "^20..-" "when rs2 has its whole share"
    between "$(server_status $RS2 'effectiveWeight * 10 | round')" 1 2 "tenths of rs2's weight at first"
    between "$(fetch 44 | of_rs2)" 1 15 "rs2's requests of 44 at first"
    steps=$(ramp | xargs)
    equal "$steps" "$(tr ' ' '\n' <<<"$steps" | sort -n | xargs)" "the steps of rs2's weight"
    between "$(wc -w <<<"$steps")" 5 10 "how many steps they are"
    whole || fail "rs2's share is not whole after $steps"
    equal "$(fetch 44 | served)" $'rs1 22\nrs2 22' "shares in the end"
}

test_slow_start_with_mh_leaves_connections_alone() {
    service mh 12s "sched-flags: mh-port"
    download_from_rs1
    bring_rs2_back
    # Which clients these are is chance.
    share_grows 0 30
    between "$(fetch 100 | of_rs2)" 30 70 "rs2's requests of 100 in the end"
    download_correct "$LONG"
}

# Ports decide which server a download has.
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
    # Without it rs2 would get all of them.
    hold 11 14
    between "$(held | awk '$1 == "rs2" { n = $2 } END { print n + 0 }')" 1 3 "connections that rs2 got at first"
    wait_until 20 "rs2's whole share" whole
    hold 15 20
    equal "$(held | awk '$1 == "rs1" { print ($2 >= 12) }')" 1 "connections that stayed with rs1"
    between "$(held | awk '$1 == "rs2" { print $2 }')" 6 8 "connections that rs2 has in the end"
}

test_the_sorry_server_serves_while_the_quorum_is_lost() {
    config <<FILE
defaults: {interval: 0.2s, timeout: 0.2s}
services:
  - {listeners: "$VIP:80", scheduler: sh, sched-flags: sh-port, servers: [$RS1, $RS2], quorum: 2, sorry-server: $RS3}
FILE
    start
    proven $RS1 $RS2
    equal "$(fetch 40 | served | awk '{ print $1 }' | xargs)" "rs1 rs2" "who serves"
    matches "$(ipvsd status)" "$RS3 .* sorry server$" "what the table says of it"
    hold 1 8
    server_kill rs2
    wait_until 6 "the sorry server to serve" sorry_serves true
    says "$VIP:80/tcp lost its quorum: the weight of usable real servers is 1, below 2" || fail "no quorum in the log"
    equal "$(fetch 20 | served)" "rs3 20" "who serves without quorum"
    matches "$(ipvsd status)" "$RS3 .* sorry server, serves" "what the table says of it now"
    matches "$(ipvsd status)" "has lost its quorum: usable weight 1, required 2; the sorry server serves" "the last line"
    # What rs1 has, it keeps; and a reload that fails changes nothing, one that succeeds neither.
    between "$(server_status $RS1 active)" 1 8 "rs1's connections"
    download_start long --limit-rate 20M
    equal "$(download_server long)" rs3 "whose the download is"
    echo "services: [{listeners: '$VIP:80', servers: $RS1, quorum: 2}]" | config
    exits 64 ipvsd reload
    matches "$OUTPUT" "ipvsd.yaml:1: quorum 2: the quorum, 2, can never be reached" "why the reload is refused"
    echo "services: [{listeners: $VIP, servers: $RS1, sorry-server: 10.0.0.2}]" | config
    exits 64 ipvsd reload
    matches "$OUTPUT" "10.0.0.2 is this director, and $VIP has every port" "why this one is refused"
    equal "$(fetch 20 | served)" "rs3 20" "who serves after it"
    # Another daemon knows that the quorum is lost.
    config <<FILE
defaults: {interval: 0.2s, timeout: 0.2s}
services:
  - {listeners: "$VIP:80", scheduler: rr, servers: [$RS1, $RS2], quorum: 2, sorry-server: $RS3}
FILE
    exits 0 ipvsd reload
    equal "$(fetch 20 | served)" "rs3 20" "who serves after a reload"
    director_kill
    start
    equal "$(fetch 20 | served)" "rs3 20" "who serves after a restart"
    server_start rs2
    wait_until 10 "the quorum" sorry_serves false
    equal "$(fetch 20 | served)" $'rs1 10\nrs2 10' "who serves with the quorum"
    download_correct long
}

sorry_serves() { [[ $(ipvsd status --json | jq '.services[0].quorum.sorryServerServes') == "$1" ]]; }

test_flapping_servers_are_held_out() {
    config <<FILE
defaults: {interval: 0.2s, timeout: 0.2s, rise: 1, fall: 1}
services:
  - {listeners: "$VIP:80", scheduler: rr, servers: [$RS1, $RS2, $RS3], flap-damping: 30s}
FILE
    local i before
    before=$(machine_state director)
    start
    proven $RS1 $RS2 $RS3
    for i in 1 2; do
        server_kill rs3
        wait_until 6 "fall $i of rs3" unhealthy $RS3
        server_start rs3
        wait_until 10 "rs3 to be back" healthy $RS3
    done
    server_kill rs3
    wait_until 6 "the third fall of rs3" unhealthy $RS3
    server_start rs3
    wait_until 10 "rs3 to be held out" held_out
    unhealthy $RS3 || fail "rs3 is back after its third fall"
    matches "$(ipvsd status)" "$RS3 .* down since .*: passes its checks again, but fell too often, held out until 20" "the table"
    says "$RS3 of $VIP:80/tcp passes its checks again, but fell too often: held out for [0-9]+s" || fail "not in the log"
    equal "$(fetch 20 | served | awk '{ print $1 }' | xargs)" "rs1 rs2" "who serves"
    # So it does for the next daemon.
    director_kill
    start
    wait_until 10 "rs3 to be held out by the next daemon" held_out
    equal "$(fetch 20 | served | awk '{ print $1 }' | xargs)" "rs1 rs2" "who serves by the next daemon"
    proven $RS1 $RS2
    # But not when it is needed: one of three alone is too little.
    server_kill rs1
    wait_until 6 "rs3 to be taken back" healthy $RS3
    unhealthy $RS1 || fail "rs1 is not out"
    equal "$(fetch 20 | served)" $'rs2 10\nrs3 10' "who serves then"
    server_start rs1
    director_stop
    same_state "$before" "$(machine_state director)"
}

held_out() { [[ $(server_status $RS3 heldUntil) == 20* ]]; }

test_services_share_the_checks_of_a_host() {
    config <<FILE
defaults: {interval: 0.5s, timeout: 0.5s, servers: [$RS1]}
services:
  - {listeners: "$VIP:80", checks: [{type: tcp, port: 80}, {type: http, port: 8080, via: direct}]}
  - {listeners: "$VIP:8080", checks: [{type: tcp, port: 80, rise: 3, fall: 1}]}
  - {listeners: "$VIP:8081", check: "tcp:80", interval: 1s}
  - {listeners: "10.0.0.101:80", checks: [{type: http, port: 8080, via: direct}]}
FILE
    start
    proven $RS1
    wait_until 10 "all services to be proven" all_proven
    in_ns rs1 nft add table ip counted
    in_ns rs1 nft add chain ip counted input "{ type filter hook input priority 0; }"
    in_ns rs1 nft add rule ip counted input ip daddr $VIP tcp dport 80 "tcp flags & (syn | ack) == syn" counter
    in_ns rs1 nft add rule ip counted input ip daddr $RS1 tcp dport 8080 "tcp flags & (syn | ack) == syn" counter
    sleep 5
    local counts
    counts=$(in_ns rs1 nft list table ip counted | grep -o "packets [0-9]*" | awk '{ print $2 }' | xargs)
    in_ns rs1 nft delete table ip counted
    # Every half second by two of them, and every second by the third, which asks at another pace.
    between "${counts% *}" 11 18 "connects through the tunnel in 5 s"
    between "${counts#* }" 8 12 "direct ones in 5 s, of two services"
    # What one round finds, all of them know, each by its own rule.
    server_kill rs1
    wait_until 6 "rs1 to be out everywhere" none_up
    server_start rs1
}

all_proven() { [[ $(ipvsd status --json | jq -c '[.services[].servers[].health] | unique') == '["up"]' ]]; }

none_up() { [[ $(ipvsd status --json | jq -c '[.services[].servers[].health] | unique') == '["down"]' ]]; }

run_tests
