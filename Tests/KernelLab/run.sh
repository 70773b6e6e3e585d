#!/bin/bash
# Runs kernel.test.sh under Debian's kernel: Tests/KernelLab/run.sh. The last line is "N passed, N failed".
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export IPVSD=${IPVSD:-$here/../../.build/release/ipvsd}
[ -x "$IPVSD" ] || { echo "no program at $IPVSD"; exit 1; }
IPVSD=$(realpath "$IPVSD")
results=$(mktemp)
trap 'rm -f "$results"' EXIT

# The guest knows nothing of this shell's variables.
GUEST_TIMEOUT=${GUEST_TIMEOUT:-600} bash "$here/kernel-lab.sh" -- env IPVSD="$IPVSD" ONLY="${ONLY:-.}" \
    bash "$here/guest.sh" | tee "$results" || echo "# the guest's exit code: $?"

passed=$(grep -c '^ok - ' "$results" || true)
failed=$(grep -c '^not ok - ' "$results" || true)
# The guest's own last words prove that it came to the end.
grep -q '^# end of the guest' "$results" || failed=$((failed + 1))
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
