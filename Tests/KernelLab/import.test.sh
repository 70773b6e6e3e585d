#!/bin/bash
# Rules that ipvsadm and keepalived have put into this kernel's IPVS, compared with the result of `ipvsd import`.
# shellcheck source=../Namespaces/harness.sh
source "$(dirname "$0")/../Namespaces/harness.sh"
LAB_VIA=nsenter

# Each namespace has an IPVS table of its own. The test needs only a route to the real servers besides.
scenario_up() {
    modprobe -a dummy ip_vs ip_vs_rr ip_vs_wrr ip_vs_wlc ip_vs_sh ip_vs_mh
    LAB_DIR=$(mktemp -d "${TMPDIR:-/tmp}/$LAB.XXXXXX")
    ip netns add "$(ns ipvs)"
    ip -n "$(ns ipvs)" link add eth0 type dummy
    ip -n "$(ns ipvs)" link set eth0 up
    ip -n "$(ns ipvs)" addr add 10.0.0.2/24 dev eth0
}

big_file() { :; }

# director COMMAND...   there
director() { in_ns ipvs "$@"; }

# import CODE ARGUMENT...   into imported.yaml and remarks
import() {
    local expected=$1 code=0
    shift
    "$IPVSD" import "$@" >"$LAB_DIR/imported.yaml" 2>"$LAB_DIR/remarks" || code=$?
    equal "$code" "$expected" "exit code, with $(head -c 600 "$LAB_DIR/remarks")"
}

# table   the kernel's rules, as `ipvsadm -S -n` prints them, without rules that ipvsd cannot express
table() { director ipvsadm -S -n | sed 's/ --tun-type ipip//' | sort; }

# rules FILE   a configuration file of ipvsd's as rules of ipvsadm, to be compared with the kernel's
rules() { "$PYTHON" "$(dirname "$0")/rules.py" "$1" | sort; }

test_rules_of_ipvsadm_are_carried_over() {
    director ipvsadm -R <<'RULES'
-A -t 10.0.0.100:80 -s wlc -p 300 -M 255.255.255.0
-a -t 10.0.0.100:80 -r 10.0.0.11:80 -i -w 3
-a -t 10.0.0.100:80 -r 10.0.0.12:80 -i -w 0
-A -t 10.0.0.100:443 -s sh -b sh-port,sh-fallback
-a -t 10.0.0.100:443 -r 10.0.0.11:443 -i -w 1
-A -t 10.0.0.101:8080 -s mh -b mh-port
-a -t 10.0.0.101:8080 -r 10.0.0.13:8080 -i -w 65535
-A -u 10.0.0.100:53 -s rr -o
-a -u 10.0.0.100:53 -r 10.0.0.11:53 -i -w 2
RULES
    equal "$(director ipvsadm -S -n | wc -l)" 9 "rules in the kernel"
    director ipvsadm -S -n | "$IPVSD" import >"$LAB_DIR/imported.yaml" 2>"$LAB_DIR/remarks"
    equal "$(<"$LAB_DIR/remarks")" "" "remarks"
    exits 0 "$IPVSD" check "$LAB_DIR/imported.yaml"
    equal "$(rules "$LAB_DIR/imported.yaml")" "$(table)" "rules"
    # The names in the output are those of this machine.
    director ipvsadm -S | "$IPVSD" import - 2>/dev/null >"$LAB_DIR/named.yaml"
    equal "$(rules "$LAB_DIR/named.yaml")" "$(table)" "rules with names"
    director ipvsadm -C
}

test_what_is_foreign_is_named() {
    director ipvsadm -R <<'RULES'
-A -t 10.0.0.100:80 -s rr
-a -t 10.0.0.100:80 -r 10.0.0.11 -g
-a -t 10.0.0.100:80 -r 10.0.0.12:8080 -m
-a -t 10.0.0.100:80 -r 10.0.0.13 -i --tun-type gue --tun-port 6080
-A -f 3 -s rr
-a -f 3 -r 10.0.0.11 -i
-A -t [2001:db8::1]:80 -s rr
-a -t [2001:db8::1]:80 -r [2001:db8::2]:80 -i
RULES
    director ipvsadm -S -n >"$LAB_DIR/rules"
    import 1 --fwmark 3=10.0.0.101:80 "$LAB_DIR/rules"
    local line
    # A service that is not carried over has one remark, and none for each real server.
    while IFS=: read -r line _; do
        matches "$(<"$LAB_DIR/remarks")" "^ipvsd: $LAB_DIR/rules:$line: (changed|not carried over): " "what is said of line $line"
    done < <(grep -nE -- ' -g | -m | gue |^-A -t \[' "$LAB_DIR/rules")
    equal "$(grep -c '^ipvsd: ' "$LAB_DIR/remarks")" 4 "remarks"
    exits 0 "$IPVSD" check "$LAB_DIR/imported.yaml"
    equal "$(rules "$LAB_DIR/imported.yaml" | grep -c -- ' -i -w 1$')" 4 "real servers"
    director ipvsadm -C
}

# keepalived fills the kernel's table from the same file that is imported.
test_a_keepalived_conf_is_what_keepalived_makes_of_it() {
    cat >"$LAB_DIR/keepalived.conf" <<'CONF'
virtual_server_group WEB {
    10.0.0.100 80
    10.0.0.101-102 80
}
virtual_server group WEB {
    lvs_sched wrr
    lvs_method TUN
    protocol TCP
    persistence_timeout 50
    real_server 10.0.0.11 80 { weight 3 }
    real_server 10.0.0.12 80 { }
}
virtual_server 10.0.0.103 53 {
    lb_algo sh
    sh-port
    ops
    lb_kind TUN
    protocol UDP
    persistence_timeout
    persistence_granularity 255.255.255.0
    weight 4
    real_server 10.0.0.11 53 { }
    real_server 10.0.0.12 53 { weight 0 }
}
CONF
    spawn ipvs "$LAB_DIR/keepalived.log" keepalived --dont-fork --log-console --check --use-file "$LAB_DIR/keepalived.conf" \
        --pid "$LAB_DIR/k.pid" --checkers_pid "$LAB_DIR/c.pid"
    disown "$SPAWNED"
    wait_until 20 "keepalived's services" has_rules 12
    import 1 "$LAB_DIR/keepalived.conf"
    exits 0 "$IPVSD" check "$LAB_DIR/imported.yaml"
    equal "$(rules "$LAB_DIR/imported.yaml")" "$(table)" "rules"
    kill "$SPAWNED"
    wait_until 20 "keepalived to end" ended "$SPAWNED"
}

has_rules() { (($(director ipvsadm -S -n | wc -l) == $1)); }

# All samples in one run, as this machine is emulated.
test_the_samples_of_keepalived_are_read() {
    dpkg-deb -x "$KEEPALIVED" "$LAB_DIR/package"
    local samples=$LAB_DIR/package/usr/share/doc/keepalived/samples
    equal "$(find "$samples" -name 'keepalived.conf.*' | wc -l)" 25 "samples"
    echo "include $samples/keepalived.conf.*" >"$LAB_DIR/keepalived.conf"
    import 1 "$LAB_DIR/keepalived.conf"
    # The samples name programs that do not exist here.
    sed -i 's,/usr/local/s*bin/[a-z.-]*,/bin/true,' "$LAB_DIR/imported.yaml"
    exits 0 "$IPVSD" check "$LAB_DIR/imported.yaml"
}

run_tests
