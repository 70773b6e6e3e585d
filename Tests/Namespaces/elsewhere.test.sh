#!/bin/bash
# Two interfaces of the director in one LAN: ARP gives clients either MAC. By default the director takes both
# interfaces. If --interface leaves an interface out, clients no longer learn its MAC. Packets that still come in by it
# are reported.
# shellcheck source=harness.sh
source "$(dirname "$0")/harness.sh"
LAB_VIA=nsenter

scenario_up() {
    lab_up
    add_nic director eth1 near
    receive_redirected director-eth1
    usual_servers
    # Both interfaces also answer for the director's own address, from which checks leave.
    ip -n "$(ns rs1)" neigh replace 10.0.0.2 lladdr "$(mac eth1)" dev eth0 nud permanent
}

d() { ip -n "$(ns director)" "$@"; }
mac() { d -j link show "$1" | jq -r '.[0].address'; }
client_sends_to() { ip -n "$(ns client)" neigh replace "$VIP" lladdr "$1" dev eth0 nud permanent; }
client_forgets() { ip -n "$(ns client)" neigh del "$VIP" dev eth0; }
ask() { in_ns client curl -s -o /dev/null --max-time $((5 * LAB_SLOW)) -w '%{http_code}' "http://$VIP/"; }
strays() { ipvsd status --json | jq -r '[.strays[] | "\(.interface) \(.vip)"] | join(" ")'; }
has_carrier() { d link show dev "$1" | grep -q LOWER_UP; }
has_guard() { in_ns director tc filter show dev "$1" ingress | grep -q " stray"; }

# answers INTERFACE   whether the director answers an ARP request for the VIP on that interface alone
answers() {
    in_ns client "$PYTHON" -c '
import socket, sys, time
interface, target, vip = sys.argv[1:4]
mac = bytes.fromhex(target.replace(":", ""))
packet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
packet.bind((interface, 0))
own = packet.getsockname()[4]
body = bytes.fromhex("0001080006040001") + own + socket.inet_aton("10.0.0.1") + bytes(6) + socket.inet_aton(vip)
packet.send(mac + own + bytes.fromhex("0806") + body)
patience = float(sys.argv[4])
packet.settimeout(patience)
end = time.monotonic() + patience
while time.monotonic() < end:
    try: frame = packet.recv(2048)
    except TimeoutError: break
    if frame[20:22] == b"\0\2" and frame[22:28] == mac and frame[28:32] == socket.inet_aton(vip): sys.exit(0)
sys.exit(1)' eth0 "$(mac "$1")" "$VIP" "$LAB_SLOW"
}

test_all_interfaces_of_the_subnet_are_taken() {
    local before device
    d addr add 10.0.0.3/24 dev eth1
    before=$(machine_state director)
    director_start --vip "$VIP" --backends "$RS1,$RS2" --scheduler rr
    equal "$(ipvsd status --json | jq -r '.xdp.interfaces | sort | join(" ")')" "eth0 eth1" "interfaces"
    for device in eth0 eth1; do
        client_sends_to "$(mac "$device")"
        no_failures "by $device" <<<"$(fetch 10)"
    done
    client_forgets
    equal "$(strays)" "" "stray packets"
    director_stop
    same_state "$before" "$(machine_state director)"
    d addr del 10.0.0.3/24 dev eth1
}

test_an_interface_that_is_left_out() {
    local before
    d addr add 10.0.0.3/24 dev eth1
    before=$(machine_state director)
    director_start --vip "$VIP:80" --backends "$RS1,$RS2" --interface eth0
    wait_until 5 "rs1 to be healthy" healthy "$RS1"
    ! answers eth1 || fail "eth1 answers ARP for the VIP"
    wait_until 5 "eth0 to answer ARP for the VIP" answers eth0
    equal "$(ask)" 200 "a request"
    exits 0 ipvsd doctor
    equal "$(strays)" "" "stray packets, before there are any"
    # The client still has the MAC of eth1. Packets for no service do not count as stray.
    client_sends_to "$(mac eth1)"
    exits 7 in_ns client curl -s --max-time 5 "http://$VIP:8080/"
    equal "$(strays)" "" "stray packets, of no service"
    exits 7 ask
    equal "$(strays)" "eth1 $VIP" "stray packets"
    exits 1 ipvsd doctor
    matches "$OUTPUT" "^stray-packets: [0-9]+ packets for $VIP came in by eth1" "the finding"
    matches "$(ipvsd status)" "packets for $VIP came in by eth1" "status"
    matches "$(ipvsd metrics)" 'ipvsd_stray_packets_total\{interface="eth1",vip="10.0.0.100"\} [1-9]' "metrics"
    wait_until 5 "the log to name them" logged "packets for $VIP come in by eth1"
    client_forgets
    # Another program takes the program for stray packets away.
    in_ns director tc qdisc del dev eth1 clsact
    wait_until 5 "it to be put back" has_guard eth1
    director_kill
    ! answers eth1 || fail "eth1 answers ARP for the VIP without a daemon"
    equal "$(strays)" "eth1 $VIP" "stray packets, without a daemon"
    in_ns director tc qdisc del dev eth1 clsact
    exits 1 ipvsd doctor
    matches "$OUTPUT" "^stray-packets: eth1, which answers ARP for the VIPs, has neither" "the finding, without a daemon"
    # The next daemon takes both interfaces.
    director_start --vip "$VIP:80" --backends "$RS1,$RS2"
    ! has_guard eth1 || fail "the program for stray packets is on eth1 beside the director's"
    director_stop
    same_state "$before" "$(machine_state director)"
    d addr del 10.0.0.3/24 dev eth1
}
logged() { director_log | grep -q "$1"; }

# An interface that comes after the start, or has no address, also gets the program. Cleanup finds all programs without
# the journal.
test_an_interface_that_comes_later_and_a_lost_journal() {
    local before
    before=$(machine_state director)
    director_start --vip "$VIP" --backends "$RS1" --interface eth0
    has_guard eth1 || fail "no program for stray packets is on eth1, which has no address"
    d link add late type veth peer name late2
    d link set late up
    wait_until 5 "the program on an interface that came later" has_guard late
    wait_until 5 "the program of checks there" has_check late
    ! has_guard late2 || fail "the program is on an interface that is down"
    d link del late
    wait_until 5 "the journal to forget it" forgotten late
    director_kill
    # Answers to checks come by other interfaces. So no real server is blamed, and the check path is not broken.
    in_ns director tc filter del dev eth1 ingress pref 6992
    exits 1 ipvsd doctor
    [[ $OUTPUT != *check-path-broken* ]] || fail "the doctor misses a program where no answer comes: $OUTPUT"
    rm "$(run_directory)/journal"
    exits 0 ipvsd cleanup
    d addr del "$VIP/32" dev eth0
    same_state "$before" "$(machine_state director)"
}

has_check() { in_ns director tc filter show dev "$1" ingress | grep -q check_ingress; }
# The journal has forgotten an interface once the qdisc is undone, which comes after the last program.
forgotten() { grep "\"$1\"" "$(run_directory)/journal" | grep qdisc | tail -1 | grep -q '"undone":\[{'; }

# The stop removes the program from the interface under its new name.
test_an_interface_that_is_renamed() {
    local before
    before=$(machine_state director)
    director_start --vip "$VIP" --backends "$RS1" --interface eth0
    has_guard eth1 || fail "no program for stray packets is on eth1"
    d link set eth1 down
    d link set eth1 name lan1
    d link set lan1 up
    wait_until 5 "the journal to name the interface anew" grep -q lan1 "$(run_directory)/journal"
    director_stop
    ! has_guard lan1 || fail "the program for stray packets is left on lan1"
    d link set lan1 down
    d link set lan1 name eth1
    d link set eth1 up
    wait_until 5 "eth1's carrier" has_carrier eth1
    same_state "$before" "$(machine_state director)"
}

# Frames for the macvlan come in by eth0 first.
test_a_macvlan_is_the_directors_interface() {
    d link add link eth0 name mac0 type macvlan mode bridge
    d link set mac0 up
    director_start --vip "$VIP" --backends "$RS1" --interface mac0
    has_guard eth1 || fail "no program for stray packets is on eth1"
    ! has_guard eth0 || fail "the program for stray packets is below the director's interface"
    director_stop
    d link del mac0
}

# Without --interface, the director leaves out an interface that has another XDP program.
test_another_XDP_program_on_one_of_the_interfaces() {
    d addr add 10.0.0.3/24 dev eth1
    other_xdp_program director eth1
    director_start --vip "$VIP" --backends "$RS1,$RS2"
    equal "$(ipvsd status --json | jq -r '.xdp.interfaces | join(" ")')" eth0 "interfaces"
    logged "eth1 is left out, as another XDP program (id [0-9]*) is on it" || fail "nothing says why eth1 is left out"
    has_guard eth1 || fail "no program for stray packets is on eth1"
    director_stop
    d link set dev eth1 xdp off
    d addr del 10.0.0.3/24 dev eth1
}

# Another program has put the VIP on one interface or the other.
test_the_VIP_of_another_program() {
    director_start --vip "$VIP" --backends "$RS1" --interface eth0 --no-address
    d addr add "$VIP/32" dev eth0
    wait_until 5 "eth1 to be silent" not answers eth1
    wait_until 5 "eth0 to answer ARP for the VIP" answers eth0
    d addr del "$VIP/32" dev eth0
    d addr add "$VIP/32" dev eth1
    wait_until 5 "eth1 to answer, where the VIP is" answers eth1
    d addr del "$VIP/32" dev eth1
    director_stop
}

run_tests
