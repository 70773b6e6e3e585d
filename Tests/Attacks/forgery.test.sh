#!/bin/bash
# Packets that pretend to come from a VIP.
source "$(dirname "$0")/../Namespaces/harness.sh"
LAB_VIA=nsenter
ATTACKS=$(cd "$(dirname "$0")" && pwd)

scenario_up() {
    lab_up
    lab_up_far
    ip -n "$(ns rs1)" route add 10.0.1.0/24 via 10.0.0.254
    realservers_setup rs1 rs4
    server_start rs1
    server_start rs4
}

forge() { in_ns client "$PYTHON" "$ATTACKS/forge.py" "$@"; }

# Rules for eth0 do not see what comes in on ipvsd0, where checks' answers go.
test_packets_from_a_vip_reach_no_socket_of_the_director() {
    director_start --vip $VIP --backends $RS1
    wait_until 5 "rs1 to be healthy" healthy $RS1
    spawn director "$LAB_DIR/heard" "$PYTHON" "$ATTACKS/forge.py" listen 5000
    disown "$SPAWNED"
    LAB_VIA=nsenter spawn director "$LAB_DIR/listener" "$PYTHON" -m http.server 5000
    disown "$SPAWNED"
    wait_until 5 "the sockets" listens_on_both
    forge udp $VIP 4000 10.0.0.2 5000
    forge syn $VIP 4000 10.0.0.2 5000
    # In the order in which they came.
    forge udp 10.0.0.1 4000 10.0.0.2 5000
    wait_until 5 "the client's own datagram" grep -q "10.0.0.1" "$LAB_DIR/heard"
    equal "$(xargs <"$LAB_DIR/heard")" "listening 10.0.0.1" "sources of datagrams"
    equal "$(in_ns director ss -Htn state syn-recv | wc -l)" 0 "connections that the VIP began"
    exits 0 in_ns client curl -s -o /dev/null --max-time 5 http://10.0.0.2:5000/
    equal "$(server_status $RS1 health)" up "health of rs1"
    director_stop
}
# What a real server's kernel says of a check's packet is an answer, too.
test_errors_about_checks_come_in() {
    cat >"$LAB_DIR/ipvsd.yaml" <<YAML
services:
  - listeners: $VIP:5353/udp
    servers: [$RS1]
    checks: [{type: udp, reply: x}]
YAML
    director_start --config "$LAB_DIR/ipvsd.yaml"
    wait_until 5 "rs1 to be refused" unhealthy $RS1
    matches "$(server_status $RS1 reason)" "refused" "the reason"
    director_stop
}

listens_on_both() { listening director 5000 && grep -q listening "$LAB_DIR/heard"; }

run_tests
