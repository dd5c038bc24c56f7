#!/usr/bin/env bash
# Installs the SCIM servers of other people that `cargo test --features interop --test interop` runs against, each into
# an environment of its own below target/interop. Needs Python 3.10 or later with its venv module. May be run again.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${PYTHON:-python3}
"$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' || {
  echo "$python must be Python 3.10 or later with its venv module (Debian: apt-get install python3-venv)" >&2
  exit 1
}

for server in scim2-server django-scim2; do
  wanted=tests/interop/$server.txt
  home=target/interop/$server
  if cmp --silent "$wanted" "$home/installed.txt"; then
    continue
  fi
  rm -rf "$home"
  "$python" -m venv "$home"
  "$home/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$wanted"
  cp "$wanted" "$home/installed.txt"
done
echo 'target/interop is ready'
