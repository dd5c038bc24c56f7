#!/usr/bin/env bash
# The .deb and the .rpm: looked through by lintian and rpmlint, installed, upgraded, removed and purged where a systemd
# runs: tests/packaging/packages.sh PATH_OF_THE_BINARY
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=$(realpath "$1")
tools=target/packaging
mkdir -p "$tools"

. tests/packaging/tools.inc.sh

mapfile -t missing < <(missing_packages lintian:lintian rpmlint:rpmlint rpm:rpm dpkg-shlibdeps:dpkg-dev \
    systemd-nspawn:systemd-container mmdebstrap:mmdebstrap unshare:util-linux nsenter:util-linux)
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
install_packages "${missing[@]}"
only_root 'packages are installed by root only'
if ! "$tools/packages-venv/bin/python" -c 'import cyclonedx.validation.json, jsonschema' 2>/dev/null; then
    [ -x "$tools/packages-venv/bin/pip" ] || python3 -m venv "$tools/packages-venv"
    "$tools/packages-venv/bin/pip" install --quiet 'cyclonedx-python-lib[json-validation]==11.12.0'
fi

root=$(boot_root)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$("$binary" --version | awk '{print $2}')
deploy/packages.sh "$binary" "$work/first"
# The next one comes with another configuration, as it well may.
{ cat config/connector.toml && echo '# More in the next version.'; } >"$work/next.toml"
CONFIGURATION=$work/next.toml deploy/packages.sh "$binary" "$work/second" "${version%.*}.$((${version##*.} + 1))"

for deb in "$work"/*/*.deb; do
    # Root is told that it should not be root.
    lintian --fail-on error,warning "$deb" 2>"$work/lintian" || { cat "$work/lintian"; exit 1; }
done
for rpm in "$work"/*/*.rpm; do
    rpmlint --strict --config deploy/packages/rpm/rpmlint.toml "$rpm" >"$work/rpmlint" 2>&1 || { cat "$work/rpmlint"; exit 1; }
done
echo 'lintian and rpmlint find nothing'
"$tools/packages-venv/bin/python" - "$work/first/apono-connector-$version.cdx.json" <<'PY'
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
sys.exit(f"not a bill of materials: {wrong}" if wrong else 0)
PY

# Whatever ends this ends all that runs in there.
setpriv --pdeathsig=KILL unshare --mount --net --pid --fork --kill-child --mount-proc \
    python3 tests/packaging/packages.py "$root" "$work" "$binary"
