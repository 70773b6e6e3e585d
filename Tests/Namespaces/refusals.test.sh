#!/bin/bash
# Refusals beside a director that runs: take-overs, second directors and reloads. Each message names the value as it was
# written, and the director goes on as before.
# shellcheck source=harness.sh
source "$(dirname "$0")/harness.sh"
LAB_VIA=nsenter

scenario_up() { lab_up; }

FLAGS=(--vip "$VIP:80" --backends "$RS1,$RS2" --check none)

still_there() { equal "$(ipvsd status --json | jq .pid)" "$DIRECTOR_PID" "the daemon's pid"; }

test_a_take_over_without_the_capability_is_refused_first() {
    director_start "${FLAGS[@]}"
    exits 77 in_ns director setpriv --bounding-set -net_admin "$IPVSD" "${FLAGS[@]}" --replace
    matches "$OUTPUT" "CAP_NET_ADMIN.*pid $DIRECTOR_PID is not replaced, and goes on" "the message"
    still_there
    director_stop
}

test_a_start_without_the_capability_for_programs_is_refused() {
    exits 77 in_ns director setpriv --bounding-set -bpf,-sys_admin "$IPVSD" "${FLAGS[@]}"
    matches "$OUTPUT" "CAP_BPF is missing" "the message"
}

# A veth's peer may have any MTU while XDP is generic.
test_a_take_over_in_native_mode_that_the_mtu_forbids_is_refused_first() {
    director_start "${FLAGS[@]}" --xdp generic
    ip -n "$(ns switch)" link set dev director mtu 9000
    exits 71 ipvsd "${FLAGS[@]}" --xdp native --replace
    matches "$OUTPUT" "eth0 .*the MTU of its peer is 9000, .*pid $DIRECTOR_PID is not replaced" "the message"
    still_there
    equal "$(ipvsd status --json | jq -r .xdp.mode)" generic "XDP mode"
    ip -n "$(ns switch)" link set dev director mtu 1500
    director_stop
}

test_a_second_director_is_told_whose_program_is_on_the_interface() {
    director_start "${FLAGS[@]}"
    exits 69 ipvsd --instance blue --vip 10.0.0.101 --backends "$RS1"
    matches "$OUTPUT" "eth0: .*another XDP program: id [0-9]+, of ipvsd without --instance" "the message"
    director_stop
}

test_a_reload_names_the_line_of_what_it_refuses() {
    local file=$LAB_DIR/director.yaml
    printf 'services:\n- listeners: %s:80\n  check: none\n  servers: [%s]\n' "$VIP" "$RS1" >"$file"
    director_start --config "$file"
    printf -- '- listeners: [10.0.0.101:80,\n    10.0.0.255:80]\n  check: none\n  servers: [%s]\n' "$RS1" >>"$file"
    exits 64 ipvsd reload
    matches "$OUTPUT" "director.yaml:6: listeners 10.0.0.255:80: the broadcast address of 10.0.0.0/24" "the VIP"
    sed -i 's/10.0.0.255:80/10.0.0.102:80/; $s/.*/  servers:\n  - {address: 10.0.0.0, weight: 2}/' "$file"
    exits 64 ipvsd reload
    matches "$OUTPUT" "director.yaml:9: servers 10.0.0.0: the network address of 10.0.0.0/24" "the real server"
    still_there
    director_stop
}

test_a_mistyped_subcommand_is_recognized() {
    exits 64 ipvsd statsu
    matches "$OUTPUT" "^ipvsd: 'statsu' is no subcommand \(did you mean 'status'\?\)$" "the message"
    exits 64 ipvsd realserver-steup --vip "$VIP"
    matches "$OUTPUT" "did you mean 'realserver-setup'" "the message"
    exits 64 ipvsd nothing-like-it
    matches "$OUTPUT" "Unexpected argument 'nothing-like-it'" "the parser's own message"
}

run_tests
