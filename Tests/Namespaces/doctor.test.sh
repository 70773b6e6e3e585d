#!/bin/bash
# doctor: faults are planted one at a time; each is named, the healthy host gets a clean bill, --fix mends what it may,
# and --undo takes all of it back.
# shellcheck source=harness.sh
source "$(dirname "$0")/harness.sh"
LAB_VIA=nsenter

scenario_up() {
    lab_up
    local host
    for host in rs1 rs2 rs3; do server_start $host; done
}

r() { ip -n "$(ns rs1)" "$@"; }
rs1() { in_ns rs1 "$@"; }
setup() { rs1 timeout $((30 * LAB_SLOW)) "$IPVSD" realserver-setup "$@"; }
check() { setup --vip "$VIP" --check --director 10.0.0.2 --port 80 "$@"; }

# faults [FLAG...]   the names of the findings, in alphabetical order
faults() {
    local code=0 report
    report=$(check --json "$@") || code=$?
    [[ $code == 0 || $code == 1 ]] || fail "the check exits with $code: $report"
    equal "$(jq -r .healthy <<<"$report")" "$([[ $code == 0 ]] && echo true || echo false)" "healthy, with exit code $code"
    jq -e 'all(.findings[]; .seen != "" and .fix != "" and (.fix | contains("\n") | not))' <<<"$report" >/dev/null ||
        fail "a finding says nothing: $report"
    jq -r '[.findings[].fault] | sort | unique | join(" ")' <<<"$report"
}

# finds FAULTS [FLAG...]   expects exactly these faults among the findings
finds() {
    local expected=$1
    shift
    equal "$(faults "$@")" "$expected" "faults"
}

# mended FAULTS   expects these faults, and that --fix mends all of them. Then undoes the set-up and what --fix did.
mended() {
    finds "$1"
    exits 0 check --fix
    matches "$OUTPUT" "mended:" "what --fix says"
    matches "$OUTPUT" "real server: healthy" "what --fix says at last"
    exits 0 setup --undo
}

# planted FAULTS PLANT...   sets up the host, has the command PLANT plant the faults, and expects --fix to mend them
planted() {
    local expected=$1
    shift
    exits 0 setup --vip "$VIP"
    "$@"
    mended "$expected"
}

test_a_healthy_real_server_gets_a_clean_bill() {
    exits 0 setup --vip "$VIP"
    finds ""
    exits 0 check
    equal "$OUTPUT" "real server: healthy" "the clean bill"
    exits 0 rs1 "$IPVSD" doctor
    equal "$OUTPUT" "real server: healthy" "the doctor's clean bill"
    exits 0 setup --undo
}

test_values_are_checked() {
    exits 64 setup --check
    exits 64 check --port 0
    exits 64 setup --vip "$VIP" --check --director 10.0.0
    exits 64 setup --vip "$VIP" --check --outer-source-prefix 10.0.0.1/16
    exits 64 rs1 "$IPVSD" doctor
    exits 77 rs1 setpriv --reuid 65534 --clear-groups "$IPVSD" doctor --vip "$VIP"
}

test_nothing_set_up_at_all() {
    local before
    before=$(machine_state rs1)
    # The fault ipip-module is there only on a kernel without ipip.
    matches "$(faults)" "^advmss arp-announce arp-ignore (ipip-module )?tunnel-missing vip-missing$" "faults"
    same_state "$before" "$(machine_state rs1)"
    exits 0 check --fix
    finds ""
    exits 0 setup --undo
    same_state "$before" "$(machine_state rs1)"
}

test_fix_and_undo_restore_the_operators_own_values() {
    local before
    r addr add "$VIP/24" dev lo
    set_sysctl rs1 net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.forwarding=1 net.ipv4.conf.eth0.arp_ignore=3
    before=$(machine_state rs1)
    exits 0 check --fix
    finds ""
    exits 0 setup --undo
    same_state "$before" "$(machine_state rs1)"
    r addr del "$VIP/24" dev lo
    set_sysctl rs1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.forwarding=0 net.ipv4.conf.eth0.arp_ignore=0
}

# --- what --fix mends ----------------------------------------------------------------------------------

test_tunnel_missing() { planted "$(gone_with_the_tunnel)" r link del tunl0; }
# Prints the faults after the removal of tunl0. Its rules of nftables stay.
gone_with_the_tunnel() {
    rs1 modprobe -nq ipip 2>/dev/null && echo "tunnel-missing vip-missing" || echo "ipip-module tunnel-missing vip-missing"
}
test_tunnel_down() { planted tunnel-down r link set tunl0 down; }
test_vip_missing() { planted vip-missing r addr del "$VIP/32" dev tunl0; }
test_vip_with_a_wrong_prefix() { planted vip-prefix wrong_prefix; }
wrong_prefix() {
    r addr del "$VIP/32" dev tunl0
    r addr add "$VIP/28" dev tunl0
}
test_rp_filter_by_all() { planted rp-filter set_sysctl rs1 net.ipv4.conf.all.rp_filter=1; clear_filter; }
test_rp_filter_by_interface() { planted rp-filter set_sysctl rs1 net.ipv4.conf.tunl0.rp_filter=1; }
clear_filter() { set_sysctl rs1 net.ipv4.conf.all.rp_filter=0; }
test_arp_ignore() { planted arp-ignore set_sysctl rs1 net.ipv4.conf.all.arp_ignore=0; }
test_arp_ignore_by_interface() { planted arp-ignore set_sysctl rs1 net.ipv4.conf.eth0.arp_ignore=3; set_sysctl rs1 net.ipv4.conf.eth0.arp_ignore=0; }
test_arp_announce() { planted arp-announce set_sysctl rs1 net.ipv4.conf.all.arp_announce=0; }
test_forwarding() { planted forwarding set_sysctl rs1 net.ipv4.conf.tunl0.forwarding=1; }
test_advmss_without_the_table() { planted advmss rs1 nft flush ruleset; }
test_advmss_without_the_limit() { planted advmss rs1 nft flush chain ip ipvsd lower; }
test_advmss_without_the_vip() { planted advmss rs1 nft delete element ip ipvsd vips "{ $VIP }"; }
test_advmss_after_the_mtu_fell() { planted advmss r link set eth0 mtu 1400; r link set eth0 mtu 1500; }

test_the_program_that_unwraps_is_gone() {
    exits 0 setup --vip "$VIP"
    # A kernel with ipip needs no such program.
    if [[ $(r -d -j link show tunl0 | jq -r '.[0].linkinfo.info_kind') == tun ]]; then
        exits 0 setup --undo
        planted decapsulation-program rs1 tc filter del dev eth0 ingress
    else
        finds ""
        exits 0 setup --undo
    fi
}

# --- what the operator has to mend ------------------------------------------------------------------------

# unmendable FAULTS PLANT UNDO [FLAG...]   expects faults that the doctor names, that --fix leaves as they are, and that
# are gone after UNDO
unmendable() {
    local expected=$1 plant=$2 heal=$3 before
    shift 3
    exits 0 setup --vip "$VIP"
    "$plant"
    finds "$expected" "$@"
    before=$(machine_state rs1)
    exits 1 check --fix "$@"
    same_state "$before" "$(machine_state rs1)"
    "$heal"
    finds "" "$@"
    exits 0 setup --undo
}

test_tunl0_of_the_wrong_kind() {
    exits 0 setup --undo
    r link add tunl0 type veth peer name tunl0-peer
    matches " $(faults) " " tunnel-kind " "faults"
    exits 71 check --fix
    r link del tunl0
}

test_vip_on_the_lan_interface() { unmendable vip-on-lan vip_on_eth0 vip_off_eth0; }
vip_on_eth0() { r addr add "$VIP/32" dev eth0; }
vip_off_eth0() { r addr del "$VIP/32" dev eth0; }

test_vip_answered_by_another_real_server() { unmendable vip-answered rs2_answers rs2_is_silent; }
rs2_answers() { ip -n "$(ns rs2)" addr add "$VIP/32" dev lo; }
rs2_is_silent() { ip -n "$(ns rs2)" addr del "$VIP/32" dev lo; }

test_vip_answered_by_two_when_no_director_is_named() {
    exits 0 setup --vip "$VIP"
    rs2_answers
    exits 0 setup --vip "$VIP" --check
    ip -n "$(ns rs3)" addr add "$VIP/32" dev lo
    exits 1 setup --vip "$VIP" --check
    matches "$OUTPUT" "^vip-answered: .*more than one host" "the finding"
    rs2_is_silent
    ip -n "$(ns rs3)" addr del "$VIP/32" dev lo
    exits 0 setup --undo
}

test_the_directors_own_answer_is_right() {
    exits 0 setup --vip "$VIP"
    ip -n "$(ns director)" addr add "$VIP/32" dev eth0
    finds ""
    ip -n "$(ns director)" addr del "$VIP/32" dev eth0
    exits 0 setup --undo
}

nft_rule() { rs1 nft -f - <<<"table inet filter { chain input { type filter hook ${HOOK:-input} priority 0; policy ${POLICY:-accept}; $1; }; }"; }
no_firewall() { rs1 nft delete table inet filter; }

test_firewall_drops_protocol_4() { unmendable firewall-protocol-4 drop_ipip no_firewall; }
drop_ipip() { nft_rule "ip protocol 4 drop"; }
test_firewall_drops_protocol_4_by_policy() { unmendable "firewall-protocol-4 icmp-dropped" only_tcp no_firewall; }
only_tcp() { POLICY=drop nft_rule "tcp dport { 22, 80 } accept"; }
test_firewall_drops_in_prerouting() { unmendable firewall-protocol-4 drop_early no_firewall; }
drop_early() { HOOK=prerouting nft_rule "iifname eth0 meta l4proto { 4, 47 } counter drop"; }
test_firewall_drops_what_is_invalid() { unmendable firewall-ct-invalid drop_invalid no_firewall; }
drop_invalid() { nft_rule "ct state vmap { established : accept, related : accept, invalid : drop }"; }
test_firewall_drops_unwrapped_packets() { unmendable "firewall-vip icmp-dropped" drop_inner no_firewall; }
drop_inner() { POLICY=drop nft_rule "ip protocol 4 accept; iifname eth0 tcp dport 80 accept"; }
test_firewall_drops_outer_sources() {
    unmendable outer-source-filtered drop_outer no_firewall --outer-source-prefix 172.16.0.0/16
}
drop_outer() { nft_rule "ip protocol 4 ip saddr != 10.0.0.0/24 drop"; }

# UDP and any-port services are checked by pings.
test_a_host_that_drops_ping() {
    exits 0 setup --vip "$VIP"
    nft_rule "icmp type echo-request drop"
    exits 1 setup --vip "$VIP" --check
    matches "$OUTPUT" "^icmp-dropped: echo requests .* icmp type echo-request drop" "the finding"
    no_firewall
    set_sysctl rs1 net.ipv4.icmp_echo_ignore_all=1
    exits 1 setup --vip "$VIP" --check
    matches "$OUTPUT" "^icmp-dropped: icmp_echo_ignore_all is 1" "the finding"
    set_sysctl rs1 net.ipv4.icmp_echo_ignore_all=0
    exits 0 setup --undo
}

test_a_firewall_that_is_right_is_no_fault() {
    exits 0 setup --vip "$VIP"
    POLICY=drop nft_rule "iifname lo accept; iifname tunl0 accept; ip protocol 4 ip saddr 10.0.0.2 accept; ct state established accept; ct state invalid drop; icmp type echo-reply accept; tcp dport 22 accept"
    finds ""
    no_firewall
    exits 0 setup --undo
}

test_outer_sources_that_the_reverse_path_filter_drops() {
    unmendable outer-source-filtered strict_detour no_detour --outer-source-prefix 172.16.0.0/16
}
strict_detour() {
    r tuntap add detour mode tun
    r link set detour up
    r route add 172.16.0.0/16 dev detour
    set_sysctl rs1 net.ipv4.conf.eth0.rp_filter=1
}
no_detour() {
    r link del detour
    set_sysctl rs1 net.ipv4.conf.eth0.rp_filter=0
}

test_directors_address_is_this_hosts_own() { unmendable outer-source-local take_address give_address; }
take_address() { r addr add 10.0.0.2/32 dev lo; }
give_address() { r addr del 10.0.0.2/32 dev lo; }

test_director_does_not_answer() { unmendable director-unreachable pull_cable plug_cable; }
pull_cable() { ip -n "$(ns switch)" link set director down; }
plug_cable() { ip -n "$(ns switch)" link set director up; }

test_no_route_to_the_director() {
    exits 0 setup --vip "$VIP"
    r route add unreachable 10.0.0.2/32
    exits 0 setup --vip "$VIP"
    finds director-unreachable
    r route del unreachable 10.0.0.2/32
    exits 0 setup --undo
}

test_a_black_hole_for_large_packets() { unmendable path-mtu narrow widen; }
narrow() { ip -n "$(ns director)" link set eth0 mtu 1400; }
widen() { ip -n "$(ns director)" link set eth0 mtu 1500; }

test_no_default_route() {
    r route del default
    exits 0 setup --vip "$VIP"
    finds no-route-back
    r route add default via 10.0.0.1
    exits 0 setup --undo
}

test_service_not_bound() {
    exits 0 setup --vip "$VIP"
    finds "" --port 8080
    equal "$(setup --vip "$VIP" --check --port 81 --json | jq -r '.findings[].fault')" service-not-bound "faults at port 81"
    spawn rs1 "$LAB_DIR/listener" "$PYTHON" -c 'import signal, socket
s = socket.create_server(("10.0.0.11", 81)); signal.pause()'
    local listener=$SPAWNED
    disown "$listener"
    wait_until 10 "the listener" listening rs1 81
    exits 1 setup --vip "$VIP" --check --port 81
    matches "$OUTPUT" "^service-not-bound: .* only at 10.0.0.11:81" "the finding"
    kill "$listener"
    exits 0 setup --undo
}

# Runs the check beside a networkd whose file FILE has the content TEXT, in a mount namespace of the check's own.
with_networkd() { # FILE TEXT
    # shellcheck disable=SC2016 # The inner shell expands it.
    rs1 unshare -m bash -c '
        mount -t tmpfs none /run/systemd 2>/dev/null || { mkdir -p /run/systemd && mount -t tmpfs none /run/systemd; }
        mkdir -p /run/systemd/netif /run/systemd/network
        touch /run/systemd/netif/state
        printf "$2" >"/run/systemd/$1"
        "$0" realserver-setup --vip 10.0.0.100 --check --json
        true' "$IPVSD" "$@" | jq -r '[.findings[].fault] | sort | join(" ")'
}

test_addresses_that_networkd_would_remove() {
    exits 0 setup --vip "$VIP"
    equal "$(with_networkd network/50-lan.network '[Match]\nName=eth*\n')" "" "faults, eth* only"
    equal "$(with_networkd network/50-all.network '[Match]\nName=*\n')" networkd-addresses "faults"
    equal "$(with_networkd network/50-all.network '[Match]\nName=*\n[Network]\nKeepConfiguration=static\n')" "" \
        "faults, configuration kept"
    equal "$(with_networkd network/50-all.network '[Match]\nName=tunl0\n[Network]\nAddress=10.0.0.100/32\n')" "" \
        "faults, address known"
    exits 0 setup --undo
}

# --- the director -----------------------------------------------------------------------------------------

director_faults() {
    local report
    report=$(ipvsd doctor --json) || true
    jq -r '[.findings[] | select(.side == "director").fault] | sort | unique | join(" ")' <<<"$report"
}

director_has() { [[ $(director_faults) == "$1" ]]; }

# The doctor names a server that is down in one service, although it is up in another service.
test_a_server_that_is_down_in_one_service() {
    realservers_setup rs1 rs2
    cat >"$LAB_DIR/ipvsd.yaml" <<FILE
services:
  - {listeners: "$VIP:80", servers: [$RS1, $RS2]}
  - {listeners: "$VIP:81", servers: [$RS2, $RS1]}
FILE
    director_start --config "$LAB_DIR/ipvsd.yaml"
    both_down() { [[ $(ipvsd status --json | jq -c '[.services[].servers[].health]') == '["up","up","down","down"]' ]]; }
    wait_until 10 "both to be down at port 81" both_down
    exits 1 ipvsd doctor
    matches "$OUTPUT" "server-down: .* $RS1 is down: in $VIP:81/tcp: .*refused" "rs1"
    matches "$OUTPUT" "server-down: .* $RS2 is down: in $VIP:81/tcp: .*refused" "rs2"
}

test_the_directors_faults() {
    realservers_setup rs1 rs2 rs3
    director_start --vip "$VIP" --backends "$RS1,$RS2"
    wait_until 10 "rs1 to be healthy" healthy "$RS1"
    wait_until 10 "a clean bill" director_has ""
    exits 0 ipvsd doctor
    matches "$OUTPUT" "director: healthy" "the clean bill"

    set_sysctl rs3 net.ipv4.conf.all.arp_ignore=0
    equal "$(director_faults)" vip-conflict "faults, rs3 answers ARP"
    set_sysctl rs3 net.ipv4.conf.all.arp_ignore=1

    ip -n "$(ns rs1)" link set tunl0 down
    wait_until 10 "rs1 to be down" unhealthy "$RS1"
    equal "$(director_faults)" server-down "faults, tunl0 down"
    ip -n "$(ns rs1)" link set tunl0 up
    wait_until 10 "rs1 to be healthy" healthy "$RS1"

    ip -n "$(ns switch)" link set rs1 down
    wait_until 10 "the cable's absence to be noticed" director_has "neighbour-unresolved server-down"
    ip -n "$(ns switch)" link set rs1 up
    wait_until 10 "a clean bill" director_has ""

    # Only root with all capabilities may load programs.
    exits 1 ipvsd_without_bpf doctor
    matches "$OUTPUT" "^bpf-privilege: .*CAP_BPF" "the finding"

    director_kill
    equal "$(director_faults)" daemon-missing "faults, daemon killed"
    director_start --vip "$VIP" --backends "$RS1,$RS2"
    wait_until 10 "a clean bill" director_has ""
    director_stop

    director_start --vip "$VIP" --backends "$RS1,$RS2" --xdp generic
    wait_until 10 "generic XDP to be named" director_has xdp-generic
    director_stop
    local host
    for host in rs1 rs2 rs3; do in_ns "$host" "$IPVSD" realserver-setup --undo >/dev/null; done
}

test_the_directors_own_filter() {
    realservers_setup rs1 rs2 rs3
    director_start --vip "$VIP" --backends "$RS1,$RS2"
    wait_until 10 "rs1 to be healthy" healthy "$RS1"
    wait_until 10 "a clean bill" director_has ""
    in_ns director nft 'add table ip f; add chain ip f FORWARD { type filter hook forward priority 0; policy drop; }; add rule ip f FORWARD oifname "docker0" accept'
    exits 1 ipvsd doctor
    matches "$OUTPUT" "^fragmenting-broken: .*policy drop of chain ip f/FORWARD" "the finding"
    matches "$OUTPUT" "fix: nft insert rule ip f FORWARD iifname ipvsd0 accept" "the fix"
    in_ns director nft insert rule ip f FORWARD iifname ipvsd0 accept
    equal "$(director_faults)" "" "faults, with the fix"
    in_ns director nft 'add chain ip f INPUT { type filter hook input priority 0; }; add rule ip f INPUT iifname "ipvsd0" drop'
    matches "$(director_faults)" "^check-path-broken" "faults, checks dropped"
    in_ns director nft flush ruleset
    wait_until 10 "a clean bill" director_has ""
    director_stop
    local host
    for host in rs1 rs2 rs3; do in_ns "$host" "$IPVSD" realserver-setup --undo >/dev/null; done
}

# A running daemon puts its pieces back itself: see pieces.test.sh.
test_the_directors_pieces_that_went_without_a_daemon() {
    local host
    realservers_setup rs1 rs2 rs3
    director_start --vip "$VIP" --backends "$RS1,$RS2"
    wait_until 10 "a clean bill" director_has ""
    director_kill
    ip -n "$(ns director)" addr del "$VIP/32" dev eth0
    set_sysctl director net.ipv4.ip_forward=1
    set_sysctl director net.ipv4.ip_forward=0
    equal "$(director_faults)" "daemon-missing fragmenting-broken vip-missing" "faults, no VIP, and forwarding off"
    set_sysctl director net.ipv4.conf.ipvsd0.rp_filter=1
    equal "$(director_faults)" "check-path-broken daemon-missing fragmenting-broken vip-missing" "faults, strict rp_filter"
    mended_by_a_start
    in_ns director tc qdisc del dev eth0 clsact
    exits 1 ipvsd doctor
    matches "$OUTPUT" "^check-path-broken: no ingress program of checks is on eth0" "the finding"
    ip -n "$(ns director)" link del ipvsd0
    equal "$(director_faults)" "check-path-broken daemon-missing fragmenting-broken" "faults, no ipvsd0"
    mended_by_a_start
    exits 0 ipvsd cleanup
    for host in rs1 rs2 rs3; do in_ns "$host" "$IPVSD" realserver-setup --undo >/dev/null; done
}

# Starts a director, whose start mends the faults, and kills it again.
mended_by_a_start() {
    director_start --vip "$VIP" --backends "$RS1,$RS2"
    wait_until 10 "a clean bill" director_has ""
    director_kill
}

ipvsd_without_bpf() { in_ns director setpriv --bounding-set -bpf,-sys_admin "$IPVSD" "$@"; }

run_tests
