#!/bin/bash
# Clients' view of a real server's death behind ipvsd, and behind keepalived with kernel IPVS. Both run one after
# another in one guest, with the same hosts, the kernel's ipip and 20 requests a second. A TCP check a second has 1 s
# for its answer. The second failure takes the server out. `ipvsd-bench failover` measures, and its times are those of
# an emulated machine.
#
#   Tests/KernelLab/failover.sh [--rate N] [--seconds N] [--rounds N] [--cases LIST] [--settings LIST] [--json]
#
#   IPVSD, IPVSD_BENCH     the programs    (.build/release/ of this checkout; built where they are missing)
#   GUEST_...              as of kernel-lab.sh
set -euo pipefail
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=IPVSD,IPVSD_BENCH "$0" "$@"
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
export PATH=$PATH:/usr/sbin:/sbin

# program PRODUCT PATH     the path, of a program that is there
program() {
    [ -x "$2" ] || (cd "$root" && swift build -c release --static-swift-stdlib --product "$1") >&2
    [ -x "$2" ] || { echo "no program at $2" >&2; exit 1; }
    realpath "$2"
}

missing=()
for pair in keepalived=keepalived ip=iproute2 ethtool=ethtool nft=nftables sysctl=procps; do
    command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
done
((${#missing[@]} == 0)) ||
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
ipvsd=$(program ipvsd "${IPVSD:-$root/.build/release/ipvsd}")
bench=$(program ipvsd-bench "${IPVSD_BENCH:-$root/.build/release/ipvsd-bench}")

GUEST_TIMEOUT=${GUEST_TIMEOUT:-1800} exec bash "$here/kernel-lab.sh" -- bash -c '
    set -e
    modprobe -a veth bridge nf_tables sch_ingress cls_bpf ipip ip_vs ip_vs_rr
    exec "$0" failover --ipvsd "$@"' "$bench" "$ipvsd" --rate 20 --cases process,host,tunnel \
    --settings equal,keepalived --downloads 2 "$@"
