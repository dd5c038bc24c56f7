#!/usr/bin/env bash
# The .deb, the .rpm and the bill of materials: deploy/packages.sh BINARY OUT_DIR [VERSION]
# CONFIGURATION names the file that becomes /etc/apono-connector/connector.toml, by default config/connector.toml.
# What is in them, and what they do, is said in Cargo.toml ([package.metadata.deb], [package.metadata.generate-rpm]) of
# what this script lays out in target/packaging/stage.
set -euo pipefail
binary=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
cd "$(dirname "$0")/.."
tools=$PWD/target/packaging
stage=$tools/stage
name=apono-connector
version=${3:-$(sed -n 's/^version = "\(.*\)"/\1/p;T;q' Cargo.toml)}

for tool in cargo strip gzip python3; do
    command -v $tool >/dev/null || { echo "$tool is missing; install a Rust toolchain, binutils, gzip and python3" >&2; exit 1; }
done
command -v dpkg-shlibdeps >/dev/null || { echo 'dpkg-shlibdeps is missing; install dpkg-dev' >&2; exit 1; }
# The tools are built without optimization, but for what reads every byte: that is three times faster than to build them
# as they are published.
export PATH=$tools/cargo/bin:$PATH CARGO_PROFILE_DEV_DEBUG=0
tool() {
    [ -x "$tools/cargo/bin/$1" ] && cargo install --list --root "$tools/cargo" | grep -qx "$1 v$2:" && return
    local config=()
    for part in sha2 sha3 keccak zstd-sys; do
        config+=(--config "profile.dev.package.$part.opt-level=3")
    done
    cargo "${config[@]}" install --quiet --locked --debug --root "$tools/cargo" --target-dir "$tools/cargo/target" \
        --version "$2" "$1" "${@:3}"
}
tool cargo-deb 3.8.0 --no-default-features
tool cargo-generate-rpm 0.21.1
rm -rf "$tools/cargo/target"

if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null) || SOURCE_DATE_EPOCH=0
fi
export SOURCE_DATE_EPOCH
umask 022

rm -rf "$stage"
file() { install -D -m 0644 /dev/stdin "$stage/$1"; }
mkdir -p "$stage/usr/bin"
strip --strip-all --remove-section=.comment -o "$stage/usr/bin/$name" "$binary"
file "usr/lib/systemd/system/$name.service" <"systemd/$name.service"
file "usr/lib/systemd/system/$name.service.d/10-group.conf" <deploy/packages/group.conf
file "usr/lib/sysusers.d/$name.conf" <deploy/packages/sysusers.conf
file "usr/lib/tmpfiles.d/$name.conf" <deploy/packages/tmpfiles.conf
# The file of the repository, with the secrets where the unit puts them.
credentials=/run/credentials/$name.service
sed -e "s|\"/run/secrets/apono/token\"|\"$credentials/apono-token\"|" \
    -e "s|\"/run/secrets/okta/credentials.json\"|\"$credentials/okta-credentials.json\"|" \
    "${CONFIGURATION:-config/connector.toml}" | file etc/$name/connector.toml
# What the program says of itself: pages for every command, completions, the catalogue of its messages.
"$binary" man --out-dir "$stage/man"
for page in "$stage"/man/*; do
    gzip -9n <"$page" | file "usr/share/man/man${page##*.}/$(basename "$page").gz"
done
"$binary" completions bash | file usr/share/bash-completion/completions/$name
"$binary" completions zsh | file usr/share/zsh/completions/_$name
"$binary" completions fish | file usr/share/fish/vendor_completions.d/$name.fish
"$binary" catalog | file usr/lib/systemd/catalog/$name.catalog
python3 deploy/bom.py "$stage/bom"
gzip -9n <"$stage/bom/THIRD-PARTY-LICENSES.txt" | file usr/share/doc/$name/THIRD-PARTY-LICENSES.txt.gz
file usr/share/doc/$name/README.systemd.md <systemd/README.md
file usr/share/licenses/$name/LICENSE <LICENSE
file usr/share/lintian/overrides/$name <deploy/packages/debian/lintian-overrides
{
    if ! head -n 1 deploy/packages/debian/changelog | grep -qF "($version-1)"; then
        printf '%s (%s-1) unstable; urgency=medium\n\n  * Version %s.\n\n' $name "$version" "$version"
        printf '%s  %s\n\n' "$(grep -m 1 '^ -- ' deploy/packages/debian/changelog | sed 's/>.*/>/')" \
            "$(LC_ALL=C date -uRd "@$SOURCE_DATE_EPOCH")"
    fi
    cat deploy/packages/debian/changelog
} | gzip -9n | file usr/share/doc/$name/changelog.Debian.gz
find "$stage" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

cargo deb --quiet --no-build --no-strip --deb-version "$version-1" --output "$out"
cargo generate-rpm --set-metadata "version = \"$version\"" --source-date "$SOURCE_DATE_EPOCH" --output "$out"
cp "$stage"/bom/*.cdx.json "$out/"
