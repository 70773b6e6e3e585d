# shellcheck shell=bash
# harness.sh - the base of every *.test.sh: named tests, assertions, and a lab in which they run.
#
# A scenario file defines `test_NAME` functions and ends with `run_tests`. They run in the order of the file, each in a
# subshell under `set -e`, all in one lab. After a failure the lab is made anew, so that one fault is reported once.
# `scenario_up`, where a file defines it, prepares the lab. A `todo` line names a test of a known fault. Its failure is
# expected, and its success fails the run.

set -euo pipefail
TESTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../Lab/lab.sh
source "$TESTS/../Lab/lab.sh"

# --- assertions: the first failure ends the test, and gives the reason -------------------------------

fail() {
    echo "$*" >"${REASON:-/dev/stderr}"
    exit 1
}

# equal ACTUAL EXPECTED WHAT
equal() { [[ $1 == "$2" ]] || fail "$3: $1, expected $2"; }

# matches TEXT REGEX WHAT   regardless of case
matches() { grep -qiE -- "$2" <<<"$1" || fail "$3: '${1:0:600}' does not match /$2/"; }

# between ACTUAL LOW HIGH WHAT
between() {
    if ! [[ $1 =~ ^[0-9]+$ ]] || (($1 < $2 || $1 > $3)); then fail "$4: $1, expected $2 to $3"; fi
}

# holds SECONDS WHAT COMMAND...   repeats COMMAND for that time, and fails at its first failure. The caller gives the
# reason for the time.
holds() {
    local end what=$2
    end=$(($(now_ms) + $(milliseconds "$1") * LAB_SLOW))
    shift 2
    while (($(now_ms) < end)); do
        "$@" >/dev/null 2>&1 || fail "no longer: $what"
        sleep 0.1
    done
}

# exits CODE COMMAND...   expects that exit code of COMMAND. Its stdout and stderr are left in OUTPUT.
exits() {
    local expected=$1 code=0
    shift
    OUTPUT=$("$@" 2>&1 </dev/null) || code=$?
    [[ $code == "$expected" ]] || fail "exit code $code, expected $expected: $* says: ${OUTPUT:0:600}"
}

# no_failures WHAT   expects lines of `fetch` or `load` on stdin, and none of a failed request
no_failures() {
    local lines bad
    lines=$(cat)
    [[ -n $lines ]] || fail "$1: no request was made"
    bad=$(failures <<<"$lines" | wc -l)
    ((bad == 0)) || fail "$1: $bad of $(wc -l <<<"$lines") requests failed, as in: $(failures <<<"$lines" | sed -n 1p)"
}

# same_state BEFORE AFTER
same_state() {
    local change
    change=$(diff <(echo "$1") <(echo "$2") | grep '^[<>]' || true)
    [[ -z $change ]] || fail "left in the machine: $(head -n 12 <<<"$change" | paste -sd'|')"
}

# --- the machine's state ----------------------------------------------------------------------------

# machine_state HOST   prints everything that a program could leave behind in that namespace, to be compared. Neighbours
# are left out, as the kernel changes them by itself.
machine_state() {
    LAB_VIA=nsenter in_ns "$1" bash -c "$MACHINE_STATE" 2>/dev/null
}

# director_instance   prints the name of the director's directories in /run/ipvsd and on bpffs. The name has the
# SO_NETNS_COOKIE (71) of the director's namespace.
director_instance() { echo "netns-$(in_ns director "$PYTHON" -c "$NETNS_COOKIE")"; }
NETNS_COOKIE='import socket, sys
print(int.from_bytes(socket.socket().getsockopt(socket.SOL_SOCKET, 71, 8), sys.byteorder))'

run_directory() { echo "/run/ipvsd/$(director_instance)"; }
pin_directory() { echo "/sys/fs/bpf/ipvsd/$(director_instance)"; }

# One shell inside the namespace runs all of this, as an emulated machine takes long to start programs.
# shellcheck disable=SC2016 # The inner shell expands it.
MACHINE_STATE='
ip -o -d link show | sed "s/ qlen [0-9]*//; s/state [A-Z]*//" | sort
ip -o addr show | sed "s/valid_lft.*//" | sort
ip rule show
ip route show table all | sort
nft list ruleset
for device in $(ip -o link show | sed "s/^[0-9]*: \([^:@]*\).*/\1/" | sort); do
    tc qdisc show dev $device
    tc filter show dev $device ingress
    tc filter show dev $device egress
    ethtool -k $device | sed "s/^/$device /"
done
sysctl -a -r "^net\.ipv4\.(conf|neigh|ip_forward|route|tcp)"
cookie=$('"$PYTHON"' -c "'"$NETNS_COOKIE"'")
find /sys/fs/bpf/ipvsd/netns-$cookie /run/ipvsd/netns-$cookie | sort
true'

# other_xdp_program HOST INTERFACE   attaches an XDP program that passes all packets
other_xdp_program() {
    local object=$LAB_DIR/pass.o clang
    clang=$(command -v clang || ls /opt/swift/usr/bin/clang 2>/dev/null) || fail "no clang"
    echo '__attribute__((section("xdp"), used)) int pass(void *context) { return 2; }
          __attribute__((section("license"), used)) char _license[] = "GPL";' |
        "$clang" -target bpf -O2 -g -x c -c -o "$object" -
    ip -n "$(ns "$1")" link set dev "$2" xdp obj "$object" sec xdp
}

# --- the director's log and status ------------------------------------------------------------------

director_log() { cat "$LAB_DIR/director.log"; }

# server_status ADDRESS FIELD   prints a field of the real server, from the first service that has it
server_status() {
    ipvsd status --json | jq -r --arg a "$1" "[.services[].servers[] | select(.address == \$a)][0].$2"
}

healthy() { [[ $(server_status "$1" health) == up ]]; }

unhealthy() { [[ $(server_status "$1" health) == down ]]; }

# --- long downloads and held connections -------------------------------------------------------------

# Makes the file that is downloaded: the same bytes everywhere, made once a run.
big_file() {
    # run.sh gives a place that outlives one scenario.
    [ -n "${LAB_BIG:-}" ] || OWN_BIG=${TMPDIR:-/tmp}/$LAB.big
    LAB_BIG=${LAB_BIG:-$OWN_BIG}
    LAB_BIG_BYTES=${LAB_BIG_BYTES:-104857600}
    export LAB_BIG LAB_BIG_BYTES
    # The file gets its name once it is whole, as scenarios run side by side.
    [ -e "$LAB_BIG" ] || "$PYTHON" -c 'import os, random, sys
random.seed(2003)
part = f"{sys.argv[1]}.{os.getpid()}"
open(part, "wb").write(random.randbytes(int(sys.argv[2])))
os.rename(part, sys.argv[1])' "$LAB_BIG" "$LAB_BIG_BYTES"
    BIG_SHA256=$(sha256sum <"$LAB_BIG")
    [[ $LAB_BIG_BYTES != 104857600 ]] || equal "${BIG_SHA256%% *}" "$BIG_100M_SHA256" "sha256 of the generated file"
}
BIG_100M_SHA256=a0278cc2d1f54a3a8fde4a2d63e72bc0c05351b9f1e00c52219f161afc60a7f4

# download_start NAME [CURL OPTION...]   starts a download of /big in the background
download_start() {
    local name=$1
    shift
    rm -f "$LAB_DIR/$name".*
    nsenter --net="/run/netns/$(ns client)" -- curl -sN --max-time $((60 * LAB_SLOW)) -D "$LAB_DIR/$name.head" "$@" \
        "http://$VIP/big" </dev/null 2>/dev/null > >(sha256sum >"$LAB_DIR/$name.sum.part" &&
            mv "$LAB_DIR/$name.sum.part" "$LAB_DIR/$name.sum") &
    echo $! >"$LAB_DIR/$name.pid"
    disown $!
    wait_until 5 "download $name to begin" grep -qi '^x-server' "$LAB_DIR/$name.head"
}

download_server() { sed -n 's/^x-server: *\([a-z0-9]*\).*/\1/Ip' "$LAB_DIR/$1.head"; }

# download_correct NAME   waits for the end of the download, and compares its checksum
download_correct() {
    wait_until 40 "the end of download $1" test -e "$LAB_DIR/$1.sum"
    equal "$(<"$LAB_DIR/$1.sum")" "$BIG_SHA256" "sha256 of download $1 from $(download_server "$1")"
}

# hold FIRST LAST   opens connections one after another. A slow download keeps each of them in use.
hold() {
    local i
    for ((i = $1; i <= $2; i++)); do download_start "hold$i" --limit-rate 1k; done
}

# held   prints "rs1 3" and so on, for the connections that are held now
held() {
    local head
    for head in "$LAB_DIR"/hold*.head; do
        head=${head##*/}
        download_server "${head%.head}"
    done | sort | uniq -c | awk '{ print $2, $1 }'
}

# release SERVER   ends the connections that are held to SERVER, or all of them for "all"
release() {
    local file name
    for file in "$LAB_DIR"/hold*.pid; do
        [ -e "$file" ] || continue
        name=${file##*/} name=${name%.pid}
        [[ $1 == all || $(download_server "$name") == "$1" ]] || continue
        kill "$(<"$file")" 2>/dev/null || true
        wait_until 5 "the end of $name" ended "$(<"$file")"
        rm -f "$LAB_DIR/$name".*
    done
}

# watch_packet HOST DEVICE FILTER   starts tcpdump for one packet. Its line is then in $LAB_DIR/tcpdump.
watch_packet() {
    : >"$LAB_DIR/tcpdump"
    LAB_VIA=nsenter spawn "$1" "$LAB_DIR/tcpdump" tcpdump -l -n -v -Z root -c 1 -i "$2" "$3"
    disown "$SPAWNED"
    wait_until 10 "tcpdump" grep -q "listening on" "$LAB_DIR/tcpdump"
    TCPDUMP=$SPAWNED
}

watched() { wait_until 5 "a packet on tcpdump" ended "$TCPDUMP"; cat "$LAB_DIR/tcpdump"; }

# --- running -----------------------------------------------------------------------------------------

# The usual lab: three real servers with HTTP servers. A scenario file may define its own.
scenario_up() {
    lab_up
    usual_servers
}

usual_servers() {
    realservers_setup rs1 rs2 rs3
    local host
    for host in rs1 rs2 rs3; do server_start $host; done
}

# todo TEST WHY REGEX   expects the function TEST to fail for WHY, a known fault, with a reason that matches REGEX
declare -A KNOWN_FAULTS=() KNOWN_REASONS=()
todo() { KNOWN_FAULTS[$1]=$2 KNOWN_REASONS[$1]=$3; }

run_tests() {
    local name failed=0
    for name in "${!KNOWN_FAULTS[@]}"; do
        declare -F "$name" >/dev/null || { echo "not ok - todo $name (there is no such test)"; failed=1; }
    done
    [ -x "$IPVSD" ] || { echo "not ok - $(basename "$0") (no program at $IPVSD)"; exit 1; }
    lab_trap
    trap 'lab_down; rm -f "${OWN_BIG:-}"' EXIT
    big_file
    lab_begin
    # The list is read before the first test, as tests may read standard input.
    local tests=()
    mapfile -t tests < <(grep -o '^test_[A-Za-z0-9_]*' "$0")
    for name in "${tests[@]}"; do
        [[ $name =~ ${ONLY:-.} ]] || continue
        run_test "$name" || {
            # Code 2 means a known fault.
            [ $? = 2 ] || failed=1
            lab_down
            lab_begin
        }
        [ ! -e "$LAB_DIR/mended" ] || { failed=1; rm -f "$LAB_DIR/mended"; }
    done
    exit $failed
}

# Sets up the lab. A lab that cannot be set up is reported once, as the failure of every test in the file.
lab_begin() {
    REASON=$(mktemp)
    if ! (set -e; trap - EXIT; LAB_DIR=; lab_begin_checked) 2>"$REASON.stderr"; then
        echo "not ok - $(basename "$0" .test.sh): the lab ($(cat "$REASON" "$REASON.stderr" | head -c 800))"
        rm -f "$REASON" "$REASON.stderr"
        exit 1
    fi
    LAB_DIR=$(<"$REASON.dir")
    rm -f "$REASON" "$REASON".*
}

lab_begin_checked() {
    scenario_up
    echo "$LAB_DIR" >"$REASON.dir"
}

run_test() {
    local title start code=0
    title=${1#test_} title=${title//_/ } start=$(now_ms)
    REASON=$LAB_DIR/reason
    : >"$REASON"
    : >"$LAB_DIR/director.log"
    set +e
    (
        set -eE
        trap - EXIT INT TERM HUP
        trap 'code=$?; [ -s "$REASON" ] || echo "line $LINENO: $BASH_COMMAND: exit code $code" >"$REASON"' ERR
        "$1"
        director_gone
    )
    code=$?
    set -e
    if ((code == 0)) && [ -n "${KNOWN_FAULTS[$1]:-}" ]; then
        echo "not ok - $title (the known fault is mended: remove its todo line)"
        touch "$LAB_DIR/mended"
        return 0
    elif ((code == 0)); then
        echo "ok - $title # $(($(now_ms) - start)) ms"
        return 0
    elif [ -n "${KNOWN_FAULTS[$1]:-}" ] && grep -qE -- "${KNOWN_REASONS[$1]}" "$REASON"; then
        echo "todo - $title (${KNOWN_FAULTS[$1]}: $(head -c 300 "$REASON"))"
        return 2
    elif [ -n "${KNOWN_FAULTS[$1]:-}" ]; then
        echo "not ok - $title (not the known fault, /${KNOWN_REASONS[$1]}/: $(head -c 1500 "$REASON"))"
    else
        echo "not ok - $title ($(head -c 1500 "$REASON"))"
    fi
    explain
    return 1
}

# Ends the director that a test left running. A test undoes its drains itself, as they outlive the director.
director_gone() {
    release all
    [[ -z ${DIRECTOR_PID:-} ]] || director_stop
    # Finding the instance takes long on an emulated machine.
    if compgen -G '/run/ipvsd/netns-*/overrides.json' >/dev/null && [ -e "$(run_directory)/overrides.json" ]; then
        fail "a drain is left: $(tr -d ' \n' <"$(run_directory)/overrides.json")"
    fi
}

# Prints the director's state after a failure, before the lab is torn down.
explain() {
    local LAB_VIA=nsenter
    echo "  --- the director's log"
    tail -n 40 "$LAB_DIR/director.log" | sed 's/^/  /'
    echo "  --- ipvsd status"
    ipvsd status 2>&1 | sed 's/^/  /' || true
    echo "  --- links of the director"
    ip -n "$(ns director)" -o link show 2>&1 | sed 's/^/  /' || true
}
