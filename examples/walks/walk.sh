# shellcheck shell=bash
# walk.sh - what the walks share: hosts that are network namespaces, commands shown as they are typed there, captures,
# and checks. To be sourced; everything is removed at the end, and the exit code is 0 if all was as expected.
#
#   IPVSD   the program (.build/release/ipvsd of this checkout, else the installed one)

set -euo pipefail
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=IPVSD,LAB,LAB_SLOW "$0" "$@"
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LAB=${LAB:-ipvsd-walk-$$}
# shellcheck source=../../Tests/Lab/lab.sh
source "$HERE/../../Tests/Lab/lab.sh"
[ -x "$IPVSD" ] || IPVSD=$(command -v ipvsd) || fail "no program: build it, or set IPVSD"
PROBLEMS=0

# needs PROGRAM...   or the walk says what is missing
needs() {
    local program missing=()
    for program; do command -v "$program" >/dev/null || missing+=("$program"); done
    ((${#missing[@]} == 0)) || fail "not installed: ${missing[*]} (Debian: nginx-light for nginx)"
}
needs ip ping tcpdump curl nginx

step() { printf '\n==> %s\n' "$*"; }

# hosts NAME...   without a wire yet
hosts() {
    local name
    LAB_DIR=$(mktemp -d "${TMPDIR:-/tmp}/$LAB.XXXXXX")
    for name; do
        ip netns add "$(ns "$name")"
        quiet_namespace "$name"
    done
}

# wire HOST DEVICE ADDRESS/LENGTH HOST DEVICE ADDRESS/LENGTH
wire() {
    ip -n "$(ns "$1")" link add "$2" type veth peer name "$5" netns "$(ns "$4")"
    end "$1" "$2" "$3"
    end "$4" "$5" "$6"
}

end() {
    ip -n "$(ns "$1")" addr add "$3" dev "$2"
    ip -n "$(ns "$1")" link set "$2" up
    printf '    %-9s %s %s\n' "$1" "$2" "$3"
}

# on HOST COMMAND...   runs a command on that host. Its output is shown, and left in OUTPUT. A failure ends the walk.
on() {
    local host=$1 code=0
    shift
    printf '    %-9s # %s\n' "$host" "$*"
    [[ $1 != ipvsd ]] || set -- "$IPVSD" "${@:2}"
    OUTPUT=$(in_ns "$host" timeout $((60 * LAB_SLOW)) "$@" 2>&1 </dev/null) || code=$?
    [ -z "$OUTPUT" ] || indent <<<"$OUTPUT"
    ((code == 0)) || fail "that was not to fail (exit code $code)"
}

# capture HOST DEVICE COUNT FILTER   starts tcpdump in the background. `captured` waits for COUNT packets.
capture() {
    printf '    %-9s # tcpdump -i %s -c %s %s\n' "$1" "$2" "$3" "$4"
    : >"$LAB_DIR/tcpdump"
    LAB_VIA=nsenter spawn "$1" "$LAB_DIR/tcpdump" tcpdump -l -n -v -Z root -i "$2" -c "$3" "$4"
    TCPDUMP=$SPAWNED
    disown "$TCPDUMP"
    wait_until 10 "tcpdump" grep -q 'listening on' "$LAB_DIR/tcpdump"
}

captured() {
    wait_until 10 "the packets on tcpdump" ended "$TCPDUMP"
    OUTPUT=$(grep -v 'listening on\|packets\? \(captured\|received\|dropped\)' "$LAB_DIR/tcpdump")
    indent <<<"$OUTPUT"
}

indent() { sed 's/^/                /'; }

# The number of packets of a capture with an unreachable COUNT. The kernel counts them as they pass the filter, also
# packets that tcpdump has not read yet.
capture_count() {
    kill -INT "$TCPDUMP"
    wait_until 10 "the end of tcpdump" ended "$TCPDUMP"
    sed -n 's/^\([0-9]*\) packets\? received by filter/\1/p' "$LAB_DIR/tcpdump"
}

# expect WHAT COMMAND...
expect() {
    if "${@:2}"; then
        printf '    as expected: %s\n' "$1"
    else
        printf '    UNEXPECTED, not: %s\n' "$1"
        PROBLEMS=$((PROBLEMS + 1))
    fi
}

says() { grep -qE -- "$1" <<<"$OUTPUT"; }

finish() {
    echo
    ((PROBLEMS == 0)) || { echo "$PROBLEMS expectations were not met"; exit 1; }
    echo "all as expected"
}

# Journals outlive namespaces, so the tunnels go first.
walk_end() {
    local name
    for name in $(lab_namespaces); do
        nsenter --net="/run/netns/$name" -- "$IPVSD" tunnel delete --all >/dev/null 2>&1 || true
    done
    lab_down
}
lab_trap
trap walk_end EXIT
