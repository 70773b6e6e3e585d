#!/bin/bash
# realserver-setup --persist on a machine that is restarted. Systemd is pid 1 of its own network, pid and mount
# namespaces, and shares the guest's files. The other end of the machine's NIC "eth0" is the guest's own "wire".
#
#     the guest 10.0.0.1 wire ------- eth0 10.0.0.11 the machine
#     Its tunnel "lb" plays the director: packets to a VIP go to 10.0.0.11 inside IPIP.
# shellcheck source=../Namespaces/harness.sh
source "$(dirname "$0")/../Namespaces/harness.sh"
# shellcheck source=machine.sh
source "$(dirname "$0")/machine.sh"
VIP2=10.0.0.101 BLUE=10.0.0.200
UNIT="/etc/systemd/system/ipvsd-realserver.service /etc/systemd/system/multi-user.target.wants/ipvsd-realserver.service"
UNIT+=" /etc/systemd/system/nftables.service.d/ipvsd-realserver.conf"

scenario_up() {
    LAB_DIR=$(mktemp -d "${TMPDIR:-/tmp}/$LAB.XXXXXX")
    [ ! -e "$RUNNING" ] || power_off
    rm -rf /etc/ipvsd /etc/network/if-up.d/ipvsd-realserver
    few_services
    run_by_networkd
    printf '%s # the first\n' $VIP >"$LAB_DIR/vips"
    boot
}

# networkd, with a file of the operator's by which it manages every device.
run_by_networkd() {
    printf '[Match]\nName=eth0\n[Network]\nAddress=10.0.0.11/24\nGateway=10.0.0.1\n' >/etc/systemd/network/50-eth0.network
    printf '[Match]\nName=*\n[Network]\nLinkLocalAddressing=no\n' >/etc/systemd/network/90-all.network
    ln -s /lib/systemd/system/systemd-networkd.service /etc/systemd/system/multi-user.target.wants/
    ln -s /lib/systemd/system/systemd-networkd-wait-online.service /etc/systemd/system/network-online.target.wants/
}

# Debian's ifupdown instead, which run.sh has fetched.
run_by_ifupdown() {
    rm -rf /etc/systemd/network/* /etc/systemd/system/*.target.wants/*networkd*
    # /lib is a link, and stays one.
    dpkg-deb --fsys-tarfile "$IFUPDOWN" | tar -x --keep-directory-symlink -C /
    mkdir -p /etc/network/{interfaces.d,if-up.d,if-pre-up.d,if-down.d,if-post-down.d}
    printf '%s\n' 'auto lo' 'iface lo inet loopback' 'auto eth0' 'iface eth0 inet static' ' address 10.0.0.11/24' \
        ' gateway 10.0.0.1' >/etc/network/interfaces
    ln -s /lib/systemd/system/networking.service /etc/systemd/system/multi-user.target.wants/
    ln -s /lib/systemd/system/networking.service /etc/systemd/system/network-online.target.wants/
}

plug_in() {
    ip link add wire type veth peer name eth0 netns "$MACHINE"
    ip addr add 10.0.0.1/24 dev wire
    ip link set wire up
    ip link show lb >/dev/null 2>&1 ||
        { ip link add lb type ipip local 10.0.0.1 remote 10.0.0.11 && ip link set lb up; }
    sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.wire.rp_filter=0
    ip route replace $VIP dev lb
    ip route replace $VIP2 dev lb
}

setup() { m "$IPVSD" realserver-setup "$@"; }

answers() { ping -c 1 -W "$LAB_SLOW" "$1" >/dev/null; }

has_vips() { [[ $(vips) == "$VIP/32 $VIP2/32" ]]; }

vips() { m ip -o -4 addr show dev tunl0 2>/dev/null | awk '{ print $4 }' | sort | xargs; }

# Checks each part of a real server that could be lost.
is_real_server() {
    equal "$(vips)" "$VIP/32 $VIP2/32" "addresses of tunl0 $1"
    equal "$(m sysctl -n net.ipv4.conf.all.arp_ignore net.ipv4.conf.all.arp_announce | xargs)" "1 2" "ARP $1"
    lowers_mss || fail "the rules that lower the MSS are missing $1: $(m nft list ruleset)"
    answers "$VIP" || fail "$VIP does not answer $1"
    answers "$VIP2" || fail "$VIP2 does not answer $1"
}

lowers_mss() {
    [[ $(m nft list table ip ipvsd 2>/dev/null) == *"{ $VIP, $VIP2 }"*"rt mtu 1441-1460 tcp option maxseg size set 1440"* ]]
}

ours() { find /etc -name '*ipvsd*' ! -path '/etc/ipvsd-lab*' | sort | xargs; }

# --- tests, in this order ----------------------------------------------------------------------------

test_networkd_is_told_to_leave_it_alone() {
    exits 0 setup --vip-file "$LAB_DIR/vips" --vip "$VIP2" --persist --dry-run
    matches "$OUTPUT" "would write /etc/systemd/network/00-ipvsd-realserver.network" "the dry run"
    equal "$(ours)" "" "what the dry run wrote"
    exits 0 setup --vip-file "$LAB_DIR/vips" --persist
    exits 0 setup --vip "$VIP2" --persist
    matches "$OUTPUT" "write /etc/ipvsd/realserver.vips" "the second run"
    m systemctl restart systemd-networkd
    wait_until 10 "networkd to have eth0" networkd_has_eth0
    # Without the files of --persist this would take the VIPs.
    m networkctl reconfigure tunl0 2>/dev/null || true
    # networkd removes foreign addresses soon after it has configured a device. 5 s suffice on an emulated machine, too.
    holds 5 "the VIPs beside networkd" has_vips
    is_real_server "after networkd has done its work"
    exits 0 setup --vip "$VIP" --vip "$VIP2" --persist
    matches "$OUTPUT" "nothing to change" "the third run"
}

# Debian's unit nftables flushes all rules before it loads the operator's.
test_the_mss_outlives_the_packet_filters_reloads() {
    printf '%s\n' 'flush ruleset' 'table inet operators { chain c { }' '}' >/etc/nftables.conf
    local verb
    for verb in start reload restart; do
        m systemctl "$verb" nftables
        wait_until 10 "the rules after $verb" lowers_mss
        matches "$(m nft list tables)" "table inet operators" "the operator's rules after $verb"
    done
    m systemctl stop nftables
    m systemctl start nftables
    wait_until 10 "the rules after stop and start" lowers_mss
    is_real_server "after all of them"
}

networkd_has_eth0() { m networkctl --no-legend list eth0 | grep -q configured; }

# A namespace that a unit of the operator's makes, some time after the start.
test_a_named_namespace_has_a_unit_of_its_own() {
    cat >/etc/systemd/system/blue.service <<'UNIT'
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'sleep 2; ip netns add blue; ip -n blue link set lo up'
[Install]
WantedBy=multi-user.target
UNIT
    ln -sf /etc/systemd/system/blue.service /etc/systemd/system/multi-user.target.wants/blue.service
    m systemctl daemon-reload
    m systemctl start blue
    exits 64 m ip netns exec blue "$IPVSD" realserver-setup --vip "$BLUE" --persist-by networkd
    matches "$OUTPUT" "runs the machine's own network, not namespace blue \(accepted: unit\)" "networkd in a namespace"
    exits 0 m ip netns exec blue "$IPVSD" realserver-setup --vip "$BLUE" --persist
    matches "$(</etc/systemd/system/ipvsd-realserver-blue.service)" "NetworkNamespacePath=/run/netns/blue" "the unit"
    exits 71 m unshare --net "$IPVSD" realserver-setup --vip "$BLUE" --persist
    matches "$OUTPUT" "no name in /run/netns" "a namespace without a name"
}

test_it_survives_a_restart_of_the_machine() {
    power_off
    boot
    wait_until 10 "the unit" m systemctl is-active ipvsd-realserver
    is_real_server "after the restart"
    matches "$(m networkctl --no-legend list tunl0)" "unmanaged" "tunl0 to networkd"
    wait_until 20 "the namespace's unit" m systemctl is-active ipvsd-realserver-blue
    matches "$(m ip -n blue -o addr show dev tunl0)" "$BLUE/32" "tunl0 of the namespace"
    equal "$(setup --vip "$VIP,$VIP2" --check --json | jq -r '[.findings[].fault] | unique | join(" ")')" \
        service-not-bound "what the doctor says"
}

test_undo_after_a_restart_removes_it() {
    exits 0 m ip netns exec blue "$IPVSD" realserver-setup --undo
    [ -e /etc/systemd/system/ipvsd-realserver.service ] || fail "the namespace's undo took the machine's unit"
    exits 0 setup --undo --dry-run
    matches "$OUTPUT" "would put back: file /etc/ipvsd/realserver.vips" "the dry run"
    exits 0 setup --undo
    equal "$(ours)" "" "files that are left"
    equal "$(vips)" "" "addresses that are left"
    not answers "$VIP" || fail "$VIP answers after --undo"
    matches "$(m systemctl show -p LoadState ipvsd-realserver)" "not-found" "the unit"
    exits 0 setup --undo
    matches "$OUTPUT" "nothing to put back" "undo once more"
}

test_a_file_of_somebody_else_stays() {
    mkdir -p /etc/ipvsd
    echo mine >/etc/ipvsd/realserver.vips
    exits 64 setup --vip "$VIP" --persist
    matches "$OUTPUT" "realserver.vips line 1" "the error"
    printf '%s\n' "$VIP" >/etc/ipvsd/realserver.vips
    exits 71 setup --vip "$VIP" --persist
    matches "$OUTPUT" "/etc/ipvsd/realserver.vips is there, and ipvsd did not write it" "the error"
    equal "$(ours)" "/etc/ipvsd" "what was written"
    exits 0 setup --undo
    equal "$(</etc/ipvsd/realserver.vips)" "$VIP" "the file"
    rm -r /etc/ipvsd
}

test_ifupdown_calls_a_script() {
    power_off
    run_by_ifupdown
    boot
    exits 0 setup --vip "$VIP,$VIP2" --persist
    equal "$(ours)" "/etc/ipvsd /etc/network/if-up.d/ipvsd-realserver $UNIT" "what was written"
    is_real_server "at first"
    power_off
    boot
    is_real_server "after the restart"
    m ip link set tunl0 down
    m ifdown eth0 >/dev/null
    m ifup eth0 >/dev/null
    is_real_server "after ifdown and ifup"
    exits 0 setup --undo
    equal "$(ours)" "" "files that are left"
}

# Files for another network manager, from an earlier set-up, are removed.
test_any_other_host_gets_the_unit_alone() {
    exits 0 setup --vip "$VIP" --persist-by ifupdown
    exits 0 m sh -c "rm -f /run/network/ifstate; exec '$IPVSD' realserver-setup --vip $VIP --persist"
    matches "$OUTPUT" "remove /etc/network/if-up.d/ipvsd-realserver" "what was done"
    equal "$(ours)" \
        "/etc/ipvsd $UNIT" "what was written"
    exits 0 m systemd-analyze verify ipvsd-realserver.service
    equal "$OUTPUT" "" "what systemd-analyze says"
    exits 0 m systemctl start ipvsd-realserver
    exits 0 setup --undo
    power_off
}

run_tests
