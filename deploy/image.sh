#!/usr/bin/env bash
# The OCI image, without a container engine or a registry: deploy/image.sh BINARY OUT_DIR
# Leaves OUT_DIR/oci (a layout) and the same in one file, and prints the digest. The same binary gives the same digest;
# every time stamp in it is SOURCE_DATE_EPOCH, by default that of the last commit.
set -euo pipefail
binary=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
cd "$(dirname "$0")/.."

for tool in cargo ldd strip python3; do
    command -v $tool >/dev/null || { echo "$tool is missing; install a Rust toolchain, binutils and python3" >&2; exit 1; }
done
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null) || SOURCE_DATE_EPOCH=0
fi
export SOURCE_DATE_EPOCH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
strip --strip-all -o "$work/apono-connector" "$binary"
version=$("$binary" --version | awk '{print $2}')
python3 deploy/bom.py "$work" >/dev/null
python3 deploy/image.py "$work/apono-connector" "$work/THIRD-PARTY-LICENSES.txt" "$version" \
    "$(git rev-parse HEAD 2>/dev/null || true)" "$out"
