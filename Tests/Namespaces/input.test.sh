#!/bin/bash
# Bad input and a machine that refuses: a clear message, the right exit code, and nothing left behind.
# shellcheck source=harness.sh
source "$(dirname "$0")/harness.sh"
LAB_VIA=nsenter

scenario_up() {
    lab_up
    install -m 755 "$IPVSD" "$LAB_DIR/ipvsd"
}

# The command in front of the program, by which a test takes rights from the program.
AS=()

# refused CODE MESSAGE ARGUMENT...   expects the program to exit with CODE and MESSAGE, and to leave the machine
# unchanged
refused() {
    local code=$1 message=$2 before=${BEFORE:-}
    shift 2
    [[ -n $before ]] || before=$(machine_state director)
    exits "$code" in_ns director timeout $((10 * LAB_SLOW)) "${AS[@]}" "$LAB_DIR/ipvsd" "$@"
    matches "$OUTPUT" "$message" "message for $*"
    same_state "$before" "$(machine_state director)"
}

test_bad_values_of_every_flag() {
    local BEFORE
    BEFORE=$(machine_state director)
    refused 64 "10.0.0.256" --vip 10.0.0.256 --backends "$RS1"
    refused 64 "nonsense" --vip nonsense --backends "$RS1"
    refused 64 "10.0.0" --vip "$VIP" --backends 10.0.0
    refused 64 "port.*0|0.*port" --vip "$VIP:0" --backends "$RS1"
    refused 64 "65536" --vip "$VIP:65536" --backends "$RS1"
    refused 64 "sctq" --vip "$VIP:80/sctq" --backends "$RS1"
    refused 64 "$VIP" --vip "$VIP" --backends "$RS1,$VIP"
    refused 64 "$RS1.*(twice|duplicate|already|more than once)|(twice|duplicate).*$RS1" --vip "$VIP" --backends "$RS1,$RS2,$RS1"
    refused 64 "(twice|duplicate|already|more than once)" --vip "$VIP,$VIP" --backends "$RS1"
    refused 64 "fastest.*|rr.*wrr.*wlc" --vip "$VIP" --backends "$RS1" --scheduler fastest
    refused 64 "65536" --vip "$VIP" --backends "$RS1=65536"
    refused 64 "=-1|-1" --vip "$VIP" --backends "$RS1=-1"
    refused 64 "turbo" --vip "$VIP" --backends "$RS1" --xdp turbo
    refused 64 "gopher" --vip "$VIP" --backends "$RS1" --check gopher
    refused 64 "soon" --vip "$VIP" --backends "$RS1" --check-interval soon
    refused 64 "fall" --vip "$VIP" --backends "$RS1" --fall 0
    refused 64 "backends" --vip "$VIP"
    refused 64 "nonsense" realserver-setup --vip nonsense
}

test_flags_beside_a_file() {
    local BEFORE
    BEFORE=$(machine_state director)
    refused 64 "^ipvsd: --vip, --inhibit, --no-address: cannot be beside --config" \
        --config "$LAB_DIR/none.yaml" --no-address --inhibit --vip "$VIP"
    # Flags with the default value also count as typed.
    refused 64 "^ipvsd: --scheduler, --rise, --xdp: cannot be beside --config" \
        --xdp auto --rise 2 --scheduler wlc --config "$LAB_DIR/none.yaml"
    refused 64 "none.yaml: No such file" --config "$LAB_DIR/none.yaml" --replace --verbose
}

test_bad_values_of_capture() {
    local BEFORE
    BEFORE=$(machine_state director)
    refused 64 "--reason nonsense: unknown name \(accepted: forwarded, passed, answered, dropped, .*dropped-no-next-hop" \
        capture --reason dropped,nonsense
    refused 64 "--reason : unknown" capture --reason dropped,
    refused 64 "--snaplen 13: .*14 to 16000" capture --snaplen 13
    refused 64 "--snaplen 16001: .*14 to 16000" capture --snaplen 16001
    refused 64 "--count 0" capture --count 0
    refused 64 "--seconds 0" capture --seconds 0
    refused 64 "--direction up: .*in, out, both" capture --direction up
    refused 64 "--client 10.0.0.1/24: 10.0.0.1 has bits behind the prefix of 24" capture --client 10.0.0.1/24
    refused 64 "--vip $VIP:0" capture --vip "$VIP:0"
    refused 64 "--server rs1" capture --server rs1
    refused 3 "no director|no data plane" capture
}

test_addresses_that_this_machine_has_otherwise() {
    local BEFORE address
    BEFORE=$(machine_state director)
    # An any-port service at the director's own address would cut the machine off.
    refused 64 "10.0.0.2: eth0 has it already.*sshd.*ports, as 10.0.0.2:80" --vip 10.0.0.2 --backends "$RS1"
    refused 64 "10.0.0.2: eth0 has it already" --vip "$VIP:80,10.0.0.2" --backends "$RS1"
    refused 64 "10.0.0.2: eth0 has it already" --vip 10.0.0.2 --backends "$RS1" --no-address
    # The ends of the director's subnet are refused, and addresses that no host can have.
    refused 64 "10.0.0.255: the broadcast address of 10.0.0.0/24" --vip 10.0.0.255 --backends "$RS1"
    refused 64 "10.0.0.0: the network address of 10.0.0.0/24" --vip 10.0.0.0:80 --backends "$RS1"
    refused 64 "--backends 10.0.0.255: the broadcast address" --vip "$VIP" --backends "$RS1,10.0.0.255"
    for address in 224.0.0.18 127.0.0.1 255.255.255.255 0.0.0.0; do
        refused 64 "$address is a.* address" --vip "$address" --backends "$RS1"
        refused 64 "$address is a.* address" --vip "$VIP" --backends "$address"
    done
}

test_an_own_address_with_a_port_and_what_keepalived_puts_there() {
    local d
    d=$(ns director)
    director_start --vip 10.0.0.2:8080 --backends "$RS1" --check none
    director_stop
    ip -n "$d" addr add "$VIP/32" dev eth0
    director_start --vip "$VIP" --backends "$RS1" --check none --no-address
    director_stop
    ip -n "$d" addr del "$VIP/32" dev eth0
    ip -n "$d" addr add "$VIP/24" dev eth0
    matches "$(ip -n "$d" addr show dev eth0)" "$VIP/24 .*secondary" "the address"
    director_start --vip "$VIP" --backends "$RS1" --check none --no-address
    # The XDP program of an earlier start is the director's own.
    director_kill
    director_start --vip "$VIP" --backends "$RS1" --check none --no-address
    director_stop
    ip -n "$d" addr del "$VIP/24" dev eth0
    director_start --vip "$VIP" --backends "$RS1" --check none
    director_kill
    director_start --vip "$VIP" --backends "$RS1" --check none
    director_stop
}

test_an_mtu_that_native_xdp_does_not_take() {
    ip -n "$(ns switch)" link set dev director mtu 9000
    ip -n "$(ns director)" link set dev eth0 mtu 9000
    refused 71 "eth0.*MTU.*9000.*too large for native XDP.*3506 is the largest.*ip link set dev eth0 mtu 3506" \
        --vip "$VIP" --backends "$RS1"
    # The MTU that the message names is the largest that works.
    ip -n "$(ns switch)" link set dev director mtu 3507
    refused 71 "too large for native XDP" --vip "$VIP" --backends "$RS1"
    ip -n "$(ns switch)" link set dev director mtu 3506
    ip -n "$(ns director)" link set dev eth0 mtu 3506
    director_start --vip "$VIP" --backends "$RS1" --check none
    director_stop
    ip -n "$(ns switch)" link set dev director mtu 1500
    ip -n "$(ns director)" link set dev eth0 mtu 1500
}

# A program or file that the director lacks must not take real servers out, so the start refuses it.
test_programs_and_files_that_are_not_there() {
    local file=$LAB_DIR/named.yaml
    refused 64 "notify $LAB_DIR/none: .*No such file" --vip "$VIP" --backends "$RS1" --notify "$LAB_DIR/none"
    printf 'services:\n- listeners: %s:80\n  servers: [%s]\n  checks: [{type: script, command: [%s]}]\n' \
        "$VIP" "$RS1" "$LAB_DIR/alive" >"$file"
    refused 64 "named.yaml:4: command: $LAB_DIR/alive: No such file" --config "$file"
    exits 64 "$IPVSD" check "$file"
    matches "$OUTPUT" "named.yaml:4: command: $LAB_DIR/alive: No such file" "check"
    printf '#!/bin/sh\nexit 0\n' >"$LAB_DIR/alive"
    exits 64 "$IPVSD" check "$file"
    matches "$OUTPUT" "alive: not executable" "check"
    chmod 755 "$LAB_DIR/alive"
    exits 0 "$IPVSD" check "$file"
    director_start --config "$file"
    wait_until 5 "rs1 to be healthy" healthy "$RS1"
    rm "$LAB_DIR/alive"
    exits 64 ipvsd reload
    matches "$OUTPUT" "alive: No such file" "reload"
    # A check whose script cannot run gives no verdict here. Once the script runs again, its result counts.
    wait_until 10 "it to be said" grep -q "health checks:" "$LAB_DIR/director.log"
    printf '#!/bin/sh\nexit 1\n' >"$LAB_DIR/alive.new"
    chmod 755 "$LAB_DIR/alive.new"
    mv "$LAB_DIR/alive.new" "$LAB_DIR/alive"
    wait_until 10 "rs1 to be taken out by its script" unhealthy "$RS1"
    equal "$(grep -c "$RS1 .* is down" "$LAB_DIR/director.log")" 1 "times that rs1 was taken out"
    matches "$(grep "$RS1 .* is down" "$LAB_DIR/director.log")" "exit code 1" "why it was"
    director_stop
}

test_a_missing_interface() {
    refused 69 "eth9" --vip "$VIP" --backends "$RS1" --interface eth9
}

test_another_xdp_program_in_place() {
    other_xdp_program director eth0
    refused 69 "XDP program" --vip "$VIP" --backends "$RS1"
    matches "$OUTPUT" "eth0" "the message"
    matches "$(ip -n "$(ns director)" -d link show eth0)" "prog/xdp" "the other program, still there"
    ip -n "$(ns director)" link set dev eth0 xdp off
}

test_no_root() {
    AS=(setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all --inh-caps -all)
    refused 77 "privilege|root|CAP_" --vip "$VIP" --backends "$RS1"
    exits 77 in_ns rs1 "${AS[@]}" "$LAB_DIR/ipvsd" realserver-setup --vip "$VIP"
    matches "$OUTPUT" "privilege|root|CAP_" "realserver-setup's message"
}

test_no_root_beside_a_running_director() {
    local command
    AS=(setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all --inh-caps -all)
    director_start --vip "$VIP" --backends "$RS1"
    for command in status "status --json" capture stop "stop --keep" cleanup; do
        # shellcheck disable=SC2086 # words
        exits 77 in_ns director timeout $((10 * LAB_SLOW)) "${AS[@]}" "$LAB_DIR/ipvsd" $command
        matches "$OUTPUT" "privilege|root|CAP_" "message of $command"
    done
    equal "$(ipvsd status --json | jq .pid)" "$DIRECTOR_PID" "the daemon's pid"
}

test_root_without_the_capabilities() {
    AS=(setpriv --bounding-set "-bpf,-sys_admin,-perfmon,-net_admin" --inh-caps -all)
    refused 77 "privilege|root|CAP_" --vip "$VIP" --backends "$RS1"
}

test_bpf_refused_by_the_kernel() {
    AS=("$PYTHON" "$TESTS/refuse-bpf.py")
    refused 71 "bpf.*(not permitted|EPERM)" --vip "$VIP" --backends "$RS1"
}

run_tests
