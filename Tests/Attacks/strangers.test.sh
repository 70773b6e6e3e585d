#!/bin/bash
# Resources that one service's checks or a stranger's requests can fill do not affect the health of other services.
# shellcheck source=../Namespaces/harness.sh
source "$(dirname "$0")/../Namespaces/harness.sh"
LAB_VIA=nsenter

# start_with <<FILE   the configuration file
start_with() {
    cat >"$LAB_DIR/ipvsd.yaml"
    director_start --config "$LAB_DIR/ipvsd.yaml"
}

# healths NUMBER WORDS   of that service's real servers
healths() { [[ $(ipvsd status --json | jq -r ".services[$1].servers[].health" | xargs) == "$2" ]]; }

# An expression for which a search takes ages, against what the real servers of its service answer.
test_costly_expressions_stop_nobody_elses_checks() {
    local host
    for host in rs1 rs2 rs3; do echo 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!' >"$LAB_DIR/$host/upload/words"; done
    echo 1 >"$LAB_DIR/weight"
    start_with <<FILE
services:
  - listeners: $VIP:80
    servers: [$RS1, $RS2, $RS3]
    checks: [{type: http, path: /upload/words, body-matches: '^(\w+\s?)*\$'}]
  - listeners: $VIP:8080
    servers: [$RS1, $RS2, $RS3]
    checks: [{type: http, port: 80, body-matches: .}, {type: file, path: $LAB_DIR/weight}]
FILE
    wait_until 10 "the first service to be out" healths 0 "down down down"
    wait_until 10 "the second service to be up" healths 1 "up up up"
    # Its checks go on, by HTTP and by the file.
    server_kill rs2
    wait_until 10 "rs2 to be taken out" healths 1 "up down up"
    server_start rs2
    wait_until 10 "rs2 to be back" healths 1 "up up up"
    echo none >"$LAB_DIR/weight"
    wait_until 10 "the file's word to count" healths 1 "down down down"
    matches "$(server_status "$RS1" reason)" "body match: the search for .* takes too much time or memory" "the reason"
}

# Scrapes of many services, from many connections, of which most are never read.
test_pipelined_scrapes_take_nobody_out() {
    local port before scrapes
    {
        echo "metrics-listen: 0.0.0.0:9104"
        echo "services:"
        for port in {8000..8149}; do
            echo "  - {listeners: '$VIP:$port', servers: [$RS1, $RS2, $RS3], checks: [{type: http, port: 80}]}"
        done
    } >"$LAB_DIR/scrapes.yaml"
    start_with <"$LAB_DIR/scrapes.yaml"
    wait_until 20 "all to be up" all_are up
    before=$(resident)
    spawn client "$LAB_DIR/scrapes" "$PYTHON" -c 'import socket, time
request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
clients = []
for number in range(60):
    client = socket.create_connection(("10.0.0.2", 9104))
    client.setblocking(False)
    clients.append(client)
end = time.time() + 6
while time.time() < end:
    for number, client in enumerate(clients):
        try:
            client.send(request * 60)
            if number % 2: client.recv(65536)
        except OSError: pass
    time.sleep(0.01)'
    scrapes=$SPAWNED
    disown "$scrapes"
    wait_until 30 "the end of the scrapes" ended "$scrapes"
    equal "$(ipvsd metrics | sed -n 's/^ipvsd_events_total{event="server-down"} //p')" 0 "real servers taken out"
    all_are up || fail "not all real servers are up"
    between "$(resident)" 1 $((before + 100000)) "KiB of memory, $before before"
    wait_until 15 "metrics for others" others_scrape
}

all_are() { ipvsd status --json | jq -e "all(.services[].servers[]; .health == \"$1\")" >/dev/null; }

resident() { awk '/^VmRSS/ { print $2 }' "/proc/$DIRECTOR_PID/status"; }

others_scrape() { in_ns client curl -sf http://10.0.0.2:9104/metrics | grep '^ipvsd_build_info' >/dev/null; }

run_tests
