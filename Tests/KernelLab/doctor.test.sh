#!/bin/bash
# The doctor's findings where the kernel's own ipip unwraps, and on a NIC whose driver merges frames.
# shellcheck source=../Namespaces/harness.sh
source "$(dirname "$0")/../Namespaces/harness.sh"
LAB_VIA=nsenter

scenario_up() {
    lab_up
    server_start rs1
}

rs1() { in_ns rs1 "$@"; }
setup() { rs1 timeout $((30 * LAB_SLOW)) "$IPVSD" realserver-setup "$@"; }
faults() { # [HOST [ARGUMENT...]]
    local report
    report=$(in_ns "$1" "$IPVSD" "${@:2}" --json) || [[ $? == 1 ]] || fail "$report"
    jq -r '[.findings[].fault] | sort | unique | join(" ")' <<<"$report"
}
real_server_faults() { faults rs1 realserver-setup --vip "$VIP" --check --director 10.0.0.2; }

test_a_second_tunnel_claims_the_packets() {
    exits 0 setup --vip "$VIP"
    equal "$(real_server_faults)" "" "faults of a healthy real server"
    director_start --vip "$VIP" --backends "$RS1"
    wait_until 10 "rs1 to be healthy" healthy "$RS1"
    ip -n "$(ns rs1)" link add ipip1 type ipip local "$RS1" remote 10.0.0.2
    equal "$(real_server_faults)" "" "faults while the other tunnel is down"
    ip -n "$(ns rs1)" link set ipip1 up
    # The tunnel receives the packets, and they reach the VIP all the same.
    watch_packet rs1 ipip1 "tcp dst port 80"
    no_failures "requests through the other tunnel" <<<"$(fetch 1)"
    matches "$(watched)" "> $VIP.80" "tcpdump on ipip1"
    equal "$(real_server_faults)" "" "faults while the other tunnel filters nothing"
    set_sysctl rs1 net.ipv4.conf.ipip1.rp_filter=1
    # It is a fault, no suspicion.
    wait_until 20 "rs1 to be cut off" unhealthy "$RS1"
    equal "$(real_server_faults)" second-tunnel "faults"
    ip -n "$(ns rs1)" link del ipip1
    wait_until 20 "rs1 to be healthy" healthy "$RS1"
    rs1 nft 'add table inet f; add chain inet f i { type filter hook input priority 0; }; add rule inet f i ip protocol 4 drop'
    wait_until 20 "rs1 to be cut off" unhealthy "$RS1"
    equal "$(real_server_faults)" firewall-protocol-4 "faults"
    rs1 nft flush ruleset
    exits 0 setup --undo
}

test_a_program_lowers_the_mss_where_nftables_cannot() {
    # shellcheck disable=SC2016 # The inner shell expands it.
    exits 0 rs1 unshare -m bash -c 'mount --bind /dev/null "$(readlink -f "$(type -P nft)")" && exec "$@"' bash \
        "$IPVSD" realserver-setup --vip "$VIP"
    matches "$(rs1 tc filter show dev eth0 egress)" "lower_mss" "programs at egress"
    equal "$(real_server_faults)" "" "faults"
    director_start --vip "$VIP" --backends "$RS1" --check none
    watch_packet client eth0 "src host $VIP and tcp[tcpflags] = tcp-syn|tcp-ack"
    no_failures "requests" <<<"$(fetch 1)"
    matches "$(watched)" "mss 1440[^0-9]" "the SYN-ACK"
    director_stop
    exits 0 setup --undo
}

test_a_NIC_that_merges_frames_is_named() {
    local nic
    nic=$(cd /sys/class/net && for nic in *; do
        [[ $(readlink "$nic/device/driver") != */vmxnet3 ]] || echo "$nic"
    done)
    [[ -n $nic ]] || fail "no vmxnet3 NIC in the guest"
    ip link set "$nic" netns "$(ns director)" name lro0
    ip -n "$(ns director)" link set lro0 up
    ip -n "$(ns director)" addr add 10.7.0.2/24 dev lro0
    director_start --vip 10.7.0.100 --backends "$RS1" --interface lro0 --check none
    equal "$(faults director doctor)" xdp-generic "faults, with LRO switched off"
    in_ns director ethtool -K lro0 lro on
    equal "$(faults director doctor)" "merged-frames xdp-generic" "faults, with LRO on again"
}

run_tests
