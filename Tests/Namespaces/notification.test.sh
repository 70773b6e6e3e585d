#!/bin/bash
# Notifications of events: scripts, the stream of events, metrics.
# shellcheck source=harness.sh
source "$(dirname "$0")/harness.sh"
LAB_VIA=nsenter

SERVICE=$VIP:80

# script NAME <<BODY   makes a notification script, in which $DIR is the lab's directory
script() {
    { printf '#!/bin/bash\nDIR=%q\n' "$LAB_DIR"; cat; } >"$LAB_DIR/$1.part"
    chmod 755 "$LAB_DIR/$1.part"
    mv "$LAB_DIR/$1.part" "$LAB_DIR/$1"
}

# Makes a script that writes a line for every event.
teller() {
    rm -f "$LAB_DIR/told"
    script tell <<'SCRIPT'
echo "$IPVSD_EVENT $IPVSD_SERVICE ${IPVSD_SERVER:--} $IPVSD_UP/$IPVSD_TOTAL $IPVSD_WEIGHT/$IPVSD_QUORUM" >>"$DIR/told"
env | grep ^IPVSD_ | sort >"$DIR/told.$IPVSD_EVENT"
echo "$# arguments, $PWD, $(readlink /proc/self/fd/0), $(ls /proc/$$/fd | wc -l) descriptors"
SCRIPT
}

told() { grep -qE -- "$1" "$LAB_DIR/told"; }

start() { director_start --vip "$SERVICE" --scheduler rr --backends "$RS1,$RS2" "$@"; }

events() { ipvsd events --json "$@"; }

test_a_script_is_told_of_a_server_that_dies_and_comes_back() {
    teller
    start --notify "$LAB_DIR/tell"
    server_kill rs2
    wait_until 6 "the script to be told" told "^server-down $SERVICE/tcp $RS2 1/2 1/1\$"
    server_kill rs1
    wait_until 6 "the script to be told of the service" told "^service-down $SERVICE/tcp - 0/2 0/1\$"
    server_start rs1
    server_start rs2
    wait_until 15 "the script to be told of rs2's return" told "^server-up $SERVICE/tcp $RS2 [12]/2"
    wait_until 15 "the script to be told of the service's return" told "^service-up $SERVICE/tcp -"
    matches "$(<"$LAB_DIR/told.server-down")" "^IPVSD_REASON=.*(refused|80)" "the reason"
    matches "$(<"$LAB_DIR/told.server-down")" "^IPVSD_SINCE=20..-..-..T..:..:" "since"
    matches "$(<"$LAB_DIR/told.server-down")" "^IPVSD_SEQUENCE=[1-9]" "the sequence"
    # The script runs in the order of the events.
    equal "$(cut -d' ' -f1 "$LAB_DIR/told" | head -n 2 | xargs)" "server-down server-down" "the first two"
    matches "$(director_log)" "tell of server-down of .*: 0 arguments, /, /dev/null, [4-5] descriptors" "its output in the log"
}

test_a_script_is_told_how_a_service_begins() {
    teller
    start --notify "$LAB_DIR/tell" --notify-at-start
    wait_until 8 "the script to be told of the service" told "^service-up $SERVICE/tcp - 2/2 2/1\$"
    equal "$(cut -d' ' -f1,3 "$LAB_DIR/told" | xargs)" "server-up $RS1 server-up $RS2 quorum-regained - service-up -" "the events of the script"
    matches "$(<"$LAB_DIR/told.service-up")" "^IPVSD_AT_START=yes" "the mark of the start"
    server_kill rs2
    wait_until 6 "the script's event of a change" told "^server-down $SERVICE/tcp $RS2 1/2 1/1\$"
    equal "$(grep -c AT_START "$LAB_DIR/told.server-down")" 0 "marks of the start in a change"
    server_start rs2
    wait_until 10 "rs2 to be back" healthy "$RS2"
}

# Unproven real servers, which drop the default ping, serve. No event says that they are up.
test_unproven_real_servers_are_not_told_to_be_up_at_the_start() {
    local host udp=$VIP:5353/udp
    teller
    for host in rs1 rs2; do in_ns "$host" sysctl -qw net.ipv4.icmp_echo_ignore_all=1; done
    start --vip "$udp" --notify "$LAB_DIR/tell" --notify-at-start
    wait_until 8 "the script to be told of the service" told "^service-up $SERVICE/tcp - 2/2 2/1\$"
    wait_until 8 "the script to be told of the other" told "^service-down $udp - 0/2 0/1\$"
    # Events of one service keep their order, so all events of the start come before this one.
    exits 0 ipvsd drain "$RS1" --service "$udp"
    wait_until 5 "the script's event of a drain" told "^server-drained $udp $RS1 "
    equal "$(grep -cE "^(server|service)-up $udp" "$LAB_DIR/told" || true)" 0 "events of unproven servers that are up"
    # Both real servers serve, and the last one is not to be drained by mistake.
    exits 5 ipvsd drain "$RS2" --service "$udp"
    matches "$OUTPUT" "$udp has no quorum: .* weight of 0, and 1 is needed .*--force" "the refusal"
    exits 0 ipvsd undrain "$RS1" --service "$udp"
    for host in rs1 rs2; do in_ns "$host" sysctl -qw net.ipv4.icmp_echo_ignore_all=0; done
}

test_a_script_of_the_configuration_file_has_arguments_and_no_shell() {
    script args <<'SCRIPT'
printf '[%s]' "$@" "$IPVSD_EVENT" >"$DIR/args.told"
SCRIPT
    cat >"$LAB_DIR/ipvsd.yaml" <<FILE
defaults: {notify: ["$LAB_DIR/args", "two words", '\$(reboot)']}
services:
  - {listeners: "$SERVICE", servers: [$RS1, $RS2]}
  - {listeners: "$VIP:8080", servers: [$RS1, $RS2], notify: none}
FILE
    director_start --config "$LAB_DIR/ipvsd.yaml"
    exits 0 ipvsd drain "$RS2"
    wait_until 5 "the script" grep -q drained "$LAB_DIR/args.told"
    # shellcheck disable=SC2016 # The script gets the text as it is in the file.
    equal "$(<"$LAB_DIR/args.told")" '[two words][$(reboot)][server-drained]' "what it was given"
    equal "$(events --service "$VIP:8080" | jq -r .event)" server-drained "the other service's event"
    exits 0 ipvsd undrain "$RS2"
    wait_until 5 "two scripts to be counted" scripts_were success 2
}

scripts_were() { [[ $(ipvsd metrics | sed -n "s/^ipvsd_notification_scripts_total{result=\"$1\"} //p") == "$2" ]]; }

test_a_script_that_hangs_delays_nothing_and_is_killed() {
    script hang <<'SCRIPT'
echo $$ >>"$DIR/hung"
sleep 1000 &
echo $! >>"$DIR/hung"
wait
SCRIPT
    rm -f "$LAB_DIR/hung"
    cat >"$LAB_DIR/ipvsd.yaml" <<FILE
services:
  - {listeners: "$SERVICE", servers: [$RS1, $RS2], scheduler: rr, notify: {command: "$LAB_DIR/hang", timeout: 2s}}
FILE
    director_start --config "$LAB_DIR/ipvsd.yaml"
    exits 0 ipvsd drain "$RS2"
    wait_until 5 "the script to hang" test -s "$LAB_DIR/hung"
    # Meanwhile the director goes on as ever.
    exits 0 ipvsd undrain "$RS2"
    equal "$(fetch 10 | served | xargs)" "rs1 5 rs2 5" "who serves while the script hangs"
    server_kill rs2
    wait_until 4 "rs2 to be taken out" unhealthy "$RS2"
    local pid
    for pid in $(head -n 2 "$LAB_DIR/hung"); do wait_until 6 "the end of the script" ended "$pid"; done
    wait_until 5 "its failure in the log" grep -q "hang of server-drained of .*: killed after 2" "$LAB_DIR/director.log"
    wait_until 8 "three that were killed" scripts_were timeout 3
    server_start rs2
    wait_until 10 "rs2 to be back" healthy "$RS2"
}

test_a_script_that_is_gone_is_an_error_in_the_log() {
    printf '#!/bin/sh\n' >"$LAB_DIR/gone"
    chmod +x "$LAB_DIR/gone"
    start --notify "$LAB_DIR/gone"
    rm "$LAB_DIR/gone"
    exits 0 ipvsd drain "$RS2"
    wait_until 5 "the error" grep -qE "error.*$LAB_DIR/gone of server-drained.*No such file" "$LAB_DIR/director.log"
    wait_until 5 "the count" scripts_were failure 1
    exits 0 ipvsd undrain "$RS2"
}

test_events_are_kept_and_followed() {
    local follower
    start
    exits 0 ipvsd drain "$RS2"
    LAB_VIA=nsenter spawn director "$LAB_DIR/stream" "$IPVSD" events --json --follow --server "$RS2"
    follower=$SPAWNED
    wait_until 5 "the first event" grep -q server-drained "$LAB_DIR/stream"
    exits 0 ipvsd undrain "$RS2"
    server_kill rs2
    wait_until 6 "the event of rs2's end" grep -q server-down "$LAB_DIR/stream"
    server_start rs2
    wait_until 15 "the event of its return" grep -q server-up "$LAB_DIR/stream"
    equal "$(jq -r '"\(.sequence) \(.event) \(.server)"' "$LAB_DIR/stream")" \
        "1 server-drained $RS2"$'\n'"2 server-undrained $RS2"$'\n'"3 server-down $RS2"$'\n'"4 server-up $RS2" "the stream"
    equal "$(events --last 2 | jq -r .sequence | xargs)" "3 4" "the last two"
    equal "$(events --server "$RS1")" "" "another server's"
    equal "$(events | jq -r 'keys_unsorted | length' | sort -u)" 11 "keys of each"
    matches "$(ipvsd events)" "server-down +$SERVICE/tcp $RS2 1/2 up, weight 1, quorum 1: .*80" "events as text"
    # A follower ends with the daemon, and does not delay the end.
    director_stop
    wait_until 5 "the follower's end" ended "$follower"
    exits 3 ipvsd events
}

test_a_reader_that_has_stopped_reading_keeps_nothing_from_ending() {
    local port
    {
        echo "services:"
        for port in {8001..8010}; do echo "  - {listeners: \"$VIP:$port\", servers: [$RS1, $RS2], check: none}"; done
    } >"$LAB_DIR/ipvsd.yaml"
    director_start --config "$LAB_DIR/ipvsd.yaml"
    : >"$LAB_DIR/stuck"
    LAB_VIA=nsenter spawn director "$LAB_DIR/stuck" "$PYTHON" -c "$STUCK" "$RS2"
    local reader=$SPAWNED
    wait_until 20 "a reader of more than the socket holds" grep -q stuck "$LAB_DIR/stuck"
    local began
    began=$(now_ms)
    exits 0 ipvsd stop
    wait_until 8 "the director's end" ended "$DIRECTOR_PID"
    between $(($(now_ms) - began)) 0 $((8000 * LAB_SLOW)) "milliseconds until the end"
    wait "$DIRECTOR_PID" || fail "the director's exit code: $?"
    DIRECTOR_PID=
    matches "$(director_log)" "removed everything" "the director's last word"
    # The reader was there until the end of the daemon.
    not ended "$reader" || fail "the reader ended: $(<"$LAB_DIR/stuck")"
    kill "$reader"
}

# Causes a thousand events, requests them four times and all later ones, and reads nothing.
STUCK='
import fcntl, http.client, json, signal, socket, struct, sys, termios, time
cookie = int.from_bytes(socket.socket().getsockopt(socket.SOL_SOCKET, 71, 8), sys.byteorder)
def connected():
    it = socket.socket(socket.AF_UNIX)
    it.connect(f"/run/ipvsd/netns-{cookie}/control.sock")
    return it
http = http.client.HTTPConnection("ipvsd")
http.sock = connected()
for path in ["/drain", "/undrain"] * 50:
    http.request("POST", path, json.dumps({"server": sys.argv[1], "force": True}))
    assert http.getresponse().read()
reader = connected()
reader.sendall(b"GET /events HTTP/1.1\r\nHost: ipvsd\r\n\r\n" * 4 +
               b"GET /events?follow=true HTTP/1.1\r\nHost: ipvsd\r\n\r\n")
reader.recv(100)
# The daemon is stuck once the unread bytes have not grown for 0.5 s.
def unread():
    return struct.unpack("i", fcntl.ioctl(reader, termios.FIONREAD, b"    "))[0]
before = 0
while unread() == 0 or unread() != before:
    before = unread()
    time.sleep(0.5)
print("stuck", flush=True)
signal.pause()
'

metric() { ipvsd metrics | sed -n "s/^$1 //p"; }

test_metrics_say_what_status_says_and_others_can_read_them() {
    local before labels="{service=\"$SERVICE\/tcp\",server=\"$RS2\"}"
    start --metrics-listen 0.0.0.0:9104
    no_failures "requests" <<<"$(fetch 20)"
    wait_until 5 "rs2 to be proven" healthy "$RS2"
    equal "$(metric "ipvsd_server_up$labels")" 1 "up"
    equal "$(metric "ipvsd_server_connections_total$labels")" 10 "connections"
    equal "$(metric "ipvsd_server_packets_total$labels")" "$(server_status "$RS2" packets)" "packets"
    equal "$(metric "ipvsd_server_weight$labels")" 1 "weight"
    before=$(metric "ipvsd_check_duration_seconds_count{service=\"$SERVICE\/tcp\",check=\"tcp:80\"}")
    between "$before" 2 1000 "checks counted"
    server_kill rs2
    wait_until 6 "rs2 to be taken out" unhealthy "$RS2"
    equal "$(metric "ipvsd_server_up$labels")" 0 "up, once it is down"
    equal "$(metric "ipvsd_server_weight$labels")" 0 "weight, once it is down"
    between "$(metric "ipvsd_checks_total{service=\"$SERVICE\/tcp\",check=\"tcp:80\",result=\"failure\"}")" 1 100 "failed checks"
    equal "$(metric 'ipvsd_events_total{event="server-down"}')" 1 "events"
    between "$(metric "ipvsd_check_duration_seconds_count{service=\"$SERVICE\/tcp\",check=\"tcp:80\"}")" \
        $((before + 1)) 2000 "checks counted later"
    server_start rs2
    # The same metrics are there over TCP, and nothing else is.
    wait_until 5 "metrics over TCP" over_tcp metrics
    equal "$(in_ns client curl -s -o /dev/null -w '%{http_code} %{content_type}' http://10.0.0.2:9104/metrics)" \
        "200 text/plain; version=0.0.4; charset=utf-8" "the answer"
    equal "$(in_ns client curl -s -o /dev/null -w '%{http_code}' http://10.0.0.2:9104/status)" 404 "the status over TCP"
    equal "$(in_ns client curl -s -X POST -o /dev/null -w '%{http_code}' http://10.0.0.2:9104/stop)" 404 "stop over TCP"
    ipvsd metrics >"$LAB_DIR/metrics"
    "$PYTHON" - "$LAB_DIR/metrics" "$RS2" 2>"$LAB_DIR/parser" <<'PYTHON' || fail "a reader of the format: $(<"$LAB_DIR/parser")"
import sys
from prometheus_client.parser import text_string_to_metric_families
families = {f.name: f for f in text_string_to_metric_families(open(sys.argv[1]).read())}
assert len(families) >= 29, len(families)
seen = set()
for family in families.values():
    assert family.type in ("counter", "gauge", "histogram"), family
    assert family.documentation and family.name.startswith("ipvsd_"), family
    for sample in family.samples:
        key = (sample.name, tuple(sorted(sample.labels.items())))
        assert key not in seen, key
        seen.add(key)
buckets = [s for s in families["ipvsd_check_duration_seconds"].samples if s.name.endswith("_bucket")]
values = [s.value for s in buckets]
assert values == sorted(values) and buckets[-1].labels["le"] == "+Inf", buckets
up = [s for s in families["ipvsd_server_up"].samples if s.labels["server"] == sys.argv[2]]
assert len(up) == 1, up
received = families["ipvsd_received_packets"].samples[0].value
ends = families["ipvsd_forwarded_packets"].samples[0].value
ends += sum(s.value for s in families["ipvsd_not_forwarded_packets"].samples)
assert received > 0 and abs(received - ends) <= 50, (received, ends)
PYTHON
}

over_tcp() { in_ns client curl -sf "http://10.0.0.2:9104/$1" | grep -q '^ipvsd_build_info{version="'; }

test_a_place_that_is_taken_stops_no_director() {
    LAB_VIA=nsenter spawn director "$LAB_DIR/taken" "$PYTHON" -c "import signal, socket
server = socket.create_server(('10.0.0.2', 9104))
signal.pause()"
    local other=$SPAWNED
    wait_until 10 "the other server" listening director 9104
    start --metrics-listen 10.0.0.2:9104
    no_failures "requests" <<<"$(fetch 10)"
    wait_until 5 "the error in the log" grep -qi "serve metrics on 10.0.0.2:9104,.*in use" "$LAB_DIR/director.log"
    kill "$other"
    wait_until 12 "metrics once the place is free" over_tcp metrics
}

run_tests
