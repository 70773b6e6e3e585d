#!/bin/bash
# kernel-lab.sh - runs a command as root under Debian's own kernel in QEMU. That kernel has ip_vs, ipip, dummy, netem,
# fou, gre, XDP and BTF. This machine's root file system is visible inside.
#
#   kernel-lab.sh SCRIPT [ARGUMENT...]        runs a script of this machine with bash.
#   kernel-lab.sh -- COMMAND [ARGUMENT...]    runs a command.
#
# The guest's / is an overlay of a tmpfs over this machine's read-only /. So every program of this machine runs inside,
# and may write everywhere. Every change is gone afterwards, except below $GUEST_RW. Standard output and standard error
# come out as one stream. The exit code is the command's. 124 means that the command ran past GUEST_TIMEOUT. 125 means
# that the guest died or never started.
#
#   GUEST_CACHE:    the directory of packages, kernel and initramfs    (~/.cache/ipvsd-kernel-lab)
#   GUEST_RW:       a directory that is shared for writing, same path  (none)
#   GUEST_TIMEOUT:  seconds before the guest is killed                 (300)
#   GUEST_CPUS, GUEST_MEMORY:   its size                               (2, 2G)
#   GUEST_ACCEL:    qemu -accel                                        (tcg,thread=multi)
#   GUEST_CPU:      qemu -cpu                                          (max,la57=off,erms=off,fsrm=off)
#   GUEST_ICOUNT:   with 1, the guest has one CPU whose clock advances 1 ns an executed instruction.
#                   "ns per packet" inside then means instructions per packet.
#   GUEST_APPEND:   more kernel parameters                             (mitigations=off)
#   GUEST_QEMU:     more arguments for qemu, words                     (none)
#   GUEST_CONSOLE:  file for the kernel's console log                  (its end goes to stderr on failure)
#   GUEST_KERNEL:   Debian package of the kernel, e.g. linux-image-6.1.0-56-amd64   (the current one).
#                   The -cloud- flavour has no 9p.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

die() {
    echo "kernel-lab: $*" >&2
    exit 125
}

usage() {
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
    exit 125
}

# --- programs and kernel: once -----------------------------------------------------------------------

install_programs() {
    local pair missing=()
    for pair in qemu-system-x86_64=qemu-system-x86 depmod=kmod cpio=cpio xz=xz-utils busybox=busybox-static; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    ((${#missing[@]})) || return 0
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends \
        "${missing[@]}" >"$cache/apt.log" 2>&1 || die "apt: see $cache/apt.log"
}

# Unpacks Debian's kernel in the cache, without installing it, and makes an initramfs that ends in this machine's /.
prepare_kernel() {
    local package release
    package=${GUEST_KERNEL:-$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9]\S*\)$/\1/p' | head -1)}
    [ -n "$package" ] || die "apt knows no linux-image-amd64: run apt-get update"
    rm -rf "$cache/root" "$cache/initrd"
    mkdir -p "$cache/root"
    (cd "$cache" && { ls "${package}"_*.deb || apt-get -qq download "$package"; }) >"$cache/apt.log" 2>&1 ||
        die "apt: see $cache/apt.log"
    dpkg-deb -x "$(find "$cache" -maxdepth 1 -name "${package}_*.deb" | sort | tail -1)" "$cache/root"
    release=${package#linux-image-} release=${release%-unsigned}
    depmod -b "$cache/root" "$release"
    make_initramfs "$release"
    extract_kernel "$cache/root/boot/vmlinuz-$release"
    version >"$cache/ready"
}

# The version of this script. Another version prepares the kernel anew.
version() { cksum <"${BASH_SOURCE[0]}"; }

# busybox, and the modules up to virtio, 9p and overlayfs in the order of loading.
make_initramfs() {
    local initrd=$cache/initrd module
    mkdir -p "$initrd"/{bin,m,proc,sys,dev,lower,up,new}
    cp "$(command -v busybox)" "$initrd/bin/busybox"
    for module in virtio_pci virtio_console 9pnet_virtio 9p overlay; do
        modprobe -d "$cache/root" -S "$1" --show-depends "$module"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r module; do
        cp "$module" "$initrd/m/"
        echo "/m/${module##*/}"
    done >"$initrd/m/order"
    guest_init | sed "s|@MODULES@|$cache/root/lib/modules/$1|" >"$initrd/init"
    chmod +x "$initrd/init"
    (cd "$initrd" && find . | cpio -o -H newc --quiet) >"$cache/initrd.cpio" # plain, so that another may follow it
}

# The plain ELF image starts by PVH and spares the guest decoding xz: 3 s of emulation.
extract_kernel() {
    local offset
    offset=$(grep -abom1 $'\xfd7zXZ' "$1" | cut -d: -f1)
    xz -dc --single-stream < <(tail -c "+$((offset + 1))" "$1") >"$cache/vmlinux"
}

guest_init() {
    cat <<'INIT'
#!/bin/busybox sh
# The guest's pid 1.
/bin/busybox --install -s /bin; export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
while read -r ko; do insmod $ko; done </m/order
o=trans=virtio,version=9p2000.L,msize=524288
mount -t 9p -o $o,cache=loose,ro host /lower
mount -t tmpfs -o size=75% tmpfs /up; mkdir /up/u /up/w
mount -t overlay -o lowerdir=/lower,upperdir=/up/u,workdir=/up/w overlay /new
for d in proc sys dev; do mount --move /$d /new/$d; done
mount -t tmpfs tmpfs /new/run; mkdir -p /new/run/lock /new/run/netns
mkdir -p /new/dev/pts /new/dev/shm; mount -t devpts -o ptmxmode=666 devpts /new/dev/pts
mount -t tmpfs tmpfs /new/dev/shm
ln -sf /proc/self/fd /new/dev/fd; ln -sf fd/0 /new/dev/stdin; ln -sf fd/1 /new/dev/stdout; ln -sf fd/2 /new/dev/stderr
mount -t bpf bpf /new/sys/fs/bpf; mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
mount -t tracefs tracefs /new/sys/kernel/tracing
k=/new/usr/lib/modules/$(uname -r); mkdir -p $k; mount --bind /lower@MODULES@ $k
. /run.env
[ -z "$GUEST_RW" ] || { mkdir -p "/new$GUEST_RW"; mount -t 9p -o $o,cache=none rw "/new$GUEST_RW"; }
cp /run.sh /new/run/guest.sh; ip link set lo up; hostname guest
port=$(ls /new/dev/vport*p1)
chroot /new /bin/bash /run/guest.sh <>/dev/null >$port 2>&1; rc=$?
sync; echo "GUEST_RC=$rc" >/new/dev/console
reboot -f
INIT
}

# --- one run -----------------------------------------------------------------------------------------

# The command goes in a second cpio archive behind the first.
write_command() {
    printf 'GUEST_RW=%q\n' "${GUEST_RW:+$(realpath "$GUEST_RW")}" >"$run/run.env"
    {
        printf 'export HOME=%q PATH=%q LANG=C.UTF-8 TERM=dumb KERNEL_LAB=1\n' "$HOME" "$PATH"
        printf 'cd %q || exit 125\n' "$PWD"
        printf '%q ' "$@"
        echo
    } >"$run/run.sh"
    (cd "$run" && printf 'run.env\nrun.sh\n' | cpio -o -H newc --quiet) >"$run/run.cpio"
    cat "$cache/initrd.cpio" "$run/run.cpio" >"$run/initrd"
}

boot() {
    local accel qemu parameters="console=ttyS0 quiet panic=-1 reboot=t audit=0 tsc=reliable random.trust_cpu=on"
    # The kernel counts the timer's ticks at its start. It panics where a busy machine gave qemu fewer than five.
    parameters+=" no_timer_check ${GUEST_APPEND-mitigations=off}"
    accel=(-accel "${GUEST_ACCEL:-tcg,thread=multi}" -smp "${GUEST_CPUS:-2}")
    [ "${GUEST_ICOUNT:-0}" = 0 ] || accel=(-accel "tcg,thread=single" -icount "shift=0,sleep=off" -smp 1)
    qemu=(qemu-system-x86_64 -M pc "${accel[@]}" -cpu "${GUEST_CPU:-max,la57=off,erms=off,fsrm=off}"
        -m "${GUEST_MEMORY:-2G}" -nodefaults -display none -no-reboot -kernel "$cache/vmlinux" -initrd "$run/initrd"
        -append "$parameters"
        -serial "file:$console" -chardev "file,path=/proc/self/fd/1,id=out"
        -device virtio-serial-pci -device "virtserialport,chardev=out,name=guest"
        -fsdev "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"
        -device "virtio-9p-pci,fsdev=host,mount_tag=host")
    [ -z "${GUEST_RW:-}" ] || qemu+=(-fsdev "local,id=rw,path=$GUEST_RW,security_model=none"
        -device "virtio-9p-pci,fsdev=rw,mount_tag=rw")
    # shellcheck disable=SC2206 # words
    qemu+=(${GUEST_QEMU:-})
    # The pipe makes fd 1 something that qemu can open by name, whatever this script's own stdout is.
    timeout -k 5 "${GUEST_TIMEOUT:-300}" "${qemu[@]}" </dev/null | cat
}

case ${1-} in
    --)
        shift
        [ $# -gt 0 ] || usage
        ;;
    '' | -*) usage ;;
    *)
        [ -f "$1" ] || die "no such script: $1"
        set -- bash "$(realpath "$1")" "${@:2}"
        ;;
esac

cache=$(realpath -m "${GUEST_CACHE:-${HOME:-/root}/.cache/ipvsd-kernel-lab}")
mkdir -p "$cache"
install_programs
( # two first runs at once: one of them prepares
    flock 9
    [ "$(version)" = "$(cat "$cache/ready" 2>/dev/null)" ] || prepare_kernel
) 9>"$cache/lock"

run=$(mktemp -d)
trap 'rm -rf "$run"' EXIT
console=${GUEST_CONSOLE:-$run/console}
write_command "$@"
status=0
boot || status=$?
code=$(sed -n 's/^GUEST_RC=\([0-9]*\).*/\1/p' "$console" | tail -1)
[ -z "$code" ] || exit "$code"
echo "kernel-lab: the guest gave no exit status (qemu: $status); the end of its console:" >&2
tail -30 "$console" >&2
[ "$status" = 124 ] && exit 124
exit 125
