#!/bin/bash
# ipvsd tunnel with the kernel's own ipip: what it makes, twice, refuses, shows, deletes, and leaves.
# shellcheck source=../Namespaces/harness.sh
source "$(dirname "$0")/../Namespaces/harness.sh"
LAB_VIA=nsenter

# rs1 and client on one wire; of the usual lab no more is needed.
scenario_up() {
    LAB_DIR=$(mktemp -d "${TMPDIR:-/tmp}/$LAB.XXXXXX")
    local host
    for host in rs1 client director; do
        ip netns add "$(ns $host)"
        quiet_namespace $host
    done
    ip -n "$(ns rs1)" link add eth0 type veth peer name eth0 netns "$(ns client)"
    ip -n "$(ns rs1)" addr add 10.0.0.11/24 dev eth0
    ip -n "$(ns client)" addr add 10.0.0.1/24 dev eth0
    ip -n "$(ns rs1)" link set eth0 up
    ip -n "$(ns client)" link set eth0 up
}

tunnel() { in_ns rs1 timeout $((20 * LAB_SLOW)) "$IPVSD" tunnel "$@"; }
ends=(--local 10.0.0.11 --remote 10.0.0.1)
# The state that a tunnel could leave. machine_state reads more, and takes long on an emulated machine.
state() {
    in_ns rs1 bash -c 'ip -o -d link show; ip -o addr show; ip route show table all; ip rule show' |
        sed 's/valid_lft.*//; s/qlen [0-9]*//'
    find /run/ipvsd -name 'tunnels*'
}
device() { ip -n "$(ns rs1)" -d link show t1; }

test_added_shown_deleted_and_nothing_is_left() {
    local before
    before=$(state)
    exits 0 tunnel add t1 "${ends[@]}" --address 10.255.0.1 --peer 10.255.0.2 --ttl 64 --mtu 1400
    matches "$(device)" "mtu 1400 " "the device"
    matches "$(device)" "ipip .*remote 10.0.0.1 local 10.0.0.11 ttl 64 pmtudisc" "the device"
    matches "$(device)" "<POINTOPOINT,NOARP,UP,LOWER_UP>" "the device"
    matches "$(ip -n "$(ns rs1)" -o addr show t1)" "10.255.0.1 peer 10.255.0.2/32" "its address"
    exits 0 tunnel show t1
    matches "$OUTPUT" "t1@NONE: <POINTOPOINT,NOARP,UP,LOWER_UP> mtu 1400" "show"
    matches "$OUTPUT" "ipip remote 10.0.0.1 local 10.0.0.11 ttl 64 pmtudisc" "show"
    matches "$OUTPUT" "inet 10.255.0.1 peer 10.255.0.2/32" "show"
    equal "$(tunnel show t1 --json | jq -c '.[0] | [.name, .up, .mtu, .local, .remote, .ttl, .pmtudisc, .addresses]')" \
        '["t1",true,1400,"10.0.0.11","10.0.0.1",64,true,[{"address":"10.255.0.1","peer":"10.255.0.2","prefixLength":32}]]' \
        "show --json"
    exits 0 tunnel delete t1
    same_state "$before" "$(state)"
}

test_a_second_time_changes_nothing() {
    exits 0 tunnel add t1 "${ends[@]}"
    local before
    before=$(state)
    exits 0 tunnel add t1 "${ends[@]}" --ttl inherit --mtu 1480
    matches "$OUTPUT" "nothing to change: t1 is there already" "the second time"
    same_state "$before" "$(state)"
    ip -n "$(ns rs1)" link set t1 down
    exits 0 tunnel add t1 "${ends[@]}" --address 10.255.0.1/30
    equal "$OUTPUT" $'add address 10.255.0.1/30 to t1\nset t1 up' "the third time, with more"
    exits 0 tunnel delete t1
}

test_a_dry_run_changes_nothing() {
    local before
    before=$(state)
    exits 0 tunnel add t1 "${ends[@]}" --dry-run
    matches "$OUTPUT" "would create ipip device t1 local 10.0.0.11 remote 10.0.0.1 ttl inherit" "dry run"
    same_state "$before" "$(state)"
}

test_bad_values_and_conflicts_change_nothing() {
    exits 0 tunnel add t1 "${ends[@]}"
    local before
    before=$(state)
    exits 64 tunnel add t2 --local 10.0.0.11 --remote 10.0.0.11
    exits 64 tunnel add t2 --local 10.0.0 --remote 10.0.0.1
    exits 64 tunnel add t2 --local 10.0.0.11 --remote 224.0.0.5
    exits 64 tunnel add t2 "${ends[@]}" --ttl 256
    matches "$OUTPUT" "--ttl 256: no TTL \(accepted: inherit, 1 to 255\)" "a bad TTL"
    exits 64 tunnel add t2 "${ends[@]}" --ttl 0
    exits 64 tunnel add t2 "${ends[@]}" --mtu 67
    matches "$OUTPUT" "accepted: 68 to 65515" "a bad MTU"
    exits 64 tunnel add t2 "${ends[@]}" --peer 10.255.0.2
    exits 64 tunnel add t2 "${ends[@]}" --address 10.255.0.1/33
    exits 64 tunnel add t2 "${ends[@]}" --address 10.255.0.1/30 --peer 10.255.0.2
    exits 64 tunnel add a-name-that-is-too-long "${ends[@]}"
    exits 64 tunnel add tunl0 "${ends[@]}"
    exits 69 tunnel add t1 --local 10.0.0.11 --remote 10.0.0.2 --ttl 64
    matches "$OUTPUT" "t1 is there with other values: remote 10.0.0.1, not 10.0.0.2, ttl inherit, not 64" "other values"
    exits 69 tunnel add t2 "${ends[@]}"
    matches "$OUTPUT" "t1 is a tunnel from 10.0.0.11 to 10.0.0.1 already" "the same ends"
    exits 69 tunnel add eth0 "${ends[@]}"
    exits 69 tunnel delete t2
    exits 69 tunnel show t2
    exits 64 tunnel delete eth0
    matches "$OUTPUT" "eth0 is no IPIP tunnel, but veth" "delete of eth0"
    exits 64 tunnel delete tunl0
    matches "$OUTPUT" "the kernel's own" "delete of tunl0"
    exits 64 tunnel delete
    same_state "$before" "$(state)"
    exits 0 tunnel delete t1
}

test_smallest_and_largest_MTU() {
    local mtu
    for mtu in 68 65515; do
        exits 0 tunnel add t1 "${ends[@]}" --mtu "$mtu"
        matches "$(device)" "mtu $mtu " "the device"
        exits 0 tunnel delete t1
    done
}

test_tunnels_of_others_are_shown_and_deleted_by_name_only() {
    ip -n "$(ns rs1)" link add other type ipip local 10.0.0.11 remote 10.0.0.9 ttl 7
    exits 0 tunnel add t1 "${ends[@]}"
    equal "$(tunnel show --json | jq -r '[.[].name] | sort | join(" ")')" "other t1 tunl0" "all tunnels"
    exits 0 tunnel delete --all
    equal "$(tunnel show --json | jq -r '[.[].name] | sort | join(" ")')" "other tunl0" "after --all"
    exits 0 tunnel delete other
    equal "$(tunnel show --json | jq -r '[.[].name] | sort | join(" ")')" "tunl0" "after its deletion"
}

test_a_tunnel_that_takes_the_directors_packets_is_told_of() {
    exits 0 in_ns rs1 "$IPVSD" realserver-setup --vip "$VIP"
    exits 0 tunnel add t1 "${ends[@]}"
    matches "$OUTPUT" "note: tunl0 holds $VIP: what 10.0.0.1 sends by IPIP comes out of t1 now" "the note"
    exits 0 tunnel delete t1
    exits 0 in_ns rs1 "$IPVSD" realserver-setup --undo
    exits 0 tunnel add t1 --local 10.0.0.99 --remote 10.0.0.1
    matches "$OUTPUT" "note: 10.0.0.99 is no address of this machine" "the note"
    exits 0 tunnel delete --all
}

test_the_module_is_loaded_and_goes_with_the_last_tunnel() {
    modprobe -r ipip
    exits 0 tunnel add t1 "${ends[@]}"
    matches "$OUTPUT" "^load kernel module ipip" "what was done"
    exits 0 tunnel add t2 --local 10.0.0.11 --remote 10.0.0.9
    exits 0 tunnel delete t1
    [ -e /sys/module/ipip ] || fail "the module went with the first of two tunnels"
    exits 0 tunnel delete t2
    matches "$OUTPUT" "deleted kernel module ipip" "what was done"
    [ ! -e /sys/module/ipip ] || fail "the module stayed behind"
    modprobe ipip
}

test_a_kernel_without_ipip_is_named() {
    # An empty directory over the real one hides the module from modprobe.
    modprobe -r ipip
    mount -t tmpfs none "/lib/modules/$(uname -r)"
    local before
    before=$(state)
    exits 71 tunnel add t1 "${ends[@]}"
    matches "$OUTPUT" "has no IPIP tunnels: modprobe finds no module ipip" "the error"
    exits 71 tunnel add t1 "${ends[@]}" --dry-run
    same_state "$before" "$(state)"
    umount "/lib/modules/$(uname -r)"
    modprobe ipip
}

run_tests
