#!/bin/bash
# quickstart.sh - ipvsd from a checkout to a failover, on one machine, in network namespaces of its own.
#
#   sudo examples/quickstart.sh
#
# It needs Debian 12 or newer and a Swift toolchain. It installs the Debian packages that are missing, builds the
# program, and leaves nothing running. With exit code 0, all three real servers answered alike, and the director took
# the killed one out in time.
#
#   IPVSD:      a program that is built already
#   LAB_SLOW:   multiplies every time-out   (1)
set -euo pipefail
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=SWIFT,IPVSD,LAB_SLOW "$0" "$@"
GIVEN_IPVSD=${IPVSD:-}
# shellcheck source=../Tests/Lab/lab.sh
source "$(dirname "${BASH_SOURCE[0]}")/../Tests/Lab/lab.sh"
# shellcheck source=../Sources/ipvsd/Packaging/build.sh
source "$ROOT/Sources/ipvsd/Packaging/build.sh"

REQUESTS=3000
PROBLEMS=0

step() { printf '\n%s==> %s%s\n' "$BOLD" "$*" "$PLAIN"; }

# Shows a command as an operator types it on that host.
typed() { printf '    %s%-9s%s $ %s\n' "$BOLD" "$1" "$PLAIN" "$2"; }

fail() {
    progress_end
    echo "quickstart: $*" >&2
    [ ! -e "${LAB_DIR:-}/director.log" ] || sed 's/^/    /' "$LAB_DIR/director.log" >&2
    exit 1
}

problem() {
    echo "    UNEXPECTED: $*"
    PROBLEMS=$((PROBLEMS + 1))
}

expect() { # DESCRIPTION COMMAND...
    "${@:2}" || problem "$1"
}

# A line that replaces itself on a terminal. A log gets the results only.
progress() {
    local text="    $*"
    [ ! -t 1 ] || printf '\r\033[K%s' "${text:0:$((${COLUMNS:-80} - 1))}"
}
progress_end() { [ ! -t 1 ] || printf '\r\033[K'; }

colours() {
    BOLD='' PLAIN=''
    [ ! -t 1 ] || BOLD=$'\033[1m' PLAIN=$'\033[m'
}

build() {
    [ -z "$GIVEN_IPVSD" ] || return 0
    find_swift
    step "building (the first time takes some minutes)"
    local log code=0 began=$SECONDS
    log=$(mktemp)
    swift_build 2>&1 | tee "$log" | show_build || code=$?
    progress_end
    if ((code != 0)); then
        { grep -E '(^| )error: ' "$log" || tail -n 20 "$log"; } | sed 's/^/    /' >&2
        echo "quickstart: the build failed after $((SECONDS - began)) s; its log is $log" >&2
        exit 1
    fi
    rm -f "$log"
    printf '    built in %d s\n' $((SECONDS - began))
    BEGAN=$(now_ms)
}

# Shows SwiftPM's output on stdin as one line: the present step, and the seconds since the beginning. The line moves
# each second on a terminal. A log gets a line for each step of the build, and one in 30 s while it compiles.
show_build() {
    local line code name now='resolving dependencies' logged='' next=0 began=$SECONDS
    while true; do
        code=0
        IFS= read -r -t 1 line || code=$?
        # Above 128 there was no line for a second, otherwise the output has ended.
        ((code == 0 || code > 128)) || break
        case $code$line in
            "0Fetching "*)
                name=${line##*/}
                now="fetching ${name%.git*}"
                ;;
            "0Building for "*) now="planning the build" ;;
            "0["*/*"] "*) now=${line,} ;;
        esac
        if [ -t 1 ]; then
            progress "$((SECONDS - began)) s  $now"
        elif [[ $now != "$logged" && ($now != "["* || $SECONDS -ge $next) ]]; then
            printf '    %4d s  %s\n' $((SECONDS - began)) "$now"
            logged=$now
            [[ $now != "["* ]] || next=$((SECONDS + 30))
        fi
    done
}

start_everything() {
    step "a switch, a client 10.0.0.1, a director 10.0.0.2, three real servers 10.0.0.11 to .13"
    lab_up
    local host
    typed "rs1,2,3" "ipvsd realserver-setup --vip $VIP"
    realservers_setup rs1 rs2 rs3
    for host in rs1 rs2 rs3; do server_start $host; done
    typed director "ipvsd --vip $VIP --backends $RS1,$RS2,$RS3"
    director_start --vip $VIP --backends $RS1,$RS2,$RS3
}

# The numbers of answered requests by server, and of failed ones, of the lines on stdin.
table() {
    local lines failed
    lines=$(cat)
    served <<<"$lines" | while read -r server count; do printf '    %-8s %6d requests\n' "$server" "$count"; done
    failed=$(failures <<<"$lines" | wc -l)
    printf '    %-8s %6d of %d\n' failed "$failed" "$(wc -l <<<"$lines")"
}

distribute() {
    step "$REQUESTS requests, 16 at a time, each on a new connection"
    typed client "curl --parallel http://$VIP/"
    local lines server count
    lines=$(in_ns client curl -s -Z --parallel-max 16 -o /dev/null -H 'Connection: close' --max-time 5 \
        -w "$CURL_LINE" "http://$VIP/?[1-$REQUESTS]" 2>/dev/null) || true
    table <<<"$lines"
    expect "requests failed" test -z "$(failures <<<"$lines")"
    for server in rs1 rs2 rs3; do
        count=$(grep -c "$server\$" <<<"$lines" || true)
        expect "$server served $count of $REQUESTS" test "$count" -gt $((REQUESTS / 4)) -a "$count" -lt $((REQUESTS * 5 / 12))
    done
}

load_count() { cat "$LAB_DIR"/load.[1-4] | wc -l; }

watch_load() { # COUNT
    local limit=$((SECONDS + 20))
    while (($(load_count) < $1 && SECONDS < limit)); do
        progress "$(load_count) requests, $(load | failures | wc -l) failed"
        sleep 0.1
    done
    progress_end
}

rs2_is() { ipvsd status --json | tr -d ' \n' | grep -q "\"address\":\"$RS2\"[^}]*\"health\":\"$1\"\|\"health\":\"$1\"[^}]*\"address\":\"$RS2\""; }

fail_over() {
    local killed out lines
    step "100 requests a second; rs2's web server is killed in the middle"
    typed client "curl --rate 100/s http://$VIP/"
    load_start 100
    watch_load 250
    typed rs2 "kill -9 \$(pidof nginx)"
    server_kill rs2
    killed=$(now_ms)
    wait_until 10 "the director to take rs2 out" rs2_is down
    out=$(($(now_ms) - killed))
    watch_load $(($(load_count) + 250))
    load_stop
    lines=$(load)
    table <<<"$lines"
    printf '    %-8s %6d ms after the kill\n' "rs2 out" "$out"
    printf '    %-8s %6d ms\n' slowest "$(awk '$(NF - 1) > m { m = $(NF - 1) } END { printf "%d", m * 1000 }' <<<"$(awk 'NF == 5' <<<"$lines")")"
    expect "rs2 was still in after 3.5 s" test "$out" -le 3500
    expect "requests failed after rs2 was out" test -z "$(failures <<<"$lines" | awk -v t=$((killed + out)) '$1 / 1000 > t + 50')"
    expect "more requests failed than went to rs2" test "$(failures <<<"$lines" | wc -l)" -le 130
}

bring_back() {
    local lines
    step "rs2's web server is started again"
    typed rs2 nginx
    server_start rs2
    wait_until 15 "rs2 to be back" rs2_is up
    printf '    %-8s %6d ms after its start\n' "rs2 in" "$WAITED_MS"
    lines=$(fetch 300)
    table <<<"$lines"
    expect "requests failed" test -z "$(failures <<<"$lines")"
    expect "rs2 does not serve" grep -q 'rs2$' <<<"$lines"
}

finish() {
    step "the director's status and log"
    typed director "ipvsd status"
    ipvsd status | sed 's/^/    /'
    typed director "kill \$(pidof ipvsd)"
    director_stop || problem "the director's exit code $?"
    tail -n 2 "$LAB_DIR/director.log" | sed 's/^/    /'
}

main() {
    colours
    packages "${BUILD_PACKAGES[@]}" "${LAB_PACKAGES[@]}"
    build
    lab_trap
    start_everything
    distribute
    fail_over
    bring_back
    finish
    echo
    ((PROBLEMS == 0)) || { echo "$PROBLEMS expectations were not met"; exit 1; }
    echo "all as expected, in $(((($(now_ms) - BEGAN) + 500) / 1000)) s; all cleaned up"
}

BEGAN=$(now_ms)
main
