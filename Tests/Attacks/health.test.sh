#!/bin/bash
# Actions of clients and of the director itself take out no real server that serves.
# shellcheck source=../Namespaces/harness.sh
source "$(dirname "$0")/../Namespaces/harness.sh"
LAB_VIA=nsenter

BACKENDS=$RS1,$RS2,$RS3
FAST=(--check-interval 0.3s --check-timeout 0.3s)
# No check is due for a minute after the first one.
SLOW=(--check tcp --check-interval 60s --check-timeout 0.7s --fall 3)

# spoofed RATE SECONDS [pairs]   in the background
spoofed() {
    spawn client "$LAB_DIR/syns" "$PYTHON" "$(dirname "$0")/syns.py" "$VIP" 80 "$@"
    SPOOFER=$SPAWNED
    disown "$SPOOFER"
}

begin() {
    local server
    director_start --scheduler rr --backends "$BACKENDS" "$@"
    for server in $RS1 $RS2 $RS3; do wait_until 10 "$server to be healthy" healthy "$server"; done
}

checks() { ipvsd metrics | awk '/^ipvsd_checks_total/ { sum += $NF } END { print sum }'; }

# Events of real servers and services that no longer serve.
bad_news() { ipvsd events --json | jq -r 'select(.event | test("down|lost|no-server")) | "\(.server) \(.event): \(.reason)"'; }

all_out() { unhealthy "$RS1" && unhealthy "$RS2" && unhealthy "$RS3"; }

test_spoofed_syns_do_not_multiply_checks() {
    local before
    begin --vip "$VIP:80" "${SLOW[@]}"
    before=$(checks)
    spoofed 58 3
    wait_until 10 "the end of the SYNs" ended "$SPOOFER"
    # Once for each real server in a fast interval, 18 s.
    between $(($(checks) - before)) 0 9 "checks in 3 s"
}

REFUSAL='table ip refusal { chain input { type filter hook input priority 0; tcp dport 80 reject with tcp reset; }; }'

test_spoofed_syns_and_a_blip_take_nobody_out() {
    local host
    begin --vip "$VIP:80" "${SLOW[@]}"
    spoofed 58 4
    wait_until 5 "spoofed SYNs to be forwarded" forwarded_more_than 50
    # A server that is restarted refuses connections for a moment. Half a second is the length of that moment, not a wait.
    for host in rs1 rs2 rs3; do in_ns "$host" nft "$REFUSAL"; done
    sleep 0.5
    for host in rs1 rs2 rs3; do in_ns "$host" nft delete table ip refusal; done
    wait_until 10 "the end of the SYNs" ended "$SPOOFER"
    equal "$(bad_news)" "" "bad news after half a second of refusals"
}

forwarded_more_than() { (($(ipvsd status --json | jq .forwarded) > $1)); }

# A tool that serves one client at a time. Its argument is the backlog.
TOOL='import socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("0.0.0.0", 9000))
listener.listen(int(sys.argv[1]))
while True:
    client = listener.accept()[0]
    try:
        while client.recv(4096): client.sendall(b"ok\n")
    except OSError: pass
    client.close()'

# A connect() that times out is ignored, as a check holds the last place in the backlog.
IDLE='import signal, socket, sys
held = []
for number in range(8):
    it = socket.socket()
    it.settimeout(0.5)
    held.append(it)
    try: it.connect((sys.argv[1], 9000))
    except OSError: pass
print("idle", flush=True)
# Until the test ends it.
signal.pause()'

test_idle_connections_to_a_learnt_port_take_nobody_out() {
    local host room=1
    for host in rs1 rs2 rs3; do
        # One has room for checks, by which the others are judged.
        [ "$host" != rs3 ] || room=100
        spawn "$host" "$LAB_DIR/tool" "$PYTHON" -c "$TOOL" "$room"
        disown "$SPAWNED"
        wait_until 5 "the tool on $host" listening "$host" 9000
    done
    begin --vip "$VIP" "${FAST[@]}"
    wait_until 10 "port 9000 to be learnt" learnt_on_all
    spawn client "$LAB_DIR/idle" "$PYTHON" -c "$IDLE" "$VIP"
    disown "$SPAWNED"
    wait_until 10 "eight idle connections" grep -q idle "$LAB_DIR/idle"
    wait_until 10 "checks of port 9000 to fail" failed_more_than 9
    equal "$(bad_news)" "" "bad news of servers whose other ports answer"
    no_failures "beside the idle connections" <<<"$(fetch 30)"
}

# Clients of the tool that send one request, and close.
learnt_on_all() {
    for _ in 1 2 3; do in_ns client timeout 2 bash -c "exec 3<>/dev/tcp/$VIP/9000; echo >&3; head -n 1 <&3" >/dev/null || true; done
    (($(of_port_9000 success) >= 9))
}

failed_more_than() { (($(of_port_9000 failure) > $1)); }

# of_port_9000 RESULT   the number of checks of port 9000 with that result
of_port_9000() {
    ipvsd metrics | awk -v want="result=\"$1\"" \
        '/^ipvsd_checks_total.*check="tcp:9000"/ && index($0, want) { n += $NF } END { print n + 0 }'
}

# Filters that an operator has loaded: of the answers to checks, and of what checks send.
FILTER='table ip operator { chain input { type filter hook input priority 0; iifname "ipvsd0" drop; }; }'
OUTPUT_FILTER='table ip operator { chain output { type filter hook output priority 0; oifname "ipvsd0" drop; }; }'

test_a_filter_of_the_director_takes_nobody_out() {
    begin --vip "$VIP:80" "${FAST[@]}"
    in_ns director nft "$FILTER"
    wait_until 8 "a verdict" judged
    equal "$(bad_news)" "" "bad news behind the director's own filter"
    matches "$(ipvsd events --json | jq -r .event)" "check-path-in-doubt" "the events"
    no_failures "behind the director's own filter" <<<"$(fetch 60)"
    in_ns director nft delete table ip operator
    # Without the filter checks count again.
    server_kill rs1
    wait_until 8 "a dead real server to be out" unhealthy "$RS1"
    server_start rs1
}

test_a_filter_of_what_checks_send_takes_nobody_out() {
    begin --vip "$VIP:80" "${FAST[@]}"
    in_ns director nft "$OUTPUT_FILTER"
    wait_until 8 "a verdict" judged
    equal "$(bad_news)" "" "bad news behind the director's own filter"
    matches "$(ipvsd events --json | jq -r .reason)" "drops its packets before they leave" "the events"
    in_ns director nft delete table ip operator
}

test_a_filter_of_the_director_takes_nobody_out_by_ping() {
    begin --vip "$VIP:80" "${FAST[@]}" --check ping
    in_ns director nft "$FILTER"
    wait_until 8 "a verdict" judged
    equal "$(bad_news)" "" "bad news behind the director's own filter"
    in_ns director nft delete table ip operator
}

judged() { ipvsd events --json | jq -r .event | grep -qE 'server-down|check-path-in-doubt'; }

# The contrary: completed handshakes, which anybody may feign, prove nothing.
test_a_fault_of_all_real_servers_takes_all_out_under_spoofed_pairs() {
    local host
    begin --vip "$VIP:80" "${FAST[@]}"
    spoofed 200 20 pairs
    wait_until 5 "spoofed packets to be forwarded" forwarded_more_than 100
    for host in rs1 rs2 rs3; do ip -n "$(ns "$host")" link set tunl0 down; done
    wait_until 8 "all real servers to be out" all_out
    kill "$SPOOFER"
    for host in rs1 rs2 rs3; do ip -n "$(ns "$host")" link set tunl0 up; done
    wait_until 15 "rs1 to be back" healthy "$RS1"
}

run_tests
