"""What the program is made of: a CycloneDX bill of materials, and the licences of other people's libraries in it.

bom.py OUT_DIR

Leaves apono-connector-VERSION.cdx.json and THIRD-PARTY-LICENSES.txt there, out of `cargo metadata` and Cargo.lock, with
the features of what is published and for the machine that it runs on. The same sources give the same files.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import time
import uuid

OUT = pathlib.Path(sys.argv[1])
NAME = "apono-connector"
# Of what is published, beside the default ones.
FEATURES = "jemalloc"
# What authors call the files with their terms.
TERMS = re.compile(r"(LICEN[CS]E|COPYING|COPYRIGHT|NOTICE|UNLICENSE)", re.IGNORECASE)


def output(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def checksums():
    """Of every crate that is not ours, by name and version."""
    found = {}
    for entry in pathlib.Path("Cargo.lock").read_text().split("[[package]]"):
        values = dict(re.findall(r'^(name|version|checksum) = "(.+)"$', entry, re.MULTILINE))
        if "checksum" in values:
            found[values["name"], values["version"]] = values["checksum"]
    return found


def tree(host, edges):
    """What Cargo builds, which is less than what `cargo metadata` lists."""
    command = ["cargo", "tree", "--locked", "--features", FEATURES, "--package", NAME, "--target", host]
    command += ["--prefix", "none", "--edges", edges]
    return {tuple(line.split()[:2]) for line in output(*command, "--format", "{p}").splitlines() if line}


def graph():
    host = re.search(r"^host: (.+)$", output("rustc", "-vV"), re.MULTILINE).group(1)
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--features", FEATURES]
    told = json.loads(output(*command, "--filter-platform", host))
    built, linked = tree(host, "normal,build"), tree(host, "normal,no-proc-macro")
    packages, is_linked = {}, {}
    for package in told["packages"]:
        key = (package["name"], "v" + package["version"])
        if key in built:
            packages[package["id"]] = package
            is_linked[package["id"]] = key in linked
    if len(packages) != len(built):
        sys.exit("cargo tree and cargo metadata do not agree on what there is")
    edges = {}
    for node in told["resolve"]["nodes"]:
        if node["id"] in packages:
            uses = [d["pkg"] for d in node["deps"] if any(kind["kind"] != "dev" for kind in d["dep_kinds"])]
            edges[node["id"]] = [other for other in uses if other in packages]
    root = next(one for one, package in packages.items() if package["name"] == NAME)
    return packages, is_linked, edges, root


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, is_linked, sums):
    described = {
        "type": "library",
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "scope": "required" if is_linked else "excluded",
        "purl": reference(package),
    }
    checksum = sums.get((package["name"], package["version"]))
    if checksum:
        described["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["license"]:
        described["licenses"] = [{"expression": re.sub(r"\s*/\s*", " OR ", package["license"])}]
    if package["repository"]:
        described["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return described


def bill(packages, linked, edges, root):
    sums = checksums()
    by_name = sorted(linked, key=lambda one: (packages[one]["name"], packages[one]["version"]))
    ours = component(packages[root], True, sums)
    ours["type"] = "application"
    del ours["scope"]
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", 0))
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch)), "component": ours},
        "components": [component(packages[one], linked[one], sums) for one in by_name if one != root],
        "dependencies": [
            {
                "ref": reference(packages[one]),
                "dependsOn": sorted(reference(packages[other]) for other in edges[one]),
            }
            for one in by_name
        ],
    }
    text = json.dumps(document, sort_keys=True)
    return document | {"serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, text)}"}


def terms(package):
    """The files that say on what terms a crate is given: beside its Cargo.toml, and in the folders there, one of which may
    hold a library in C that has terms of its own."""
    folder = pathlib.Path(package["manifest_path"]).parent
    beside = [*folder.iterdir(), *folder.glob("*/*")]
    files = [path for path in sorted(beside) if path.is_file() and TERMS.match(path.name)]
    named = folder / package["license_file"] if package["license_file"] else None
    if named and named.is_file() and named not in files:
        files.append(named)
    return [path.read_text(errors="replace").strip() for path in files]


def third_parties(packages, linked, root):
    """Each text once, under the names of all crates that came with it."""
    texts, without = {}, []
    for one in sorted(linked, key=lambda one: (packages[one]["name"], packages[one]["version"])):
        package = packages[one]
        if not linked[one] or one == root or package["source"] is None:
            continue
        title = f"{package['name']} {package['version']} ({package['license'] or 'see below'})"
        found = terms(package)
        for text in found:
            texts.setdefault(text, []).append(title)
        if not found:
            without.append(f"{title}, by {', '.join(package['authors']) or 'authors that it does not name'}")
    line = "=" * 78
    parts = ["The libraries that are linked into apono-connector, and their licences."]
    if without:
        parts.append("\n".join(["These came with the name of their licence alone:", *without]))
    parts += ["\n".join([line, *titles, line, text]) for text, titles in texts.items()]
    return "\n\n".join(parts) + "\n", len(without)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    packages, linked, edges, root = graph()
    document = bill(packages, linked, edges, root)
    path = OUT / f"{NAME}-{packages[root]['version']}.cdx.json"
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    text, without = third_parties(packages, linked, root)
    (OUT / "THIRD-PARTY-LICENSES.txt").write_text(text)
    count = sum(linked.values()) - 1
    print(f"{path}: {len(linked) - 1} components, {count} of them linked; {without} without a text of their licence")


main()
