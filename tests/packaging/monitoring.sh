#!/usr/bin/env bash
# Alerts, runbook and dashboard are right, and fit what the binary exports: tests/packaging/monitoring.sh PATH_OF_THE_BINARY
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=$(realpath "$1")
tools=target/packaging
mkdir -p "$tools"

if [ ! -x "$tools/monitoring-venv/bin/python" ]; then
    python3 -m venv "$tools/monitoring-venv"
fi
if ! "$tools/monitoring-venv/bin/python" -c 'import yaml' 2>/dev/null; then
    "$tools/monitoring-venv/bin/pip" install --quiet 'pyyaml==6.0.3'
fi

# Out of the package and not installed: that would start a service.
bin=$tools/prometheus/usr/bin
if command -v promtool >/dev/null && command -v prometheus >/dev/null; then
    bin=$(dirname "$(command -v promtool)")
elif [ ! -x "$bin/promtool" ]; then
    if ! command -v apt-get >/dev/null; then
        echo 'promtool and prometheus are missing; install them (2.42 or later) and put them on the PATH' >&2
        exit 1
    fi
    flock target/packaging/apt.lock apt-get update -qq
    (cd "$tools" && rm -f prometheus_*.deb && flock apt.lock apt-get download -qq -o APT::Sandbox::User=root prometheus)
    dpkg-deb -x "$tools"/prometheus_*.deb "$tools/prometheus"
fi
exec "$tools/monitoring-venv/bin/python" tests/packaging/monitoring.py "$bin/promtool" "$bin/prometheus" "$binary"
