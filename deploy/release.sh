#!/usr/bin/env bash
# All that is published of a version, from one binary: deploy/release.sh BINARY OUT_DIR
# The program alone, the image, the packages, the bill of materials, and SHA256SUMS of them.
set -euo pipefail
binary=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
cd "$(dirname "$0")/.."

readelf --section-headers --wide "$binary" | grep -qF .dep-v0 || {
    echo "$binary does not say what it was made of; build it by: cargo auditable build --release --locked --features jemalloc" >&2
    exit 1
}
version=$("$binary" --version | awk '{print $2}')
deploy/image.sh "$binary" "$out"
deploy/packages.sh "$binary" "$out"
rm -rf "$out/oci"
install -m 0755 target/packaging/stage/usr/bin/apono-connector "$out/apono-connector-$version-linux-$(dpkg --print-architecture)"
cd "$out"
find . -maxdepth 1 -type f ! -name SHA256SUMS -printf '%f\n' | LC_ALL=C sort | xargs sha256sum >SHA256SUMS
sha256sum --check --strict SHA256SUMS
