#!/bin/bash
# doctor and realserver-setup on hosts that others use as well: ports that a container engine publishes, addresses and
# routes of others on tunl0, an interface that was left out.
# shellcheck source=harness.sh
source "$(dirname "$0")/harness.sh"
LAB_VIA=nsenter

scenario_up() {
    lab_up
    server_start rs1
    server_start rs2
}

r() { ip -n "$(ns rs1)" "$@"; }
rs1() { in_ns rs1 "$@"; }
setup() { rs1 timeout $((30 * LAB_SLOW)) "$IPVSD" realserver-setup "$@"; }
check() { setup --vip "$VIP" --check --director 10.0.0.2 "$@"; }

published() { in_ns client curl -sf --max-time $((2 * LAB_SLOW)) "http://$VIP:8080/" >/dev/null; }

# The ports are published as by a container engine without a proxy of its own. They lead to rs2, which plays the
# container.
test_published_ports_are_served_and_stay_so() {
    local before
    exits 0 setup --vip "$VIP"
    set_sysctl rs1 net.ipv4.conf.tunl0.forwarding=1 net.ipv4.conf.eth0.forwarding=1
    rs1 nft -f - <<RULES
table ip nat {
    chain pre { type nat hook prerouting priority -100; ip daddr $VIP tcp dport 8080 dnat to $RS2:80; }
    chain post { type nat hook postrouting priority 100; ip daddr $RS2 masquerade; }
}
RULES
    director_start --vip "$VIP" --backends "$RS1"
    wait_until 10 "the published port" published
    before=$(machine_state rs1)
    exits 0 check --port 8080 --fix
    exits 0 rs1 "$IPVSD" doctor --fix
    same_state "$before" "$(machine_state rs1)"
    published || fail "the published port is out after --fix"
    set_sysctl rs1 net.ipv4.conf.tunl0.forwarding=0
    not published || fail "the published port needs no forwarding"
    exits 1 setup --vip "$VIP" --check --port 8080 --fix
    matches "$OUTPUT" "^forwarding: packets for port 8080 of $VIP .*dnat.* forwarding is off for tunl0" "the finding"
    director_stop
    rs1 nft delete table ip nat
    set_sysctl rs1 net.ipv4.conf.eth0.forwarding=0
    exits 0 setup --undo
}

# Uses tunl0 as Calico does, with an address of the node's own, and other nodes' networks behind tunl0.
tunnel_of_others() {
    r addr add 10.42.0.1/32 dev tunl0
    r route add 10.42.1.0/26 dev tunl0 proto bird
    set_sysctl rs1 net.ipv4.conf.tunl0.forwarding=1
}

test_others_addresses_and_routes_of_tunl0_stay() {
    local before
    r tuntap add tunl0 mode tun
    r link set tunl0 up
    tunnel_of_others
    before=$(machine_state rs1)
    exits 64 rs1 "$IPVSD" doctor --fix
    matches "$OUTPUT" "tunl0 holds 10.42.0.1, which may be others' addresses" "what doctor says"
    same_state "$before" "$(machine_state rs1)"
    exits 0 setup --vip "$VIP"
    exits 0 check --fix
    exits 0 rs1 "$IPVSD" doctor --fix
    equal "$OUTPUT" "real server: healthy" "what doctor says"
    equal "$(rs1 sysctl -n net.ipv4.conf.tunl0.forwarding)" 1 "forwarding of tunl0"
    exits 0 setup --undo
    same_state "$before" "$(machine_state rs1)"
    r link del tunl0
}

test_undo_leaves_a_tunl0_that_others_use() {
    local before
    before=$(machine_state rs1)
    exits 0 setup --vip "$VIP"
    tunnel_of_others
    exits 0 setup --undo
    matches "$OUTPUT" "cannot put back .*tunl0.*in use by others: address 10.42.0.1" "what undo says"
    matches "$(r -o addr show dev tunl0)" "10.42.0.1/32" "the address"
    if r -o addr show dev tunl0 | grep -q "$VIP"; then fail "$VIP stayed"; fi
    r route del 10.42.1.0/26 dev tunl0
    r addr del 10.42.0.1/32 dev tunl0
    exits 0 setup --undo
    same_state "$before" "$(machine_state rs1)"
}

test_an_interface_that_was_left_out() {
    r link add eth9 type veth peer name eth9-peer
    r addr add 10.9.0.11/24 dev eth9
    r link set eth9 up
    exits 0 setup --vip "$VIP" --interface eth0
    exits 0 rs1 "$IPVSD" doctor
    if [[ $(r -d -j link show tunl0 | jq -r '.[0].linkinfo.info_kind') == tun ]]; then
        matches "$OUTPUT" "^not checked: eth9: realserver-setup left it out" "what is said of eth9"
        rs1 tc filter del dev eth0 ingress
        exits 0 rs1 "$IPVSD" doctor --fix
        matches "$OUTPUT" "mended: attach program decapsulate to ingress of eth0" "what --fix says"
        equal "$(rs1 tc filter show dev eth9 ingress)" "" "programs on eth9"
    fi
    exits 0 setup --undo
    r link del eth9
}

run_tests
