#!/bin/bash
# Tests/run.sh - installs what is needed, builds, and runs every test there is. Root; Debian 12 or newer.
#
#   sudo Tests/run.sh [STAGE...]     format build quickstart namespaces attacks swift kernel bench (all, in this order)
#
# The last line is "N passed, N failed" over all stages, and the exit code says the same. Nothing may be skipped:
# a skipped test counts as a failed one.
set -euo pipefail
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=SWIFT,CI "$0" "$@"
# shellcheck source=Lab/lab.sh
source "$(dirname "${BASH_SOURCE[0]}")/Lab/lab.sh"
# shellcheck source=../Sources/ipvsd/Packaging/build.sh
source "$ROOT/Sources/ipvsd/Packaging/build.sh"

# Package.swift makes warnings errors when CI is set.
export CI=${CI:-1}
TEST_PACKAGES=(bpftool clang-format iperf3 iproute2 iputils-arping iputils-ping ipvsadm jq keepalived nftables openssl python3-minimal
    python3-prometheus-client shellcheck tcpdump
    qemu-system-x86 kmod cpio xz-utils busybox-static dpkg-dev lintian)
PASSED=0 FAILED=0
LOG=$(mktemp)
BESIDE_LOG=$(mktemp)
BUILT='' BESIDE=''
trap 'stop_beside; rm -f "$LOG" "$BESIDE_LOG"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# stage NAME COMMAND...   a stage whose tests are counted by COMMAND's output, or else is one test itself
stage() {
    local name=$1 began=$SECONDS code=0 passed failed
    shift
    printf '\n=== %s\n' "$name"
    "$@" 2>&1 | tee "$LOG" || code=$?
    read -r passed failed < <(count "$LOG")
    # One that failed without naming a test, or had none, is one failed test.
    if ((code != 0 && failed == 0)); then failed=1; fi
    if ((code == 0 && passed == 0 && failed == 0)); then passed=1; fi
    PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed))
    printf '=== %s: %d passed, %d failed, %d s\n' "$name" "$passed" "$failed" $((SECONDS - began))
}

# The counts of a stage's log: lines of the shell scenarios, and Swift Testing's.
count() {
    local ok not_ok total swift_failed skipped
    ok=$(grep -c '^ok - ' "$1" || true)
    not_ok=$(grep -c '^not ok - ' "$1" || true)
    total=$(sed -nE 's/^.* Test run with ([0-9]+) tests? .*/\1/p' "$1" | tail -1)
    swift_failed=$(grep -cE '^[^ ]+ +Test [^ ].* failed after ' "$1" || true)
    # "Test run with N tests failed" is no test.
    swift_failed=$((swift_failed - $(grep -cE '^[^ ]+ +Test run with .* failed after ' "$1" || true)))
    skipped=$(grep -cE '^[^ ]+ +(Test|Suite) .* skipped' "$1" || true)
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
    # C targets and the plugin's programs know nothing of the Swift setting. Dependencies' warnings are theirs.
    if grep -E "^($ROOT/)?(Sources|Tests)/[^:]*:[0-9]+.*warning:" "$log"; then code=1; fi
    rm -f "$log"
    return $code
}

# The program, the one from which floods and figures come, and the one that makes a data plane of layout 3.
build_release() {
    swift_build || return
    local product
    for product in ipvsd-bench layout-3-writer; do
        as_invoker "$SWIFT" build --package-path "$ROOT" -c release --static-swift-stdlib --product $product || return
    done
}

# Where the build stage has not run. SwiftPM builds one thing at a time: this would wait for the tests' build.
need_release() { [ -n "$BUILT" ] || build_release; }

# Built as the caller of sudo, run as root: they load packet programs.
run_swift_tests() {
    cd "$ROOT"
    mount_bpffs
    build_tests && "$SWIFT" test --skip-build --disable-xctest --no-parallel
}

build_tests() { as_invoker "$SWIFT" build --package-path "$ROOT" --build-tests; }

# Scenarios wait most of the time. The build of the Swift tests takes what they leave of the processors.
build_tests_beside() {
    [ -n "$BUILT" ] && [ -z "$BESIDE" ] || return 0
    (
        chrt --idle --pid 0 "$BASHPID"
        build_tests
    ) >"$BESIDE_LOG" 2>&1 &
    BESIDE=$!
}

# The stage that needs the tests builds what is missing, and so shows what was wrong.
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

# Floods of a director that no longer keeps up would go on and on.
run_attacks() { run_scenarios "$ROOT/Tests/Attacks" timeout --kill-after 1m 20m; }

# run_scenarios DIRECTORY [COMMAND...]   by way of that command, and whether they left anything behind
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

# The packet programs' tests run there once more.
run_kernel() { need_release && build_tests && "$ROOT/Tests/KernelLab/run.sh"; }

run_bench() { need_release && "$ROOT/Tests/Benchmarks/run.sh"; }

main() {
    local name
    packages "${BUILD_PACKAGES[@]}" "${LAB_PACKAGES[@]}" "${TEST_PACKAGES[@]}"
    find_swift
    [ $# -gt 0 ] || set -- format build quickstart namespaces attacks swift kernel bench
    for name; do
        case $name in
            format) stage "swift format" run_format ;;
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
