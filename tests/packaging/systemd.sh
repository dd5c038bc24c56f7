#!/usr/bin/env bash
# The unit is right, and how exposed the service is: tests/packaging/systemd.sh PATH_OF_THE_BINARY
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p target/packaging
binary=$1
unit=systemd/apono-connector.service
# Ten times the score of `systemd-analyze security`.
threshold=12

if ! command -v systemd-analyze >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        flock target/packaging/apt.lock apt-get update -qq && flock target/packaging/apt.lock apt-get install -qq -y --no-install-recommends systemd >/dev/null
    else
        echo 'systemd-analyze is missing; install the package systemd (252 or later)' >&2
        exit 1
    fi
fi

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
# The unit names two programs and a manual page; whether those are there is verified as well.
install -D "$binary" "$root/usr/bin/apono-connector"
install -D /bin/true "$root/bin/kill"
install -D -m 0644 "$unit" "$root/usr/lib/systemd/system/apono-connector.service"
for target in sysinit basic multi-user network-online time-sync nss-lookup shutdown; do
    printf '[Unit]\nDescription=%s\n' "$target" >"$root/usr/lib/systemd/system/$target.target"
done
for slice in -.slice system.slice; do
    printf '[Unit]\nDescription=%s\n' "$slice" >"$root/usr/lib/systemd/system/$slice"
done

echo '-- systemd-analyze verify'
findings=$(systemd-analyze verify --recursive-errors=no --man=no --root="$root" apono-connector.service 2>&1) || {
    echo "$findings"
    echo 'the unit is not right' >&2
    exit 1
}
if [ -n "$findings" ]; then
    echo "$findings"
    echo 'the unit has findings' >&2
    exit 1
fi
echo 'no findings'

echo '-- systemd-analyze security'
report=$(systemd-analyze security --offline=true --threshold=$threshold "$unit") || {
    echo "$report"
    echo "the service is exposed by more than $threshold tenths" >&2
    exit 1
}
tail -n 1 <<<"$report"
