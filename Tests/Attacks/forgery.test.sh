#!/bin/bash
# Packets that pretend to come from a VIP, and messages that pretend to come from a router.
# shellcheck source=../Namespaces/harness.sh
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

# Netfilter rules for eth0 do not see packets that come in on ipvsd0, where checks' answers go.
test_packets_from_a_vip_reach_no_socket_of_the_director() {
    director_start --vip "$VIP" --backends "$RS1"
    wait_until 5 "rs1 to be healthy" healthy "$RS1"
    spawn director "$LAB_DIR/heard" "$PYTHON" "$ATTACKS/forge.py" listen 5000
    disown "$SPAWNED"
    LAB_VIA=nsenter spawn director "$LAB_DIR/listener" "$PYTHON" -m http.server 5000
    disown "$SPAWNED"
    wait_until 5 "the sockets" listens_on_both
    forge udp "$VIP" 4000 10.0.0.2 5000
    forge syn "$VIP" 4000 10.0.0.2 5000
    # In the order in which they came.
    forge udp 10.0.0.1 4000 10.0.0.2 5000
    wait_until 5 "the client's own datagram" grep -q "10.0.0.1" "$LAB_DIR/heard"
    equal "$(xargs <"$LAB_DIR/heard")" "listening 10.0.0.1" "sources of datagrams"
    equal "$(in_ns director ss -Htn state syn-recv | wc -l)" 0 "connections that the VIP began"
    exits 0 in_ns client curl -s -o /dev/null --max-time 5 http://10.0.0.2:5000/
    equal "$(server_status "$RS1" health)" up "health of rs1"
    director_stop
}
# An ICMP error of a real server's kernel about a check's packet is an answer, too.
test_errors_about_checks_come_in() {
    cat >"$LAB_DIR/ipvsd.yaml" <<YAML
services:
  - listeners: $VIP:5353/udp
    servers: [$RS1]
    checks: [{type: udp, reply: x}]
YAML
    director_start --config "$LAB_DIR/ipvsd.yaml"
    wait_until 5 "rs1 to be refused" unhealthy "$RS1"
    matches "$(server_status "$RS1" reason)" "refused" "the reason"
    director_stop
}

listens_on_both() { listening director 5000 && grep -q listening "$LAB_DIR/heard"; }

too_big() {
    in_ns client ip route flush cache
    in_ns client "$PYTHON" "$TESTS/udp.py" too-big "$VIP" 5353 "$1"
}

# No service has the port, so the real server answers with an ICMP error.
DELIVERED="mtu 0 from $VIP origin 2 type 3 code 3"

# still_whole WHAT   a datagram of the largest size gets to the real server
still_whole() { equal "$(too_big 1480)" "$DELIVERED" "a datagram of 1480 bytes, $1"; }

test_forged_messages_lower_no_path_mtu() {
    director_start --vip "$VIP" --backends "$RS4"
    wait_until 5 "rs4 to be healthy" healthy "$RS4"
    # The messages are about a connection that does not exist, and about a packet of the kernel's own.
    forge too-big 10.0.0.1 tunnel 552 10.0.0.2 "$RS4" 10.9.0.1 4000 "$VIP" 80
    forge too-big 10.0.0.1 ping 552 10.0.0.2 "$RS4"
    wait_until 5 "the kernel to believe it" kernel_believes "$RS4"
    # A message that may be true makes the director measure.
    forge too-big 10.0.0.1 tunnel 552 10.0.0.2 "$RS4"
    wait_until 5 "the director to look" grep -q "10.0.0.1 says .* $RS4 are too big .*but a ping of 1500 bytes passes" \
        "$LAB_DIR/director.log"
    equal "$(director_log | grep -c "says that packets")" 1 "complaints"
    # By then the director has also read the kernel's routes.
    wait_until 5 "a look at the pieces" looked_again
    still_whole "after forged messages"
    director_stop
}
kernel_believes() { in_ns director ip route get "$1" | grep -q "mtu 552"; }
looked_again() {
    ip -n "$(ns director)" addr del 192.0.0.8/32 dev ipvsd0
    wait_until 3 "ipvsd0 to be whole" grep -q "restored address 192.0.0.8" "$LAB_DIR/director.log"
}

# Between the director and rs1 there is no router that could send such a message.
test_forged_messages_about_a_real_server_on_the_link() {
    director_start --vip "$VIP" --backends "$RS1,$RS4" --scheduler rr
    wait_until 5 "rs4 to be healthy" healthy "$RS4"
    forge too-big 10.0.0.1 tunnel 552 10.0.0.2 "$RS1"
    forge too-big 10.0.0.1 tunnel 552 10.0.0.2 "$RS4"
    wait_until 5 "the director to look" grep -q "$RS4 are too big" "$LAB_DIR/director.log"
    equal "$(director_log | grep -c "$RS1 are too big")" 0 "complaints about rs1"
    still_whole "by the first real server"
    still_whole "by the other"
    director_stop
}

# Where hosts drop pings, the director believes a router's message about its own probe.
test_a_true_message_about_a_host_that_drops_pings() {
    director_start --vip "$VIP" --backends "$RS4" --check tcp:80
    wait_until 5 "rs4 to be healthy" healthy "$RS4"
    in_ns rs4 nft 'add table ip quiet; add chain ip quiet in { type filter hook input priority 0; };
        add rule ip quiet in icmp type echo-request drop'
    forge too-big 10.0.0.1 tunnel 552 10.0.0.2 "$RS4"
    wait_until 10 "the director to give up" grep -q "no ping shows whether they are" "$LAB_DIR/director.log"
    still_whole "where nothing is known"
    ip -n "$(ns router)" link set eth1 mtu 1400
    wait_until 15 "the client to get the router's MTU" told 1380
    ip -n "$(ns router)" link set eth1 mtu 1500
    in_ns rs4 nft delete table ip quiet
    in_ns client ip route flush cache
    director_stop
}
told() { [[ $(too_big 1480) == "mtu $1 from $VIP origin 2 type 3 code 4" ]]; }

run_tests
