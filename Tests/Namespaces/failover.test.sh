#!/bin/bash
# Real servers that die in several ways, under load, and come back. The first cases use the shortest command line.
# shellcheck source=harness.sh
source "$(dirname "$0")/harness.sh"
LAB_VIA=nsenter
IPVSD_BENCH=${IPVSD_BENCH:-$(dirname "$IPVSD")/ipvsd-bench}

# failover_case BREAK MEND REASON   breaks rs2 and mends it by these commands, and expects REASON in the log
failover_case() {
    local limit
    limit=$(milliseconds 3.5)
    director_start --vip "$VIP" --backends "$RS1,$RS2,$RS3"
    load_start 100
    start_downloads
    wait_until 15 "300 requests" load_has 300
    no_failures "before the failure" <<<"$(load)"

    $1
    wait_until 6 "rs2 to be taken out" unhealthy "$RS2"
    between "$WAITED_MS" 0 $((limit * LAB_SLOW)) "milliseconds until rs2 was out"
    echo "# rs2 out after $WAITED_MS ms, $(load | failures | wc -l) requests failed until then"

    no_failures "after rs2 was taken out" <<<"$(fetch 200)"
    equal "$(fetch 60 | served | grep -c rs2 || true)" 0 "requests that a dead server answered"
    matches "$(director_log)" "$RS2" "the log"
    matches "$(director_log | grep -F "$RS2")" "$3" "what the log says about $RS2"

    $2
    wait_until 15 "rs2 to be back" healthy "$RS2"
    echo "# rs2 back after $WAITED_MS ms"
    wait_until 10 "rs2 to serve again" serves rs2
    load_stop
    # Each failure was a connection to rs2: at most its share of the rate in the worst detection time.
    between "$(load | failures | wc -l)" 0 117 "failed requests in all"
    stop_downloads
}

serves() { fetch 12 | grep -q "$1\$"; }

start_downloads() {
    local i
    for i in 1 2 3; do download_start "long$i" --limit-rate 12M; done
}

# Downloads from rs1 and rs3 go on. A download from rs2 may have died with rs2.
stop_downloads() {
    local i survivors=0
    for i in 1 2 3; do
        if [[ $(download_server "long$i") == rs2 ]]; then
            kill "$(<"$LAB_DIR/long$i.pid")" 2>/dev/null || true
            continue
        fi
        download_correct "long$i"
        survivors=$((survivors + 1))
    done
    between "$survivors" 1 3 "downloads through the other servers"
}

kill_server() { server_kill rs2; }
start_server() { server_start rs2; }
cut_link() { ip -n "$(ns switch)" link set rs2 down; }
join_link() { ip -n "$(ns switch)" link set rs2 up; }
break_tunnel() { ip -n "$(ns rs2)" link set tunl0 down; }
mend_tunnel() { ip -n "$(ns rs2)" link set tunl0 up; }
break_tunnel_only() {
    break_tunnel
    equal "$(in_ns client curl -s --max-time 5 -o /dev/null -w '%{http_code}' "http://$RS2/")" 200 "rs2's own address"
}

test_a_killed_server_process_is_taken_out_and_comes_back() {
    failover_case kill_server start_server 'refused|80'
}

test_a_cut_link_is_taken_out_and_comes_back() {
    failover_case cut_link join_link 'time|unreachable|no answer|no route'
}

test_a_dead_tunnel_is_told_from_a_dead_service() {
    failover_case break_tunnel_only mend_tunnel 'tunl0|tunnel|decapsulation'
}

# Sends to rs2 until the end of the connection, and prints how it ended.
talk_to_rs2() {
    client_python - "$VIP" <<'PYTHON'
import socket, sys, time
end = time.monotonic() + 12
while time.monotonic() < end:
    s = socket.create_connection((sys.argv[1], 80), 5)
    s.sendall(b"GET / HTTP/1.1\r\nHost: vip\r\n\r\n")
    if b"rs2" in s.recv(4096):
        break
    s.close()
print("connected", flush=True)
s.settimeout(1)
while time.monotonic() < end:
    try:
        s.sendall(b"GET / HTTP/1.1\r\nHost: vip\r\n\r\n")
        s.recv(4096)
        time.sleep(0.05)
    except socket.timeout:
        continue
    except OSError as error:
        print("ended", type(error).__name__)
        sys.exit()
print("still open")
PYTHON
}

client_python() { LAB_VIA=nsenter in_ns client "$PYTHON" "$@"; }

test_connections_of_a_lost_server_are_reset_on_request() {
    director_start --vip "$VIP" --backends "$RS1,$RS2" --scheduler rr --on-server-loss reset
    talk_to_rs2 >"$LAB_DIR/talk" 2>&1 &
    local talk=$!
    wait_until 5 "a connection to rs2" grep -q connected "$LAB_DIR/talk"
    cut_link
    wait_until 10 "the connection's end" grep -q "ended ConnectionResetError" "$LAB_DIR/talk"
    wait "$talk"
    between "$(ipvsd status --json | jq '.reasons["answered-server-lost"]')" 1 10 "answered-server-lost"
    join_link
    wait_until 10 "rs2 to be back" healthy "$RS2"
}

test_check_none_and_check_ping_leave_a_dead_process_in() {
    # The watch on SYNs is off. It would move a client that uses a port again to the other server.
    director_start --vip "$VIP" --backends "$RS1,$RS2" --scheduler rr --no-syn-watch --check ping \
        --check-interval 0.2s --check-timeout 0.2s
    wait_until 5 "rs2 to be proven" healthy "$RS2"
    server_kill rs2
    # Two failures of a check, 0.2 s apart, would take rs2 out.
    stays_in "$RS2" 1.5 "--check ping"
    cut_link
    wait_until 5 "ping to notice the cut link" unhealthy "$RS2"
    join_link
    wait_until 10 "ping to notice the joined link" healthy "$RS2"
    server_start rs2
    director_stop
    director_start --vip "$VIP" --backends "$RS1,$RS2" --scheduler rr --no-syn-watch --check none
    no_failures "unchecked" <<<"$(fetch 20)"
    server_kill rs2
    stays_in "$RS2" 3.5 "--check none"
    server_start rs2
    no_failures "unchecked, alive again" <<<"$(fetch 20)"
}

# stays_in ADDRESS SECONDS WHAT   expects the dead server to stay in for that time, and clients to meet it all the time
stays_in() {
    local health refused=0 samples=0 end
    end=$(($(now_ms) + $(milliseconds "$2") * LAB_SLOW))
    while (($(now_ms) < end)); do
        health=$(server_status "$1" health)
        [[ $health == up || $health == unproven ]] || fail "$3: $1 is $health after $samples samples"
        samples=$((samples + 1))
        # The servers take turns, so one of two requests meets the dead one.
        refused=$((refused + $(fetch 2 | failures | wc -l)))
    done
    between "$samples" 3 100000 "$3: samples of the status"
    equal "$refused" "$samples" "$3: pairs of requests of which one was refused"
}

# A client can complete a handshake with a port that no server has, by a SYN and an ACK. Such ports must not displace
# ports in use from the learnt ones.
test_handshakes_with_closed_ports_do_not_blind_the_checks() {
    director_start --vip "$VIP" --backends "$RS1,$RS2,$RS3"
    in_ns client "$PYTHON" "$TESTS/handshakes.py" 10.0.0.1 "$VIP" 1 40
    load_start 100
    wait_until 15 "300 requests" load_has 300
    no_failures "after the handshakes" <<<"$(load)"
    # The handshakes come again, now that port 80 is known.
    in_ns client "$PYTHON" "$TESTS/handshakes.py" 10.0.0.1 "$VIP" 41 79
    server_kill rs2
    wait_until 5 "rs2 to be taken out" unhealthy "$RS2"
    echo "# rs2 out after $WAITED_MS ms"
    no_failures "after rs2 was taken out" <<<"$(fetch 60)"
    load_stop
    server_start rs2
}

# No check is due, but SYNs without an answer start a check.
test_unanswered_syns_trigger_a_check_at_once() {
    local killed
    director_start --vip "$VIP" --backends "$RS1,$RS2,$RS3" --scheduler rr
    load_start 100
    wait_until 15 "300 requests" load_has 300
    no_failures "before" <<<"$(load)"
    killed=$(now_ms)
    server_kill rs2
    wait_until 6 "rs2 to be taken out" unhealthy "$RS2"
    between $(($(now_ms) - killed)) 0 $((800 * LAB_SLOW)) "milliseconds from the kill until rs2 was out"
    echo "# rs2 out $(($(now_ms) - killed)) ms after the kill"
    load_stop
    # The limit is a third of 100 requests a second for that time, with the requests in flight.
    between "$(load | failures | wc -l)" 0 $((40 * LAB_SLOW)) "failed requests"
    server_start rs2
}

# The checks are too slow to help (15 s at least): a client's second SYN goes to another server.
test_a_silent_server_loses_no_request_of_a_client_that_asks_again() {
    local lines
    director_start --vip "$VIP" --backends "$RS1,$RS2,$RS3" --scheduler rr \
        --check-interval 10s --check-timeout 5s --fall 3
    no_failures "before" <<<"$(fetch 30)"
    cut_link
    lines=$(at_once 150)
    unhealthy "$RS2" && fail "rs2 was taken out; this was to be without the checks"
    join_link
    equal "$(wc -l <<<"$lines")" 150 "requests made"
    no_failures "after the cut" <<<"$lines"
    equal "$(served <<<"$lines" | grep -c rs2 || true)" 0 "requests that a dead server answered"
    between "$(awk '$3 > 0.9' <<<"$lines" | wc -l)" 1 150 "requests that needed a second SYN"
}

# A fifth of all SYN-ACKs is lost. Clients then repeat their SYN, which must not go to another server. There are no
# checks, as two lost SYN-ACKs of checks in a row would take a server out.
test_lost_answers_of_healthy_servers_break_no_connection() {
    local host lines
    director_start --vip "$VIP" --backends "$RS1,$RS2,$RS3" --scheduler rr --check none
    for host in rs1 rs2 rs3; do
        in_ns "$host" nft add table ip lossy
        in_ns "$host" nft add chain ip lossy output "{ type filter hook output priority 0; }"
        in_ns "$host" nft add rule ip lossy output ip saddr "$VIP" tcp flags "&" "(syn|ack)" == "(syn|ack)" \
            numgen random mod 5 0 counter drop
    done
    lines=$(at_once 300 20)
    for host in rs1 rs2 rs3; do in_ns "$host" nft delete table ip lossy; done
    equal "$(wc -l <<<"$lines")" 300 "requests made"
    no_failures "while a fifth of the SYN-ACKs was lost" <<<"$lines"
    between "$(awk '$3 > 0.9' <<<"$lines" | wc -l)" 10 200 "requests that needed a second SYN or SYN-ACK"
}

# Runs the benchmark, whose client makes 200 requests a second at fixed times, through every kind of death. The lab is
# the benchmark's own.
deaths() {
    "$IPVSD_BENCH" failover --ipvsd "$IPVSD" --rate 200 --seconds 6 --json "$@" >"$LAB_DIR/deaths.json" 2>"$LAB_DIR/deaths.log" ||
        fail "ipvsd-bench failover: $(tail -n 5 "$LAB_DIR/deaths.log")"
    jq -c '.runs[] | [.settings, .death, "failed", .failed, "cut off", .cutOff, "slowest", .slowest, "out after", .ejection]' \
        "$LAB_DIR/deaths.json" | sed 's/^/# /'
}

# holds_of_deaths FILTER WHAT   expects jq's filter to be true of each run
holds_of_deaths() {
    local bad
    bad=$(jq -c ".runs[] | select(($1) | not)" "$LAB_DIR/deaths.json")
    [[ -z $bad ]] || fail "$2: $bad"
}

clients_hardly_notice() {
    holds_of_deaths ".requests == 1800" "requests made"
    # One in 10,000 requests may fail, which is none of 1,800. Connections of a server that dies are lost.
    holds_of_deaths '.death == "process killed" or .failed == .cutOff' "new connections to a silent server that failed"
    # The limit is a third of 200 requests a second, for 0.3 s.
    holds_of_deaths ".failed - .cutOff <= $((20 * LAB_SLOW))" "new connections that a killed process refused"
    holds_of_deaths ".ejection != null and .ejection <= $((3 * LAB_SLOW))" "seconds until rs2 was out"
    holds_of_deaths ".lastSYN <= $((3 * LAB_SLOW))" "seconds until the last new connection to rs2"
    holds_of_deaths ".failedElsewhere == 0" "requests through other servers that failed"
    holds_of_deaths ".downloads >= 2 and .disturbed == []" "downloads through other servers"
}

test_a_death_in_any_way_is_hardly_noticed() {
    deaths --settings default
    equal "$(jq -r '[.runs[] | .settings] | unique | join(" ")' "$LAB_DIR/deaths.json")" default "settings"
    equal "$(jq '.runs | length' "$LAB_DIR/deaths.json")" 4 "ways to die"
    clients_hardly_notice
}

test_fast_checks_take_a_silent_server_out_in_less_than_a_second() {
    deaths --settings fast --cases host,process
    clients_hardly_notice
    holds_of_deaths ".ejection <= $((1 * LAB_SLOW))" "seconds until rs2 was out"
}

# at_once COUNT [SECONDS]   makes requests like `fetch`, but 50 at a time, and goes on after failures. curl's progress
# meter ignores -s.
at_once() {
    in_ns client curl -s -Z --parallel-immediate --parallel-max 50 -o /dev/null -H 'Connection: close' \
        --max-time $((${2:-5} * LAB_SLOW)) -w "$CURL_LINE" "http://$VIP/?[1-$1]" 2>/dev/null || true
}

run_tests
