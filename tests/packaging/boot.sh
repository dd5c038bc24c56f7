#!/usr/bin/env bash
# The unit under a real systemd that boots in a throw-away container: tests/packaging/boot.sh PATH_OF_THE_BINARY
# Needs root and a kernel that lets it make namespaces and overlays.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=$(realpath "$1")
tools=target/packaging
mkdir -p "$tools"

. tests/packaging/tools.inc.sh

mapfile -t missing < <(missing_packages systemd-nspawn:systemd-container mmdebstrap:mmdebstrap \
    unshare:util-linux mount:mount)
install_packages "${missing[@]}"
tests/fleet/setup.sh
only_root 'a container is booted by root only'

root=$(boot_root)

# Whatever ends this ends all that runs in there.
setpriv --pdeathsig=KILL unshare --mount --net --pid --fork --kill-child --mount-proc \
    python3 tests/packaging/boot.py "$root" "$binary"
