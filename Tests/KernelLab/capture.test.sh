#!/bin/bash
# ipvsd capture: its packets are the director's counted ones, with every packet's end. Further tests: filters, programs
# that are swapped, and processes that are killed meanwhile. It is a test of the kernel lab, as not every kernel lets
# programs be traced.
# shellcheck source=../Namespaces/harness.sh
source "$(dirname "$0")/../Namespaces/harness.sh"
LAB_VIA=nsenter
PCAPNG=$(cd "$(dirname "$0")" && pwd)/pcapng.py

# capture_start NAME ARGUMENT...   to $LAB_DIR/NAME.pcapng, in the background
capture_start() {
    local name=$1
    shift
    : >"$LAB_DIR/$name.err"
    spawn director "$LAB_DIR/$name.err" env --default-signal=INT "$IPVSD" capture -w "$LAB_DIR/$name.pcapng" "$@"
    CAPTURE=$SPAWNED
    wait_until 15 "the capture $name" capturing "$name"
}

capturing() {
    ! ended "$CAPTURE" || fail "the capture ended: $(<"$LAB_DIR/$1.err")"
    grep -q "capturing" "$LAB_DIR/$1.err"
}

# capture_end NAME [SIGNAL]   leaves its exit code in CODE, and what was captured in FRAMES: see pcapng.py
capture_end() {
    [[ -z ${2:-} ]] || kill "-$2" "$CAPTURE"
    wait_until 15 "the end of the capture $1" ended "$CAPTURE"
    CODE=0
    wait "$CAPTURE" 2>/dev/null || CODE=$?
    FRAMES=$("$PYTHON" "$PCAPNG" "$LAB_DIR/$1.pcapng")
}

frames() { grep -cE -- "^frame $1" <<<"$FRAMES" || true; }

# dumped NAME EXPRESSION   by tcpdump, without times
dumped() { tcpdump -Z root -nn -t -r "$LAB_DIR/$1.pcapng" "$2" 2>/dev/null; }

counted() { ipvsd status --json | jq -r "$1"; }

# The sum of losses that the file names before its frames. It fails while a block is still being written.
losses() { "$PYTHON" "$PCAPNG" "$LAB_DIR/$1.pcapng" | awk '$1 == "frame" { n += $6 } END { print n + 0 }'; }

# Requests until the file names losses, by when the reader has caught up.
tells_losses() {
    fetch 1 >/dev/null
    [[ $(losses "$1" 2>/dev/null) -gt 0 ]]
}

# Tracing programs of captures, by their names in capture.bpf.c.
tracing() { bpftool prog show | grep -E ': tracing +name capture_(entry|exit) ' || true; }

no_tracing() { [[ -z $(tracing) ]]; }

# sees_a_request NAME   one more is in the file
sees_a_request() {
    local before
    before=$(stat -c %s "$LAB_DIR/$1.pcapng")
    fetch 1 >/dev/null
    (wait_until 0.5 "its packets" grown_beyond "$1" "$before")
}

grown_beyond() { (($(stat -c %s "$LAB_DIR/$1.pcapng") > $2)); }

# received   the number of received packets, once it no longer changes
received() {
    SAMPLE=
    wait_until 10 "the counters to rest" at_rest
    echo "$SAMPLE"
}

at_rest() {
    local last=$SAMPLE
    SAMPLE=$(counted .received)
    [[ -n $SAMPLE && $SAMPLE == "$last" ]]
}

# An ICMP error from another host, about a connection of 10.9.0.7 that does not exist.
icmp_error() {
    in_ns client "$PYTHON" -c 'import socket, struct, sys
vip, client = map(socket.inet_aton, sys.argv[1:])
quoted = struct.pack("!BBHHHBBH4s4sHHI", 0x45, 0, 40, 0, 0, 64, 6, 0, vip, client, 80, 5555, 0)
error = struct.pack("!BBHHH", 3, 1, 0, 0, 0) + quoted
socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).sendto(error, (sys.argv[1], 0))' "$VIP" 10.9.0.7
}

curl_port() { in_ns client curl -s -o /dev/null --max-time $((5 * LAB_SLOW)) "${@:2}" "http://$VIP:$1/"; }

test_every_packet_before_and_after_with_its_end() {
    director_start --vip "$VIP" --backends "$RS1,$RS2,$RS3" --scheduler rr --check none
    local received forwarded server client out
    capture_start all
    local all=$CAPTURE
    capture_start client --client 10.9.0.7
    client=$CAPTURE
    capture_start out --direction out --vip "$VIP:8080" --server "$RS1"
    out=$CAPTURE
    equal "$(tracing | wc -l)" 6 "programs of three captures"
    received=$(received) forwarded=$(counted .forwarded)
    no_failures "requests while it captures" <<<"$(fetch 6)"
    curl_port 80 --interface 10.9.0.7
    for _ in 1 2 3; do curl_port 8080; done
    icmp_error
    exits 0 in_ns client ping -c 2 -W 8 "$VIP"
    received=$(($(received) - received)) forwarded=$(($(counted .forwarded) - forwarded))

    CAPTURE=$all capture_end all INT
    equal "$CODE" 0 "exit code after SIGINT: $(<"$LAB_DIR/all.err")"
    between "$forwarded" 40 10000 "packets forwarded"
    equal "$(frames 'eth0 in ')" "$received" "frames that came in, against what the director received"
    equal "$(frames 'eth0 out .* forwarded')" "$forwarded" "frames that left, against what it forwarded"
    equal "$(frames 'eth0 out .* answered-echo')" 2 "echo replies"
    equal "$(grep '^end' <<<"$FRAMES")" "end eth0 $received 0 $received" "the interface's statistics"
    equal "$(frames 'eth0 in .* dropped-icmp-without-connection')" 1 "an ICMP error about nothing"
    # All other frames left, and so are in the file twice, by their id.
    equal "$(awk '$1 == "frame" && !/dropped/ { n[$4]++ } END { for (id in n) if (n[id] != 2) print id }' <<<"$FRAMES")" "" \
        "packets without a before and an after"
    # A repeated frame counts once.
    equal "$(dumped all "tcp[13] = 2 and dst host $VIP" | sed -E 's/.* IP (.*) > .* seq ([0-9]+),.*/\1 \2/; s/^IP (.*) > .* seq ([0-9]+),.*/\1 \2/' |
        sort -u | wc -l)" 10 "SYNs as tcpdump reads them"
    for server in $RS1 $RS2 $RS3; do
        matches "$(dumped all "ip proto 4 and dst $server")" \
            "IP 10.0.0.2 > $server: IP 10.[09].0.[17].[0-9]+ > $VIP.80: Flags \[S\]" "encapsulated SYNs to $server"
        equal "$(dumped all "ip proto 4 and dst $server" | wc -l)" "$(frames "eth0 in .* forwarded to $server\$")" \
            "frames to $server, against packets that are said to be forwarded there"
    done

    CAPTURE=$client capture_end client TERM
    equal "$CODE" 0 "exit code after SIGTERM"
    between "$(dumped client "src 10.9.0.7 and dst port 80" | wc -l)" 4 40 "frames of the chosen client"
    equal "$(frames 'eth0 out')" "$(dumped client "src 10.9.0.7" | wc -l)" "frames that left, against those of the client"
    equal "$(grep -v ' out ' <<<"$FRAMES" | grep -c 'dropped-icmp-without-connection')" 1 "the ICMP error about the client"
    equal "$(frames 'eth0 in')" $(($(frames 'eth0 out') + 1)) "frames that came in"
    CAPTURE=$out capture_end out INT
    equal "$(frames 'eth0 in')" 0 "frames that came in"
    between "$(frames 'eth0 out')" 4 100 "frames that left"
    equal "$(dumped out "dst $RS1" | grep -c "> $VIP.8080:")" "$(frames 'eth0 out')" "frames to the server's port"
    wait_until 10 "the end of the programs" no_tracing
}

test_lines_reasons_of_drops_and_ends() {
    # No host has this address.
    director_start --vip "$VIP:80" --backends 10.0.0.77 --check none
    spawn director "$LAB_DIR/lines" "$IPVSD" capture --reason dropped -c 1
    CAPTURE=$SPAWNED
    wait_until 15 "the capture" grep -q capturing "$LAB_DIR/lines"
    in_ns client ping -c 1 -W 8 "$VIP" >/dev/null
    in_ns client curl -s --max-time 2 "http://$VIP/" || true
    wait_until 15 "its end after one packet" ended "$CAPTURE"
    equal "$(grep -c ' in  eth0 ' "$LAB_DIR/lines")" 1 "lines"
    matches "$(<"$LAB_DIR/lines")" \
        "^[0-9:.]{15} in  eth0 10.0.0.1:[0-9]+ > $VIP:80 tcp S length [0-9]+: dropped-no-next-hop$" "a dropped packet"
    matches "$(<"$LAB_DIR/lines")" "1 packets captured, 0 lost" "its last words"

    exits 0 ipvsd capture --seconds 1
    matches "$OUTPUT" "0 packets captured, 0 lost" "without packets"
    # The reader is gone, and no packet comes.
    spawn director "$LAB_DIR/gone" bash -c "'$IPVSD' capture 2>'$LAB_DIR/gone.err' | head -n 1; true"
    wait_until 15 "the capture" grep -q capturing "$LAB_DIR/gone.err"
    in_ns client ping -c 1 -W 8 "$VIP" >/dev/null
    wait_until 15 "its end without a reader" grep -q "captured" "$LAB_DIR/gone.err"
    exits 74 ipvsd capture -w /nonsense/file
    matches "$OUTPUT" "write /nonsense/file: No such file" "the message"
    # In most containers root has no more than these rights.
    exits 77 in_ns director setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin "$IPVSD" capture
    matches "$OUTPUT" "needs CAP_SYS_ADMIN" "the message"
    wait_until 10 "the end of the programs" no_tracing
}

test_a_growth_and_another_daemon_are_followed() {
    director_start --vip "$VIP" --backends "$RS1,$RS2" --check none --connections 10000
    capture_start grown
    no_failures "before" <<<"$(fetch 2)"
    local old=$DIRECTOR_PID before
    director_spawn director --vip "$VIP" --backends "$RS1,$RS2" --check none --connections 100000 --replace
    DIRECTOR_PID=$SPAWNED
    wait_until 20 "the end of the daemon before" ended "$old"
    wait "$old" || true
    wait_until 10 "the director to take over" grep -q "took over, forwarding" "$LAB_DIR/director.log"
    wait_until 10 "the capture to follow" sees_a_request grown
    matches "$(<"$LAB_DIR/grown.err")" "swapped: packets of up to [0-9]+ ms were not seen; capturing goes on" "the word of it"
    before=$(counted .forwarded)
    no_failures "after" <<<"$(fetch 5)"
    before=$(($(counted .forwarded) - before))
    director_stop
    capture_end grown
    equal "$CODE" 3 "exit code once the director is gone"
    matches "$(<"$LAB_DIR/grown.err")" "it was stopped" "its last words"
    between "$(frames 'eth0 out .* forwarded')" $((before + 4)) 1000 "frames that left, of which $before after the swap"
    matches "$FRAMES" "forwarded to .*; the director's program was swapped" "the remark in the file"
    between "$(dumped grown 'ip proto 6' | grep -c 'Flags \[S\]')" 8 100 "SYNs before, in between and after"
}

# losses_add_up NAME RECEIVED   leaves the line of captured and lost packets in TOLD
losses_add_up() {
    equal "$CODE" 0 "exit code of the capture $1"
    TOLD=$(sed -nE 's/.* ([0-9]+) packets captured, ([0-9]+) lost.*/\1 \2/p' "$LAB_DIR/$1.err")
    equal "$((${TOLD% *} + ${TOLD#* }))" "$2" "packets captured and lost, against what the director received"
    equal "$(frames 'eth0 in')" "${TOLD% *}" "frames, against what it says"
    equal "$(awk '$1 == "end" { print $5, $4, $3 - $4 - $5 }' <<<"$FRAMES")" "$TOLD 0" "the interface's statistics"
}

written_by_killed() { "$PYTHON" "$PCAPNG" "$LAB_DIR/killed.pcapng" 2>/dev/null | grep -c '^frame eth0 out'; }
killed_has_written() { (($(written_by_killed) >= 20)); }

test_losses_are_counted_and_a_killed_capture_disturbs_nobody() {
    director_start --vip "$VIP" --backends "$RS1" --check none
    capture_start slow
    local slow=$CAPTURE late received
    capture_start late --direction in
    late=$CAPTURE
    received=$(received)
    kill -STOP "$slow" "$late"
    for _ in 1 2; do
        exits 0 in_ns client curl -s -o /dev/null --max-time 100 -T "$LAB_BIG" "http://$VIP/upload/up"
    done
    # Records from before the signal are written all the same.
    kill -INT "$late"
    kill -CONT "$late"
    CAPTURE=$late capture_end late
    losses_add_up late $(($(received) - received))
    kill -CONT "$slow"
    wait_until 30 "the file to tell of losses" tells_losses slow
    received=$(($(received) - received))
    CAPTURE=$slow capture_end slow INT
    losses_add_up slow "$received"
    between "${TOLD#* }" 1 1000000 "packets lost"
    equal "$(losses slow)" "${TOLD#* }" "losses before frames, against what it says"

    director_kill
    load_start 8
    wait_until 20 "10 requests" load_has 10
    capture_start killed
    wait_until 20 "frames in the file" killed_has_written
    kill -9 "$CAPTURE"
    { wait "$CAPTURE"; } 2>/dev/null || true
    wait_until 10 "the end of the programs" no_tracing
    wait_until 20 "40 requests" load_has 40
    load_stop
    no_failures "requests beside a capture, without a daemon" <<<"$(load)"
    between "$(written_by_killed)" 20 100000 "frames in the file of the killed capture"
    exits 0 ipvsd cleanup
}

run_tests
