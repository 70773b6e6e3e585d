#!/bin/bash
# Interfaces of every kind that this kernel has: several for clients, a bridge, a narrow link inside the tunnel, and the
# director itself as a real server. VLAN devices and bonds: Tests/KernelLab/interfaces.test.sh.
# shellcheck source=harness.sh
source "$(dirname "$0")/harness.sh"
LAB_VIA=nsenter
FAR_DIRECTOR=10.0.1.2

# client2 is in the far subnet, and its way to the VIP is the director's eth1.
scenario_up() {
    lab_up
    lab_up_far
    add_host client2 far 10.0.1.50/24
    complete_frames client2 eth0
    ip -n "$(ns client2)" route add $VIP via $FAR_DIRECTOR
    ip -n "$(ns client2)" route add default via 10.0.1.254
    local host
    for host in rs1 rs2 rs3; do ip -n "$(ns $host)" route add 10.0.1.0/24 via 10.0.0.254; done
    usual_servers
    LAB_VIA=nsenter in_ns rs4 "$IPVSD" realserver-setup --vip $VIP >"$LAB_DIR/rs4.setup" 2>&1
    server_start rs4
    server_start director
}

# ask HOST COUNT   makes COUNT requests from HOST, and prints who answered, as "rs1 10 rs4 10"
ask() {
    in_ns "$1" curl -s --fail-early -o /dev/null -H 'Connection: close' --max-time $((5 * LAB_SLOW)) \
        -w '%header{x-server}\n' "http://$VIP/?[1-$2]" | sort | uniq -c | awk '{ print $2, $1 }' | xargs
}

answers() { [[ $(ask "$1" "$2") == "$3" ]]; }

# Gives the director's eth1 an address in the far subnet, in place of the route through the router.
far_leg() {
    ip -n "$(ns director)" route del 10.0.1.0/24
    ip -n "$(ns director)" addr add "$FAR_DIRECTOR/24" dev eth1
}

no_far_leg() {
    ip -n "$(ns director)" addr del "$FAR_DIRECTOR/24" dev eth1
    ip -n "$(ns director)" route add 10.0.1.0/24 via 10.0.0.254
}

test_clients_on_two_interfaces() {
    local before flags
    far_leg
    before=$(machine_state director)
    for flags in "--interface eth0,eth1" "--interface eth1 --interface eth0"; do
        # shellcheck disable=SC2086 # words
        director_start --vip $VIP --backends $RS1,$RS4 --scheduler rr $flags
        equal "$(ipvsd status --json | jq -r '.xdp.interfaces | sort | join(" ")')" "eth0 eth1" "interfaces"
        equal "$(ipvsd status --json | jq -r .xdp.mode)" native "XDP mode"
        wait_until 5 "rs1 and rs4 for the client on eth0" answers client 20 "rs1 10 rs4 10"
        wait_until 5 "rs1 and rs4 for the client on eth1" answers client2 20 "rs1 10 rs4 10"
        exits 0 in_ns client ping -c 1 -W 5 "$VIP"
        exits 0 in_ns client2 ping -c 1 -W 5 "$VIP"
        # The reset goes out by the interface by which the packet came in.
        exits 7 in_ns client2 curl -s --max-time 5 "http://$VIP:81/"
        wait_until 5 "both to be healthy" healthy "$RS4"
        director_stop
        same_state "$before" "$(machine_state director)"
    done
    no_far_leg
}

test_every_VIP_of_one_service_is_placed() {
    director_start --vip "$VIP:80,10.0.0.101:80" --one-service --backends "$RS1"
    matches "$(ip -n "$(ns director)" -o addr show eth0)" "10\.0\.0\.100/32" "the first VIP"
    matches "$(ip -n "$(ns director)" -o addr show eth0)" "10\.0\.0\.101/32" "the second VIP"
    director_stop
}

test_one_of_two_interfaces_is_dropped_by_a_new_start() {
    far_leg
    director_start --vip "$VIP" --backends "$RS1" --interface eth0,eth1
    matches "$(ip -n "$(ns director)" -d link show eth1)" "prog/xdp" "eth1"
    director_kill
    equal "$(ask client2 5)" "rs1 5" "without a daemon, by eth1"
    director_start --vip "$VIP" --backends "$RS1" --interface eth0
    equal "$(ipvsd status --json | jq -r '.xdp.interfaces | join(" ")')" "eth0" "interfaces"
    equal "$(ip -n "$(ns director)" -d link show eth1 | grep -c prog/xdp)" 0 "programs on eth1"
    equal "$(ask client 5)" "rs1 5" "by eth0"
    director_stop
    no_far_leg
}

# --- a narrow link between the director and a real server ----------------------------------------------

too_big() { in_ns client "$PYTHON" "$TESTS/udp.py" too-big "$VIP" 5353 "$1"; }

# The real server has no socket at the port, so it answers a delivered datagram with an ICMP error.
DELIVERED="mtu 0 from $VIP origin 2 type 3 code 3"

# told SIZE MTU   whether a datagram of that size is answered by an ICMP error with that MTU from the VIP
told() {
    in_ns client ip route flush cache
    [[ $(too_big "$1") == "mtu $2 from $VIP origin 2 type 3 code 4" ]]
}

test_a_path_MTU_learnt_from_a_router_inside_the_tunnel() {
    director_start --vip "$VIP" --backends "$RS4"
    wait_until 5 "rs4 to be healthy" healthy "$RS4"
    equal "$(too_big 1480)" "$DELIVERED" "a datagram that fits"
    ip -n "$(ns router)" link set eth1 mtu 1400
    wait_until 5 "the client to be told what the router told" told 1480 1380
    matches "$(director_log)" "path MTU to $RS4 is 1400: .*as 10.0.0.254 says" "the log"
    # This datagram is as large as it may be now.
    in_ns client ip route flush cache
    equal "$(too_big 1380)" "$DELIVERED" "a datagram that fits the narrow link"
    ip -n "$(ns router)" link set eth1 mtu 1300
    wait_until 5 "a path MTU that goes down further" told 1380 1280
    ip -n "$(ns router)" link set eth1 mtu 1500
    in_ns client ip route flush cache
}

# --- the director as a real server ---------------------------------------------------------------------

test_the_director_itself_serves() {
    director_start --vip "$VIP:80" --backends "10.0.0.2,$RS1" --scheduler rr
    equal "$(server_status 10.0.0.2 method)" local "method of the director itself"
    equal "$(server_status "$RS1" method)" tunnel "method of rs1"
    equal "$(ask client 20)" "director 10 rs1 10" "who served"
    wait_until 5 "the director itself to be healthy" healthy 10.0.0.2
    equal "$(server_status 10.0.0.2 connections)" 10 "connections of the director itself"
    between "$(server_status 10.0.0.2 packets)" 40 100 "packets of the director itself"
    server_kill director
    wait_until 6 "the director itself to be taken out" unhealthy 10.0.0.2
    matches "$(server_status 10.0.0.2 reason)" "refused" "the reason"
    equal "$(ask client 10)" "rs1 10" "who serves then"
    server_start director
    wait_until 8 "the director itself to be back" healthy 10.0.0.2
    equal "$(ask client 20)" "director 10 rs1 10" "who serves again"
    director_stop
}

test_the_director_itself_is_refused_behind_every_port() {
    local before
    before=$(machine_state director)
    exits 64 in_ns director timeout 10 "$IPVSD" --vip "$VIP" --backends "10.0.0.2,$RS1"
    matches "$OUTPUT" "10.0.0.2 is this director.*every port" "the message"
    same_state "$before" "$(machine_state director)"
}

# --- outer sources ---------------------------------------------------------------------------------------

test_outer_sources_vary_by_flow() {
    director_start --vip "$VIP" --backends "$RS1" --outer-source-prefix 172.16.0.0/16
    : >"$LAB_DIR/outer"
    spawn rs1 "$LAB_DIR/outer" tcpdump -l -n -Z root -c 60 -i eth0 "ip proto 4 and src net 172.16.0.0/16"
    local dump=$SPAWNED
    disown "$dump"
    wait_until 10 "tcpdump" grep -q "listening on" "$LAB_DIR/outer"
    equal "$(ask client 20)" "rs1 20" "who served"
    wait_until 10 "60 packets on tcpdump" ended "$dump"
    between "$(grep -oE '172\.16\.[0-9]+\.[0-9]+ >' "$LAB_DIR/outer" | sort -u | wc -l)" 8 20 "outer sources of 20 connections"
    director_stop
}

# A switch floods frames for unknown MACs, and a promiscuous interface receives them.
test_frames_for_other_hosts() {
    local received
    director_start --vip "$VIP" --backends "$RS1,$RS2" --scheduler rr
    wait_until 5 "rs1 and rs2 to serve" answers client 20 "rs1 10 rs2 10"
    ip -n "$(ns director)" link set eth0 promisc on
    ip -n "$(ns client)" neigh replace "$VIP" lladdr 02:00:00:00:99:99 dev eth0 nud permanent
    received=$(ipvsd status --json | jq .received)
    # The director answers with neither a connection nor a reset.
    exits 28 in_ns client curl -s --max-time 2 "http://$VIP/"
    exits 1 in_ns client ping -c 1 -W 1 "$VIP"
    equal "$(ipvsd status --json | jq .received)" "$received" "packets that the director took for its own"
    # A NIC with a new MAC takes the frames for that MAC.
    ip -n "$(ns director)" link set eth0 address 02:00:00:00:99:99
    wait_until 5 "rs1 and rs2 by the new MAC" answers client 20 "rs1 10 rs2 10"
    # So do macvlans, such as keepalived's.
    ip -n "$(ns director)" link add link eth0 name vrrp.1 address 00:00:5e:00:01:01 type macvlan mode bridge
    ip -n "$(ns director)" link set vrrp.1 up
    ip -n "$(ns client)" neigh replace "$VIP" lladdr 00:00:5e:00:01:01 dev eth0 nud permanent
    wait_until 5 "rs1 and rs2 by the virtual router's MAC" answers client 20 "rs1 10 rs2 10"
    ip -n "$(ns client)" neigh del "$VIP" dev eth0
    ip -n "$(ns director)" link del vrrp.1
    ip -n "$(ns director)" link set eth0 promisc off
    director_stop
}

# --- a bridge --------------------------------------------------------------------------------------------

# Makes eth0 a port of br0, which gets eth0's addresses; `guest` is a host behind another port, as a virtual machine.
bridge_up() {
    local d
    d=$(ns director)
    ip -n "$d" addr flush dev eth0
    ip -n "$d" link add br0 type bridge stp_state 0 mcast_snooping 0
    ip -n "$d" link set eth0 master br0
    ip -n "$d" link set br0 up
    ip -n "$d" addr add 10.0.0.2/24 dev br0
    ip -n "$d" route replace default via 10.0.0.1
    ip -n "$d" route replace 10.0.1.0/24 via 10.0.0.254
}

bridge_down() {
    local d
    d=$(ns director)
    ip -n "$d" link del br0
    ip netns del "$(ns guest)" 2>/dev/null || true
    ip -n "$d" addr add 10.0.0.2/24 dev eth0
    ip -n "$d" route replace default via 10.0.0.1
    ip -n "$d" route replace 10.0.1.0/24 via 10.0.0.254
}

guest_up() {
    local d
    d=$(ns director)
    ip netns add "$(ns guest)"
    quiet_namespace guest
    ip -n "$d" link add guest type veth peer name eth0 netns "$(ns guest)"
    ip -n "$(ns guest)" link set eth0 up
    ip -n "$(ns guest)" addr add 10.0.0.60/24 dev eth0
    complete_frames guest eth0
    LAB_VIA=nsenter in_ns guest ethtool -K eth0 gro on >/dev/null
    ip -n "$d" link set guest master br0 up
}

# Prints the director's state without a bridge's timers.
bridge_state() { machine_state director | sed -E 's/ [a-z_]*timer +[0-9.]+//g; s/ fdb_n_learned [0-9]+//'; }

attached_to() { [[ $(ipvsd status --json | jq -r '.xdp.interfaces | sort | join(" ")') == "$1" ]]; }

test_a_bridge() {
    bridge_up
    local before
    before=$(bridge_state)
    director_start --vip "$VIP" --backends "$RS1,$RS2" --scheduler rr
    equal "$(ipvsd status --json | jq -r '.xdp.interfaces | join(" ")')" eth0 "interfaces"
    wait_until 5 "rs1 and rs2 to serve" answers client 20 "rs1 10 rs2 10"
    exits 0 in_ns client ping -c 1 -W 5 "$VIP"
    wait_until 5 "rs1 to be healthy" healthy "$RS1"
    download_start bridged
    download_correct bridged
    # A port that comes while the director runs has a client behind it, and later a real server.
    guest_up
    wait_until 8 "the new port" attached_to "eth0 guest"
    wait_until 5 "rs1 and rs2 for the guest" answers guest 20 "rs1 10 rs2 10"
    ip -n "$(ns director)" link set guest nomaster
    wait_until 8 "the port to go" attached_to eth0
    ip -n "$(ns director)" link del guest
    ip netns del "$(ns guest)"
    director_stop
    same_state "$before" "$(bridge_state)"
    # The bridge is deleted and created while the director runs: it has lost its addresses, the VIP among them.
    director_start --vip "$VIP" --backends "$RS1,$RS2" --scheduler rr
    ip -n "$(ns director)" link del br0
    bridge_up
    wait_until 10 "rs1 and rs2 behind the new bridge" answers client 20 "rs1 10 rs2 10"
    wait_until 5 "rs1 to be healthy" healthy "$RS1"
    director_stop
    bridge_down
}

test_a_real_server_behind_a_port_and_frames_of_others() {
    bridge_up
    guest_up
    ip -n "$(ns guest)" route add default via 10.0.0.1
    in_ns guest "$IPVSD" realserver-setup --vip "$VIP" >"$LAB_DIR/guest.setup" 2>&1
    server_start guest
    director_start --vip "$VIP" --backends "10.0.0.60,$RS1" --scheduler rr
    wait_until 5 "guest and rs1 to serve" answers client 20 "guest 10 rs1 10"
    wait_until 5 "the guest to be healthy" healthy 10.0.0.60
    # The guest also holds the VIP. Frames for the guest's MAC cross the bridge untouched.
    local mac received
    mac=$(ip -n "$(ns guest)" -j link show eth0 | jq -r '.[0].address')
    ip -n "$(ns client)" neigh replace "$VIP" lladdr "$mac" dev eth0 nud permanent
    received=$(ipvsd status --json | jq .received)
    equal "$(ask client 10)" "guest 10" "who served behind the bridge"
    equal "$(ipvsd status --json | jq .received)" "$received" "packets that the director took for its own"
    ip -n "$(ns client)" neigh del "$VIP" dev eth0
    director_stop
    in_ns guest "$IPVSD" realserver-setup --undo >/dev/null 2>&1
    kill -9 "$(<"$LAB_DIR/guest/nginx.pid")"
    bridge_down
}

test_a_bridge_without_ports() {
    ip -n "$(ns director)" link add br9 type bridge
    exits 69 in_ns director timeout 10 "$IPVSD" --vip "$VIP" --backends "$RS1" --interface br9
    matches "$OUTPUT" "br9: the bridge has no port" "the message"
    ip -n "$(ns director)" link del br9
}

run_tests
