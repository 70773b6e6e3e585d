#!/bin/bash
# The guest's part of run.sh: everything is emulated and some twenty times slower than outside.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
modprobe -a veth bridge nf_tables sch_ingress cls_bpf ipip 8021q bonding vrf vmxnet3
export LAB_SLOW=8 LAB_BIG_BYTES=4194304
for scenario; do
    [ -e "$here/$scenario.test.sh" ] || echo "not ok - $scenario (there is no such scenario)"
    bash "$here/$scenario.test.sh" || true
done
echo "# end of the guest: $(uname -r), $(cut -d. -f1 /proc/uptime) s"
