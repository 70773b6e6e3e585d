# shellcheck shell=bash
# build.sh - installs Debian packages and builds the program. package.sh, quickstart.sh and Tests/run.sh source it.

# packages NAME...   installs the missing ones
packages() {
    local name missing=()
    for name in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || missing+=("$name")
    done
    ((${#missing[@]})) || return 0
    echo "installing Debian packages: ${missing[*]}"
    local log code=0
    log=$(mktemp)
    # The first failure only means that the lists of packages are missing or old.
    apt_install "${missing[@]}" >"$log" 2>&1 ||
        { apt_get update >"$log" 2>&1 && apt_install "${missing[@]}" >"$log" 2>&1; } || code=$?
    ((code == 0)) || tail -n 5 "$log" >&2
    rm -f "$log"
    return $code
}

apt_get() { DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@"; }

# Debian starts the services that it installs. Policy-rc.d keeps nginx from the machine's own port 80.
apt_install() {
    local policy=/usr/sbin/policy-rc.d code=0
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
    else
        policy=
    fi
    apt_get install -y --no-install-recommends "$@" || code=$?
    [ -z "$policy" ] || rm -f "$policy"
    if ((code == 0)) && [[ " $* " == *" nginx-light "* ]] && [ -d /run/systemd/system ]; then
        systemctl disable -q nginx || true
    fi
    return $code
}

# Packages of the build. The clang and llvm-objcopy of the Swift toolchain compile the packet programs.
# shellcheck disable=SC2034 # Scripts that source this file use it.
BUILD_PACKAGES=(libbpf-dev libmnl-dev libpcre2-dev linux-libc-dev pkg-config git ca-certificates)

# Packages with the programs that the lab's hosts run.
# shellcheck disable=SC2034 # Scripts that source this file use it.
LAB_PACKAGES=(iproute2 ethtool nginx-light curl procps util-linux kmod)

# Finds the toolchain also in the usual directories and in the caller's PATH, as sudo resets PATH.
find_swift() {
    local candidate
    for candidate in "${SWIFT:-}" "$(command -v swift || true)" "$(invokers_swift)" \
        /opt/swift/usr/bin/swift /usr/local/swift/usr/bin/swift /usr/libexec/swift/bin/swift; do
        if [ -n "$candidate" ] && [ -x "$candidate" ]; then
            SWIFT=$candidate
            # The build plugin looks for clang beside it.
            PATH=$(dirname "$SWIFT"):$PATH
            return
        fi
    done
    echo "no Swift toolchain found: put swift into PATH or set SWIFT=/path/to/swift (https://swift.org/install)" >&2
    return 69
}

invokers_swift() {
    [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ] || return 0
    runuser -l "$SUDO_USER" -c 'command -v swift' 2>/dev/null || true
}

# as_invoker COMMAND...   as the user who called sudo, so that the checkout gets no files of root's
as_invoker() {
    if [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ] && [ "$(stat -c %U "$ROOT")" = "$SUDO_USER" ]; then
        runuser -u "$SUDO_USER" -- env PATH="$PATH" HOME="$(getent passwd "$SUDO_USER" | cut -d: -f6)" "$@"
    else
        "$@"
    fi
}

swift_build() {
    (cd "$ROOT" && as_invoker "$SWIFT" build -c release --static-swift-stdlib --product ipvsd "$@")
}
