# What the scripts beside it share; they stand in the project's folder when they take it in.

# Installs Debian packages, or says which ones are missing.
install_packages() {
    [ $# -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "missing: $*; install these packages" >&2
        exit 1
    fi
    mkdir -p target/packaging
    # Several scripts may run at the same time.
    flock target/packaging/apt.lock bash -euc '
        export DEBIAN_FRONTEND=noninteractive
        apt-get -o DPkg::Lock::Timeout=300 update -qq
        apt-get -o DPkg::Lock::Timeout=300 install -qq -y --no-install-recommends "$@" >/dev/null' - "$@"
}

# The packages of those commands that are not there: missing_packages COMMAND:PACKAGE …
missing_packages() {
    local pair
    for pair in "$@"; do
        command -v "${pair%:*}" >/dev/null || echo "${pair#*:}"
    done
}

only_root() {
    if [ "$(id -u)" != 0 ]; then
        echo "$1" >&2
        exit 1
    fi
}

# Prints where a file system with a systemd is: of this machine's release, whose libraries the binary was built with. It is
# never written to, and has nothing that is not needed: no certificates, no D-Bus.
boot_root() {
    local release root
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    root=target/packaging/boot-$release
    # In memory it takes a third of the time.
    flock target/packaging/boot.lock bash -euc '[ ! -d "$2" ] || exit 0
        rm -rf "$2.new"
        unshare --mount bash -euc '\''mount -t tmpfs tmpfs /mnt
            mmdebstrap --quiet --variant=essential --include=systemd,systemd-sysv,passwd,procps "$1" /mnt/root
            cp -a /mnt/root "$2.new"'\'' - "$1" "$2"
        mv "$2.new" "$2"' - "$release" "$root" >&2 || return 1
    echo "$root"
}
