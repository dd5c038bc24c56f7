#!/usr/bin/env bash
# Builds the version that has to work beside this one, for `cargo test --test fleet versions -- --ignored`, and prints where
# its program is. Which version that is stands in tests/fleet/previous: a tag, or a commit. Ends with 3 where the history is
# not here, or not all of it. May be run again.
set -euo pipefail
cd "$(dirname "$0")/../.."

previous=$(<tests/fleet/previous)
home=target/previous/$previous

[ -d "$home" ] || {
    git rev-parse --quiet --verify "$previous^{commit}" >/dev/null || {
        echo "missing: $previous, which tests/fleet/previous names, is not in the history that is here" >&2
        if [ "$(git rev-parse --is-shallow-repository)" = false ]; then
            echo 'all of the history is here: fetch its tags (git fetch --tags), or mend the name' >&2
            exit 1
        fi
        echo 'this is a shallow clone, or sources without their history; clone all of it, or: git fetch --tags --unshallow' >&2
        exit 3
    }
    # What was built of others is of no use any more.
    rm -rf target/previous
    mkdir -p "$home.new"
    # The time of each file is now: cargo would take an older one for what it has built before.
    git archive "$previous" | tar -xm -C "$home.new"
    mv "$home.new" "$home"
}

# Dependencies are built once, for it and for the tests of this version: they are in one folder, and with a test the features
# are the same.
shared=$(realpath -m "${CARGO_BUILD_BUILD_DIR:-${CARGO_TARGET_DIR:-target}}")
CARGO_BUILD_BUILD_DIR=$shared CARGO_INCREMENTAL=0 cargo build --locked --manifest-path "$home/Cargo.toml" \
    --target-dir "$home/target" --bin apono-connector --test architecture \
    --config 'profile.dev.package."*".debug=false' \
    --config 'profile.dev.package.apono-connector.debug=0' --config 'profile.dev.package.simulator.debug=0' >&2
echo "$home/target/debug/apono-connector"
