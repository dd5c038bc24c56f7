#!/usr/bin/env bash
# The status page, in a real browser: tests/packaging/page.sh PATH_OF_THE_BINARY
# With UPDATE_DOCS=1, the pictures of docs/status-page.md are taken anew, which takes four minutes more.
# With PAGE_FROM=src/server/page, the page's files are taken from there, not out of the binary: for whoever works on them.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=$(realpath "$1")
tools=target/packaging/page
mkdir -p "$tools"

packages=('playwright==1.65.2' 'axe-playwright-python==0.1.8')
if [ "$(cat "$tools/venv/packages" 2>/dev/null)" != "${packages[*]}" ]; then
    python3 -m venv "$tools/venv"
    "$tools/venv/bin/pip" install --quiet --no-compile "${packages[@]}"
    echo "${packages[*]}" >"$tools/venv/packages"
fi

wanted=()
command -v chromium >/dev/null || wanted+=(chromium fonts-dejavu-core)
# What the pictures are written in.
[ -z "${UPDATE_DOCS:-}" ] || fc-list 2>/dev/null | grep -q NotoSans-Regular || wanted+=(fontconfig fonts-noto-core)
if [ "${#wanted[@]}" -gt 0 ]; then
    if ! command -v apt-get >/dev/null; then
        echo "missing: ${wanted[*]}; install Chromium (120 or later) and put it on the PATH as chromium" >&2
        exit 1
    fi
    flock target/packaging/apt.lock apt-get update -qq
    DEBIAN_FRONTEND=noninteractive flock target/packaging/apt.lock apt-get install -qq --yes --no-install-recommends "${wanted[@]}" >"$tools/apt.log" 2>&1 ||
        { cat "$tools/apt.log" >&2; exit 1; }
fi
# Of which the daemons have theirs.
tests/fleet/setup.sh
exec "$tools/venv/bin/python" tests/packaging/page.py "$(command -v chromium)" "$binary"
