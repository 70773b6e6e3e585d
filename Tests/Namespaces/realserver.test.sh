#!/bin/bash
# realserver-setup: its changes, a second run, --undo, --dry-run, and the view of clients and operators.
# shellcheck source=harness.sh
source "$(dirname "$0")/harness.sh"
LAB_VIA=netns

scenario_up() {
    lab_up
    local host
    for host in rs1 rs2 rs3; do server_start $host; done
}

setup() { in_ns rs1 timeout $((20 * LAB_SLOW)) "$IPVSD" realserver-setup "$@"; }

vips_on_tunl0() { ip -n "$(ns rs1)" -o -4 addr show dev tunl0 2>/dev/null | awk '{ print $4 }' | sort | xargs; }

test_dry_run_changes_nothing() {
    local before
    before=$(machine_state rs1)
    exits 0 setup --vip "$VIP" --dry-run
    matches "$OUTPUT" "tunl0" "dry run"
    matches "$OUTPUT" "$VIP" "dry run"
    matches "$OUTPUT" "arp_ignore" "dry run"
    same_state "$before" "$(machine_state rs1)"
}

test_second_run_changes_nothing_and_undo_restores() {
    local before after
    before=$(machine_state rs1)
    exits 0 setup --vip "$VIP"
    equal "$(vips_on_tunl0)" "$VIP/32" "addresses of tunl0"
    after=$(machine_state rs1)
    exits 0 setup --vip "$VIP"
    same_state "$after" "$(machine_state rs1)"
    exits 0 setup --undo
    same_state "$before" "$(machine_state rs1)"
    exits 0 setup --undo
    same_state "$before" "$(machine_state rs1)"
}

test_strict_rp_filter_is_relaxed_and_restored() {
    set_sysctl rs1 net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1 net.ipv4.conf.eth0.rp_filter=1
    local before
    before=$(machine_state rs1)
    exits 0 setup --vip "$VIP"
    director_start --vip "$VIP" --backends "$RS1"
    no_failures "with strict rp_filter at first" <<<"$(fetch 20)"
    exits 0 setup --undo
    same_state "$before" "$(machine_state rs1)"
    set_sysctl rs1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
}

test_several_vips() {
    exits 0 setup --vip "$VIP" --vip 10.0.0.101
    equal "$(vips_on_tunl0)" "$VIP/32 10.0.0.101/32" "addresses of tunl0"
    exits 0 setup --undo
}

test_originals_survive_a_second_run_with_other_vips() {
    local before
    before=$(machine_state rs1)
    exits 0 setup --vip "$VIP"
    exits 0 setup --vip 10.0.0.101
    exits 0 setup --undo
    same_state "$before" "$(machine_state rs1)"
}

test_one_of_several_vips_is_undone() {
    local before both one
    before=$(machine_state rs1)
    exits 0 setup --vip "$VIP"
    one=$(machine_state rs1)
    exits 0 setup --vip 10.0.0.101,10.0.0.102
    both=$(machine_state rs1)
    matches "$both" "elements = \{ $VIP, 10.0.0.101," "the rules"
    # This VIP is not set up, so nothing changes.
    exits 0 setup --undo --vip 10.0.0.103
    matches "$OUTPUT" "nothing to put back" "undo"
    same_state "$both" "$(machine_state rs1)"
    exits 0 setup --undo --vip 10.0.0.101,10.0.0.102 --dry-run
    matches "$OUTPUT" "would put back: address 10.0.0.101/32 on tunl0" "the dry run"
    same_state "$both" "$(machine_state rs1)"
    exits 0 setup --undo --vip 10.0.0.101,10.0.0.102
    same_state "$one" "$(machine_state rs1)"
    exits 0 setup --undo --vip 10.0.0.101
    same_state "$one" "$(machine_state rs1)"
    director_start --vip "$VIP" --backends "$RS1"
    no_failures "by the VIP that stayed" <<<"$(fetch 10)"
    director_stop
    exits 64 setup --undo --vip nonsense
    # The undo of the last VIP leaves nothing.
    exits 0 setup --undo --vip "$VIP"
    same_state "$before" "$(machine_state rs1)"
    exits 0 setup --undo --vip "$VIP"
    same_state "$before" "$(machine_state rs1)"
}

test_an_address_of_another_device_is_refused() {
    local before r
    r=$(ns rs1)
    before=$(machine_state rs1)
    exits 64 setup --vip "$RS1"
    matches "$OUTPUT" "$RS1: this host's own address \\($RS1/24 on eth0\\)" "the message"
    same_state "$before" "$(machine_state rs1)"
    ip -n "$r" addr add "$VIP/32" dev eth0
    exits 71 setup --vip "$VIP"
    matches "$OUTPUT" "'ip addr del $VIP/32 dev eth0' first" "the message"
    ip -n "$r" addr del "$VIP/32" dev eth0
    # A VIP on lo is accepted, as lo is not a LAN.
    ip -n "$r" addr add "$VIP/32" dev lo
    exits 0 setup --vip "$VIP"
    exits 0 setup --undo
    ip -n "$r" addr del "$VIP/32" dev lo
    same_state "$before" "$(machine_state rs1)"
    # The doctor does not advise to remove the host's own address, either.
    LAB_VIA=nsenter exits 1 in_ns rs1 timeout 20 "$IPVSD" realserver-setup --check --vip "$RS1"
    matches "$OUTPUT" "this host's own address" "doctor"
    if grep -q "addr del" <<<"$OUTPUT"; then fail "doctor would remove the host's own address"; fi
}

test_no_arp_for_the_vip_from_real_servers() {
    exits 0 setup --vip "$VIP"
    LAB_VIA=nsenter exits 1 in_ns client arping -c 2 -w 1 -I eth0 "$VIP"
    exits 0 setup --undo
}

test_tcpdump_on_tunl0_shows_inner_packets() {
    exits 0 setup --vip "$VIP"
    director_start --vip "$VIP" --backends "$RS1"
    watch_packet rs1 tunl0 "tcp dst port 80 and src host 10.0.0.1"
    no_failures "requests" <<<"$(fetch 3)"
    matches "$(watched)" "10.0.0.1.[0-9]+ > $VIP.80" "tcpdump on tunl0"
}

test_the_syn_ack_carries_the_clamped_mss() {
    exits 0 setup --vip "$VIP"
    director_start --vip "$VIP" --backends "$RS1"
    watch_packet client eth0 "src host $VIP and tcp[tcpflags] = tcp-syn|tcp-ack"
    no_failures "requests" <<<"$(fetch 3)"
    matches "$(watched)" "mss 1440[^0-9]" "the SYN-ACK"
}

test_mss_off_and_a_number() {
    exits 0 setup --undo
    # A check that came before the set-up would take rs1 out.
    director_start --vip "$VIP" --backends "$RS1" --check none
    exits 0 setup --vip "$VIP" --mss off
    watch_packet client eth0 "src host $VIP and tcp[tcpflags] = tcp-syn|tcp-ack"
    no_failures "requests" <<<"$(fetch 3)"
    matches "$(watched)" "mss 1460[^0-9]" "the SYN-ACK"
    exits 0 setup --vip "$VIP" --mss 1300
    watch_packet client eth0 "src host $VIP and tcp[tcpflags] = tcp-syn|tcp-ack"
    no_failures "requests" <<<"$(fetch 3)"
    matches "$(watched)" "mss 1300[^0-9]" "the SYN-ACK"
    exits 0 setup --undo
}

# syn_ack_of SIZE [FILTER]   checks the MSS of the SYN-ACK that a client gets
syn_ack_of() {
    watch_packet client eth0 "src host $VIP and tcp[tcpflags] = tcp-syn|tcp-ack${2:+ and $2}"
    no_failures "requests" <<<"$(fetch 3)"
    matches "$(watched)" "mss $1[^0-9]" "the SYN-ACK"
}

r() { ip -n "$(ns rs1)" "$@"; }

# The operator has rules and routes for answers from the VIP, which come before the table main.
test_the_operators_own_routing_of_answers_stays() {
    local before
    r rule add from "$VIP" lookup 100
    r route add 10.0.0.0/24 dev eth0 table 100 mtu 1300
    before=$(r rule show; r route show table all)
    director_start --vip "$VIP" --backends "$RS1" --check none
    exits 0 setup --vip "$VIP"
    equal "$(r rule show; r route show table all | grep -v "local $VIP dev tunl0")" "$before" "rules and routes"
    syn_ack_of 1240
    r route flush table 100
    r rule del from "$VIP" lookup 100
    exits 0 setup --undo
}

test_rules_that_somebody_flushes_are_named_and_restored() {
    exits 0 setup --vip "$VIP"
    director_start --vip "$VIP" --backends "$RS1"
    in_ns rs1 nft flush ruleset
    syn_ack_of 1460
    LAB_VIA=nsenter exits 1 in_ns rs1 timeout 20 "$IPVSD" realserver-setup --check --vip "$VIP"
    matches "$OUTPUT" "^advmss: " "doctor"
    exits 0 setup --vip "$VIP"
    syn_ack_of 1440
    exits 0 setup --undo
}

# rs2 plays the container. Its own SYN-ACK, with its own address, leaves rs1 with the VIP.
test_published_ports_tell_the_lowered_mss() {
    exits 0 setup --vip "$VIP"
    set_sysctl rs1 net.ipv4.conf.tunl0.forwarding=1 net.ipv4.conf.eth0.forwarding=1
    in_ns rs1 nft -f - <<RULES
table ip nat {
    chain pre { type nat hook prerouting priority -100; ip daddr $VIP tcp dport 80 dnat to $RS2:80; }
    chain post { type nat hook postrouting priority 100; ip daddr $RS2 masquerade; }
}
RULES
    director_start --vip "$VIP" --backends "$RS1" --check none
    syn_ack_of 1440
    in_ns rs1 nft delete table ip nat
    set_sysctl rs1 net.ipv4.conf.eth0.forwarding=0
    exits 0 setup --undo
}

# setup_without_nft ARGUMENT...   runs the set-up as on a host without nftables
setup_without_nft() {
    # shellcheck disable=SC2016 # The inner shell expands it.
    LAB_VIA=nsenter in_ns rs1 timeout $((20 * LAB_SLOW)) unshare -m bash -c '
        mount --bind /dev/null "$(readlink -f "$(type -P nft)")" && exec "$0" realserver-setup "$@"' "$IPVSD" "$@"
}

test_a_program_lowers_the_mss_where_nftables_cannot() {
    local before applied
    before=$(machine_state rs1)
    exits 0 setup_without_nft --vip "$VIP,10.0.0.101"
    matches "$OUTPUT" "attach program lower_mss for $VIP to egress of eth0" "the set-up"
    applied=$(machine_state rs1)
    exits 0 setup_without_nft --vip "$VIP"
    matches "$OUTPUT" "nothing to change" "the second run"
    same_state "$applied" "$(machine_state rs1)"
    exits 0 setup_without_nft --vip "$VIP" --check
    director_start --vip "$VIP" --backends "$RS1"
    syn_ack_of 1440
    r link set eth0 mtu 1400
    syn_ack_of 1340
    r link set eth0 mtu 1500
    exits 0 setup_without_nft --vip "$VIP" --mss 1300
    syn_ack_of 1300
    director_stop
    exits 0 setup_without_nft --undo --vip 10.0.0.101
    equal "$(in_ns rs1 tc filter show dev eth0 egress | grep -c lower_mss)" 1 "programs that are left"
    # Once nftables is there, its rules replace the programs.
    exits 0 setup --vip "$VIP"
    equal "$(in_ns rs1 tc filter show dev eth0 egress)" "" "programs beside nftables"
    exits 0 setup --undo
    same_state "$before" "$(machine_state rs1)"
}

run_tests
