#!/bin/bash
# Repairs: each of the director's pieces in the machine is taken away under requests. The director puts it back, and no
# real server is blamed. The next daemon does the same. Stop and cleanup remove restored pieces, too.
# shellcheck source=harness.sh
source "$(dirname "$0")/harness.sh"
LAB_VIA=nsenter

BACKENDS=$RS1,$RS2,$RS3
# The interval is so short that two checks in a row fail before the director looks after its pieces again.
FAST=(--check-interval 0.4s --check-timeout 0.4s)

d() { ip -n "$(ns director)" "$@"; }
director_tc() { in_ns director tc "$@"; }

has_vip() { d -o addr show dev eth0 | grep -qF "$VIP/32"; }
has_program() { director_tc filter show dev "$1" "$2" | grep -q "check_$2"; } # DEVICE ingress|egress
has_sysctls() { equal "$(sysctls)" "1 1 2" "forwarding, accept_local, rp_filter of ipvsd0"; }
sysctls() { in_ns director sysctl -n net.ipv4.conf.ipvsd0.{forwarding,accept_local,rp_filter} | xargs; }
has_device() {
    [[ $(d -o addr show dev ipvsd0) == *192.0.0.8/32* ]] && d -o link show up dev ipvsd1 | grep -q "mtu 65535" &&
        has_program ipvsd0 egress && has_program eth0 ingress && (has_sysctls)
}
whole() { has_vip && has_device; }

restored() { ipvsd events --json | jq -r 'select(.event == "restored").reason'; }

# Prints the number of successful checks of the port that the director has learnt from the load.
passed_checks() { ipvsd metrics | awk '/^ipvsd_checks_total.*check="tcp:80".*result="success"/ { print $NF }'; }
more_passed_than() { (($(passed_checks) > $1)); }

# puts_back PIECE TAKE...   takes the piece away by TAKE under load. Expects the director to put it back, and to log
# that.
puts_back() {
    local piece=$1 passed
    shift
    "$@"
    wait_until 3 "all to be whole again ($piece)" told_and_whole "$piece"
    checks_go_on "$piece"
    nobody_blamed "$piece"
}
checks_go_on() {
    local passed
    passed=$(passed_checks)
    wait_until 5 "checks to go on ($1)" more_passed_than $((passed + 12))
}
told_and_whole() { whole && director_log | grep -qF "restored $1" && restored | grep -qF "$1"; }

nobody_blamed() {
    equal "$(ipvsd events --json | jq -r 'select(.event | test("down|lost")).reason')" "" "what is down ($1)"
}

begin() {
    BEFORE=$(machine_state director)
    director_start --vip "$VIP" --backends "$BACKENDS" "${FAST[@]}" "$@"
    wait_until 5 "rs3 to be healthy" healthy "$RS3"
    load_start 40
    wait_until 10 "a first request" load_has 20
}

finish() {
    load_stop
    no_failures "while pieces went" <<<"$(load)"
    director_stop
    same_state "$BEFORE" "$(machine_state director)"
}

test_the_vip_is_put_back() {
    begin
    puts_back "address $VIP/32 on eth0" take_vip
    # Further removals are logged once more, and each is repaired.
    local round
    for round in 1 2 3; do
        take_vip
        wait_until 3 "the VIP to be back, the $round. time" has_vip
    done
    # A daemon that is killed while it changes the VIP's scope leaves the VIP on ipvsd1.
    d addr add "$VIP/32" dev ipvsd1 scope host
    take_vip
    wait_until 3 "the VIP to be back, which ipvsd1 had" has_vip
    [[ $(d -o addr show dev ipvsd1) != *$VIP* ]] || fail "ipvsd1 has the VIP, too"
    equal "$(director_log | grep -c "restored address $VIP/32 on eth0")" 2 "lines about the VIP"
    matches "$(director_log)" "restored address $VIP/32 on eth0 again, .*: something else keeps it from staying" "the log"
    equal "$(restored | wc -l)" 2 "events about the VIP"
    finish
}

take_vip() {
    d addr del "$VIP/32" dev eth0
    ip -n "$(ns client)" neigh flush dev eth0
}

# The data plane forwards without its pins. Restored pins are there for the next daemon.
test_pins_are_put_back() {
    local directory pins
    begin
    directory=$(pin_directory)
    pins=$(pins_below "$directory")
    download_start through --limit-rate 10M
    puts_back "pin director" rm "$directory/director"
    puts_back "pins services, flows" rm "$directory/services" "$directory/flows"
    puts_back "$(wc -w <<<"$pins") pins (settings, services, listeners, …)" rm -r "$directory"
    equal "$(pins_below "$directory")" "$pins" "pins"
    director_kill
    exits 3 ipvsd status
    matches "$OUTPUT" "$VIP" "status without a daemon"
    director_start --vip "$VIP" --backends "$BACKENDS" "${FAST[@]}"
    matches "$(director_log)" "took over, forwarding" "the log of the next daemon"
    checks_go_on "what was pinned again"
    nobody_blamed "pins"
    download_correct through
    finish
}

pins_below() { find "$1" -type f -printf '%f\n' | sort | xargs; }

test_tc_programs_and_their_qdisc_are_put_back() {
    begin
    puts_back "ingress program of checks on eth0" director_tc qdisc del dev eth0 clsact
    director_tc filter del dev eth0 ingress
    wait_until 3 "the program to be back" whole
    puts_back "egress program of checks on ipvsd0" director_tc qdisc del dev ipvsd0 clsact
    finish
}

test_ipvsd0_and_ipvsd1_are_put_back() {
    begin
    puts_back "device ipvsd0 (with its peer ipvsd1)" d link del ipvsd0
    fragments
    puts_back "UP of ipvsd1" d link set ipvsd1 down
    puts_back "MTU of ipvsd0" d link set ipvsd0 mtu 1500
    puts_back "address 192.0.0.8/32 on ipvsd0" d addr flush dev ipvsd0
    puts_back "MAC address of ipvsd0" d link set ipvsd0 address 02:00:00:00:00:01
    rename_peer
    wait_until 3 "ipvsd1 to be back" whole
    not grep -q elsewhere <(d -o link show) || fail "the former ipvsd1 is left"
    fragments
    finish
}

rename_peer() { d link set ipvsd1 down && d link set ipvsd1 name elsewhere; }

test_sysctls_of_ipvsd0_are_put_back() {
    begin
    puts_back "sysctl net.ipv4.conf.ipvsd0.rp_filter" set_sysctl director net.ipv4.conf.ipvsd0.rp_filter=1
    puts_back "sysctl net.ipv4.conf.ipvsd0.accept_local" set_sysctl director net.ipv4.conf.ipvsd0.accept_local=0
    # ip_forward sets `forwarding` of every interface.
    puts_back "sysctl net.ipv4.conf.ipvsd0.forwarding" toggle_forwarding
    fragments
    finish
}

toggle_forwarding() {
    set_sysctl director net.ipv4.ip_forward=1
    set_sysctl director net.ipv4.ip_forward=0
}

# Expects fragments of packets without DF that are too big for the tunnel.
fragments() {
    local before
    before=$(fragments_made)
    wait_until 5 "fragments to be made" makes_fragments "$before"
}
makes_fragments() {
    LAB_VIA=nsenter in_ns client "$PYTHON" -c "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER, IP_PMTUDISC_DONT
s.sendto(bytes(1472), ('$VIP', 9))"
    (($(fragments_made) > $1))
}
fragments_made() {
    in_ns director cat /proc/net/snmp | awk '/^Ip: [A-Z]/ { for (i = 1; i <= NF; i++) if ($i == "FragCreates") at = i }
        /^Ip: [0-9]/ { print $at }'
}

# Without the check path all checks fail, and the real servers keep their health.
test_somebody_who_keeps_taking_the_check_path_away() {
    begin
    # A hundred removals, spread over 5 s, so that several repairs fall between them.
    spawn director "$LAB_DIR/taker.log" bash -c 'for ((i = 0; i < 100; i++)); do
        tc qdisc del dev eth0 clsact
        sleep 0.05
    done'
    local taker=$SPAWNED
    disown "$taker"
    wait_until 30 "the taker's end" ended "$taker"
    wait_until 3 "all to be whole again" whole
    checks_go_on "after a fight"
    nobody_blamed "a fight"
    equal "$(grep -c "restored ingress program of checks on eth0" "$LAB_DIR/director.log")" 2 "lines about the program"
    finish
}

stranger_takes_name() {
    d -batch - <<<$'link del ipvsd0\nlink add ipvsd0 type veth peer name stranger' && d link show dev stranger
}

# The device cannot be put back. So no check is made, and no server goes down.
test_a_strangers_ipvsd0_is_no_real_servers_fault() {
    begin
    local seen
    # The director may be the first to make a new ipvsd0.
    wait_until 5 "a stranger's ipvsd0" stranger_takes_name
    wait_until 5 "the failure to be told" grep -q "restore device ipvsd0.*find ipvsd0 and its peer ipvsd1" "$LAB_DIR/director.log"
    seen=$(load | wc -l)
    wait_until 15 "five more seconds of requests" load_has $((seen + 200))
    nobody_blamed "a stranger's ipvsd0"
    equal "$(grep -c "restore device ipvsd0" "$LAB_DIR/director.log")" 1 "lines about the failure"
    matches "$(ipvsd doctor --json | jq -r '.findings[].fault' | xargs)" "check-path-broken" "faults"
    d link del ipvsd0
    wait_until 3 "all to be whole again" whole
    checks_go_on "the stranger is gone"
    # The checks' results count again.
    server_kill rs2
    wait_until 10 "rs2 to be taken out" unhealthy "$RS2"
    server_start rs2
    wait_until 10 "rs2 to be back" healthy "$RS2"
    load_stop
    director_stop
    same_state "$BEFORE" "$(machine_state director)"
}

test_an_address_of_somebody_elses_is_left_to_them() {
    d addr add "$VIP/32" dev eth0
    begin --no-address
    d addr del "$VIP/32" dev eth0
    set_sysctl director net.ipv4.conf.ipvsd0.forwarding=0
    wait_until 3 "the director to look after its pieces" has_device
    ! has_vip || fail "the director has put back an address that is not its business"
    load_stop
    director_stop
}

# A VIP from before the start is not put back, as its owner, such as keepalived, adds and removes it.
test_a_vip_that_the_director_found_is_left_to_them() {
    d addr add "$VIP/32" dev eth0
    begin
    d addr del "$VIP/32" dev eth0
    set_sysctl director net.ipv4.conf.ipvsd0.forwarding=0
    wait_until 3 "the director to look after its pieces" has_device
    ! has_vip || fail "the director has put back an address that it had not put there"
    load_stop
    director_stop
}

test_the_next_daemon_puts_back_what_went_meanwhile() {
    begin
    director_kill
    take_all
    director_start --vip "$VIP" --backends "$BACKENDS" "${FAST[@]}"
    wait_until 3 "all to be whole again" whole
    checks_go_on "what went without a daemon"
    nobody_blamed "what went without a daemon"
    fragments
    finish
    # Without another daemon, cleanup finds nothing that it cannot remove.
    director_start --vip "$VIP" --backends "$BACKENDS"
    director_kill
    take_all
    exits 0 ipvsd cleanup
    same_state "$BEFORE" "$(machine_state director)"
}

take_all() {
    take_vip
    director_tc qdisc del dev eth0 clsact
    d link del ipvsd0
}

run_tests
