#!/bin/bash
# The VIP beside the director's own addresses. The kernel answers ARP for the VIP. It never chooses the VIP as the
# source of the machine's own packets, whatever the place and the age of the own address.
# shellcheck source=harness.sh
source "$(dirname "$0")/harness.sh"
LAB_VIA=nsenter

OWN=10.0.0.2
FAST=(--check-interval 0.4s --check-timeout 0.4s)

d() { ip -n "$(ns director)" "$@"; }

# own WHERE   gives the director its own address in the subnet, as a /32 with a gateway on the link, or on lo alone
own() {
    case $1 in
        subnet) d addr add "$OWN/24" dev eth0 ;;
        host) d addr add "$OWN/32" dev eth0 ;;
        loopback) d addr add "$OWN/32" dev lo ;;
    esac
    [[ $1 == subnet ]] || d route replace 10.0.0.0/24 dev eth0
    d route replace default via 10.0.0.1 dev eth0 onlink
}

no_own() {
    d addr flush dev eth0
    d addr flush dev lo scope global
}

# sources   prints the source addresses of the machine's own packets to the gateway, to a neighbour and to a routed host
sources() {
    local target
    for target in 10.0.0.1 $RS1 192.0.2.9; do d route get "$target" | grep -o 'src [0-9.]*'; done | sort -u | xargs
}

scope() { d -j addr show dev eth0 | jq -r ".[].addr_info[] | select(.local == \"$VIP\") | .scope"; }
has_vip() { [[ -n $(scope) ]]; }
answers_arp() { in_ns client arping -q -c 1 -w 5 -I eth0 "$VIP"; }
rs1_serves() { [[ $(fetch 10 | served) == "rs1 10" ]]; }
says() { grep -qE -- "$1" "$LAB_DIR/director.log"; }

works() { # CASE
    equal "$(sources)" "src $OWN" "sources of own packets, $1"
    wait_until 5 "rs1 to be healthy, $1" healthy "$RS1"
    wait_until 5 "rs1 to serve, $1" rs1_serves
    exits 0 answers_arp
}

test_the_own_address_in_the_subnet_as_a_host_and_on_lo() {
    local where
    for where in subnet host loopback; do
        no_own
        own "$where"
        director_start --vip "$VIP:80" --backends "$RS1" "${FAST[@]}"
        works "own address $where"
        director_stop
    done
    no_own
    own subnet
}

# A network manager removes all addresses at its restart. The VIP is back before the own address is back.
test_the_own_address_taken_away_and_put_back() {
    local where
    for where in subnet host loopback; do
        no_own
        own "$where"
        director_start --vip "$VIP:80" --backends "$RS1" "${FAST[@]}"
        wait_until 5 "rs1 to be healthy" healthy "$RS1"
        no_own
        wait_until 5 "the VIP to be back" has_vip
        wait_until 5 "rs1 to be out without an own address" unhealthy "$RS1"
        own "$where"
        works "own address $where, put back"
        director_stop
    done
    no_own
    own subnet
}

test_arp_is_answered_under_every_arp_ignore() {
    local value
    director_start --vip "$VIP:80" --backends "$RS1" "${FAST[@]}"
    for value in 0 1 2; do
        set_sysctl director "net.ipv4.conf.eth0.arp_ignore=$value"
        equal "$(scope)" host "scope of the VIP with arp_ignore=$value"
        exits 0 answers_arp
    done
    director_stop
    # With arp_ignore=3 the kernel answers for no address of scope host.
    set_sysctl director net.ipv4.conf.eth0.arp_ignore=3
    director_start --vip "$VIP:80" --backends "$RS1" "${FAST[@]}"
    equal "$(scope)" link "scope of the VIP with arp_ignore=3"
    works "arp_ignore=3"
    director_stop
    set_sysctl director net.ipv4.conf.eth0.arp_ignore=0
}

# Routing daemons (BIRD's direct, FRR's connected) announce a primary /32 on an interface that is up.
test_routing_daemons_see_the_vip() {
    director_start --vip "$VIP:80" --backends "$RS1"
    equal "$(d -j addr show dev eth0 up primary | jq -r ".[].addr_info[] | select(.local == \"$VIP\").prefixlen")" 32 \
        "the VIP's prefix length among primary addresses"
    director_stop
}

# Earlier versions put VIPs on the interface with scope global, and the kernel cannot change a scope in place.
test_a_take_over_gives_the_vip_its_scope() {
    server_start director
    director_start --vip "$VIP:80" --backends "$OWN,$RS1" --scheduler rr "${FAST[@]}"
    wait_until 5 "rs1 to be healthy" healthy "$RS1"
    wait_until 5 "the director itself to be healthy" healthy "$OWN"
    load_start 80
    wait_until 10 "a first request" load_has 20
    director_kill
    d -batch - <<<"addr del $VIP/32 dev eth0
addr add $VIP/32 dev eth0"
    spawn director "$LAB_DIR/addresses" ip -o monitor address
    local monitor=$SPAWNED
    disown "$monitor"
    director_start --vip "$VIP:80" --backends "$OWN,$RS1" --scheduler rr "${FAST[@]}"
    equal "$(scope)" host "the VIP's scope"
    wait_until 5 "more requests" load_has $(($(load | wc -l) + 40))
    load_stop
    no_failures "over the take-over" <<<"$(load)"
    equal "$(ipvsd events --json | jq -r 'select(.event | test("down|lost")).reason')" "" "what is down"
    kill "$monitor"
    # The VIP stays an address of this machine all the time, and does not remain on the check device.
    equal "$(grep -F "$VIP/32" "$LAB_DIR/addresses" | sed -E 's/^(Deleted )?.*(eth0|ipvsd.) .*scope ([a-z]*).*/\1\2 \3/' | paste -sd,)" \
        "ipvsd1 host,Deleted eth0 global,eth0 host,Deleted ipvsd1 host" "the addresses' way"
    director_stop
    kill -9 "$(<"$LAB_DIR/director/nginx.pid")"
}

test_a_reload_whose_vip_is_the_outer_source_is_refused() {
    local file=$LAB_DIR/reloaded.yaml service="{listeners: $VIP:80, servers: [$RS1]}"
    no_own
    own subnet
    echo "services: [$service]" >"$file"
    director_start --config "$file"
    wait_until 5 "rs1 to be healthy" healthy "$RS1"
    echo "services: [$service, {listeners: $OWN:25, servers: [$RS2]}]" >"$file"
    exits 64 ipvsd reload
    matches "$OUTPUT" "reloaded.yaml:1: listeners $OWN:25: .*$RS1 leaves from it" "the refusal"
    equal "$(ipvsd status --json | jq '.services | length')" 1 "services"
    healthy "$RS1" || fail "rs1 is not healthy"
    wait_until 5 "rs1 to serve" rs1_serves
    director_stop
}

# Another program that holds the VIP, such as keepalived, adds it as an ordinary address.
test_an_outer_source_that_is_a_vip_is_refused_by_name() {
    no_own
    own loopback
    d addr add "$VIP/32" dev eth0
    director_start --vip "$VIP:80" --no-address --backends "$RS1" "${FAST[@]}"
    wait_until 5 "the reason" says "no way to $RS1: the kernel chooses $VIP, a VIP, as the source"
    wait_until 5 "rs1 to be out" unhealthy "$RS1"
    matches "$(server_status "$RS1" reason)" "chooses $VIP, a VIP" "the reason"
    exits 1 ipvsd doctor
    matches "$OUTPUT" "outer-source-vip: .*$VIP.*$RS1" "the doctor"
    d route replace 10.0.0.0/24 dev eth0 src "$OWN"
    wait_until 5 "rs1 to be healthy" healthy "$RS1"
    wait_until 5 "rs1 to serve" rs1_serves
    director_stop
    no_own
    own subnet
}

run_tests
