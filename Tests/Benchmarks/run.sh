#!/bin/bash
# Shows that the benchmarks work: short runs, whose tables have every row, and figures that can be. No time is judged;
# instructions are, since they do not depend on the machine. Root. The last line is "N passed, N failed".
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
export IPVSD_BENCH=${IPVSD_BENCH:-$root/.build/release/ipvsd-bench}
export IPVSD=${IPVSD:-$root/.build/release/ipvsd}
[ -x "$IPVSD_BENCH" ] || { echo "no program at $IPVSD_BENCH"; exit 1; }
passed=0 failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# check NAME COMMAND...
check() {
    local name=$1
    shift
    if "$@" >"$work/output" 2>&1; then
        echo "ok - $name" && passed=$((passed + 1))
    else
        echo "not ok - $name ($(tail -n 5 "$work/output" | paste -sd'|'))" && failed=$((failed + 1))
    fi
}

# holds FILE FILTER     jq's filter is true of the file
holds() { [ "$(jq "$2" "$1")" = true ] || { echo "not true: $2"; return 1; }; }

measured() { "$IPVSD_BENCH" --rounds 2 --packets 65536 --connections 500000 --json >"$work/all.json"; }
counted() { "$root/Tests/KernelLab/instructions.sh" --rounds 1 --frames 2048 --json >"$work/instructions.json"; }
checked() {
    "$IPVSD_BENCH" checks --ipvsd "$IPVSD" --rounds 1 --servers 500 --interval 1 --seconds 4 --json >"$work/checks.json"
}
died() {
    "$IPVSD_BENCH" failover --ipvsd "$IPVSD" --rate 50 --seconds 4 --cases process >"$work/failover"
    grep -Eq '^default: process killed +350 ' "$work/failover" && grep -Eq '^fast: process killed +350 ' "$work/failover"
}
leftovers() { ip netns list | grep '^ipvsd-bench-' | sort || true; find /sys/fs/bpf -maxdepth 1 -name "ipvsd-bench-*" | sort; ip -o link | grep -cE ' (near|far)@' || true; }

# A table of the smallest benchmark, for people.
is_a_table() {
    "$IPVSD_BENCH" packets --rounds 1 --packets 65536 --connections 500000 --only 'not a VIP' >"$work/table"
    grep -q '^not a VIP$' "$work/table" && grep -Eq '^  ipvsd +-?[0-9]' "$work/table"
}

# The director beside itself: it has to pass every check of verdicts, packets and counters.
is_measured_beside() {
    local programs=$root/Sources/PacketPrograms
    clang -target bpf -mcpu=v3 -O2 -g -std=gnu17 -isystem "/usr/include/$(uname -m)-linux-gnu" -I "$programs/include" \
        -c "$programs/BPF/director.bpf.c" -o "$work/director.o"
    "$IPVSD_BENCH" packets --rounds 1 --packets 65536 --connections 500000 --only '1 flow' --only 'new flows' \
        --beside "$work/director.o" --json >"$work/beside.json"
}

before=$(leftovers)
check "ipvsd-bench measures everything in one run" measured
check "every row has a figure of each round" holds "$work/all.json" \
    '[.sections[].rows[] | (.repeats | length) == 2] | all and length > 40'
check "there are packets, scale, memory, rebuilds and frames" holds "$work/all.json" \
    '[.sections[].title] | length == 5 and (.[0] | test("^Packets")) and (.[4] | test("^Live frames"))'
check "packets have a floor and ipvsd for each kind" holds "$work/all.json" \
    '.sections[0].rows | group_by(.subject) | length >= 9 and all(map(.program) == ["bare encapsulation", "ipvsd", "bare, and one bucket"])'
check "whole frames, memory and rebuilds cost something" holds "$work/all.json" \
    '[.sections[2:][].rows[].minimum > 0] | all'
check "figures are printed as a table" is_a_table
check "another object file's director is measured beside" is_measured_beside
check "it has every figure that ipvsd has" holds "$work/beside.json" \
    '.sections[0].rows | group_by(.subject) | length == 4 and all(length == 4)'
check "instructions are counted in the kernel lab" counted
check "all programs have all kinds of frames" holds "$work/instructions.json" \
    '.sections[0].rows | group_by(.subject) | length == 4 and all(length == 8)'
check "nothing, reflector, ipvsd, IP forwarding, kernel IPVS: each has more instructions" holds "$work/instructions.json" \
    '.sections[0].rows | group_by(.subject) | all(map({key: .program, value: .median}) | from_entries |
        .["XDP drop (harness)"] < .["bare reflector"] and .["bare reflector"] < .["ipvsd"] and
        .["ipvsd"] < .["IP forwarding"] and .["IP forwarding"] < .["kernel IPVS, ipip"])'
check "500 real servers are checked every second" checked
check "checks, bare connects, memory and start have figures" holds "$work/checks.json" \
    '[.sections[] | .rows[] | .minimum > 0] | all and length == 7'
check "the daemon costs more than the bare loop" holds "$work/checks.json" \
    '[.sections[0].rows[] | {key: .program, value: .median}] | from_entries | .["bare epoll loop"] < .["ipvsd"]'
check "a killed process is measured, with default and fast settings" died
check "nothing is left of it" test "$before" = "$(leftovers)"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
