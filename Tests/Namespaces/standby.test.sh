#!/bin/bash
# A standby director, such as keepalived's backup, leaves the other director's traffic alone. The doctor finds no fault
# in that. Tests/XDPDataPlaneTests/TraitTests.swift has the standby data plane without a daemon.
# shellcheck source=harness.sh
source "$(dirname "$0")/harness.sh"
LAB_VIA=nsenter
VIRTUAL=00:00:5e:00:01:33

scenario_up() {
    lab_up
    lab_up_director2
    usual_servers
}

d() { ip -n "$(ns director)" "$@"; }

# The virtual router's MAC is on the director's macvlan. The switch has not learnt at which port, and floods.
macvlan_up() {
    d link add link eth0 name vrrp.51 address "$VIRTUAL" type macvlan mode private
    d link set vrrp.51 up
    ip -n "$(ns client)" neigh replace "$VIP" lladdr "$VIRTUAL" dev eth0 nud permanent
}

macvlan_down() {
    ip -n "$(ns client)" neigh del "$VIP" dev eth0
    d link del vrrp.51
}

ask() { in_ns client curl -s -o /dev/null --max-time 2 -w '%{http_code}' "http://$VIP/"; }
served() { [[ $(ask) == 200 ]]; }
# The number of received packets, without packets that are dropped at once.
received() { ipvsd status --json | jq '.received - .reasons["dropped-no-next-hop"]'; }
dropped() { ipvsd status --json | jq '.reasons["dropped-no-next-hop"]'; }

# Sends a segment of a connection that only the other director knows.
stray_ack() { in_ns client "$PYTHON" -c '
import socket, struct, sys
source, vip = socket.inet_aton("10.0.0.1"), socket.inet_aton(sys.argv[1])
tcp = struct.pack("!HHIIBBHHH", 45000, 80, 1, 1, 0x50, 0x10, 1000, 0, 0)
pseudo = source + vip + struct.pack("!BBH", 0, 6, 20) + tcp
total = sum(struct.unpack("!16H", pseudo))
total = (total & 0xffff) + (total >> 16)
total = (total & 0xffff) + (total >> 16)
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
raw.sendto(tcp[:16] + struct.pack("!H", ~total & 0xffff) + tcp[18:], (sys.argv[1], 0))' "$VIP"; }

test_a_macvlan_is_the_directors_only_while_it_has_a_VIP() {
    local before
    director_start --vip "$VIP:80" --backends "$RS1,$RS2" --scheduler wlc --no-address
    macvlan_up
    before=$(received)
    # The segment is watched on the switch's port, as the director's own taps come behind the packet program.
    watch_packet switch director "ether dst $VIRTUAL and tcp port 45000"
    local arrived=$TCPDUMP
    watch_packet client eth0 "tcp src port 80 and tcp[tcpflags] & tcp-rst != 0"
    stray_ack
    wait_until 5 "the segment to arrive at the standby director" ended "$arrived"
    exits 28 ask
    ! ended "$TCPDUMP" || fail "the standby director resets: $(cat "$LAB_DIR/tcpdump")"
    equal "$(received)" "$before" "packets that the standby director took"
    (($(dropped) > 0)) || fail "the packets that the standby director dropped are not counted"
    # The director becomes active. Packets that come in the meantime are lost, and not reset.
    d addr add "$VIP/32" dev vrrp.51
    stray_ack
    equal "$(in_ns client curl -s -o /dev/null --max-time 5 -w '%{http_code}' "http://$VIP/")" 200 "a request at once"
    wait_until 5 "the stray segment to be reset, as the director is active" more_resets
    d addr del "$VIP/32" dev vrrp.51
    wait_until 5 "the director to stand by again" not served
    kill "$TCPDUMP" 2>/dev/null || true
    macvlan_down
    director_stop
}
more_resets() {
    stray_ack
    (($(ipvsd status --json | jq '.reasons["answered-no-connection"]') > 0))
}

# This is like keepalived without use_vmac: the other director answers ARP by the MAC of its interface.
test_the_doctor_of_a_standby_director_and_of_its_real_servers() {
    director_start --vip "$VIP:80" --backends "$RS1,$RS2"
    wait_until 5 "rs1 to be healthy" healthy "$RS1"
    director_spawn director2 --vip "$VIP:80" --backends "$RS1,$RS2" --no-address
    local other=$SPAWNED
    wait_until 10 "the other director" in_ns director2 "$IPVSD" status
    wait_until 10 "a clean bill of the standby director" in_ns director2 "$IPVSD" doctor
    exits 0 in_ns rs1 "$IPVSD" doctor --director 10.0.0.3 --port 80
    # A real server that answers ARP for the VIP is still a fault.
    set_sysctl rs2 net.ipv4.conf.all.arp_ignore=0
    exits 1 in_ns rs1 "$IPVSD" doctor --director 10.0.0.3 --port 80
    matches "$OUTPUT" "^vip-answered: " "the finding"
    set_sysctl rs2 net.ipv4.conf.all.arp_ignore=1
    exits 0 in_ns director2 "$IPVSD" stop
    wait_until 10 "the end of the other director" ended "$other"
    director_stop
}

run_tests
