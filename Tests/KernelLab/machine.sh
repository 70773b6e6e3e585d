# shellcheck shell=bash
# machine.sh - a machine in a box: systemd is pid 1 of its own pid and mount namespaces, and shares the guest's files.
# The machine has its own network namespace, too, unless MACHINE_NET is empty. Scenarios that define plug_in source it
# after harness.sh.

# The file outlives the lab that a failed test ends.
RUNNING=/run/$(basename "$0" .test.sh).machine
MACHINE_NET=--net

# The changes are gone with the guest. On any other machine they would stay.
[ -n "${KERNEL_LAB:-}" ] || { echo "not ok - $(basename "$0" .test.sh) (to be run by kernel-lab.sh only)"; exit 1; }

# Masks most of the services that Debian starts. The machine needs few of them, and emulation is slow.
few_services() {
    local unit keep=' systemd-journald.service systemd-sysctl.service dbus.service '
    rm -rf /etc/systemd/system/*.wants /etc/systemd/network
    mkdir -p /etc/systemd/network /etc/systemd/system/{multi-user,network-online}.target.wants
    for unit in /lib/systemd/system/{sysinit,multi-user}.target.wants/* systemd-udevd.service; do
        unit=${unit##*/}
        [[ $keep == *" $unit "* ]] || ln -sf /dev/null "/etc/systemd/system/$unit"
    done
}

boot() {
    # shellcheck disable=SC2086 # none, perhaps
    unshare --pid --fork --mount $MACHINE_NET --uts --ipc --cgroup --kill-child bash -c '
        mount --make-rprivate /
        mount -t proc proc /proc
        mount -t sysfs -o ro sysfs /sys
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
        mount -t bpf -o mode=700 bpf /sys/fs/bpf
        mount -t tmpfs -o mode=755 tmpfs /run
        exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd' </dev/null >>"$LAB_DIR/console" 2>&1 &
    BOX=$!
    disown "$BOX"
    wait_until 20 "systemd" is_systemd
    MACHINE=$(init_of "$BOX")
    echo "$BOX $MACHINE" >"$RUNNING"
    plug_in
    wait_until 20 "the end of the boot" booted
    echo "# booted in $((WAITED_MS / 1000)) s, emulated"
}

# The pid of its only child, in the guest's pid namespace.
init_of() { cut -d' ' -f1 "/proc/$1/task/$1/children"; }

is_systemd() { grep -qx systemd "/proc/$(init_of "$BOX")/comm"; }

booted() { m systemctl is-system-running | grep -qE '^(running|degraded)$'; }

# m COMMAND...   on the machine
m() {
    read -r BOX MACHINE <"$RUNNING"
    nsenter --target "$MACHINE" --root --wd --mount --net --pid --uts --ipc --cgroup -- timeout $((10 * LAB_SLOW)) "$@"
}

power_off() {
    read -r BOX MACHINE <"$RUNNING"
    m systemctl poweroff --no-wall >/dev/null 2>&1 || true
    wait_until 20 "the machine's end" ended "$BOX"
    wait_until 5 "its NIC to go" not ip link show wire
    rm "$RUNNING"
}
