# shellcheck shell=bash
# lab.sh - the network of the quick start, the test scenarios and the kernel lab. To be sourced by bash. It leaves the
# machine's own network namespace alone.
#
#   client:     eth0 10.0.0.1, and 10.9.0.0/16 for many clients --+
#   director:   eth0 10.0.0.2, and the VIP 10.0.0.100 ------------+
#   director2:  eth0 10.0.0.3 ------------------------------------+
#   rs1:        eth0 10.0.0.11; tunl0 has the VIP ----------------+-- switch: bridge "near", 10.0.0.0/24
#   rs2:        eth0 10.0.0.12; tunl0 has the VIP ----------------+
#   rs3:        eth0 10.0.0.13; tunl0 has the VIP ----------------+
#   router:     eth0 10.0.0.254 ----------------------------------+
#
#   router:     eth1 10.0.1.254 ----------------------------------+
#   rs4:        eth0 10.0.1.11 -----------------------------------+-- switch: bridge "far", 10.0.1.0/24
#   director:   eth1, without an address and a route -------------+
#
# `lab_up` makes switch, client, director and rs1 to rs3. `lab_up_far` adds the bridge "far" with its hosts, and
# `lab_up_director2` the second director. `lab_down` ends all processes inside, and removes the namespaces.
# A switch port has the name of the host on its other end: `ip -n "$(ns switch)" link set rs2 down` pulls rs2's cable.
#
#   IPVSD:      the program                          (.build/release/ipvsd of this checkout)
#   LAB:        prefix of the namespaces             (ipvsd-PID)
#   LAB_DIR:    servers' directories, logs           (made, and removed by lab_down)
#   LAB_SLOW:   multiplies every bound on a wait     (1; an emulated machine needs more)

export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
IPVSD=${IPVSD:-$ROOT/.build/release/ipvsd}
LAB=${LAB:-ipvsd-$$}
LAB_SLOW=${LAB_SLOW:-1}
LAB_VIA=${LAB_VIA:-nsenter}
VIP=10.0.0.100
RS1=10.0.0.11 RS2=10.0.0.12 RS3=10.0.0.13 RS4=10.0.1.11
# Debian's own, in case a slower wrapper comes first in PATH.
PYTHON=${PYTHON:-$([ -x /usr/bin/python3 ] && echo /usr/bin/python3 || command -v python3 || true)}

# --- waiting ---------------------------------------------------------------------------------------

fail() {
    echo "lab: $*" >&2
    exit 1
}

now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

# Prints seconds, perhaps with a fraction, as milliseconds: 3.5 becomes 3500.
milliseconds() {
    local whole=${1%.*} fraction=000
    [[ $1 == *.* ]] && fraction=${1#*.}000
    echo $((10#${whole:-0} * 1000 + 10#${fraction:0:3}))
}

# wait_until SECONDS DESCRIPTION COMMAND...   repeats COMMAND until it succeeds; leaves the time in WAITED_MS.
wait_until() {
    local limit start what=$2
    limit=$(($(milliseconds "$1") * LAB_SLOW)) start=$(now_ms)
    shift 2
    until "$@" >/dev/null 2>&1; do
        WAITED_MS=$(($(now_ms) - start))
        ((WAITED_MS < limit)) || fail "waited $((limit / 1000)) s in vain: $what (LAB_SLOW=$LAB_SLOW multiplies the time; a slow machine needs more)"
        sleep 0.03
    done
    WAITED_MS=$(($(now_ms) - start))
}

not() { ! "$@"; }

# ended PID   whether the process is gone, or a zombie.
ended() { ! grep -qs '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$1/status"; }

# --- namespaces ------------------------------------------------------------------------------------

ns() { echo "$LAB-$1"; }

# in_ns HOST COMMAND...   runs COMMAND by `ip netns exec` or `nsenter --net`, as LAB_VIA names, since operators use
# both. `ip netns exec` also mounts a /sys of that namespace, and so hides bpffs. nsenter changes nothing else.
in_ns() {
    local host=$1
    shift
    case $LAB_VIA in
        netns) ip netns exec "$(ns "$host")" "$@" ;;
        nsenter) nsenter --net="/run/netns/$(ns "$host")" -- "$@" ;;
        *) fail "LAB_VIA is netns or nsenter, not $LAB_VIA" ;;
    esac
}

# spawn HOST LOG COMMAND...   runs COMMAND in the background, and appends its output to LOG. SPAWNED is the pid of
# COMMAND itself, as `ip netns exec` and nsenter exec it.
spawn() {
    local host=$1 log=$2 enter
    shift 2
    enter=(nsenter --net="/run/netns/$(ns "$host")" --)
    [[ $LAB_VIA == netns ]] && enter=(ip netns exec "$(ns "$host")")
    "${enter[@]}" "$@" </dev/null >>"$log" 2>&1 &
    SPAWNED=$!
}

# Mounts bpffs, as systemd does. `ip netns exec` reaches bpffs only if it was mounted before.
mount_bpffs() { mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf; }

lab_up() {
    [ "$(id -u)" = 0 ] || fail "namespaces need root"
    mount_bpffs
    LAB_DIR=$(mktemp -d "${TMPDIR:-/tmp}/$LAB.XXXXXX")
    chmod 755 "$LAB_DIR"
    ip netns add "$(ns switch)"
    quiet_namespace switch
    add_bridge near
    add_host client near 10.0.0.1/24
    add_host director near 10.0.0.2/24
    add_host rs1 near $RS1/24
    add_host rs2 near $RS2/24
    add_host rs3 near $RS3/24
    local host
    for host in director rs1 rs2 rs3; do ip -n "$(ns $host)" route add default via 10.0.0.1; done
    # The client has many addresses. With arp_announce=2, it asks for neighbours with eth0's own address only.
    ip -n "$(ns client)" route add local 10.9.0.0/16 dev lo
    set_sysctl client net.ipv4.conf.all.arp_announce=2
    complete_frames client eth0
    receive_redirected director
}

# Adds the second subnet. The director's NIC in it has no address, so its packets go through the router by default.
lab_up_far() {
    add_bridge far
    add_host router near 10.0.0.254/24
    add_nic router eth1 far
    ip -n "$(ns router)" addr add 10.0.1.254/24 dev eth1
    ip -n "$(ns router)" route add default via 10.0.0.1
    set_sysctl router net.ipv4.ip_forward=1
    add_host rs4 far $RS4/24
    ip -n "$(ns rs4)" route add default via 10.0.1.254
    add_nic director eth1 far
    receive_redirected director-eth1
    ip -n "$(ns director)" route add 10.0.1.0/24 via 10.0.0.254
}

lab_up_director2() {
    add_host director2 near 10.0.0.3/24
    ip -n "$(ns director2)" route add default via 10.0.0.1
    receive_redirected director2
}

# Removes the lab, and does nothing if there is none. All processes in these namespaces were started by this lab.
lab_down() {
    local name host pids
    disown -a
    for name in $(lab_namespaces); do
        pids=$(ip netns pids "$name" 2>/dev/null) || continue
        # shellcheck disable=SC2086 # a list of numbers
        [ -z "$pids" ] || kill -9 $pids 2>/dev/null || true
    done
    # Pins and journals outlive namespaces, so they are removed first.
    for name in $(lab_namespaces); do
        host=${name#"$LAB-"}
        [ -x "$IPVSD" ] || break
        case $host in
            director*) LAB_VIA=nsenter in_ns "$host" timeout 20 "$IPVSD" cleanup ;;
            rs*) LAB_VIA=nsenter in_ns "$host" timeout 20 "$IPVSD" realserver-setup --undo ;;
        esac >/dev/null 2>&1 || true
    done
    for name in $(lab_namespaces); do ip netns del "$name" 2>/dev/null || true; done
    [ -z "${LAB_DIR:-}" ] || rm -rf "$LAB_DIR"
    LAB_DIR=
}

# Has lab_down called at the end of the script, whatever ends it.
lab_trap() {
    trap lab_down EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

lab_namespaces() { ip netns list | awk -v p="$LAB-" 'index($1, p) == 1 { print $1 }'; }

set_sysctl() { nsenter --net="/run/netns/$(ns "$1")" -- sysctl -qw "${@:2}"; }

# Sets the sysctls that a new namespace copies from the machine, as their values differ from system to system.
quiet_namespace() {
    set_sysctl "$1" net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 \
        net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
    ip -n "$(ns "$1")" link set lo up
}

add_bridge() {
    ip -n "$(ns switch)" link add "$1" type bridge stp_state 0 mcast_snooping 0 nf_call_iptables 0
    ip -n "$(ns switch)" link set "$1" up
}

# add_host NAME BRIDGE ADDRESS/LENGTH
add_host() {
    ip netns add "$(ns "$1")"
    quiet_namespace "$1"
    add_nic "$1" eth0 "$2"
    ip -n "$(ns "$1")" addr add "$3" dev eth0
}

# add_nic HOST DEVICE BRIDGE   adds a NIC. Its switch port is called HOST for eth0, and HOST-DEVICE for any other
# DEVICE.
add_nic() {
    local port=$1
    [ "$2" = eth0 ] || port=$1-$2
    ip -n "$(ns switch)" link add "$port" type veth peer name "$2" netns "$(ns "$1")"
    ip -n "$(ns switch)" link set "$port" master "$3" up
    ip -n "$(ns "$1")" link set "$2" up
}

# Switches checksum offload off. A veth leaves checksums to hardware, and an XDP redirect never completes them.
complete_frames() { LAB_VIA=nsenter in_ns "$1" ethtool -K "$2" tx off >/dev/null; }

# Switches GRO on, and so NAPI. A veth takes frames from an XDP redirect only if its peer has NAPI.
receive_redirected() { LAB_VIA=nsenter in_ns switch ethtool -K "$1" gro on >/dev/null; }

# --- HTTP servers ----------------------------------------------------------------------------------

# server_start HOST   starts nginx as one process, so that a kill ends the server. Its paths are:
#   /  the server's name      /big  $LAB_BIG, if set      /upload/NAME  takes a PUT
server_start() {
    local host=$1 dir=$LAB_DIR/$1
    [ -d "$dir" ] || server_configure "$host" "$dir"
    LAB_VIA=nsenter spawn "$host" "$dir/log" nginx -p "$dir" -c nginx.conf -e stderr
    disown "$SPAWNED"
    echo "$SPAWNED" >"$dir/nginx.pid"
    wait_until 10 "nginx on $host" listening "$host" 80
}

server_configure() {
    mkdir -p "$2/tmp" "$2/upload"
    cat >"$2/nginx.conf" <<CONF
user root;
daemon off;
master_process off;
pid nginx.lock;
error_log stderr warn;
events { worker_connections 4096; }
http {
    access_log off;
    sendfile on;
    default_type text/plain;
    keepalive_requests 1000000;
    client_body_temp_path tmp;
    proxy_temp_path tmp;
    fastcgi_temp_path tmp;
    uwsgi_temp_path tmp;
    scgi_temp_path tmp;
    server {
        listen 80 backlog=4096;
        listen 8080 backlog=4096;
        add_header X-Server $1;
        location / { return 200 "$1\n"; }
        location = /big { alias ${LAB_BIG:-/dev/null}; }
        location /upload/ { root $2; dav_methods PUT; client_max_body_size 0; }
    }
}
CONF
}

listening() { LAB_VIA=nsenter in_ns "$1" ss -Hltn "sport = :$2" | grep -q .; }

# server_kill HOST   kills nginx by SIGKILL, as the out-of-memory killer does
server_kill() {
    local pid
    pid=$(<"$LAB_DIR/$1/nginx.pid")
    kill -9 "$pid"
    wait_until 5 "the end of nginx on $1" ended "$pid"
}

# --- HTTP clients ----------------------------------------------------------------------------------

# A line that curl writes after a request: its exit code, the HTTP status, seconds, and the server's name.
CURL_LINE='%{exitcode} %{http_code} %{time_total} %header{x-server}\n'

# fetch COUNT [CURL OPTION...]   makes COUNT requests one after another, each on a connection of its own. It prints one
# line for each, and stops after a failed transfer.
fetch() {
    local count=$1
    shift
    LAB_VIA=nsenter in_ns client curl -s --fail-early -o /dev/null -H 'Connection: close' \
        --max-time $((5 * LAB_SLOW)) -w "$CURL_LINE" "$@" "http://$VIP/?[1-$count]" || true
}

# load_start RATE [SECONDS]   four curls send RATE requests a second in all, for SECONDS (60) or until load_stop. `load`
# prints lines like those of `fetch`, with the time of arrival in front.
load_start() {
    local each=$(($1 / 4)) seconds=${2:-60} i
    : >"$LAB_DIR/load.pids"
    for i in 1 2 3 4; do
        : >"$LAB_DIR/load.$i"
        nsenter --net="/run/netns/$(ns client)" -- stdbuf -oL curl -s -o /dev/null -H 'Connection: close' \
            --max-time $((5 * LAB_SLOW)) -w "$CURL_LINE" --rate "$each/s" "http://$VIP/?[1-$((each * seconds))]" \
            </dev/null 2>/dev/null > >(stamp >>"$LAB_DIR/load.$i") &
        echo $! >>"$LAB_DIR/load.pids"
        disown $!
    done
}

stamp() {
    local line
    while IFS= read -r line; do echo "${EPOCHREALTIME/[.,]/} $line"; done
}

load() { sort -n "$LAB_DIR"/load.[1-4]; }

load_has() { (($(load | wc -l) >= $1)); }

load_stop() {
    local pid
    while read -r pid; do
        kill "$pid" 2>/dev/null || true
        wait_until 10 "the end of curl" ended "$pid"
    done <"$LAB_DIR/load.pids"
}

# Prints only the lines of failed requests among lines of `fetch` or `load`.
failures() { awk '{ s = length($1) > 9; if ($(1 + s) != 0 || $(2 + s) != 200) print }'; }

# Counts lines of `fetch` or `load` by server, and prints "rs1 100" and so on, in the order of names.
served() { awk '$NF ~ /^rs[0-9]+$/ { n[$NF]++ } END { for (s in n) print s, n[s] }' | sort; }

# --- the director ----------------------------------------------------------------------------------

# director_start [FLAG...]   starts the director in the background, and returns once it forwards. Its pid is in
# DIRECTOR_PID.
director_start() {
    director_spawn director "$@"
    DIRECTOR_PID=$SPAWNED
    wait_until 20 "the director to forward" director_ready "$DIRECTOR_PID"
}

# Background jobs of a script ignore SIGINT. env restores the default, as on a terminal.
director_spawn() {
    local host=$1
    shift
    spawn "$host" "$LAB_DIR/$host.log" env --default-signal=INT "$IPVSD" "$@"
}

director_ready() {
    ! ended "$1" || fail "the director ended: $(tail -n 3 "$LAB_DIR/director.log")"
    ipvsd status
}

# ipvsd ARGUMENT...   runs the program in the director's namespace
ipvsd() { in_ns director timeout $((20 * LAB_SLOW)) "$IPVSD" "$@"; }

# director_stop [SIGNAL]   sends SIGNAL (TERM) to the director, waits for its end, and returns its exit code
director_stop() {
    local code=0
    kill "-${1:-TERM}" "$DIRECTOR_PID" 2>/dev/null || true
    wait_until 15 "the director's end" ended "$DIRECTOR_PID"
    wait "$DIRECTOR_PID" 2>/dev/null || code=$?
    DIRECTOR_PID=
    return $code
}

# Kills the director as the out-of-memory killer does, so that it cleans up nothing. The shell's message is dropped.
director_kill() {
    { kill -9 "$DIRECTOR_PID" && wait "$DIRECTOR_PID"; } 2>/dev/null || true
    DIRECTOR_PID=
}

# realservers_setup HOST...   runs realserver-setup on each host, as an operator does
realservers_setup() {
    local host
    for host in "$@"; do
        in_ns "$host" timeout $((20 * LAB_SLOW)) "$IPVSD" realserver-setup --vip $VIP >>"$LAB_DIR/$host.setup" 2>&1 ||
            fail "realserver-setup on $host: $(tail -n 3 "$LAB_DIR/$host.setup")"
    done
}
