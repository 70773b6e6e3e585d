#!/bin/bash
# Runs the scenarios: Tests/Namespaces/run.sh [NAME...], e.g. `run.sh failover`; ONLY=REGEX picks tests by name.
# Root; the program is $IPVSD. The last line is "N passed, N failed"; `todo` lines are known faults and count as neither.
#
#   SCENARIOS   the directory of the scenarios   (this one; Tests/Attacks holds the attacks)
set -euo pipefail
cd "${SCENARIOS:-$(dirname "$0")}"
export LAB_BIG=${LAB_BIG:-$(mktemp -u "${TMPDIR:-/tmp}/ipvsd-big.XXXXXX")}
results=$(mktemp)
trap 'rm -f "$results" "$LAB_BIG"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

scenarios=("$@")
[ $# -gt 0 ] || scenarios=(*.test.sh)
for scenario in "${scenarios[@]}"; do
    scenario=${scenario%.test.sh}
    echo "== $scenario"
    # A scenario that ends without a word must not count as a success.
    bash "$scenario.test.sh" 2>&1 | tee -a "$results" || grep -q '^not ok' "$results" ||
        echo "not ok - $scenario (it ended early)" | tee -a "$results"
done

passed=$(grep -c '^ok - ' "$results" || true)
failed=$(grep -c '^not ok - ' "$results" || true)
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
