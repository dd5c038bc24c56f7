#!/usr/bin/env bash
# The unit under a real systemd that boots in a throw-away container: tests/packaging/boot.sh PATH_OF_THE_BINARY
# Needs root and a kernel that lets it make namespaces and overlays.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=$(realpath "$1")
tools=target/packaging
mkdir -p "$tools"

missing=()
for pair in systemd-nspawn:systemd-container mmdebstrap:mmdebstrap unshare:util-linux mount:mount; do
    command -v "${pair%:*}" >/dev/null || missing+=("${pair#*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        flock target/packaging/apt.lock apt-get -o DPkg::Lock::Timeout=300 update -qq
        flock target/packaging/apt.lock apt-get -o DPkg::Lock::Timeout=300 install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
    else
        echo "missing: ${missing[*]}; install these packages" >&2
        exit 1
    fi
fi
if [ "$(id -u)" != 0 ]; then
    echo 'a container is booted by root only' >&2
    exit 1
fi

# The release of this machine, whose libraries the binary was built with. It is never written to, and has nothing that is
# not needed: no certificates, no D-Bus.
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
root=$tools/boot-$release
if [ ! -d "$root" ]; then
    rm -rf "$root.new"
    # In memory it takes a third of the time.
    unshare --mount bash -euc 'mount -t tmpfs tmpfs /mnt
        mmdebstrap --quiet --variant=essential --include=systemd,systemd-sysv,passwd,procps "$1" /mnt/root
        cp -a /mnt/root "$2"' - "$release" "$root.new"
    mv "$root.new" "$root"
fi

# Whatever ends this ends all that runs in there.
setpriv --pdeathsig=KILL unshare --mount --net --pid --fork --kill-child --mount-proc \
    python3 tests/packaging/boot.py "$root" "$binary"
