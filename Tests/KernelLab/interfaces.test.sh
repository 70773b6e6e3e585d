#!/bin/bash
# Interfaces that the usual kernel of a small machine lacks: VLAN devices of both kinds, bonds, and VLANs on bonds; a
# NIC whose driver merges frames. The wires between switch and director:
#
#   director: eth0.100, eth0.7 (802.1ad) with eth0.7.200 on it, or bond0(.100) of eth0 and eth2
#   switch:   the same devices on the other ends; those with the last tags are ports of the bridges
# shellcheck source=../Namespaces/harness.sh
source "$(dirname "$0")/../Namespaces/harness.sh"
LAB_VIA=nsenter

scenario_up() {
    lab_up
    lab_up_far
    ip -n "$(ns director)" addr flush dev eth0
    usual_servers
    LAB_VIA=nsenter in_ns rs4 "$IPVSD" realserver-setup --vip $VIP >"$LAB_DIR/rs4.setup" 2>&1
    server_start rs4
}

d() { ip -n "$(ns director)" "$@"; }
s() { ip -n "$(ns switch)" "$@"; }

# tagged_frames HOST DEVICE   a veth leaves tags beside the frame, too, as a NIC's offload would
tagged_frames() { LAB_VIA=nsenter in_ns "$1" ethtool -K "$2" txvlan off tx-vlan-stag-hw-insert off >/dev/null; }

# director_address DEVICE
director_address() {
    d addr add 10.0.0.2/24 dev "$1"
    d route replace default via 10.0.0.1
    d route replace 10.0.1.0/24 via 10.0.0.254
}

serves() { [[ $(fetch 10 | served | xargs) == "$1" ]]; }

everything_works() { # DEVICE that the program sits on
    equal "$(ipvsd status --json | jq -r '.xdp.interfaces | join(" ")')" "$1" "interfaces"
    equal "$(ipvsd status --json | jq -r .xdp.mode)" native "XDP mode"
    wait_until 10 "rs1 and rs2 to serve" serves "rs1 5 rs2 5"
    no_failures "10 requests" <<<"$(fetch 10)"
    exits 0 in_ns client ping -c 1 -W 8 "$VIP"
    # A port without connection: the RST of the director, or of the real server.
    exits 7 in_ns client curl -s --max-time 30 "http://$VIP:81/"
    wait_until 5 "rs1 to be healthy" healthy "$RS1"
    equal "$(in_ns client "$PYTHON" "$TESTS/udp.py" too-big "$VIP" 5353 1500)" \
        "mtu 1480 from $VIP origin 2 type 3 code 4" "a datagram of 1500 bytes with DF"
    in_ns client ip route flush cache
}

# Its routes are in the VRF's table. It serves, or it is refused by the VRF's name.
test_a_NIC_in_a_VRF() {
    d link add vrf0 type vrf table 10 || fail "no VRF device"
    d link set vrf0 up
    d link set eth0 master vrf0
    d addr add 10.0.0.2/24 dev eth0
    d route add default via 10.0.0.1 vrf vrf0
    director_spawn director --vip "$VIP" --backends "$RS1"
    DIRECTOR_PID=$SPAWNED
    wait_until 2 "rs1 to serve, or a refusal that names the VRF" serves_or_refuses
    if ended "$DIRECTOR_PID"; then DIRECTOR_PID=; else director_stop; fi
    d link del vrf0
    d addr flush dev eth0
}

serves_or_refuses() { serves "rs1 10" || { ended "$DIRECTOR_PID" && grep -q vrf0 "$LAB_DIR/director.log"; }; }

test_a_VLAN_device() {
    s link add link director name director.100 type vlan id 100
    s link set director nomaster
    s link set director.100 master near up
    tagged_frames switch director
    d link add link eth0 name eth0.100 type vlan id 100
    d link set eth0.100 up
    director_address eth0.100
    local before
    before=$(machine_state director)
    matches "$before" "eth0 rx-vlan-offload: on" "the offload, before"
    # The VIP's subnet is on eth0.100, so that no flag has to name it.
    director_start --vip "$VIP" --backends "$RS1,$RS2" --scheduler rr
    matches "$(machine_state director)" "eth0 rx-vlan-offload: off" "the offload, meanwhile"
    everything_works eth0
    watch_packet switch director "vlan 100 and ip proto 4"
    fetch 1 >/dev/null
    matches "$(watched)" "10.0.0.2 > 10.0.0.1[12]" "the packet on the wire"
    download_start vlan
    download_correct vlan
    director_stop
    same_state "$before" "$(machine_state director)"
    # The device is deleted and created while the director runs: it has lost its addresses, the VIP among them.
    director_start --vip "$VIP" --backends "$RS1,$RS2" --scheduler rr
    d link del eth0.100
    d link add link eth0 name eth0.100 type vlan id 100
    d link set eth0.100 up
    director_address eth0.100
    wait_until 15 "rs1 and rs2 to serve again" serves "rs1 5 rs2 5"
    director_stop
    s link del director.100
    d link del eth0.100
}

test_a_VLAN_in_a_provider_VLAN() {
    s link add link director name director.7 type vlan proto 802.1ad id 7
    s link add link director.7 name director.200 type vlan id 200
    s link set director.7 up
    s link set director.200 master near up
    tagged_frames switch director
    # A veth takes its MTU and one tag.
    s link set director mtu 1504
    d link set eth0 mtu 1504
    d link add link eth0 name eth0.7 type vlan proto 802.1ad id 7
    d link add link eth0.7 name eth0.7.200 mtu 1500 type vlan id 200
    d link set eth0.7 up
    d link set eth0.7.200 up
    director_address eth0.7.200
    director_start --vip "$VIP" --backends "$RS1,$RS2" --scheduler rr --interface eth0.7.200
    everything_works eth0
    director_stop
    s link del director.200
    s link del director.7
    d link del eth0.7.200
    d link del eth0.7
    s link set director mtu 1500 master near
    d link set eth0 mtu 1500
}

second_nic() {
    d link show eth2 >/dev/null 2>&1 || add_nic director eth2 near
    receive_redirected director-eth2
}

test_an_active_backup_bond_and_a_VLAN_on_it() {
    second_nic
    d link add bond0 type bond mode active-backup miimon 50
    local device
    for device in eth0 eth2; do
        d link set "$device" down
        d link set "$device" master bond0
    done
    d link set bond0 up
    director_address bond0
    d link set bond0 type bond active_slave eth0
    director_start --vip "$VIP" --backends "$RS1,$RS2" --scheduler rr
    everything_works bond0
    # eth0's cable: the bond goes on by eth2.
    s link set director down
    wait_until 15 "rs1 and rs2 to serve by eth2" serves "rs1 5 rs2 5"
    s link set director up
    director_stop
    # Now with a tag, by both ports of the switch.
    for device in director director-eth2; do
        s link set "$device" nomaster
        s link add link "$device" name "$device.5" type vlan id 5
        s link set "$device.5" master near up
        tagged_frames switch "$device"
    done
    d addr flush dev bond0
    d link add link bond0 name bond0.5 type vlan id 5
    d link set bond0.5 up
    director_address bond0.5
    director_start --vip "$VIP" --backends "$RS1,$RS2" --scheduler rr --interface bond0.5
    everything_works bond0
    director_stop
    d link del bond0.5
    d link del bond0
}

test_an_802_3ad_bond() {
    second_nic
    s link add trunk type bond mode 802.3ad miimon 50 lacp_rate fast xmit_hash_policy layer3+4
    d link add bond1 type bond mode 802.3ad miimon 50 lacp_rate fast xmit_hash_policy layer3+4
    local device before
    for device in director director-eth2; do
        s link del "$device.5" 2>/dev/null || true
        s link set "$device" down
        s link set "$device" master trunk
    done
    for device in eth0 eth2; do
        d link set "$device" down
        d link set "$device" master bond1
    done
    s link set trunk master near up
    d link set bond1 up
    director_address bond1
    wait_until 15 "the aggregate" in_ns director ping -c 1 -W 1 10.0.0.1
    director_start --vip "$VIP" --backends "$RS1,$RS2" --scheduler rr
    everything_works bond1
    director_stop
    # The generic hook of a bond comes after its members' GRO.
    for device in eth0 eth2; do in_ns director ethtool -K "$device" gro on; done
    before=$(machine_state director)
    equal "$(grep -cE '^eth[02] generic-receive-offload: on' <<<"$before")" 2 "members with GRO, before"
    director_start --vip "$VIP" --backends "$RS1,$RS2" --scheduler rr --xdp generic
    equal "$(ipvsd status --json | jq -r .xdp.mode)" generic "XDP mode"
    equal "$(machine_state director | grep -cE '^eth[02] generic-receive-offload: off')" 2 "members without GRO"
    wait_until 10 "rs1 and rs2 to serve" serves "rs1 5 rs2 5"
    director_stop
    same_state "$(grep -v bond1 <<<"$before")" "$(machine_state director | grep -v bond1)"
    d link del bond1
    s link del trunk
}

# LRO exists in hardware only. The guest has such a NIC, connected to nothing.
test_a_NIC_that_merges_frames() {
    local nic before
    nic=$(cd /sys/class/net && for nic in *; do
        [[ $(readlink "$nic/device/driver") != */vmxnet3 ]] || echo "$nic"
    done)
    [[ -n $nic ]] || fail "no vmxnet3 NIC in the guest"
    ip link set "$nic" netns "$(ns director)" name lro0
    d link set lro0 up
    d addr add 10.7.0.2/24 dev lro0
    before=$(machine_state director)
    matches "$before" "lro0 large-receive-offload: on" "LRO, before"
    director_start --vip 10.7.0.100 --backends 10.7.0.11 --interface lro0 --check none
    matches "$(machine_state director)" "lro0 large-receive-offload: off" "LRO, meanwhile"
    # A second start finds LRO off after a kill. The journal of the first start counts.
    director_kill
    director_start --vip 10.7.0.100 --backends 10.7.0.11 --interface lro0 --check none
    director_kill
    exits 0 ipvsd cleanup
    same_state "$before" "$(machine_state director)"
}

run_tests
