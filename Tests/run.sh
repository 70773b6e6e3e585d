#!/bin/bash
# Tests/run.sh - installs missing packages, builds, and runs all tests. It needs root, and Debian 12 or newer.
#
#   sudo Tests/run.sh [STAGE...]
#
# The stages are format, build, quickstart, namespaces, attacks, swift, documents, kernel and bench. Without arguments
# all of them run, in this order. The last line is "N passed, N failed" over all stages, and the exit code is 0 only without a
# failure. A skipped test counts as a failed one.
set -euo pipefail
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=SWIFT,CI "$0" "$@"
# shellcheck source=Lab/lab.sh
source "$(dirname "${BASH_SOURCE[0]}")/Lab/lab.sh"
# shellcheck source=../Sources/ipvsd/Packaging/build.sh
source "$ROOT/Sources/ipvsd/Packaging/build.sh"

# Package.swift makes warnings errors when CI is set.
export CI=${CI:-1}
TEST_PACKAGES=(bpftool clang-format iperf3 iproute2 iputils-arping iputils-ping ipvsadm jq keepalived nftables openssl python3-minimal
    python3-prometheus-client shellcheck tcpdump curl man-db
    qemu-system-x86 kmod cpio xz-utils busybox-static dpkg-dev lintian)
PASSED=0 FAILED=0
LOG=$(mktemp)
BESIDE_LOG=$(mktemp)
BUILT='' BESIDE=''
trap 'stop_beside; rm -f "$LOG" "$BESIDE_LOG" "$BESIDE_LOG.2"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# stage NAME COMMAND...   runs a stage. Its tests are counted in COMMAND's output. Without any, the stage is one test.
stage() {
    local name=$1 began=$SECONDS code=0 passed failed
    shift
    printf '\n=== %s\n' "$name"
    "$@" 2>&1 | tee "$LOG" || code=$?
    read -r passed failed < <(count "$LOG")
    # A stage that failed without naming a test is one failed test.
    if ((code != 0 && failed == 0)); then failed=1; fi
    if ((code == 0 && passed == 0 && failed == 0)); then passed=1; fi
    PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed))
    printf '=== %s: %d passed, %d failed, %d s\n' "$name" "$passed" "$failed" $((SECONDS - began))
}

# The counts of passed and failed tests in a stage's log, by the lines of the shell scenarios and of Swift Testing.
count() {
    local ok not_ok total swift_failed skipped
    ok=$(grep -c '^ok - ' "$1" || true)
    not_ok=$(grep -c '^not ok - ' "$1" || true)
    total=$(sed -nE 's/^.* Test run with ([0-9]+) tests? .*/\1/p' "$1" |
        awk '{ sum += $1 } END { if (NR) print sum }')
    swift_failed=$(grep -cE '^[^ ]+ +Test [^ ].* failed after [0-9.]+ seconds' "$1" || true)
    # The line "Test run with N tests failed" is no test.
    swift_failed=$((swift_failed - $(grep -cE '^[^ ]+ +Test run with .* failed after [0-9.]+ seconds' "$1" || true)))
    # The sentence of a test may have the word, too.
    skipped=$(grep -cE '^[^ ]+ +(Test|Suite) .* skipped(\.|: .*)$' "$1" || true)
    [ -z "$total" ] || ok=$((ok + total - swift_failed - skipped))
    echo $((ok < 0 ? 0 : ok)) $((not_ok + swift_failed + skipped))
}

run_format() {
    cd "$ROOT"
    as_invoker "$SWIFT" format lint --strict --recursive --parallel Sources Tests Package.swift &&
        find Sources Tests \( -name '*.c' -o -name '*.h' \) -print0 | xargs -0 clang-format --dry-run -Werror &&
        shell_files | xargs -0 -n 4 -P "$(nproc)" shellcheck -x &&
        as_invoker "$PYTHON" "$ROOT/Tests/prose.py"
}

shell_files() {
    find examples Sources Tests -name '*.sh' -print0
    printf '%s\0' .ci/run Sources/ipvsd/Packaging/debian/{postinst,postrm,prerm}
}

run_build() {
    local log code=0
    log=$(mktemp)
    build_release 2>&1 | tee "$log" || code=$?
    # The Swift setting does not apply to C targets and the plugin's programs. Warnings of dependencies do not count.
    if grep -E "^($ROOT/)?(Sources|Tests)/[^:]*:[0-9]+.*warning:" "$log"; then code=1; fi
    rm -f "$log"
    return $code
}

# Builds the program, ipvsd-bench for floods and figures, and layout-3-writer for a data plane of layout 3.
build_release() {
    swift_build || return
    local product
    for product in ipvsd-bench layout-3-writer; do
        as_invoker "$SWIFT" build --package-path "$ROOT" -c release --static-swift-stdlib --product $product || return
    done
}

# Builds the programs unless the build stage has. SwiftPM builds one thing at a time: this would wait for other builds.
need_release() { [ -n "$BUILT" ] || build_release; }

# The tests are built as the caller of sudo. They run as root, since they load packet programs. Three processes run side by
# side, each in network and mount namespaces of its own. The two of the data plane take about as long as each other.
run_swift_tests() {
    local code=0 process processes=() long='Migration(Failure)?Tests|ExplanationTests'
    build_tests || return
    swift_tests --skip XDPDataPlaneTests >"$BESIDE_LOG" 2>&1 &
    processes+=($!)
    swift_tests --filter XDPDataPlaneTests --skip "$long" >"$BESIDE_LOG.2" 2>&1 &
    processes+=($!)
    swift_tests --filter "$long" || code=$?
    for process in "${processes[@]}"; do wait "$process" || code=$?; done
    cat "$BESIDE_LOG" "$BESIDE_LOG.2"
    return $code
}

# swift_tests ARGUMENT...   runs Swift Testing with these arguments.
swift_tests() {
    # shellcheck disable=SC2016 # The inner shell expands.
    unshare --mount --net --propagation private bash -c '
        mount -t tmpfs tmpfs /run && mkdir /run/netns && mount -t sysfs sysfs /sys && mount -t bpf bpf /sys/fs/bpf &&
            ip link set lo up && cd "$0" && exec .build/debug/ipvsdPackageTests.xctest "$@"' "$ROOT" \
        --testing-library swift-testing --no-parallel "$@"
}

build_tests() { as_invoker "$SWIFT" build --package-path "$ROOT" --build-tests; }

# Builds the Swift tests on idle processors beside the scenarios, which wait most of the time.
build_tests_beside() {
    [ -n "$BUILT" ] && [ -z "$BESIDE" ] || return 0
    (
        chrt --idle --pid 0 "$BASHPID"
        build_tests
    ) >"$BESIDE_LOG" 2>&1 &
    BESIDE=$!
}

# Waits for that build. The stage that needs the tests builds again, and so shows errors.
await_beside() {
    [ -n "$BESIDE" ] || return 0
    wait "$BESIDE" || tail -n 5 "$BESIDE_LOG"
    BESIDE=
}

stop_beside() {
    [ -n "$BESIDE" ] || return 0
    pkill -P "$BESIDE" || true
}

run_quickstart() { "$ROOT/examples/quickstart.sh"; }

run_namespaces() { JOBS=2 run_scenarios "$ROOT/Tests/Namespaces"; }

# The attacks have a time limit, as a flood of a director that no longer keeps up would not end.
run_attacks() { run_scenarios "$ROOT/Tests/Attacks" timeout --kill-after 1m 20m; }

# run_scenarios DIRECTORY [COMMAND...]   runs them by that command, and compares the machine with the state from before
run_scenarios() {
    local before after directory=$1
    shift
    before=$(leftovers)
    need_release && SCENARIOS=$directory "$@" "$ROOT/Tests/Namespaces/run.sh" || return 1
    after=$(leftovers)
    if [ "$before" = "$after" ]; then
        echo "ok - no namespace, pin, journal or device is left"
    else
        echo "not ok - no namespace, pin, journal or device is left ($(diff <(echo "$before") <(echo "$after") | grep '^[<>]' | head -n 5 | paste -sd'|'))"
        return 1
    fi
}

leftovers() {
    ip netns list | grep '^ipvsd-' | sort || true
    find /sys/fs/bpf/ipvsd /run/ipvsd -mindepth 2 2>/dev/null | sort || true
    ip -o link show | awk '/ipvsd|tunl0/ { print $2 }'
}

run_documents() {
    need_release && as_invoker "$SWIFT" build --package-path "$ROOT" --product generate-manual &&
        SWIFT=$SWIFT "$ROOT/Tests/Documents/run.sh"
}

# The packet programs' tests run in the kernel lab once more, so it needs the tests' build.
run_kernel() { need_release && build_tests && "$ROOT/Tests/KernelLab/run.sh"; }

run_bench() { need_release && "$ROOT/Tests/Benchmarks/run.sh"; }

main() {
    local name
    packages "${BUILD_PACKAGES[@]}" "${LAB_PACKAGES[@]}" "${TEST_PACKAGES[@]}"
    find_swift
    [ $# -gt 0 ] || set -- format build quickstart namespaces attacks swift documents kernel bench
    for name; do
        case $name in
            format) stage "format" run_format ;;
            build)
                stage "build" run_build
                BUILT=1
                ;;
            quickstart) stage "quick start" run_quickstart ;;
            namespaces)
                build_tests_beside
                stage "namespaces" run_namespaces
                ;;
            attacks) stage "attacks" run_attacks ;;
            swift)
                await_beside
                stage "swift test" run_swift_tests
                ;;
            documents)
                await_beside
                stage "documents" run_documents
                ;;
            kernel)
                await_beside
                stage "kernel lab" run_kernel
                ;;
            bench) stage "benchmarks" run_bench ;;
            *)
                echo "no such stage: $name" >&2
                exit 64
                ;;
        esac
    done
    echo
    echo "$PASSED passed, $FAILED failed"
    ((FAILED == 0 && PASSED > 0))
}

main "$@"
