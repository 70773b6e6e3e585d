#!/bin/bash
# Next hops that are not, or do not stay, neighbours on the first interface. Two directors on one machine.
# shellcheck source=harness.sh
source "$(dirname "$0")/harness.sh"
LAB_VIA=nsenter

scenario_up() {
    lab_up
    lab_up_far
    lab_up_director2
    usual_servers
    LAB_VIA=nsenter in_ns rs4 "$IPVSD" realserver-setup --vip $VIP >"$LAB_DIR/rs4.setup" 2>&1
    server_start rs4
}

all_serve() { # "rs1 N rs2 N"
    [[ $(fetch 20 | served | xargs) == "$1" ]]
}

# wait_served SECONDS SHARES WHAT   waits until 20 requests have these shares. While the network changes, requests may
# wait.
wait_served() { wait_until "$1" "'$2' out of 20 requests ($3)" all_serve "$2"; }

test_a_real_server_behind_a_router() {
    director_start --vip "$VIP" --backends "$RS1,$RS4" --scheduler rr
    wait_served 3 "rs1 10 rs4 10" "through the router"
    no_failures "through the router" <<<"$(fetch 100)"
    wait_until 5 "rs4 to be healthy" healthy "$RS4"
}

test_too_big_behind_a_router_and_large_transfers() {
    director_start --vip "$VIP" --backends "$RS4"
    download_start far
    download_correct far
    equal "$(in_ns client curl -s --max-time 60 -T "$LAB_BIG" -o /dev/null -w '%{http_code}' "http://$VIP/upload/far")" 201 "upload"
    equal "$(sha256sum <"$LAB_DIR/rs4/upload/far")" "$BIG_SHA256" "sha256 of the upload"
}

test_a_route_that_moves_to_another_interface_and_back() {
    director_start --vip "$VIP" --backends "$RS1,$RS4" --scheduler rr
    wait_served 3 "rs1 10 rs4 10" "through the router"
    load_start 40
    ip -n "$(ns director)" route del 10.0.1.0/24
    ip -n "$(ns director)" addr add 10.0.1.2/24 dev eth1
    # The router still carries answers, but no tunnel any more.
    in_ns router nft add table ip cut
    in_ns router nft add chain ip cut forward "{ type filter hook forward priority 0; }"
    in_ns router nft add rule ip cut forward ip protocol ipencap drop
    wait_served 10 "rs1 10 rs4 10" "by eth1"
    in_ns router nft delete table ip cut
    ip -n "$(ns director)" addr del 10.0.1.2/24 dev eth1
    ip -n "$(ns director)" route add 10.0.1.0/24 via 10.0.0.254
    wait_served 10 "rs1 10 rs4 10" "through the router again"
    load_stop
}

test_a_real_server_that_changes_its_mac_address() {
    director_start --vip "$VIP" --backends "$RS1,$RS2" --scheduler rr
    wait_served 3 "rs1 10 rs2 10" "before"
    local old
    old=$(ip -n "$(ns rs2)" -j link show eth0 | jq -r '.[0].address')
    ip -n "$(ns rs2)" link set eth0 address 02:00:00:00:12:34
    wait_served 20 "rs1 10 rs2 10" "with another MAC"
    no_failures "with another MAC" <<<"$(fetch 40)"
    ip -n "$(ns rs2)" link set eth0 address "$old"
    wait_served 20 "rs1 10 rs2 10" "with the first MAC again"
}

test_the_directors_cable_pulled_and_put_back() {
    director_start --vip "$VIP" --backends "$RS1,$RS2" --scheduler rr
    wait_served 3 "rs1 10 rs2 10" "before"
    ip -n "$(ns switch)" link set director down
    exits 28 in_ns client curl -s --max-time 1 "http://$VIP/"
    wait_until 8 "the checks to notice" unhealthy "$RS1"
    ip -n "$(ns switch)" link set director up
    wait_served 15 "rs1 10 rs2 10" "after"
    no_failures "after" <<<"$(fetch 40)"
}

test_the_directors_interface_down_and_up() {
    director_start --vip "$VIP" --backends "$RS1,$RS2" --scheduler rr
    wait_served 3 "rs1 10 rs2 10" "before"
    ip -n "$(ns director)" link set eth0 down
    wait_until 8 "the checks to notice" unhealthy "$RS1"
    ip -n "$(ns director)" link set eth0 up
    ip -n "$(ns director)" route replace default via 10.0.0.1
    ip -n "$(ns director)" route replace 10.0.1.0/24 via 10.0.0.254
    wait_served 15 "rs1 10 rs2 10" "after"
    no_failures "after" <<<"$(fetch 40)"
}

# Distributions set rp_filter for all interfaces, which must not change the checks' results.
test_reverse_path_filters_of_the_director() {
    local mode
    for mode in 1 2; do
        set_sysctl director "net.ipv4.conf.all.rp_filter=$mode" "net.ipv4.conf.eth0.rp_filter=$mode"
        director_start --vip "$VIP" --backends "$RS1,$RS2"
        wait_until 5 "rs1 to be healthy with rp_filter=$mode" healthy "$RS1"
        director_stop
    done
    set_sysctl director net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
}

test_two_directors_in_two_namespaces_at_once() {
    local second=10.0.0.101 host before
    before=$(machine_state director2)
    for host in rs1 rs2; do in_ns "$host" "$IPVSD" realserver-setup --vip "$VIP" --vip "$second" >/dev/null 2>&1; done
    director_start --vip "$VIP" --backends "$RS1,$RS2" --scheduler rr
    LAB_VIA=netns director_spawn director2 --vip "$second" --backends "$RS1,$RS2" --scheduler rr
    local other=$SPAWNED
    wait_until 10 "the second director" in_ns director2 "$IPVSD" status
    equal "$(fetch 20 | served | xargs)" "rs1 10 rs2 10" "who served the first VIP"
    equal "$(VIP=$second fetch 20 | served | xargs)" "rs1 10 rs2 10" "who served the second VIP"
    equal "$(in_ns director2 "$IPVSD" status --json | jq -r '.services[0].vip')" "$second" "the second director's VIP"
    kill "$other"
    wait_until 10 "the second director's end" ended "$other"
    same_state "$before" "$(machine_state director2)"
    equal "$(fetch 20 | served | xargs)" "rs1 10 rs2 10" "who served the first VIP, the second director gone"
}

# Two instances share /sys/fs/bpf/ipvsd and /run/ipvsd. The last one to stop removes both.
test_two_directors_stopped_in_either_order_leave_nothing() {
    local second=10.0.0.101 order host one other both
    both=$(machine_state director && machine_state director2)
    rmdir /sys/fs/bpf/ipvsd /run/ipvsd 2>/dev/null || true
    for order in "first second" "second first"; do
        director_start --vip "$VIP" --backends "$RS1,$RS2"
        one=$DIRECTOR_PID
        director_spawn director2 --vip "$second" --backends "$RS1,$RS2"
        other=$SPAWNED
        wait_until 10 "the second director" in_ns director2 "$IPVSD" status
        for host in $order; do
            if [[ $host == first ]]; then
                DIRECTOR_PID=$one
                director_stop || fail "the first director's exit code $?, $order"
            else
                DIRECTOR_PID=$other
                director_stop || fail "the second director's exit code $?, $order"
            fi
        done
        same_state "$both" "$(machine_state director && machine_state director2)"
        nothing_shared_left "$order"
    done
}

# Expects the shared directories to be gone. They may stay if another director of this machine has files in them.
nothing_shared_left() {
    local directory
    for directory in /sys/fs/bpf/ipvsd /run/ipvsd; do
        [ ! -d "$directory" ] || [[ -n $(find "$directory" -mindepth 1 -print -quit) ]] || fail "$directory is left, $1"
    done
}

# This happens when a driver is loaded anew, or a virtual machine's NIC is unplugged and plugged in.
test_the_directors_interface_deleted_and_made_anew() {
    director_start --vip "$VIP" --backends "$RS1,$RS2" --scheduler rr
    wait_served 3 "rs1 10 rs2 10" "before"
    ip -n "$(ns director)" link del eth0
    wait_until 8 "the checks to notice" unhealthy "$RS1"
    add_nic director eth0 near
    receive_redirected director
    ip -n "$(ns director)" addr add 10.0.0.2/24 dev eth0
    ip -n "$(ns director)" route replace default via 10.0.0.1
    ip -n "$(ns director)" route replace 10.0.1.0/24 via 10.0.0.254
    wait_served 10 "rs1 10 rs2 10" "after"
    echo "# requests served again after $WAITED_MS ms"
    no_failures "after" <<<"$(fetch 40)"
    director_stop
    local left
    left=$(machine_state director | grep -E "ipvsd[01]|/ipvsd|prog/xdp|clsact|$VIP" || true)
    equal "$left" "" "left by the director"
}

# --- gateways with IPv6 addresses, and routes that cannot be followed -------------------------------------

d() { ip -n "$(ns director)" "$@"; }

# BGP unnumbered: the next hop of an IPv4 route is the router's link-local address (RFC 5549).
test_a_gateway_with_an_IPv6_address() {
    ipv6_link director fe80::2
    ipv6_link router fe80::fe
    # With this sysctl, the router announces another MAC address of its own, as routers do.
    set_sysctl router net.ipv6.conf.eth0.ndisc_notify=1
    d route replace 10.0.1.0/24 via inet6 fe80::fe dev eth0
    director_start --vip "$VIP" --backends "$RS1,$RS4" --scheduler rr
    wait_served 5 "rs1 10 rs4 10" "by a gateway with an IPv6 address"
    wait_until 5 "rs4 to be healthy" healthy "$RS4"
    exits 0 ipvsd doctor
    download_start unnumbered
    download_correct unnumbered
    local old
    old=$(ip -n "$(ns router)" -j link show eth0 | jq -r '.[0].address')
    ip -n "$(ns router)" link set eth0 address 02:00:00:00:fe:fe
    wait_served 10 "rs1 10 rs4 10" "by the gateway with another MAC"
    ip -n "$(ns router)" link set eth0 address "$old"
    wait_served 10 "rs1 10 rs4 10" "by the gateway with its first MAC"
    # A next hop without a neighbour affects no other real server, and no start.
    d route replace "$RS3" via inet6 fe80::dead dev eth0
    director_stop
    equal "$(d -6 neigh show | grep -c managed)" 0 "neighbours left"
    director_start --vip "$VIP" --backends "$RS1,$RS3" --scheduler rr
    wait_served 5 "rs1 20" "beside one without a way"
    exits 1 ipvsd doctor
    matches "$OUTPUT" "neighbour-unresolved: fe80::dead, the gateway to $RS3, does not answer neighbour discovery" "the doctor"
    director_stop
    d route del "$RS3"
    d route replace 10.0.1.0/24 via 10.0.0.254
    set_sysctl director net.ipv6.conf.eth0.disable_ipv6=1
    set_sysctl router net.ipv6.conf.eth0.disable_ipv6=1
}

ipv6_link() { # HOST ADDRESS
    set_sysctl "$1" net.ipv6.conf.eth0.disable_ipv6=0
    ip -n "$(ns "$1")" addr add "$2/64" dev eth0 nodad
}

# The journal that has to name a new next hop cannot be written. Only the route that needs this fails, and the others
# are followed.
test_a_route_that_cannot_be_followed_keeps_no_other() {
    director_start --vip "$VIP" --backends "$RS1,$RS2" --scheduler rr
    wait_served 3 "rs1 10 rs2 10" "before"
    local directory old
    directory=$(run_directory)
    mount --bind "$directory" "$directory"
    # shellcheck disable=SC2064 # as it is now
    trap "umount '$directory' 2>/dev/null || true" EXIT
    mount -o remount,bind,ro "$directory"
    d route replace "$RS1" via 10.0.0.77
    wait_until 5 "the error" grep -q "follow the route to $RS1: .*Read-only" "$LAB_DIR/director.log"
    old=$(ip -n "$(ns rs2)" -j link show eth0 | jq -r '.[0].address')
    ip -n "$(ns rs2)" link set eth0 address 02:00:00:00:12:34
    wait_until 20 "rs2's new MAC address to be learnt" followed rs2
    # The error names the journal's file, and later perhaps the file that is to take its place.
    between "$(grep -c "follow the route to $RS1" "$LAB_DIR/director.log")" 1 2 "lines about the error"
    umount "$directory"
    wait_until 5 "the end of the error" grep -q "follow the route to $RS1: no error any more" "$LAB_DIR/director.log"
    d route del "$RS1"
    ip -n "$(ns rs2)" link set eth0 address "$old"
    wait_served 20 "rs1 10 rs2 10" "after"
}

# followed HOST   whether HOST answers the request that is scheduled to it
followed() { fetch 4 | grep -q "$1\$"; }

# --- several default routes ---------------------------------------------------------------------------------

# The VIP is in no interface's subnet. Clients' packets come in by any of the next hops.
test_a_default_route_of_several_next_hops() {
    local far_vip=192.0.2.100 how
    in_ns rs1 "$IPVSD" realserver-setup --vip "$VIP" --vip "$far_vip" >/dev/null 2>&1
    ip -n "$(ns client)" route add "$far_vip" via 10.0.0.2
    d route del 10.0.1.0/24
    d addr add 10.0.1.2/24 dev eth1
    cat >"$LAB_DIR/far.yaml" <<YAML
services:
  - listeners: $far_vip
    servers: $RS1
YAML
    for how in multipath nexthops; do
        d route del default
        several_next_hops "$how"
        director_start --config "$LAB_DIR/far.yaml"
        equal "$(ipvsd status --json | jq -r '.xdp.interfaces | sort | join(" ")')" "eth0 eth1" "interfaces, $how"
        equal "$(VIP=$far_vip fetch 10 | served)" "rs1 10" "who served, $how"
        # One of the next hops is withdrawn.
        d route replace default via 10.0.0.1
        exits 0 ipvsd reload
        director_stop
    done
    d nexthop flush >/dev/null
    d route replace default via 10.0.0.1
    d addr del 10.0.1.2/24 dev eth1
    d route replace 10.0.1.0/24 via 10.0.0.254
    ip -n "$(ns client)" route del "$far_vip"
}

several_next_hops() {
    case $1 in
        multipath) d route add default nexthop via 10.0.0.1 dev eth0 nexthop via 10.0.1.254 dev eth1 ;;
        nexthops)
            d nexthop add id 1 via 10.0.0.1 dev eth0
            d nexthop add id 2 via 10.0.1.254 dev eth1
            d nexthop add id 3 group 1/2
            d route add default nhid 3
            ;;
    esac
}

run_tests
