#!/bin/bash
# two-directors.sh - keepalived moves a VIP between two directors by VRRP. The active director goes away under a
# download, and the other one goes on with it.
#
# The network is that of Tests/Lab/lab.sh: client 10.0.0.1, directors 10.0.0.2 and 10.0.0.3, real servers 10.0.0.11
# to .13, all on one switch. The VIP is 10.0.0.100. The files are those of examples/keepalived.
# shellcheck source=walk.sh
source "$(dirname "${BASH_SOURCE[0]}")/walk.sh"
needs keepalived

# configure HOST PRIORITY   writes that director's files into the lab's directory. LAB_SLOW multiplies keepalived's
# times, too.
configure() {
    sed "s|/usr/sbin/ipvsd|$IPVSD|; s|router_id director1|router_id $1|; s|priority 150|priority $2|
        s|interval 2|interval $((2 * LAB_SLOW))|; s|timeout 2|timeout $((2 * LAB_SLOW))|
        s|advert_int 1|advert_int $LAB_SLOW|; s| *#.*||" "$HERE/../keepalived/keepalived.conf" >"$LAB_DIR/$1.conf"
    cp "$HERE/../keepalived/ipvsd.yaml" "$LAB_DIR/$1.yaml"
}

# begin HOST   starts ipvsd and keepalived there
begin() {
    printf '    %-9s # ipvsd --config ipvsd.yaml & keepalived -f keepalived.conf\n' "$1"
    director_spawn "$1" --config "$LAB_DIR/$1.yaml"
    disown "$SPAWNED"
    wait_until 20 "ipvsd on $1 to know its real servers" all_up "$1"
    spawn "$1" "$LAB_DIR/$1.keepalived" keepalived --dont-fork --log-console --vrrp --use-file "$LAB_DIR/$1.conf" \
        --pid "$LAB_DIR/$1.pid" --vrrp_pid "$LAB_DIR/$1.vrrp.pid"
    disown "$SPAWNED"
}

all_up() { in_ns "$1" "$IPVSD" status --json | tr -d ' \n' | grep -o '"health":"up"' | wc -l | grep -qx 3; }

has_vip() { ip -n "$(ns "$1")" -o addr show dev eth0 | grep -q " $VIP/32 "; }

# stands_by HOST   whether keepalived's last state there is BACKUP
stands_by() { grep 'Entering [A-Z]* STATE' "$LAB_DIR/$1.keepalived" | tail -n 1 | grep -q BACKUP; }

forwarded() { in_ns "$1" "$IPVSD" status --json | sed -nE 's/^ *"forwarded" *: *([0-9]+),?$/\1/p' | head -n 1; }

forwarded_more_than() { (($(forwarded "$1") > $2)); }

requests() {
    printf '    %-9s # curl http://%s/    (thirty times)\n' client "$VIP"
    served <<<"$(fetch 30)" | sed 's/^/                /'
}

# After a change of the director, some requests may have to wait for a second SYN.
answers() { [[ -z $(fetch 10 | failures) ]]; }

step "a client, two directors, three real servers with web servers"
lab_up
lab_up_director2
head -c 20000000 /dev/urandom >"$LAB_DIR/big"
export LAB_BIG=$LAB_DIR/big
for host in rs1 rs2 rs3; do
    on "$host" ipvsd realserver-setup --vip "$VIP"
    server_start "$host"
done
for host in director director2; do ip -n "$(ns "$host")" route replace default via 10.0.0.1; done

step "ipvsd and keepalived on both directors"
configure director 150
configure director2 100
begin director
wait_until 30 "the first director to have the VIP" has_vip director
begin director2
on director ip -o -4 addr show dev eth0
expect "the first director has the VIP" says " $VIP/32 "
on director2 ip -o -4 addr show dev eth0
expect "the other one does not" not says " $VIP/32 "
requests
expect "every request is answered" answers
expect "the standby director has forwarded nothing" test "$(forwarded director2)" = 0

step "the first director's cable is pulled during a download"
LAB_VIA=nsenter spawn client "$LAB_DIR/download" curl -s --limit-rate 2M --max-time $((60 * LAB_SLOW)) \
    -o "$LAB_DIR/got" "http://$VIP/big"
DOWNLOAD=$SPAWNED
wait_until 10 "the download to begin" test -s "$LAB_DIR/got"
printf '    %-9s # ip link set director down\n' switch
ip -n "$(ns switch)" link set director down
wait_until 20 "the other director to have the VIP" has_vip director2
printf '                the VIP is on director2 after %d ms\n' "$WAITED_MS"
wait_until 20 "the other director to forward the download" forwarded_more_than director2 0
requests
expect "every request is answered" answers
wait_until 40 "the download's end" ended "$DOWNLOAD"
expect "the download is whole: both directors chose the same real server" cmp "$LAB_DIR/big" "$LAB_DIR/got"

step "the first director is back, and waits for the next change"
ip -n "$(ns switch)" link set director up
wait_until 20 "the first director to stand by" stands_by director
expect "the other director keeps the VIP" has_vip director2
expect "the first director does not have it" not has_vip director
requests
expect "every request is answered" answers
finish
