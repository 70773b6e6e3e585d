#!/bin/bash
# Runs each block of README.md and the articles that is marked `sh`, and prints a line `ok - ` or `not ok - ` for each.
#
#   Tests/Documents/blocks.sh [FILE[:LINE]...]     all files without arguments; IPVSD is the program
#
# A comment in front of the block names its environment: `<!-- run: HOST WORD... -->`. HOST is a namespace of the lab.
# There rs1 and rs2 are real servers of 10.0.0.100. Each command must exit with 0. The words are:
#
#   bare        HOST is not set up as a real server.
#   forwarding  a director runs with /etc/ipvsd/ipvsd.yaml.
#   yaml        this file is the last `yaml` block of the article, and not this script's own.
#   traffic     a client sends to the VIP all the time.
#   endless     a command that has printed something and still runs after some seconds has succeeded.
#   events      a real server is down.
#   exit=N,...  the accepted exit codes.
#   needs=NAME  the kernel may lack this (tracing, ipip). A command then has to say so, and later ones may fail.
#
# Each line of a block is one command, as bash runs it. A director starts in the background, and forwards before the
# next command runs. A comment `# prints: TEXT` behind a command names a part of its output.
#
# The namespaces, /run, /etc and bpffs are private to this script.
set -euo pipefail
if [ -z "${IN_PRIVATE_NAMESPACES:-}" ]; then
    IN_PRIVATE_NAMESPACES=1 exec unshare --mount --net --propagation private "$0" "$@"
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../Lab/lab.sh
source "$here/../Lab/lab.sh"
IPVSD=$(realpath "$IPVSD")
PATIENCE=4
declare -A LACKS=([tracing]="does not let the director's program be traced" [ipip]="has no IPIP tunnels")

# --- the machine that the blocks see ---------------------------------------------------------------

private_directories() {
    mount -t tmpfs tmpfs /mnt
    mkdir /mnt/etc /mnt/bin /mnt/blocks
    cp -a /etc/. /mnt/etc/
    mount --bind /mnt/etc /etc
    mount -t tmpfs tmpfs /run
    mkdir -p /run/netns
    mount -t bpf bpf /sys/fs/bpf
    WORK=/mnt/blocks
    ln -s "$IPVSD" /mnt/bin/ipvsd
    # Root needs no sudo. Its assignments are env's.
    printf '#!/bin/sh\nexec env "$@"\n' >/mnt/bin/sudo
    # A kernel without IPVS has no rules to print.
    [ -e /proc/net/ip_vs ] ||
        printf '#!/bin/sh\necho "-A -t %s:80 -s wlc"\necho "-a -t %s:80 -r %s:80 -i -w 1"\n' "$VIP" "$VIP" "$RS1" \
            >/mnt/bin/ipvsadm
    chmod +x /mnt/bin/*
    export PATH=/mnt/bin:$PATH
}

# Files that the blocks name.
files() {
    mkdir -p /etc/ipvsd /etc/keepalived
    cat >/etc/ipvsd/ipvsd.yaml <<YAML
services:
  - {listeners: [$VIP:80], servers: [$RS1, $RS2]}
  - {listeners: [$VIP:443], servers: [$RS1, $RS2], check: none}
  - {listeners: [$VIP:53/udp], servers: [$RS1, $RS2], check: none}
YAML
    [ -z "$YAML" ] || cp "$YAML" /etc/ipvsd/ipvsd.yaml
    cp /etc/ipvsd/ipvsd.yaml "$DIRECTORY"
    echo "$VIP" >/etc/vips
    printf -- '-A -f 1 -s wlc\n-a -f 1 -r %s:0 -i -w 1\n' "$RS1" >"$DIRECTORY/rules"
    cat >/etc/keepalived/keepalived.conf <<CONF
virtual_server $VIP 80 {
    delay_loop 2
    lb_algo wlc
    lb_kind TUN
    protocol TCP
    real_server $RS1 80 {
        TCP_CHECK {
            connect_timeout 1
        }
    }
}
CONF
}

# A client at the address that the articles use, and one at its own.
traffic() {
    ip -n "$(ns client)" addr add 198.51.100.7/32 dev lo
    spawn client /dev/null ping -q -i 0.2 "$VIP"
    TRAFFIC=$SPAWNED
    spawn client /dev/null bash -c "while :; do curl -s --max-time 1 http://$VIP/
        curl -s --max-time 1 --interface 198.51.100.7 http://$VIP:443/; sleep 0.05; done"
    TRAFFIC+=" $SPAWNED"
}

# --- a block ---------------------------------------------------------------------------------------

has() { [[ " $WORDS " == *" $1 "* ]]; }

# environment   the lab of the marker
environment() {
    local host
    # The mtu of large packets and the doctor need both subnets.
    lab_up
    lab_up_far
    DIRECTORY=$LAB_DIR/directory
    mkdir "$DIRECTORY"
    files
    for host in rs1 rs2; do
        if [ "$host" != "$HOST" ] || ! has bare; then realservers_setup "$host"; fi
        server_start "$host"
    done
    if has forwarding; then start "ipvsd --config /etc/ipvsd/ipvsd.yaml" director; fi
    if has traffic; then traffic; fi
    if has events; then
        server_kill rs2
        wait_until 20 "the event of a server" has_event server-down
    fi
}

has_event() { ipvsd events --json | grep -q "\"$1\""; }

serves() { [ "$(ipvsd status --json | jq .pid)" = "$1" ]; }

# start COMMAND HOST   a director in the background
start() {
    local pid
    : >"$LAB_DIR/$2.log"
    (
        cd "$DIRECTORY"
        spawn "$2" "$LAB_DIR/$2.log" env --default-signal=INT bash -c "exec ${1#sudo }"
        echo "$SPAWNED"
    ) >"$LAB_DIR/pid"
    pid=$(<"$LAB_DIR/pid")
    if ! (wait_until 20 "the director" either ended "$pid" -- serves "$pid") || ended "$pid"; then
        fail "$1: $(tail -n 3 "$LAB_DIR/$2.log" | paste -sd'|')"
    fi
    # An instance in a network namespace has directories of its own.
    ln -sf /run/ipvsd/netns-*/* /run/ipvsd/
    ln -sf /sys/fs/bpf/ipvsd/netns-*/* /sys/fs/bpf/ipvsd/
}

# either COMMAND... -- COMMAND...
either() {
    local first=()
    while [ "$1" != -- ]; do first+=("$1"); shift; done
    shift
    "${first[@]}" || "$@"
}

# run COMMAND
run() {
    local code=0 output=$LAB_DIR/output accepted=0 seconds=$((60 * LAB_SLOW))
    [[ " $WORDS " =~ \ exit=([0-9,]+)\  ]] && accepted=${BASH_REMATCH[1]}
    ! has endless || seconds=$((PATIENCE * LAB_SLOW))
    (cd "$DIRECTORY" && LAB_VIA=nsenter in_ns "$HOST" timeout --signal INT --kill-after 5 $seconds bash -c "$1") \
        </dev/null >"$output" 2>&1 || code=$?
    if [[ " $WORDS " =~ \ needs=([a-z]+)\  ]] && grep -qF -- "${LACKS[${BASH_REMATCH[1]}]}" "$output"; then
        LACKING=${BASH_REMATCH[1]}
        echo "#     this kernel lacks $LACKING: $1"
    elif [ -n "$LACKING" ]; then
        # It follows from an earlier refusal.
        echo "#     exit code $code: $1"
    elif has endless && [ $code = 124 ]; then
        [ -s "$output" ] || fail "$1: no output in $seconds s"
    elif [[ ",$accepted," != *",$code,"* ]]; then
        fail "$1: exit code $code: $(tail -n 3 "$output" | paste -sd'|')"
    fi
    if [[ $1 =~ \#\ prints:\ (.*) ]]; then
        grep -qF -- "${BASH_REMATCH[1]}" "$output" ||
            fail "$1: prints $(tail -n 3 "$output" | paste -sd'|')"
    fi
}

# block FILE   in a subshell, and with a lab of its own
block() {
    local line LACKING=
    lab_trap
    environment
    while IFS= read -r line; do
        case $line in
            '' | '#'*) ;;
            'ipvsd -'* | 'sudo ipvsd -'*) start "$line" "$HOST" ;;
            *) run "$line" ;;
        esac
    done < <(sed -e ':a' -e '/\\$/N; s/\\\n *//; ta' "$1")
}

# --- all blocks --------------------------------------------------------------------------------------

# blocks FILE   makes a file of each block, and prints "LINE FILE YAML MARKER" for each that is marked `sh`
blocks() {
    awk -v into="$WORK/$(basename "$1" .md)" '
        /^ *```/ && block { block = ""; next }
        /^ *```/ {
            kind = $0; sub(/^ *```/, "", kind)
            block = into "." NR "." kind
            if (kind == "yaml") yaml = block
            if (kind == "sh") print NR, block, (yaml ? yaml : "-"), marker
            marker = ""
            next
        }
        block { print >block; next }
        match($0, /<!-- run: .* -->/) { marker = substr($0, RSTART + 10, RLENGTH - 14) }
        NF && !/<!-- run:/ { marker = "" }' "$1"
}

main() {
    local file only line block yaml marker name failed=0 all=("$@")
    [ "$(id -u)" = 0 ] || fail "namespaces need root"
    private_directories
    cd "$ROOT"
    [ $# -gt 0 ] || all=(README.md Sources/ipvsd/ipvsd.docc/*.md)
    for file in "${all[@]}"; do
        only=${file#*:}
        file=${file%%:*}
        while read -r line block yaml marker; do
            name=$file:$line
            [[ $only == "$file" || $only == "$line" ]] || continue
            if [ -z "$marker" ]; then
                echo "not ok - $name: no comment names the environment of this block"
                failed=1
                continue
            fi
            HOST=${marker%% *} WORDS=${marker#"$HOST"} YAML=
            ! has yaml || YAML=$yaml
            # A function in a condition would not end at its first error.
            set +e
            (set -e; block "$block") 2>"$WORK/errors"
            code=$?
            set -e
            if [ $code = 0 ]; then
                echo "ok - $name: $(grep -m 1 . "$block")"
            else
                echo "not ok - $name ($(tail -n 5 "$WORK/errors" | paste -sd'|'))"
                failed=1
            fi
        done < <(blocks "$file")
    done
    return $failed
}

main "$@"
