#!/bin/bash
# A director with a configuration file: checks of several kinds, and changes of the file while it runs.
# shellcheck source=harness.sh
source "$(dirname "$0")/harness.sh"
LAB_VIA=nsenter

# config <<FILE   replaces the contents of the configuration file at once
config() {
    cat >"$LAB_DIR/ipvsd.yaml.new"
    mv "$LAB_DIR/ipvsd.yaml.new" "$LAB_DIR/ipvsd.yaml"
}

start() { director_start --config "$LAB_DIR/ipvsd.yaml"; }

# health HOST TEXT   sets the body of /upload/health on the HTTP server of HOST
health() { echo "$2" >"$LAB_DIR/$1/upload/health"; }

says() { grep -qE -- "$1" "$LAB_DIR/director.log"; }

proven() {
    local server
    for server; do wait_until 10 "$server to be proven" healthy "$server"; done
}

test_http_checks_read_the_body_through_the_tunnel() {
    local host
    for host in rs1 rs2; do health "$host" "all is well"; done
    config <<FILE
services:
  - listeners: $VIP:80
    scheduler: rr
    servers: [$RS1, $RS2]
    checks:
      - {type: http, path: /upload/health, body-contains: well, interval: 0.3s, timeout: 0.3s}
FILE
    start
    proven "$RS1" "$RS2"
    health rs2 "all is lost"
    wait_until 6 "rs2 to be taken out" unhealthy "$RS2"
    matches "$(server_status "$RS2" reason)" "through the tunnel.*body" "why rs2 is out"
    equal "$(fetch 20 | served)" "rs1 20" "who serves"
    health rs2 "all is well"
    wait_until 10 "rs2 to be back" healthy "$RS2"
    equal "$(fetch 20 | served)" $'rs1 10\nrs2 10' "who serves afterwards"
}

test_both_ways_name_the_broken_half() {
    config <<FILE
services:
  - listeners: $VIP:80
    scheduler: rr
    servers: [$RS1, $RS2]
    checks:
      - {type: http, via: both, interval: 0.3s, timeout: 0.3s}
FILE
    start
    proven "$RS1" "$RS2"
    ip -n "$(ns rs2)" link set tunl0 down
    wait_until 6 "rs2 to be taken out" unhealthy "$RS2"
    matches "$(server_status "$RS2" reason)" "decapsulation dead.*tunl0" "which half is broken"
    ip -n "$(ns rs2)" link set tunl0 up
    wait_until 10 "rs2 to be back" healthy "$RS2"
    server_kill rs2
    wait_until 6 "rs2 to be taken out again" unhealthy "$RS2"
    matches "$(server_status "$RS2" reason)" "the tunnel works, the service does not" "which half is broken now"
    server_start rs2
}

weighs() { [[ $(server_status "$1" effectiveWeight) == "$2" ]]; }

test_scripts_and_files_set_weights() {
    cat >"$LAB_DIR/load.sh" <<'SCRIPT'
#!/bin/sh
cat "$1.weight"
SCRIPT
    chmod 755 "$LAB_DIR/load.sh"
    echo 1 >"$LAB_DIR/$RS1.weight"
    echo 3 >"$LAB_DIR/$RS2.weight"
    config <<FILE
services:
  - listeners: $VIP:80
    scheduler: wrr
    servers: [$RS1, $RS2]
    checks:
      - {type: script, command: [$LAB_DIR/load.sh, "$LAB_DIR/{server}"], interval: 1s, timeout: 1s}
  - listeners: $VIP:8080
    servers: $RS1
    checks:
      - {type: file, path: "$LAB_DIR/{server}.weight", interval: 0.2s, timeout: 0.2s}
FILE
    start
    wait_until 10 "the weight of rs2" weighs "$RS2" 3
    proven "$RS1"
    equal "$(fetch 40 | served)" $'rs1 10\nrs2 30' "shares by the script's weights"
    echo 0 >"$LAB_DIR/$RS2.weight"
    wait_until 10 "rs2 to be quiesced" weighs "$RS2" 0
    equal "$(fetch 20 | served)" "rs1 20" "shares while rs2 is quiesced"
    # The script fails.
    rm "$LAB_DIR/$RS2.weight"
    wait_until 10 "rs2 to be taken out" unhealthy "$RS2"
    matches "$(server_status "$RS2" reason)" "script .*No such file" "why rs2 is out"
}

reload_ok() { exits 0 ipvsd reload; }

three_of_them() {
    config <<FILE
services:
  - listeners: $VIP
    scheduler: $1
    servers: [$2]
$(cat)
FILE
}

test_reloads_under_load_lose_no_request() {
    local i
    ip -n "$(ns rs3)" addr add 10.0.0.101/32 dev tunl0
    three_of_them rr "$RS1, $RS2" <<<""
    start
    # This download lasts through all reloads.
    download_start long --limit-rate 5M
    load_start 100 90
    wait_until 15 "200 requests" load_has 200
    # The reloads change servers, weights, schedulers, services and VIPs, and change them back. Some are commands, and
    # some are signals.
    three_of_them wrr "$RS1, $RS2=2, $RS3" <<<"  - {listeners: '10.0.0.101:80', servers: $RS3, check: tcp}"
    reload_ok
    matches "$OUTPUT" "services added: 1, real servers added: 2" "what reload says"
    wait_until 10 "rs3 to serve" serves rs3
    equal "$(VIP=10.0.0.101 fetch 5 | served)" "rs3 5" "who serves the new VIP"
    three_of_them wlc "$RS1, $RS3" <<<""
    kill -HUP "$DIRECTOR_PID"
    wait_until 10 "the second reload" says "reloaded: services removed: 1, real servers removed: 2"
    equal "$(fetch 60 | served | grep -c rs2 || true)" 0 "requests to a server that was removed"
    equal "$(ip -n "$(ns director)" -o addr show to 10.0.0.101)" "" "the address of the VIP that is gone"
    for i in 1 2 3; do
        three_of_them sh "$RS3, $RS2, $RS1" <<<"  - {listeners: '$VIP:8080', servers: $RS1, check: none}"
        reload_ok
        three_of_them mh "$RS1, $RS2" <<<"    checks: [{type: http, port: 80}]"
        reload_ok
    done
    reload_ok
    matches "$OUTPUT" "nothing changed" "what a reload of the same says"
    load_stop
    no_failures "while the configuration changed" <<<"$(load)"
    download_correct long
    ip -n "$(ns rs3)" addr del 10.0.0.101/32 dev tunl0
}

serves() { fetch 12 | grep -q "$1\$"; }

test_a_reload_that_needs_larger_tables() {
    local i
    three_of_them rr "$RS1, $RS2" <<<""
    start
    load_start 100 60
    wait_until 15 "100 requests" load_has 100
    # These are more services than the tables have room for, and twice the connections.
    {
        echo "connections: 1000000"
        echo "services:"
        echo "  - {listeners: $VIP, scheduler: rr, servers: [$RS1, $RS2]}"
        for ((i = 1; i <= 100; i++)); do
            echo "  - {listeners: ['$VIP:$((9000 + i))', '$VIP:$((9500 + i))'], servers: [$RS1, $RS2, $RS3], check: none}"
        done
    } | config
    # Larger tables are filled from the pinned tables, whose pins are removed here.
    rm -r "$(pin_directory)"
    reload_ok
    equal "$(ipvsd status --json | jq '.services | length')" 101 "services"
    between "$(ipvsd status --json | jq .flowTableSize)" 2000000 2200000 "entries of the flow table"
    # Checks still find their way with the new tables.
    server_kill rs2
    wait_until 6 "rs2 to be taken out" unhealthy "$RS2"
    load_stop
    server_start rs2
    wait_until 10 "rs2 to be back" healthy "$RS2"
    no_failures "after all" <<<"$(fetch 20)"
}

test_a_broken_file_changes_nothing() {
    local before
    three_of_them rr "$RS1, $RS2" <<<""
    start
    proven "$RS1" "$RS2"
    before=$(ipvsd status --json | jq -c '[.services[] | {listeners, scheduler, servers: [.servers[].address]}]')
    three_of_them wrong "$RS1, $RS3" <<<"    colour: red"
    exits 64 ipvsd reload
    matches "$OUTPUT" "ipvsd.yaml:3: scheduler wrong: unknown scheduler" "the first error"
    matches "$OUTPUT" "ipvsd.yaml:5: colour: unknown key" "the second error"
    exits 64 ipvsd check "$LAB_DIR/ipvsd.yaml"
    matches "$OUTPUT" "ipvsd.yaml:5: colour" "what check says"
    says "not reloaded: the configuration stays as it was" || fail "the log does not say so"
    # This file is good, but not for a director that runs.
    config <<FILE
xdp: generic
services: [{listeners: $VIP, servers: $RS1}]
FILE
    exits 0 ipvsd check "$LAB_DIR/ipvsd.yaml"
    exits 64 ipvsd reload
    matches "$OUTPUT" "xdp \(auto, now generic\): cannot change" "what is refused"
    # This file is good, but not on this machine: the director is a real server of every port.
    three_of_them rr "10.0.0.2" <<<""
    exits 64 ipvsd reload
    matches "$OUTPUT" "10.0.0.2 is this director" "what is refused now"
    rm "$LAB_DIR/ipvsd.yaml"
    exits 64 ipvsd reload
    matches "$OUTPUT" "No such file" "a file that is gone"
    equal "$(ipvsd status --json | jq -c '[.services[] | {listeners, scheduler, servers: [.servers[].address]}]')" \
        "$before" "the services"
    no_failures "after it all" <<<"$(fetch 20)"
}

# The new tables are in force when the reload fails, as the VIPs come last.
test_a_reload_that_this_machine_refuses_half_way_goes_back() {
    local directory before
    config <<FILE
services: [{listeners: $VIP, scheduler: rr, servers: [$RS1, $RS2], check: none}]
FILE
    start
    directory=$(run_directory)
    before=$(what_there_is)
    load_start 40
    wait_until 10 "20 requests" load_has 20
    config <<FILE
connections: 1000000
services:
  - {listeners: [$VIP, 10.0.0.101], scheduler: wrr, servers: [$RS1=3, $RS2, $RS3]}
FILE
    mount --bind "$directory" "$directory"
    # shellcheck disable=SC2064 # as it is called now
    trap "umount -l '$directory'" EXIT
    mount -o remount,bind,ro "$directory"
    exits 71 ipvsd reload
    matches "$OUTPUT" "Read-only file system" "why it is refused"
    equal "$(what_there_is)" "$before" "services, addresses and checks after the refusal"
    umount "$directory"
    trap - EXIT
    load_stop
    no_failures "through the refusal" <<<"$(load)"
    equal "$(fetch 10 | served | xargs)" "rs1 5 rs2 5" "who serves after the refusal"
    reload_ok
    proven "$RS1" "$RS2" "$RS3"
    equal "$(fetch 10 | served | xargs)" "rs1 6 rs2 2 rs3 2" "who serves after the next reload"
}

what_there_is() {
    ipvsd status --json | jq -c '[.services[] | {listeners, scheduler, servers: [.servers[] | [.address, .weight]]}]'
    ip -n "$(ns director)" -o addr show | awk '{ print $2, $4 }'
    in_ns director tc qdisc show | grep clsact || true
}

test_inhibited_servers_keep_their_connections() {
    config <<FILE
services:
  - {listeners: "$VIP:80", scheduler: rr, inhibit: true, servers: [$RS1, $RS2], check: "tcp:8080"}
FILE
    start
    proven "$RS1" "$RS2"
    hold 1 2
    equal "$(held)" $'rs1 1\nrs2 1' "connections"
    in_ns rs2 nft add table ip closed
    in_ns rs2 nft add chain ip closed input "{ type filter hook input priority 0; }"
    in_ns rs2 nft add rule ip closed input tcp dport 8080 reject with tcp reset
    wait_until 6 "rs2 to be down" unhealthy "$RS2"
    equal "$(server_status "$RS2" effectiveWeight)" 0 "its weight"
    equal "$(fetch 20 | served)" "rs1 20" "who serves"
    equal "$(server_status "$RS2" active)" 1 "its connections"
    in_ns rs2 nft delete table ip closed
    wait_until 10 "rs2 to be back" healthy "$RS2"
    equal "$(server_status "$RS2" effectiveWeight)" 1 "its weight afterwards"
}

test_a_reload_may_end_all_checks_and_begin_them_again() {
    three_of_them rr "$RS1, $RS2" <<<""
    start
    proven "$RS1" "$RS2"
    three_of_them rr "$RS1, $RS2" <<<"    check: none"
    reload_ok
    equal "$(in_ns director tc qdisc show | grep -c clsact || true)" 0 "qdiscs of checks"
    no_failures "unchecked" <<<"$(fetch 20)"
    three_of_them rr "$RS1, $RS2" <<<"    check: ping"
    reload_ok
    proven "$RS1" "$RS2"
    ip -n "$(ns rs2)" link set tunl0 down
    wait_until 6 "rs2 to be taken out" unhealthy "$RS2"
    ip -n "$(ns rs2)" link set tunl0 up
}

ignore_pings() { in_ns "$1" sysctl -qw "net.ipv4.icmp_echo_ignore_all=$2"; }

test_udp_servers_that_drop_pings_serve_unproven() {
    local host pids=()
    for host in rs1 rs2; do
        ignore_pings "$host" 1
        spawn "$host" "$LAB_DIR/$host.udp" "$PYTHON" "$TESTS/udp.py" serve "$host" 5353
        pids+=("$SPAWNED")
        disown "$SPAWNED"
    done
    config <<FILE
services: [{listeners: "$VIP:5353/udp", scheduler: rr, servers: [$RS1, $RS2], inhibit: no}]
FILE
    start
    says "notice.*$VIP:5353/udp: 'auto' checks UDP by a ping" || fail "the log says nothing of the ping"
    for host in $RS1 $RS2; do
        wait_until 5 "$host to be unproven" says "warning.*real server $host of .* serves unproven.*ping"
    done
    equal "$(ipvsd status --json | jq -c '.services[0] | [.quorum.up, (.servers[] | .health, .effectiveWeight)]')" \
        '[false,"unproven",1,"unproven",1]' "the quorum, health and weights"
    equal "$(in_ns client "$PYTHON" "$TESTS/udp.py" ask "$VIP" 5353 10 | sort | uniq -c | xargs)" "5 rs1 5 rs2" "who answers"
    # Pings pass now. A real server that still answers no ping is out.
    ignore_pings rs2 0
    proven "$RS2"
    wait_until 6 "rs1 to be taken out" unhealthy "$RS1"
    ignore_pings rs1 0
    proven "$RS1"
    kill "${pids[@]}"
}

# A ca-file without a certificate takes no real server out.
test_what_the_director_itself_lacks_takes_nobody_out() {
    local reason
    echo "not a certificate" >"$LAB_DIR/roots.pem"
    config <<FILE
services:
  - listeners: $VIP:80
    servers: [$RS1, $RS2]
    checks: [{type: tcp}, {type: tls, verify: chain, ca-file: $LAB_DIR/roots.pem}]
FILE
    start
    wait_until 5 "the log to say so" says "error.*read trust roots from $LAB_DIR/roots.pem: no certificates in PEM"
    equal "$(ipvsd status --json | jq -r '.services[0].servers[].health' | xargs)" "unproven unproven" "health"
    reason=$(server_status "$RS1" reason)
    matches "$reason" "^tls:80 .*: not asked, as the director itself could not: read trust roots" "the reason in status"
    no_failures "meanwhile" <<<"$(fetch 20)"
    # A check that the director can make still counts.
    server_kill rs2
    wait_until 6 "rs2 to be taken out" unhealthy "$RS2"
    server_start rs2
}

test_flags_beside_a_file_are_refused() {
    three_of_them rr "$RS1" <<<""
    exits 64 in_ns director "$IPVSD" --config "$LAB_DIR/ipvsd.yaml" --vip "$VIP" --scheduler rr
    matches "$OUTPUT" "--vip, --scheduler: cannot be beside --config" "what is refused"
    director_start --vip "$VIP" --backends "$RS1"
    exits 64 ipvsd reload
    matches "$OUTPUT" "started without --config" "a reload of flags"
    director_stop
    exits 3 ipvsd reload
}

run_tests
