"""Writes an OCI image of one layer, with the standard library alone.

image.py BINARY TERMS VERSION REVISION OUT_DIR
image.py --root BINARY TERMS FOLDER              only its files, for deploy/Containerfile

TERMS is what bom.py says of the licences of others. In the image: the binary, the shared libraries that ldd names and
nothing else that runs, certificates of authorities, licences.
Nothing in the image depends on when, where or by whom it was made: names are sorted, owners are numbers, times are
SOURCE_DATE_EPOCH.
"""

import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import time
import zlib

IS_ROOT = sys.argv[1] == "--root"
BINARY, TERMS = sys.argv[2:4] if IS_ROOT else sys.argv[1:3]
NAME = "apono-connector"
USER = 65532
EPOCH = int(os.environ["SOURCE_DATE_EPOCH"])
CREATED = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(EPOCH))
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
# Those of Debian's package. What /etc/ssl/certs of this machine has beside them is nobody else's to trust.
AUTHORITIES = pathlib.Path("/usr/share/ca-certificates/mozilla")
# What the machine is called by ELF, and by OCI.
MACHINES = {62: "amd64", 183: "arm64"}
PASSWD = f"root:x:0:0:root:/:/sbin/nologin\n{NAME}:x:{USER}:{USER}:{NAME}:/var/lib/{NAME}:/sbin/nologin\n"
GROUP = f"root:x:0:\n{NAME}:x:{USER}:\n"
NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"


class Root:
    """The root filesystem: a path to its tar header and its bytes."""

    def __init__(self):
        self.entries = {}

    def add(self, path, kind, mode, content=b"", owner=(0, 0)):
        path = path.strip("/")
        parent = os.path.dirname(path)
        if parent and parent not in self.entries:
            self.folder(parent)
        header = tarfile.TarInfo(path)
        header.type, header.mode, header.size, header.mtime = kind, mode, len(content), EPOCH
        header.uid, header.gid = owner
        self.entries[path] = (header, content)

    def folder(self, path, mode=0o755, owner=(0, 0)):
        self.add(path, tarfile.DIRTYPE, mode, owner=owner)

    def file(self, path, content, mode=0o644):
        self.add(path, tarfile.REGTYPE, mode, content)

    def write(self, folder):
        for path, (header, content) in sorted(self.entries.items()):
            target = os.path.join(folder, path)
            if header.isdir():
                os.makedirs(target, exist_ok=True)
            else:
                pathlib.Path(target).write_bytes(content)
            os.chown(target, header.uid, header.gid)
            os.chmod(target, header.mode)
        for path in sorted(self.entries, reverse=True):
            os.utime(os.path.join(folder, path), (EPOCH, EPOCH))

    def tar(self):
        return archive(self.entries[path] for path in sorted(self.entries))


def archive(entries):
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for header, content in entries:
            tar.addfile(header, io.BytesIO(content))
    return whole.getvalue()


def libraries(binary):
    """Where the dynamic loader finds what the binary needs, the loader among it."""
    told = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False)
    if "not a dynamic executable" in told.stderr or "statically linked" in told.stdout:
        return []
    if told.returncode != 0 or "not found" in told.stdout:
        sys.exit(f"ldd does not find what {binary} needs:\n{told.stdout}{told.stderr}")
    return sorted(re.findall(r"(?:=> |^\s*)(/\S+) \(0x", told.stdout, re.MULTILINE))


def package_of(path):
    # The package may have the file under another name of the same folder, since /lib is a link to /usr/lib.
    real = os.path.realpath(path)
    for name in [path, real, real.removeprefix("/usr")]:
        told = subprocess.run(["dpkg", "--search", name], capture_output=True, text=True, check=False)
        if told.returncode == 0:
            return told.stdout.split(":")[0]
    sys.exit(f"no package owns {path}: its licence is not known")


def licences(root, paths):
    """The licence of everything that is shipped, and the full texts that it refers to."""
    for package in sorted({package_of(path) for path in paths}):
        text = pathlib.Path("/usr/share/doc", package, "copyright").read_bytes()
        root.file(f"usr/share/doc/{package}/copyright", text)
        for name in re.findall(rb"/usr/share/common-licenses/([A-Za-z0-9.-]*[A-Za-z0-9])", text):
            full = os.path.join("/usr/share/common-licenses", name.decode())
            if os.path.exists(full):
                root.file(full, pathlib.Path(full).read_bytes())


def filesystem():
    root = Root()
    root.file("etc/passwd", PASSWD.encode())
    root.file("etc/group", GROUP.encode())
    root.file("etc/nsswitch.conf", NSSWITCH.encode())
    certificates = [path.read_bytes().strip() + b"\n" for path in sorted(AUTHORITIES.glob("*.crt"))]
    if not certificates:
        sys.exit(f"{AUTHORITIES} is missing; install the package ca-certificates")
    root.file(CERTIFICATES, b"".join(certificates))
    root.folder(f"etc/{NAME}")
    for path in ["dev", "proc", "sys", "run/secrets"]:
        root.folder(path)
    root.folder("tmp", 0o1777)
    # The image's user owns it; an arbitrary user of group 0, as OpenShift gives one, may write to it as well.
    root.folder(f"var/lib/{NAME}", 0o770, (USER, 0))
    needed = libraries(BINARY)
    # Before 2.34, glibc looks names up by libraries that ldd does not show.
    if needed and tuple(map(int, os.confstr("CS_GNU_LIBC_VERSION").split()[1].split("."))) < (2, 34):
        sys.exit("this machine's C library is too old: glibc 2.34 or later is needed")
    for path in needed:
        root.file(path, pathlib.Path(path).read_bytes(), 0o755)
    root.file(f"usr/bin/{NAME}", pathlib.Path(BINARY).read_bytes(), 0o755)
    root.file(f"usr/share/doc/{NAME}/LICENSE", pathlib.Path("LICENSE").read_bytes())
    root.file(f"usr/share/doc/{NAME}/THIRD-PARTY-LICENSES.txt", pathlib.Path(TERMS).read_bytes())
    licences(root, [*needed, "/usr/sbin/update-ca-certificates"])
    return root


def blob(folder, content):
    digest = hashlib.sha256(content).hexdigest()
    (folder / "blobs/sha256" / digest).write_bytes(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


def document(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def machine():
    header = pathlib.Path(BINARY).read_bytes()[:20]
    found = int.from_bytes(header[18:20], "little")
    if header[:4] != b"\x7fELF" or found not in MACHINES:
        sys.exit(f"{BINARY} is not a program for Linux on {' or '.join(MACHINES.values())}")
    return MACHINES[found]


def image(layout, architecture, version, revision):
    layer = filesystem().tar()
    # A gzip header without a name and a time.
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = blob(layout, compressor.compress(layer) + compressor.flush())
    labels = {
        "org.opencontainers.image.created": CREATED,
        "org.opencontainers.image.description": "Agent between Okta and Apono: directory and just-in-time membership",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.title": NAME,
        "org.opencontainers.image.version": version,
    }
    if revision:
        labels["org.opencontainers.image.revision"] = revision
    config = {
        "created": CREATED,
        "architecture": architecture,
        "os": "linux",
        "config": {
            "User": f"{USER}:{USER}",
            "ExposedPorts": {"8080/tcp": {}},
            "Env": ["PATH=/usr/bin"],
            "Entrypoint": [f"/usr/bin/{NAME}"],
            "Cmd": ["run"],
            "WorkingDir": "/",
            "Labels": labels,
            "StopSignal": "SIGTERM",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created": CREATED, "created_by": "deploy/image.py"}],
    }
    configured = blob(layout, document(config))
    kind = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": {"mediaType": f"{kind}.config.v1+json", **configured},
        "layers": [{"mediaType": f"{kind}.layer.v1.tar+gzip", **packed}],
        "annotations": labels,
    }
    described = blob(layout, document(manifest))
    index = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.index.v1+json",
        "manifests": [
            {
                "mediaType": f"{kind}.manifest.v1+json",
                **described,
                "platform": {"architecture": architecture, "os": "linux"},
                "annotations": {
                    "io.containerd.image.name": f"docker.io/library/{NAME}:{version}",
                    "org.opencontainers.image.ref.name": version,
                },
            }
        ],
    }
    (layout / "index.json").write_bytes(document(index))
    (layout / "oci-layout").write_bytes(document({"imageLayoutVersion": "1.0.0"}))
    # For `docker load` of engines that do not read OCI's index yet.
    path = "blobs/sha256/{}".format
    (layout / "manifest.json").write_bytes(
        document(
            [
                {
                    "Config": path(configured["digest"].removeprefix("sha256:")),
                    "Layers": [path(packed["digest"].removeprefix("sha256:"))],
                    "RepoTags": [f"{NAME}:{version}"],
                }
            ]
        )
    )
    return described["digest"], packed["size"] + configured["size"] + described["size"]


def packed_layout(layout):
    """The layout as one file, as `podman load`, `docker load` and `ctr images import` take it."""
    root = Root()
    for path in layout.rglob("*"):
        if path.is_file():
            root.file(str(path.relative_to(layout)), path.read_bytes())
    return root.tar()


def main():
    if IS_ROOT:
        filesystem().write(sys.argv[4])
        return
    version, revision, out = *sys.argv[3:5], pathlib.Path(sys.argv[5])
    layout = out / "oci"
    shutil.rmtree(layout, ignore_errors=True)
    (layout / "blobs/sha256").mkdir(parents=True)
    architecture = machine()
    digest, size = image(layout, architecture, version, revision)
    tar = out / f"{NAME}-{version}-{architecture}.oci.tar"
    tar.write_bytes(packed_layout(layout))
    print(f"{digest} {size / 1e6:.1f} MB compressed, in {layout} and {tar}")


main()
