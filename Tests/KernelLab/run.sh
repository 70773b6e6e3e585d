#!/bin/bash
# Runs the scenarios of this directory under Debian's kernel: Tests/KernelLab/run.sh [NAME...], e.g. `run.sh kernel`;
# ONLY=REGEX picks tests by name. The last line is "N passed, N failed".
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export IPVSD=${IPVSD:-$here/../../.build/release/ipvsd}
[ -x "$IPVSD" ] || { echo "no program at $IPVSD"; exit 1; }
IPVSD=$(realpath "$IPVSD")
results=$(mktemp)
built=$(mktemp -d)
trap 'rm -rf "$results" "$built"' EXIT

[ $# -gt 0 ] || set -- packets kernel interfaces doctor tunnel walks persist package
# A NIC whose driver merges frames, for interfaces.test.sh.
export GUEST_QEMU="-netdev hubport,id=hub,hubid=0 -device vmxnet3,netdev=hub"
# For persist.test.sh, which unpacks it inside: installed here, it would be one more who runs this machine's network.
packages=${GUEST_CACHE:-${HOME:-/root}/.cache/ipvsd-kernel-lab}/packages
mkdir -p "$packages"
(cd "$packages" && { ls ifupdown_*.deb || apt-get -qq download ifupdown; }) >/dev/null 2>&1 ||
    { echo "not ok - apt-get download ifupdown"; exit 1; }
IFUPDOWN=$(find "$packages" -name 'ifupdown_*.deb' | sort | tail -1)

# For package.test.sh: the package, and one like it of a later version. Not compressed, as unpacking is emulated, too.
export DPKG_DEB_COMPRESSOR_TYPE=none
PACKAGE=$built/now.deb PACKAGE_NEXT=$built/next.deb
make_packages() {
    local again=$built/again
    mkdir "$again"
    bash "$here/../../examples/package.sh" "$built" && mv "$built"/ipvsd_*.deb "$PACKAGE" &&
        bash "$here/../../examples/package.sh" "$again" && mv "$again"/ipvsd_*.deb "$again/now.deb" &&
        dpkg-deb -R "$PACKAGE" "$built/tree" && sed -i '/^Version:/s/$/+next/' "$built/tree/DEBIAN/control" &&
        dpkg-deb --root-owner-group -b "$built/tree" "$PACKAGE_NEXT" && rm -r "$built/tree"
}
judge_packages() {
    local complaints
    if cmp -s "$PACKAGE" "$built/again/now.deb"; then echo "ok - a package made twice is the same"; else
        echo "not ok - a package made twice is the same"
    fi
    complaints=$(lintian --allow-root --tag-display-limit 0 --fail-on error,warning --suppress-tags \
        uses-no-compression-for-data-tarball,uses-no-compression-for-control-tarball "$PACKAGE" 2>&1) &&
        echo "ok - lintian has no complaint" || echo "not ok - lintian has no complaint ($(paste -sd'|' <<<"$complaints"))"
}
if [[ " $* " == *" package "* ]]; then
    make_packages >"$built/log" 2>&1 || { echo "not ok - examples/package.sh ($(tail -n 3 "$built/log" | paste -sd'|'))"; exit 1; }
    judge_packages | tee "$results"
fi
# The guest knows nothing of this shell's variables.
GUEST_TIMEOUT=${GUEST_TIMEOUT:-1800} bash "$here/kernel-lab.sh" -- env IPVSD="$IPVSD" IFUPDOWN="$IFUPDOWN" \
    PACKAGE="$PACKAGE" PACKAGE_NEXT="$PACKAGE_NEXT" ONLY="${ONLY:-.}" \
    bash "$here/guest.sh" "$@" | tee -a "$results" || echo "# the guest's exit code: $?"

passed=$(grep -c '^ok - ' "$results" || true)
failed=$(grep -c '^not ok - ' "$results" || true)
# The guest's own last words prove that it came to the end.
grep -q '^# end of the guest' "$results" || failed=$((failed + 1))
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
