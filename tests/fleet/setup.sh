#!/usr/bin/env bash
# Installs Debian's PostgreSQL, which tests/fleet starts clusters of its own with, unless one is there. Nothing of it is
# started here. May be run again.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/packaging/tools.inc.sh

is_there() {
    command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

is_there || {
    # The package makes a cluster and starts it, unless it is told not to in a file that comes before it.
    only_root 'missing: postgresql; install PostgreSQL 15 or later (Debian: apt-get install postgresql)'
    install_packages postgresql-common
    sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
    install_packages postgresql
    is_there || { echo 'PostgreSQL was installed, and there is no initdb' >&2; exit 1; }
}
