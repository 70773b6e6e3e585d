#!/bin/bash
# Floods of SYNs at a director at work: established connections stay, and new clients are served.
# shellcheck source=../Namespaces/harness.sh
source "$(dirname "$0")/../Namespaces/harness.sh"
LAB_VIA=nsenter
IPVSD_BENCH=${IPVSD_BENCH:-$(dirname "$IPVSD")/ipvsd-bench}

director_program() { echo "$(pin_directory)/director"; }

# flood CLIENTS [FLAG]   starts a flood in the background, in the director's namespace; its output is in $LAB_DIR/flood
flood() {
    local program mac clients=$1
    shift
    program=$(director_program)
    mac=$(ip -n "$(ns director)" -j link show eth0 | jq -r '.[0].address')
    spawn director "$LAB_DIR/flood" "$IPVSD_BENCH" flood --program "$program" --mac "$mac" --vip "$VIP" \
        --clients "$clients" "$@"
    FLOOD=$SPAWNED
    disown "$FLOOD"
}

# Withstands a flood: three downloads go on during the flood, and new connections are served.
withstand() {
    local name lines end
    for name in one two three; do download_start "$name" --limit-rate 4m; done
    flood "$@"
    lines='' end=$((SECONDS + 300))
    while ! ended "$FLOOD"; do
        ((SECONDS < end)) || fail "the flood goes on after 300 s: $(tail -n 1 "$LAB_DIR/flood")"
        lines+=$(fetch 20)$'\n'
    done
    matches "$(<"$LAB_DIR/flood")" "packets, .* forwarded" "the flood"
    echo "# $(tail -n 1 "$LAB_DIR/flood"); $(grep -c . <<<"$lines") requests meanwhile"
    no_failures "new connections in the flood" <<<"$(grep . <<<"$lines")"
    no_failures "new connections after the flood" <<<"$(fetch 60)"
    for name in one two three; do download_correct "$name"; done
}

# Fifty SYNs for each entry of the flow table.
test_50_million_syns() {
    director_start --vip "$VIP:80" --backends "$RS1,$RS2,$RS3" --scheduler rr
    equal "$(ipvsd status --json | jq '.flowTableSize')" 1048576 "entries of the flow table"
    equal "$(ipvsd status --json | jq '.halfOpen.limit')" 131072 "the limit of half-open connections"
    equal "$(ipvsd status --json | jq '.halfOpen.reachedLast')" null "when the limit was reached before the flood"
    withstand 50000000
    between "$(ipvsd status --json | jq '.events["unrecorded-in-flood"]')" 40000000 50001000 "SYNs not recorded"
    between "$(ipvsd status --json | jq '.halfOpen.now')" 131000 131400 "half-open connections"
    matches "$(ipvsd status --json | jq -r '.halfOpen.reachedLast')" "^20[0-9-]*T[0-9:]*Z$" "when the limit was reached"
    matches "$(ipvsd status)" "half-open connections reached their limit of 131072" "status"
}

test_10_million_pairs_of_syn_and_ack() {
    director_start --vip "$VIP:80" --backends "$RS1,$RS2,$RS3" --scheduler rr
    withstand 10000000 --pairs
    between "$(ipvsd status --json | jq '.halfOpen.now')" 0 66000 "half-open connections"
    between "$(ipvsd status --json | jq '.events["flow-evicted"] + .events["flow-table-full"]')" 1000000 20000000 \
        "connections that were pressed for room"
}

run_tests
