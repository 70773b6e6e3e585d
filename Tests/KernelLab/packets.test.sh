#!/bin/bash
# The packet programs' tests in this kernel. Outside, swift test runs them in a newer one.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
bundle=${IPVSD_TESTS:-$root/.build/debug/ipvsdPackageTests.xctest}
[ -x "$bundle" ] || { echo "not ok - packet programs' tests (no program at $bundle)"; exit 1; }
mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf
log=$(mktemp)
# As the machine is emulated, the differential run is short, and tests that count in ticks or make 100,000 flows are
# left out.
code=0
IPVSD_DIFFERENTIAL_PACKETS=${IPVSD_DIFFERENTIAL_PACKETS:-2000} timeout 1500 "$bundle" --testing-library swift-testing \
    --no-parallel --filter "${ONLY_PACKETS:-PacketFixtureTests|PersistenceTests|LayoutTests|TruncationTests|TraitTests|SchedulerTests|DifferentialTests}" \
    >"$log" 2>&1 || code=$?
results=$(grep -vE '^[^ ]+ Test (run with|case passing) ' "$log" || true)
sed -nE 's/^✔ Test (.*) passed after ([0-9.]+) seconds.*/ok - packets: \1 # \2 s/p' <<<"$results"
if ((code != 0)) || ! grep -q '^✔ Test run with' "$log"; then
    sed -nE 's/^✘ Test (.*) failed after .*/not ok - packets: \1/p' <<<"$results"
    echo "not ok - packet programs' tests (exit code $code: $(tail -n 3 "$log" | paste -sd'|'))"
    grep -A4 'recorded an issue' "$log" | head -n 40 | sed 's/^/  /'
fi
rm -f "$log"
