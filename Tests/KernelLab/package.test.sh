#!/bin/bash
# The package, by dpkg on a machine with systemd: installed, configured, started, upgraded under load, removed, purged.
# The machine is the director, in the guest's own network namespace. Clients and real servers are those of lab.sh.
#
#     client 10.0.0.1, rs1, rs2 ------- switch "near" ------- lan0 10.0.0.2 the machine
# shellcheck source=../Namespaces/harness.sh
source "$(dirname "$0")/../Namespaces/harness.sh"
# shellcheck source=machine.sh
source "$(dirname "$0")/machine.sh"
# A machine in the guest's own network namespace sees all that a director on a real machine sees.
MACHINE_NET=
CONFIGURATION=/etc/ipvsd/ipvsd.yaml

scenario_up() {
    [ ! -e "$RUNNING" ] || power_off
    LAB_DIR=$(mktemp -d "${TMPDIR:-/tmp}/$LAB.XXXXXX")
    chmod 755 "$LAB_DIR"
    ip netns add "$(ns switch)"
    quiet_namespace switch
    add_bridge near
    add_host client near 10.0.0.1/24
    complete_frames client eth0
    local host
    for host in rs1=$RS1 rs2=$RS2; do
        add_host "${host%=*}" near "${host#*=}/24"
        ip -n "$(ns "${host%=*}")" route add default via 10.0.0.1
    done
    realservers_setup rs1 rs2
    server_start rs1
    server_start rs2
    few_services
    # Containers' images have this file, by which packages restart no service.
    rm -f /usr/sbin/policy-rc.d
    boot
}

plug_in() {
    ip -n "$(ns switch)" link add machine type veth peer name lan0 netns 1
    ip -n "$(ns switch)" link set machine master near up
    receive_redirected machine
    ip addr add 10.0.0.2/24 dev lan0
    ip link set lan0 up
}

configure() {
    printf 'services:\n- listeners: %s:80\n  servers: [%s, %s]\n' "$VIP" "$RS1" "$RS2" >"$CONFIGURATION"
}

# The part of harness.sh's MACHINE_STATE that a director may change. All of it would take long in the guest.
state() {
    ip -o -d link show | sed 's/ qlen [0-9]*//; s/state [A-Z]*//' | sort
    ip -o addr show | sed 's/valid_lft.*//' | sort
    ip route show table all | sort
    tc qdisc show dev lan0
    tc filter show dev lan0 ingress
    tc filter show dev lan0 egress
    ethtool -k lan0
    (cd /proc/sys/net/ipv4/conf && grep . all/* lan0/*)
    m find /sys/fs/bpf | sort
}

journal() { m journalctl -u ipvsd -o cat; }

# The last lines of the program's own, without systemd's.
last_words() { journal | grep -v '^ipvsd\.service' | tail -n 6; }

is_up() { m ipvsd status --json | jq -e '[.services[].servers[].health] == ["up", "up"]'; }

main_pid() { m systemctl show -P MainPID ipvsd; }

another_than() { [[ $(main_pid) =~ ^[1-9] && $(main_pid) != "$1" ]]; }

unit_failed() { [[ $(m systemctl show -P ExecMainStatus ipvsd) == 64 && $(m systemctl is-failed ipvsd) == failed ]]; }

# The daemon logs each call that the unit does not permit.
no_complaint() {
    equal "$(journal | grep -iE "warning|not permitted|denied|read-only" || true)" "" "what it complains of"
}

# Without triggers, so that the guest does not index the host's manual pages.
dpkg_do() { exits 0 m dpkg --no-triggers "$@"; }

# --- tests, in this order ----------------------------------------------------------------------------

test_an_installation_starts_nothing() {
    dpkg_do -i "$PACKAGE"
    m dpkg -L ipvsd >"$LAB_DIR/files"
    equal "$(m ipvsd --version)" "$(dpkg-query -W -f '${Version}' ipvsd)" "the version"
    equal "$(m systemctl show -P ActiveState -P UnitFileState ipvsd | xargs)" "inactive disabled" "the unit"
    exits 0 m systemd-analyze verify ipvsd.service
    equal "$OUTPUT" "" "what systemd-analyze says"
    # shellcheck disable=SC2016 # that shell's
    exits 0 m bash -c 'source /usr/share/bash-completion/completions/ipvsd; COMP_WORDS=(ipvsd und) COMP_CWORD=1
        _ipvsd ipvsd und ipvsd; echo "${COMPREPLY[*]}"'
    equal "$OUTPUT" undrain "what bash completes"
    matches "$(zcat /usr/share/man/man8/ipvsd-director.8.gz)" 'backends' "the manual page of the director"
    matches "$(zcat /usr/share/man/man5/ipvsd.yaml.5.gz)" '^\.It Ic slow-start' "the manual page of the file"
    exits 0 jq -e '.definitions.services.properties["slow-start"].description' /usr/share/ipvsd/ipvsd.schema.json
    [ "$(zcat /usr/share/man/man8/ipvsd-drain.8.gz | grep -c '^\.Sh')" -ge 4 ] || fail "the manual page of ipvsd drain"
    # The package's own list: this machine's dpkg may leave documents out.
    equal "$(dpkg-deb --contents "$PACKAGE" | grep -c '/usr/share/doc/ipvsd/articles/.*\.md$')" \
        "$(find "$ROOT/Sources/ipvsd/ipvsd.docc" -name '*.md' | wc -l)" "the number of articles"
    equal "$(dpkg-deb --fsys-tarfile "$PACKAGE" | tar -xO --wildcards './usr/share/doc/ipvsd/*.md' |
        grep -oE '<doc:|ipvsd\.docc' || true)" "" "links that lead out of the package"
}

test_the_unit_has_four_capabilities() {
    state >"$LAB_DIR/before"
    configure
    exits 0 m systemctl enable ipvsd
    m systemctl start ipvsd || fail "not started: $(last_words)"
    (wait_until 10 "the real servers to be up" is_up) || fail "real servers: $(last_words)"
    matches "$(cat "/proc/$(pgrep -x ipvsd)/status")" '^CapEff:\s*000000c000003000$' "its capabilities"
    equal "$(m ipvsd status --json | jq -r .xdp.mode)" native "the XDP mode"
    equal "$(fetch 20 | served)" $'rs1 10\nrs2 10' "who serves"
    no_complaint
}

test_a_reload_tells_its_result() {
    exits 0 m systemctl reload ipvsd
    echo 'services: 5' >"$CONFIGURATION"
    exits 1 m systemctl reload ipvsd
    configure
    equal "$(m systemctl is-active ipvsd)" active "the unit"
}

# The next daemon takes over the kernel's state of a killed one.
test_one_that_was_killed_is_started_again() {
    local pid
    pid=$(main_pid)
    m systemctl kill --signal KILL ipvsd
    wait_until 10 "another daemon" another_than "$pid"
    wait_until 10 "it to know its real servers" is_up
    matches "$(journal)" "took over, forwarding" "the journal"
}

test_an_upgrade_fails_no_request() {
    local pid
    pid=$(main_pid)
    load_start 20 180
    download_start one --limit-rate 500k
    wait_until 10 "some requests" load_has 20
    dpkg_do -i "$PACKAGE_NEXT"
    equal "$(dpkg-query -W -f '${Version}' ipvsd)" "$(dpkg-deb -f "$PACKAGE_NEXT" Version)" "the version"
    another_than "$pid" || fail "the old daemon runs still"
    wait_until 10 "it to know its real servers" is_up
    local so_far
    so_far=$(load | wc -l)
    wait_until 10 "some more requests" load_has $((so_far + 20))
    load_stop
    load | no_failures "requests during the upgrade"
    download_correct one
    matches "$(journal | tail -n 20)" "the data plane goes on forwarding" "the old daemon's last words"
    not grep -q "removed everything" <(journal) || fail "it has removed the data plane"
    no_complaint
}

test_a_refused_file_ends_the_unit_for_good() {
    exits 0 m systemctl stop ipvsd
    equal "$(fetch 1 --max-time 2 | served)" "" "who serves when it is stopped"
    same_state "$(<"$LAB_DIR/before")" "$(state)"
    echo 'services: 5' >"$CONFIGURATION"
    m systemctl start ipvsd || true
    wait_until 10 "the end of it" unit_failed
    configure
    exits 0 m systemctl start ipvsd
    wait_until 10 "it to forward" is_up
}

test_a_removal_leaves_nothing_in_the_kernel() {
    dpkg_do -r ipvsd
    same_state "$(<"$LAB_DIR/before")" "$(state)"
    [ -e "$CONFIGURATION" ] || fail "the configuration is gone"
}

test_a_purge_leaves_the_configuration_alone() {
    dpkg_do -P ipvsd
    local file
    while read -r file; do [ -d "$file" ] || [ ! -e "$file" ] || fail "$file is left"; done <"$LAB_DIR/files"
    equal "$(m find /etc /var/lib/ipvsd /run/ipvsd -name '*ipvsd*' 2>/dev/null | xargs)" "/etc/ipvsd $CONFIGURATION" "what is left"
    power_off
}

run_tests
