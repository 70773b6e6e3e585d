#!/bin/bash
# Sources/ipvsd/Packaging/package.sh [DIRECTORY] - builds the program, and makes the package ipvsd_VERSION_ARCH.deb in
# DIRECTORY (.).
#
# It needs the packages of the build (see README.md) and Debian's dpkg-dev, and not root. The same program gives the
# same bytes, as all times in the package are the commit's, or SOURCE_DATE_EPOCH.
#
#   IPVSD:   a program that is built already
#   DEBFULLNAME, DEBEMAIL:   the maintainer
set -euo pipefail
umask 022
export LC_ALL=C TZ=UTC
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
# shellcheck source=build.sh
source "$ROOT/Sources/ipvsd/Packaging/build.sh"
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(as_invoker git -C "$ROOT" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
MAINTAINER="${DEBFULLNAME:-The ipvsd authors} <${DEBEMAIL:-ipvsd@ipvsd.invalid}>"

main() {
    [ -d "${1:-.}" ] || { echo "usage: $0 [DIRECTORY]: there is no directory $1" >&2; exit 64; }
    command -v dpkg-shlibdeps strip >/dev/null || { echo "apt install dpkg-dev" >&2; exit 69; }
    find_swift
    [ -n "${IPVSD:-}" ] || { swift_build >&2 && IPVSD=$ROOT/.build/release/ipvsd; }
    (cd "$ROOT" && as_invoker "$SWIFT" build --product generate-manual >&2)
    VERSION=$("$IPVSD" --version) ARCHITECTURE=$(dpkg --print-architecture)
    WORK=$(mktemp -d)
    trap 'rm -rf "$WORK"' EXIT
    TREE=$WORK/tree DOC=$WORK/tree/usr/share/doc/ipvsd

    install -D --strip "$IPVSD" "$TREE/usr/sbin/ipvsd"
    install -D -m 644 "$ROOT/examples/ipvsd.service" "$TREE/lib/systemd/system/ipvsd.service"
    install -d "$TREE/etc/ipvsd"
    manual
    file_documents
    completions
    documents
    control
    find "$TREE" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
    dpkg-deb --root-owner-group --build "$TREE" "${1:-.}/ipvsd_${VERSION}_$ARCHITECTURE.deb"
}

# Manual pages: ipvsd(8), and one for each subcommand, such as ipvsd-director(8). Their text is that of --help.
manual() {
    local page name
    mkdir "$WORK/pages" && install -d "$TREE/usr/share/man/man8"
    "$ROOT/.build/debug/generate-manual" --multi-page --section 8 --date "$(date -d "@$SOURCE_DATE_EPOCH" +%F)" \
        --output-directory "$WORK/pages" "$IPVSD"
    rm "$WORK"/pages/ipvsd.{help,documentation}.8
    for page in "$WORK"/pages/*.8; do
        name=${page##*/} name=${name%.8}
        awk -v os="ipvsd $VERSION" -f "$ROOT/Sources/ipvsd/Packaging/debian/manual.awk" "$page" | gzip -9n >"$TREE/usr/share/man/man8/${name//./-}.8.gz"
    done
}

# Documents of the configuration file: ipvsd.yaml(5) and the JSON Schema, from the program's table of options.
file_documents() {
    install -d "$TREE/usr/share/man/man5" "$TREE/usr/share/ipvsd"
    "$IPVSD" documentation file-manual --date "$(date -d "@$SOURCE_DATE_EPOCH" '+%B %-d, %Y')" |
        gzip -9n >"$TREE/usr/share/man/man5/ipvsd.yaml.5.gz"
    "$IPVSD" documentation schema >"$TREE/usr/share/ipvsd/ipvsd.schema.json"
}

completions() {
    local shell file
    while read -r shell file; do
        install -d "$TREE/usr/share/${file%/*}"
        "$IPVSD" --generate-completion-script "$shell" | sed '1{/^#!/d}' >"$TREE/usr/share/$file"
    done <<'FILES'
bash bash-completion/completions/ipvsd
zsh zsh/vendor-completions/_ipvsd
fish fish/vendor_completions.d/ipvsd.fish
FILES
}

documents() {
    install -d "$DOC"
    { cat "$ROOT/LICENSE" && printf '\nThe latter is in /usr/share/common-licenses/GPL-2.\n'; } >"$DOC/copyright"
    articles
    install -D -m 644 -t "$DOC/examples" "$ROOT/examples/ipvsd.yaml"
    libraries | gzip -9n >"$DOC/libraries.gz"
    printf 'ipvsd (%s) unstable; urgency=medium\n\n  * Of commit %s.\n\n -- %s  %s\n' "$VERSION" \
        "$(as_invoker git -C "$ROOT" rev-parse --short=12 HEAD)" "$MAINTAINER" "$(date -R -d "@$SOURCE_DATE_EPOCH")" |
        gzip -9n >"$DOC/changelog.gz"
    install -D -m 644 "$ROOT/Sources/ipvsd/Packaging/debian/lintian-overrides" "$TREE/usr/share/lintian/overrides/ipvsd"
}

# README.md and the articles as plain Markdown, whose links name files of the package.
articles() {
    local article catalogue=Sources/ipvsd/ipvsd.docc
    install -d "$DOC/articles"
    for article in "$ROOT/$catalogue"/*.md; do
        article=${article##*/}
        echo "s|<doc:${article%.md}>|[$(sed '1!d; s/^# //; s/`//g' "$ROOT/$catalogue/$article")]($article)|g"
    done >"$WORK/links.sed"
    for article in "$ROOT/$catalogue"/*.md; do
        sed -f "$WORK/links.sed" -e '/^<!-- run: /d' "$article" >"$DOC/articles/${article##*/}"
    done
    sed -e "s|$catalogue/|articles/|g; s|(LICENSE)|(copyright)|; /^<!-- run: /d" "$ROOT/README.md" >"$DOC/README.md"
}

# The licences and notices of what is linked into the program.
libraries() {
    local file name
    find "$ROOT/.build/checkouts" -mindepth 2 -maxdepth 2 -type f -regex '.*/\(LICENSE\|NOTICE\)\(\.txt\|\.md\)?' | sort |
        while read -r file; do
            name=${file#"$ROOT/.build/checkouts/"}
            printf '=== %s\n\n' "$name"
            cat "$file"
            echo
        done
}

control() {
    install -d "$TREE/DEBIAN"
    install -t "$TREE/DEBIAN" "$ROOT"/Sources/ipvsd/Packaging/debian/{postinst,prerm,postrm}
    (cd "$TREE" && find lib usr -type f | sort | xargs md5sum) >"$TREE/DEBIAN/md5sums"
    cat >"$TREE/DEBIAN/control" <<CONTROL
Package: ipvsd
Version: $VERSION
Architecture: $ARCHITECTURE
Maintainer: $MAINTAINER
Installed-Size: $(du -sk --apparent-size --exclude DEBIAN "$TREE" | cut -f1)
Depends: $(dependencies)
Recommends: nftables
Section: net
Priority: optional
Description: LVS-style IP-tunnel load balancer
 A director takes clients' packets for a virtual IP, chooses a real server
 with one of kernel IPVS's schedulers, and sends each packet there inside IPIP
 (RFC 2003), by an XDP program; the real server answers the client directly.
 .
 The same program sets up real servers, checks them through the tunnel, drains
 them, and names what is broken.
CONTROL
}

# Packages of the libraries, as dpkg-shlibdeps finds them. It runs only where a source package seems to be.
dependencies() {
    mkdir -p "$WORK/source/debian"
    echo 'Source: ipvsd' >"$WORK/source/debian/control"
    (cd "$WORK/source" && dpkg-shlibdeps -O "$TREE/usr/sbin/ipvsd") | sed 's/^shlibs:Depends=//'
}

main "$@"
