#!/bin/bash
# Tests/Documents/run.sh [PART...] - checks README.md, the articles and the manual pages. Root; IPVSD is the program.
#
#   links     links, paths, names and commands lead to something that exists.
#   articles  DocC converts the catalogue without a warning.
#   manuals   ipvsd.yaml(5) and the pages of section 8 are set without a warning, by the debug build of generate-manual.
#   blocks    each block that is marked `sh` runs.
#
# Without PART all of them. Each check is a line `ok - ` or `not ok - `.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$here/../.." && pwd)
export IPVSD=${IPVSD:-$ROOT/.build/release/ipvsd}
# Debian's own, in case a slower wrapper comes first in PATH.
PYTHON=/usr/bin/python3
[ -x "$PYTHON" ] || PYTHON=$(command -v python3)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# report NAME FILE   FILE holds the warnings
report() {
    if [ ! -s "$2" ]; then
        echo "ok - $1"
    else
        echo "not ok - $1"
        head -n 40 "$2" | sed 's/^/#     /'
        return 1
    fi
}

check_links() { "$PYTHON" "$here/links.py"; }

# A symbol graph without symbols gives the catalogue its module. DocC resolves the links between articles.
check_articles() {
    local docc
    docc=$(command -v "${SWIFT:-swift}" || echo /opt/swift/usr/bin/swift)
    docc=$(dirname "$(realpath "$docc")")/docc
    mkdir "$work/symbols"
    cat >"$work/symbols/ipvsd.symbols.json" <<'JSON'
{"metadata": {"formatVersion": {"major": 0, "minor": 6, "patch": 0}, "generator": "Tests/Documents"},
 "module": {"name": "ipvsd", "platform": {"operatingSystem": {"name": "linux"}}}, "symbols": [], "relationships": []}
JSON
    if "$docc" convert "$ROOT/Sources/ipvsd/ipvsd.docc" --additional-symbol-graph-dir "$work/symbols" \
        --warnings-as-errors --output-path "$work/archive" >"$work/docc" 2>&1; then
        # It prints an empty line.
        [ ! -d "$work/archive" ] || : >"$work/docc"
    else
        echo "exit code $?" >>"$work/docc"
    fi
    report "DocC converts the articles without a warning" "$work/docc"
}

check_manuals() {
    local generator=$ROOT/.build/debug/generate-manual page
    mkdir "$work/pages"
    "$IPVSD" documentation file-manual --date "January 1, 2000" >"$work/pages/ipvsd.yaml.5"
    "$generator" --multi-page --section 8 --date 2000-01-01 --output-directory "$work/pages" "$IPVSD" \
        >"$work/all-warnings" 2>&1 ||
        echo "$generator: exit code $?" >>"$work/all-warnings"
    # The pages as package.sh installs them.
    for page in "$work"/pages/*.8; do
        [ ! -e "$page" ] || { awk -v os=ipvsd -f "$(manual_filter)" "$page" >"$work/page" && mv "$work/page" "$page"; }
    done
    for page in "$work"/pages/*.[58]; do
        LC_ALL=C.UTF-8 MANWIDTH=100 man --warnings -l "$page" 2>"$work/warnings" >/dev/null ||
            echo "exit code $?" >>"$work/warnings"
        [ ! -s "$work/warnings" ] || sed "s/^/${page##*/}: /" "$work/warnings" >>"$work/all-warnings"
    done
    report "$(find "$work/pages" -type f | wc -l) manual pages are set without a warning" "$work/all-warnings"
}

manual_filter() { git -c "safe.directory=*" -C "$ROOT" ls-files -- '*/manual.awk' | sed "s|^|$ROOT/|; q"; }

check_blocks() { "$here/blocks.sh"; }

main() {
    local part failed=0
    [ $# -gt 0 ] || set -- links articles manuals blocks
    for part; do
        case $part in
            links | articles | manuals | blocks) "check_$part" || failed=1 ;;
            *)
                echo "no such part: $part" >&2
                exit 64
                ;;
        esac
    done
    return $failed
}

main "$@"
