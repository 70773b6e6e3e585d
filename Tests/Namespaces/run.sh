#!/bin/bash
# Runs the scenarios: Tests/Namespaces/run.sh [NAME...], e.g. `run.sh failover`; ONLY=REGEX picks tests by name.
# Needs root. The program is $IPVSD. The last line is "N passed, N failed"; `todo` lines are known faults, not counted.
#
#   SCENARIOS   the directory of the scenarios   (this one; Tests/Attacks holds the attacks)
#   JOBS        scenario files run side by side  (1; each has a lab of its own)
set -euo pipefail
cd "${SCENARIOS:-$(dirname "$0")}"
JOBS=${JOBS:-1}
# These scenarios measure times, or look at directories that all directors of the machine share.
ALONE=(failover network)
export LAB_BIG=${LAB_BIG:-$(mktemp -u "${TMPDIR:-/tmp}/ipvsd-big.XXXXXX")}
work=$(mktemp -d)
trap 'rm -rf "$work" "$LAB_BIG"' EXIT
trap 'stop; exit 130' INT
trap 'stop; exit 143' TERM HUP

stop() {
    local pid
    for pid in $(jobs -p); do kill "$pid" 2>/dev/null || true; done
    wait
}

# A scenario that fails without a word must not count as a success.
must_have_spoken() { grep -q '^not ok' "$work/$1.output" || echo "not ok - $1 (it ended early)" | tee -a "$work/$1.output"; }

run() {
    echo "== $1"
    bash "$1.test.sh" 2>&1 | tee "$work/$1.output" || must_have_spoken "$1"
}

# run_beside SCENARIO   runs it in the background, as soon as there is room for one more job. Its output is shown at its
# end.
run_beside() {
    while (($(jobs -rp | wc -l) >= JOBS)); do wait -n || true; done
    (
        bash "$1.test.sh" >"$work/$1.output" 2>&1 &
        scenario=$!
        # The scenario then removes its lab.
        trap 'kill "$scenario"; wait "$scenario"; exit 143' TERM
        wait "$scenario" || must_have_spoken "$1" >/dev/null
        flock 9
        echo "== $1"
        cat "$work/$1.output"
    ) 9>>"$work/lock" &
}

is_alone() { ((JOBS == 1)) || [[ " ${ALONE[*]} " == *" $1 "* ]]; }

main() {
    local scenario all=("$@")
    if [ $# = 0 ]; then
        # The longest files first, so that the jobs end together.
        mapfile -t all < <(find . -maxdepth 1 -name '*.test.sh' -printf '%s %f\n' | sort -rn | cut -d' ' -f2)
    fi
    all=("${all[@]%.test.sh}")
    for scenario in "${all[@]}"; do if is_alone "$scenario"; then run "$scenario"; fi; done
    for scenario in "${all[@]}"; do is_alone "$scenario" || run_beside "$scenario"; done
    wait
    cat "$work"/*.output >"$work/all"
    passed=$(grep -c '^ok - ' "$work/all" || true)
    failed=$(grep -c '^not ok - ' "$work/all" || true)
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ] && [ "$passed" != 0 ]
}

main "$@"
