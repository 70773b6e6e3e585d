#!/bin/bash
# Runs the scenarios of this directory under Debian's kernel: Tests/KernelLab/run.sh [NAME...], e.g. `run.sh kernel`;
# ONLY=REGEX picks tests by name. Without names all of them, in two guests side by side. The last line is
# "N passed, N failed".
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export IPVSD=${IPVSD:-$here/../../.build/release/ipvsd}
[ -x "$IPVSD" ] || { echo "no program at $IPVSD"; exit 1; }
IPVSD=$(realpath "$IPVSD")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A NIC whose driver merges frames, for interfaces.test.sh.
export GUEST_QEMU="-netdev hubport,id=hub,hubid=0 -device vmxnet3,netdev=hub"
# For package.test.sh: the package, and one like it of a later version.
PACKAGE=$work/now.deb PACKAGE_NEXT=$work/next.deb

main() {
    # Each is about half of the time.
    local first=(packets kernel interfaces doctor) second=(capture persist package import tunnel walks) beside=
    if [ $# -gt 0 ]; then first=("$@") second=(); fi
    # Files of packages that are not installed here. persist.test.sh unpacks ifupdown inside, as an installed one would
    # manage this machine's network. import.test.sh needs keepalived's samples, which an installation may lack.
    IFUPDOWN=$(debian_package ifupdown)
    KEEPALIVED=$(debian_package keepalived)
    if [[ " ${first[*]} ${second[*]:-} " == *" package "* ]]; then
        make_packages >"$work/log" 2>&1 || {
            echo "not ok - Sources/ipvsd/Packaging/package.sh ($(tail -n 3 "$work/log" | paste -sd'|'))"
            exit 1
        }
        judge_packages | tee "$work/packages"
    fi
    if [ ${#second[@]} -gt 0 ]; then
        export GUEST_CPUS=1
        guest "${second[@]}" >"$work/second" &
        beside=$!
    fi
    guest "${first[@]}" | tee "$work/first"
    [ -z "$beside" ] || { wait "$beside" || true; cat "$work/second"; }
    count
}

# guest NAME...   The guest knows nothing of this shell's variables.
guest() {
    GUEST_TIMEOUT=${GUEST_TIMEOUT:-3000} bash "$here/kernel-lab.sh" -- env IPVSD="$IPVSD" IFUPDOWN="$IFUPDOWN" \
        KEEPALIVED="$KEEPALIVED" PACKAGE="$PACKAGE" PACKAGE_NEXT="$PACKAGE_NEXT" ONLY="${ONLY:-.}" \
        bash "$here/guest.sh" "$@" || echo "# the guest's exit code: $?"
}

# debian_package NAME   its file, downloaded once
debian_package() {
    local packages=${GUEST_CACHE:-${HOME:-/root}/.cache/ipvsd-kernel-lab}/packages
    mkdir -p "$packages"
    (cd "$packages" && { ls "$1"_*.deb || apt-get -qq download "$1"; }) >/dev/null 2>&1 ||
        { echo "not ok - apt-get download $1" >&2; exit 1; }
    find "$packages" -name "$1_*.deb" | sort | tail -1
}

# Not compressed, as unpacking is emulated, too.
make_packages() {
    local again=$work/again
    export DPKG_DEB_COMPRESSOR_TYPE=none
    mkdir "$again"
    bash "$here/../../Sources/ipvsd/Packaging/package.sh" "$work" && mv "$work"/ipvsd_*.deb "$PACKAGE" &&
        bash "$here/../../Sources/ipvsd/Packaging/package.sh" "$again" && mv "$again"/ipvsd_*.deb "$again/now.deb" &&
        dpkg-deb -R "$PACKAGE" "$work/tree" && sed -i '/^Version:/s/$/+next/' "$work/tree/DEBIAN/control" &&
        dpkg-deb --root-owner-group -b "$work/tree" "$PACKAGE_NEXT" && rm -r "$work/tree"
}

judge_packages() {
    local complaints
    if cmp -s "$PACKAGE" "$work/again/now.deb"; then echo "ok - a package made twice is the same"; else
        echo "not ok - a package made twice is the same"
    fi
    complaints=$(lintian --allow-root --tag-display-limit 0 --fail-on error,warning --suppress-tags \
        uses-no-compression-for-data-tarball,uses-no-compression-for-control-tarball "$PACKAGE" 2>&1) &&
        echo "ok - lintian has no complaint" || echo "not ok - lintian has no complaint ($(paste -sd'|' <<<"$complaints"))"
}

count() {
    local passed=0 failed=0 output
    for output in "$work"/{packages,first,second}; do
        [ -e "$output" ] || continue
        passed=$((passed + $(grep -c '^ok - ' "$output" || true)))
        failed=$((failed + $(grep -c '^not ok - ' "$output" || true)))
        # The guest's last line proves that it came to the end.
        [[ $output == */packages ]] || grep -q '^# end of the guest' "$output" || failed=$((failed + 1))
    done
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ] && [ "$passed" != 0 ]
}

main "$@"
