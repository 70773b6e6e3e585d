#!/bin/bash
# Bad input and a machine that refuses: a clear message, the right exit code, and nothing left behind.
source "$(dirname "$0")/harness.sh"
LAB_VIA=nsenter

scenario_up() {
    lab_up
    install -m 755 "$IPVSD" "$LAB_DIR/ipvsd"
}

# refused CODE MESSAGE ARGUMENT...
refused() {
    local code=$1 message=$2 before=${BEFORE:-}
    shift 2
    [[ -n $before ]] || before=$(machine_state director)
    exits "$code" in_ns director timeout $((10 * LAB_SLOW)) ${AS:-} "$LAB_DIR/ipvsd" "$@"
    matches "$OUTPUT" "$message" "message for $*"
    same_state "$before" "$(machine_state director)"
}

test_bad_values_of_every_flag() {
    local BEFORE
    BEFORE=$(machine_state director)
    refused 64 "10.0.0.256" --vip 10.0.0.256 --backends $RS1
    refused 64 "nonsense" --vip nonsense --backends $RS1
    refused 64 "10.0.0" --vip $VIP --backends 10.0.0
    refused 64 "port.*0|0.*port" --vip $VIP:0 --backends $RS1
    refused 64 "65536" --vip $VIP:65536 --backends $RS1
    refused 64 "sctq" --vip $VIP:80/sctq --backends $RS1
    refused 64 "$VIP" --vip $VIP --backends $RS1,$VIP
    refused 64 "$RS1.*(twice|duplicate|already|more than once)|(twice|duplicate).*$RS1" --vip $VIP --backends $RS1,$RS2,$RS1
    refused 64 "(twice|duplicate|already|more than once)" --vip $VIP,$VIP --backends $RS1
    refused 64 "fastest.*|rr.*wrr.*wlc" --vip $VIP --backends $RS1 --scheduler fastest
    refused 64 "65536" --vip $VIP --backends $RS1=65536
    refused 64 "=-1|-1" --vip $VIP --backends $RS1=-1
    refused 64 "turbo" --vip $VIP --backends $RS1 --xdp turbo
    refused 64 "gopher" --vip $VIP --backends $RS1 --check gopher
    refused 64 "soon" --vip $VIP --backends $RS1 --check-interval soon
    refused 64 "fall" --vip $VIP --backends $RS1 --fall 0
    refused 64 "backends" --vip $VIP
    refused 64 "nonsense" realserver-setup --vip nonsense
}

test_a_missing_interface() {
    refused 69 "eth9" --vip $VIP --backends $RS1 --interface eth9
}

test_another_xdp_program_in_place() {
    local object=$LAB_DIR/pass.o clang
    clang=$(command -v clang || ls /opt/swift/usr/bin/clang 2>/dev/null) || fail "no clang"
    echo '__attribute__((section("xdp"), used)) int pass(void *context) { return 2; }
          __attribute__((section("license"), used)) char _license[] = "GPL";' |
        "$clang" -target bpf -O2 -g -x c -c -o "$object" -
    ip -n "$(ns director)" link set dev eth0 xdp obj "$object" sec xdp
    refused 69 "XDP program" --vip $VIP --backends $RS1
    matches "$OUTPUT" "eth0" "the message"
    matches "$(ip -n "$(ns director)" -d link show eth0)" "prog/xdp" "the other program, still there"
    ip -n "$(ns director)" link set dev eth0 xdp off
}

test_no_root() {
    AS="setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all --inh-caps -all"
    refused 77 "privilege|root|CAP_" --vip $VIP --backends $RS1
    exits 77 in_ns rs1 $AS "$LAB_DIR/ipvsd" realserver-setup --vip $VIP
    matches "$OUTPUT" "privilege|root|CAP_" "realserver-setup's message"
}

test_no_root_beside_a_running_director() {
    local command
    AS="setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all --inh-caps -all"
    director_start --vip $VIP --backends $RS1
    for command in status "status --json" stop "stop --keep" cleanup; do
        # shellcheck disable=SC2086 # words
        exits 77 in_ns director timeout $((10 * LAB_SLOW)) $AS "$LAB_DIR/ipvsd" $command
        matches "$OUTPUT" "privilege|root|CAP_" "message of $command"
    done
    equal "$(ipvsd status --json | jq .pid)" "$DIRECTOR_PID" "the daemon's pid"
}

test_root_without_the_capabilities() {
    AS="setpriv --bounding-set -bpf,-sys_admin,-perfmon,-net_admin --inh-caps -all"
    refused 77 "privilege|root|CAP_" --vip $VIP --backends $RS1
}

test_bpf_refused_by_the_kernel() {
    AS="$PYTHON $TESTS/refuse-bpf.py"
    refused 71 "bpf.*(not permitted|EPERM)" --vip $VIP --backends $RS1
}

run_tests
