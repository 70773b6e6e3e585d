#!/bin/bash
# A bpffs that only one mount namespace has: the daemon that was started from there keeps it, and a removal that cannot
# see it fails.
source "$(dirname "$0")/harness.sh"
LAB_VIA=nsenter

# The lab has no real servers, as nothing is forwarded here.
scenario_up() { lab_up; }

# elsewhere COMMANDS   runs them in a process namespace whose pid 1 has no bpffs. In COMMANDS, `start` has a shell start
# the daemon. SHELL_PID is that shell, in a mount namespace with a bpffs. `director` runs a command in the director's
# network.
elsewhere() {
    local commands=$1 code=0
    IPVSD=$IPVSD NETNS=/run/netns/$(ns director) LOG=$LAB_DIR/director.log FLAGS="--vip $VIP --backends $RS1 --check none" \
        PINS=$(pin_directory) timeout $((60 * LAB_SLOW)) unshare --mount --pid --fork --kill-child --mount-proc \
        bash -euc "$ELSEWHERE$commands" >"$LAB_DIR/elsewhere" 2>&1 || code=$?
    ((code == 0)) || fail "$(tail -n 5 "$LAB_DIR/elsewhere")"
}

# shellcheck disable=SC2016 # for the shell that runs it
ELSEWHERE='
export IPVSD NETNS LOG FLAGS
while umount -l /sys/fs/bpf 2>/dev/null; do :; done
director() { nsenter --net="$NETNS" -- "$@"; }
is_attached() { director ip link show dev eth0 | grep -q "prog/xdp"; }
within() {
    local i
    for ((i = 0; i < 200; i++)); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done
    echo "not within 20 s: $*"
    exit 1
}
start() {
    unshare --mount bash -c "
        mount -t bpf bpf /sys/fs/bpf
        unshare --mount bash -c \"umount /sys/fs/bpf; exec nsenter --net=\$NETNS \$IPVSD \$FLAGS\" >>\$LOG 2>&1 &
        wait; exec sleep infinity" &
    SHELL_PID=$!
    disown $SHELL_PID
    within director "$IPVSD" status
    DAEMON=$(pgrep -P $SHELL_PID)
    is_attached
    exec {BPFFS}</proc/$SHELL_PID/root/sys/fs/bpf
    [ -e "/proc/self/fd/$BPFFS/${PINS#/sys/fs/bpf/}/director" ]
}
'

# shellcheck disable=SC2016 # for the shell that runs it
test_a_daemon_keeps_its_bpffs_when_its_shell_is_killed() {
    local before
    before=$(machine_state director)
    elsewhere '
        start
        kill -9 $SHELL_PID
        within grep -qx "PPid:.1" /proc/$DAEMON/status
        director "$IPVSD" stop
        ! is_attached || { echo "the packet program is still attached"; exit 1; }
        left=$(ls "/proc/self/fd/$BPFFS/" | grep ipvsd || true)
        [ -z "$left" ] || { echo "left on bpffs: $left"; exit 1; }'
    matches "$(director_log)" "removed everything" "the log"
    same_state "$before" "$(machine_state director)"
}

# shellcheck disable=SC2016 # for the shell that runs it
test_a_cleanup_that_cannot_see_the_attachment_fails() {
    local before
    before=$(machine_state director)
    elsewhere '
        start
        kill -9 $DAEMON
        within test ! -e /proc/$DAEMON
        code=0
        director "$IPVSD" cleanup || code=$?
        [ $code = 71 ] || { echo "cleanup: exit code $code, expected 71"; exit 1; }
        is_attached
        nsenter --mount=/proc/$SHELL_PID/ns/mnt -- nsenter --net="$NETNS" -- "$IPVSD" cleanup
        ! is_attached || { echo "the packet program is still attached"; exit 1; }'
    matches "$(<"$LAB_DIR/elsewhere")" "bpffs that is not visible from this mount namespace" "cleanup"
    same_state "$before" "$(machine_state director)"
}

run_tests
