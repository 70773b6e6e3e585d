#!/bin/bash
# Instructions a packet of ipvsd, kernel IPVS (ipip), IP forwarding and bare XDP programs, in one guest, with the same
# traffic. `ipvsd-bench frames --ipvs` runs under QEMU, with one CPU whose clock advances 1 ns an executed instruction.
# So the figures do not depend on the machine's load, and are comparable across machines.
#
#   Tests/KernelLab/instructions.sh [--rounds N] [--frames N] [--json]      (some minutes; `ipvsd-bench frames --help`)
#
#   IPVSD_BENCH     the program     (.build/release/ipvsd-bench of this checkout; built where it is missing)
#   GUEST_...       as of kernel-lab.sh
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
bench=${IPVSD_BENCH:-$root/.build/release/ipvsd-bench}
[ -x "$bench" ] || (cd "$root" && swift build -c release --static-swift-stdlib --product ipvsd-bench) >&2
[ -x "$bench" ] || { echo "no program at $bench" >&2; exit 1; }
for program in ipvsadm ip; do
    PATH=$PATH:/usr/sbin:/sbin command -v $program >/dev/null || { echo "$program is missing: apt install ipvsadm iproute2" >&2; exit 1; }
done

# As few collisions in IPVS's hash table as it can have.
GUEST_ICOUNT=1 GUEST_TIMEOUT=${GUEST_TIMEOUT:-1500} exec bash "$here/kernel-lab.sh" -- bash -c '
    set -e
    modprobe ip_vs conn_tab_bits=20
    modprobe -a ip_vs_rr veth sch_ingress cls_bpf
    exec "$0" frames --ipvs --unit instructions "$@"' "$(realpath "$bench")" --rounds 3 --frames 16384 "$@"
