"""Holds the image against what it promises, and starts it with runc, as compose.yaml says.

image.py FOLDER BINARY COMPOSE

FOLDER has the image made twice, in `first` and in `second`.
"""

import atexit
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import time

from checks import held, holds, must, ran, until

FOLDER, BINARY, COMPOSE = pathlib.Path(sys.argv[1]), sys.argv[2], os.path.realpath(sys.argv[3])
LIMIT = 40_000_000
LICENCES = "usr/share/doc/apono-connector/LICENSE"
OTHERS = "usr/share/doc/apono-connector/THIRD-PARTY-LICENSES.txt"
STATE = "var/lib/apono-connector"
PROGRAM = "usr/bin/apono-connector"
# The image's own user, and one that OpenShift would make up.
USERS = {"the image's user": (65532, 65532), "an arbitrary user of group 0": (1000650000, 0)}


def blob(layout, digest):
    content = (layout / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()
    holds(f"{digest} is the digest of its blob", "sha256:" + hashlib.sha256(content).hexdigest() == digest)
    return content


def the_document(layout):
    index = json.loads((layout / "index.json").read_bytes())
    digest = index["manifests"][0]["digest"]
    manifest = json.loads(blob(layout, digest))
    config = json.loads(blob(layout, manifest["config"]["digest"]))
    holds("one layer", len(manifest["layers"]) == 1)
    size = sum(part["size"] for part in [manifest["config"], *manifest["layers"]])
    holds(f"{size} bytes are under {LIMIT}", size <= LIMIT)
    run = config["config"]
    holds("a user by number", run["User"] == "65532:65532")
    holds("the program is the entry", run["Entrypoint"] == ["/" + PROGRAM] and run["Cmd"] == ["run"])
    holds("a folder to work in", run["WorkingDir"] == "/")
    version = must(BINARY, "--version").split()[1]
    for name, value in [("title", "apono-connector"), ("version", version), ("licenses", "Apache-2.0")]:
        holds(f"the label {name}", run["Labels"][f"org.opencontainers.image.{name}"] == value)
    for name in ["created", "description"]:
        holds(f"the label {name}", run["Labels"][f"org.opencontainers.image.{name}"])
    holds("the labels are annotations too", manifest["annotations"] == run["Labels"])
    layer = layout / "blobs/sha256" / manifest["layers"][0]["digest"].removeprefix("sha256:")
    blob(layout, manifest["layers"][0]["digest"])
    return digest, size, config["created"], layer


def the_files(layer, created):
    with tarfile.open(layer) as tar:
        members = tar.getmembers()
        entries = {member.name: member for member in members}
        elf = {m.name for m in members if m.isreg() and tar.extractfile(m).read(4) == b"\x7fELF"}
        scripts = [m.name for m in members if m.isreg() and tar.extractfile(m).read(2) == b"#!"]
        certificates = tar.extractfile("etc/ssl/certs/ca-certificates.crt").read()
        passwd = tar.extractfile("etc/passwd").read().decode()
        copyrights = [m.name for m in members if m.name.endswith("/copyright")]
    holds("names are sorted", list(entries) == sorted(entries))
    holds("files and folders alone", all(m.isreg() or m.isdir() for m in members))
    stamp = int(time.mktime(time.strptime(created, "%Y-%m-%dT%H:%M:%SZ"))) - time.timezone
    holds("one time for all", {m.mtime for m in members} == {stamp})
    holds("owners are numbers", not any(m.uname or m.gname for m in members))
    linked = set(re.findall(r"(?:=> |^\s*)/(\S+) \(0x", must("ldd", BINARY), re.MULTILINE))
    holds(f"the program and what it is linked with: {elf ^ {PROGRAM, *linked}}", elf == {PROGRAM, *linked})
    holds("no shell, and no other program", elf >= {m.name for m in members if m.isreg() and m.mode & 0o111})
    holds(f"no script: {scripts}", not scripts)
    holds("nothing with the rights of another", not any(m.mode & 0o6000 for m in members))
    writable = {m.name for m in members if m.mode & 0o002}
    holds(f"everybody writes to /tmp alone: {writable}", writable == {"tmp"} and entries["tmp"].mode == 0o1777)
    foreign = {m.name for m in members if (m.uid, m.gid) != (0, 0)}
    holds(f"the state alone is another's: {foreign}", foreign == {STATE})
    state = entries[STATE]
    holds("and group 0 may write there", (state.uid, state.gid, state.mode) == (65532, 0, 0o770))
    authorities = len(list(pathlib.Path("/usr/share/ca-certificates/mozilla").glob("*.crt")))
    holds("authorities of Debian's, none of this machine's", certificates.count(b"BEGIN CERTIFICATE") == authorities > 100)
    holds("a name for the user", ":x:65532:65532:" in passwd)
    holds(f"licences: {copyrights}", {LICENCES, OTHERS} <= set(entries) and len(copyrights) >= 3)
    return len(linked)


def the_containerfile_has_what_it_compiles():
    """Files that the sources include are in its context, which is a list of what is let in."""
    listed = pathlib.Path("deploy/Containerfile.dockerignore").read_text().split()
    holds("nothing is let in that is not named", listed[0] == "*" and all(name[0] == "!" for name in listed[1:]))
    context = [os.path.realpath(name[1:]) for name in listed[1:]]
    holds("all that is named is there", all(os.path.exists(path) for path in context))
    for source in [*pathlib.Path("src").rglob("*.rs"), *pathlib.Path("simulator/src").rglob("*.rs")]:
        for name in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', source.read_text()):
            path = os.path.realpath(source.parent / name)
            there = any(path == one or path.startswith(one + "/") for one in context)
            holds(f"{source} includes {name}, which the Containerfile has", there)


def others_read_it(layout, digest):
    version = must(BINARY, "--version").split()[1]
    tar = next(layout.parent.glob("*.oci.tar"))
    for source in [f"oci:{layout}:{version}", f"oci-archive:{tar}"]:
        holds(f"skopeo reads {source}", json.loads(must("skopeo", "inspect", source))["Digest"] == digest)
    holds("and as docker does", json.loads(must("skopeo", "inspect", f"docker-archive:{tar}"))["Os"] == "linux")
    bundle = FOLDER / "bundle"
    must("umoci", "unpack", "--image", f"{layout}:{version}", bundle)
    return bundle


def the_compose_file():
    """What Docker makes of it, with unknown keys refused."""
    folder = FOLDER / "deployment"
    project = json.loads(must(COMPOSE, "-f", folder / "compose.yaml", "config", "--format", "json"))
    service = project["services"]["connector"]
    version = must(BINARY, "--version").split()[1]
    holds("compose: this version", service["image"] == f"apono-connector:{version}")
    holds("Containerfile: this version", f"ARG VERSION={version}\n" in pathlib.Path("deploy/Containerfile").read_text())
    holds("compose: its root cannot be written", service["read_only"] is True)
    holds("compose: no capabilities", service["cap_drop"] == ["ALL"] and "cap_add" not in service)
    holds("compose: nor more rights", service["security_opt"] == ["no-new-privileges:true"])
    holds("compose: the image's user", service["user"] == "65532:65532")
    holds("compose: no secret in the environment", not service.get("environment"))
    holds("compose: limits", service["pids_limit"] and service["mem_limit"])
    holds("compose: time for what was begun", service["stop_grace_period"] == "35s")
    holds("compose: no port is opened", "ports" not in service)
    for line in (folder / "config/connector.toml").read_text().splitlines():
        if "_file =" in line and not line.startswith("#"):
            holds(f"compose: {line} is mounted", '"/run/secrets/' in line)
    test = service["healthcheck"]["test"]
    holds("compose: its health is asked for without a shell", test[0] == "CMD")
    mounts = [bind(v["source"], v["target"], "ro") for v in service["volumes"] if v["type"] == "bind" and v["read_only"]]
    states = [v["target"] for v in service["volumes"] if v["type"] == "volume"]
    holds("compose: configuration, secrets and a volume", len(mounts) == 2 and states == [f"/{STATE}"])
    return mounts, test[1:]


def the_compose_file_of_a_fleet():
    """Two connectors that are as the one of compose.yaml, but for what is theirs, and their database."""
    folder = FOLDER / "deployment"

    def read(name):
        return json.loads(must(COMPOSE, "-f", folder / name, "config", "--format", "json"))

    one, project = read("compose.yaml")["services"]["connector"], read("compose.fleet.yaml")
    services = project["services"]
    holds(f"fleet: what there is: {sorted(services)}", set(services) == {"one", "two", "database"})
    own = {"volumes", "networks", "hostname", "depends_on"}
    states = set()
    for name in ["one", "two"]:
        service = services[name]
        holds(f"fleet: {name} has a name in the log", service["hostname"] == name)
        same = {key: value for key, value in service.items() if key not in own}
        holds(f"fleet: {name} is as compose.yaml has it", same == {k: v for k, v in one.items() if k not in own})
        binds, volumes = ([v for v in service["volumes"] if v["type"] == kind] for kind in ["bind", "volume"])
        holds(f"fleet: {name} reads the same", binds == [v for v in one["volumes"] if v["type"] == "bind"])
        holds(f"fleet: {name} has a folder", [v["target"] for v in volumes] == [f"/{STATE}"])
        states.update(v["source"] for v in volumes)
        condition = service["depends_on"]["database"]["condition"]
        holds(f"fleet: {name} begins when the database can be used", condition == "service_healthy")
        holds(f"fleet: {name} reaches it, and the peers", set(service["networks"]) == {"default", "database"})
    holds("fleet: each folder is one's own", len(states) == 2)
    database = services["database"]
    holds("fleet: the database is reached by nobody else", set(database["networks"]) == {"database"})
    holds("fleet: and reaches nobody", project["networks"]["database"]["internal"] is True)
    holds("fleet: no port is opened", all("ports" not in service for service in services.values()))
    holds("fleet: no password in the environment", all(key.endswith("_FILE") for key in database["environment"]))
    holds("fleet: the database has no capabilities", database["cap_drop"] == ["ALL"] and "cap_add" not in database)
    holds("fleet: and is not root", database["user"] == "999:999")
    mounts = {v["target"]: v for v in database["volumes"]}
    script = mounts["/docker-entrypoint-initdb.d/database.sql"]
    holds("fleet: database.sql makes the database", script["read_only"] and script["source"].endswith("/database.sql"))
    password = "/run/secrets/database/password"
    holds("fleet: which reads the password there", password in (folder / "database.sql").read_text())
    holds("fleet: its data outlives it", mounts["/var/lib/postgresql/data"]["type"] == "volume")
    head = (folder / "compose.fleet.yaml").read_text()
    lines = [line.removeprefix("#").strip() for line in re.findall(r"^# +(?:url|password_file) = .+$", head, re.M)]
    config = (folder / "config/connector.toml").read_text().replace("[state]\n", "\n".join(["[state]", *lines, ""]))
    (FOLDER / "fleet.toml").write_text(config)
    told = ran(BINARY, "config", "check", "--without-secrets", "--config", FOLDER / "fleet.toml")
    holds(f"fleet: the connector takes what is to be written: {told}", len(lines) == 2 and told.returncode == 0)


class Container:
    """The unpacked image, with what a deployment mounts into it."""

    def __init__(self, bundle):
        self.bundle = bundle
        self.plain = json.loads((bundle / "config.json").read_text())
        self.count = 0

    def prepare(self, arguments, user, mounts=()):
        config = json.loads(json.dumps(self.plain))
        process = config["process"]
        process["terminal"] = False
        process["args"] = [process["args"][0], *arguments]
        process["user"] = {"uid": user[0], "gid": user[1], "umask": 0o022}
        process["noNewPrivileges"] = True
        process["capabilities"] = {kind: [] for kind in process["capabilities"]}
        config["root"]["readonly"] = True
        config["mounts"] += mounts
        (self.bundle / "config.json").write_text(json.dumps(config))
        self.count += 1
        return f"apono-connector-{os.getpid()}-{self.count}"

    def run(self, arguments, user, mounts=()):
        name = self.prepare(arguments, user, mounts)
        return ran("runc", "run", "--bundle", self.bundle, name, timeout=120)

    def start(self, arguments, user, mounts=()):
        name = self.prepare(arguments, user, mounts)
        log = open(FOLDER / f"{name}.log", "w+")
        command = ["runc", "run", "--bundle", str(self.bundle), name]
        atexit.register(ran, "runc", "delete", "--force", name)
        return name, log, subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)


def bind(source, target, *options):
    return {"destination": target, "type": "bind", "source": str(source), "options": ["rbind", *options]}


def deployment():
    """The configuration of the repository and made-up secrets, laid out as compose.yaml says."""
    folder = FOLDER / "deployment"
    for name in ["config", "secrets/apono", "secrets/okta"]:
        (folder / name).mkdir(parents=True)
    (folder / "config/connector.toml").write_text(pathlib.Path("config/connector.toml").read_text())
    (folder / "secrets/apono/token").write_text("placeholder")
    key = folder / "key.json"
    must(BINARY, "key", "generate", "--curve", "P-256", "--out", key)
    credentials = {"client_id": "0oaplaceholder", "private_key": json.loads(key.read_text())}
    (folder / "secrets/okta/credentials.json").write_text(json.dumps(credentials))
    (folder / "hosts").write_text("127.0.0.1 localhost example.okta.com api.apono.io\n")
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    for path in [folder / "secrets/apono/token", folder / "secrets/okta/credentials.json"]:
        os.chown(path, 65532, 0)
        path.chmod(0o440)
    for name in ["compose.yaml", "compose.fleet.yaml", "database.sql"]:
        (folder / name).write_text(pathlib.Path("deploy", name).read_text())


def an_empty_volume(bundle, name):
    """As an engine makes it: with the owner and the mode of the image's folder."""
    volume = FOLDER / name
    volume.mkdir()
    like = os.stat(bundle / "rootfs" / STATE)
    os.chown(volume, like.st_uid, like.st_gid)
    volume.chmod(like.st_mode & 0o7777)
    return volume, bind(volume, f"/{STATE}", "rw")


def it_runs(bundle):
    os.chmod(FOLDER, 0o755)
    container = Container(bundle)
    deployment()
    mounts, test = the_compose_file()
    the_compose_file_of_a_fleet()
    mounts.append(bind(FOLDER / "deployment/hosts", "/etc/hosts", "ro"))
    scratch = {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]}
    for who, user in USERS.items():
        done = container.run(["--version"], user)
        holds(f"{who}: --version: {done.stdout}{done.stderr}", done.stdout == must(BINARY, "--version"))
        done = container.run(["config", "check"], user, mounts)
        holds(f"{who}: config check: {done.stdout}{done.stderr}", done.returncode == 0)
        done = container.run(["config", "check"], user)
        holds(f"{who}: and without a configuration, that is said", done.returncode == 78)

        volume, mounted = an_empty_volume(bundle, f"state-{user[0]}")
        name, log, process = container.start(["run"], user, [*mounts, mounted])
        def answered():
            status = ran("runc", "exec", name, *test)
            return status if status.returncode == 0 or process.poll() is not None else None

        status = until(f"{who}: it says how it is, or ends", answered, pause=0.2)
        log.seek(0)
        holds(f"{who}: it runs, and says how it is: {status.stdout}{status.stderr}{log.read()}", status.returncode == 0)
        holds(f"{who}: and has nothing to run a shell with", ran("runc", "exec", name, "/bin/sh").returncode != 0)
        must("runc", "kill", name, "TERM")
        code = process.wait(60)
        log.seek(0)
        holds(f"{who}: it ends when it is told to ({code}): {log.read()}", code == 0)
        owners = {(path.stat().st_uid, path.stat().st_gid) for path in volume.iterdir()}
        holds(f"{who}: the state is its own: {owners}", owners == {user})
        holds(f"{who}: there is a state", (volume / "state.db").exists())
    the_doctor_finds(container, bundle, mounts)
    if ran(BINARY, "demo", "--help").returncode == 0:
        done = container.run(["demo", "--users", "20", "--groups", "5", "--json"], USERS["the image's user"], [scratch])
        report = json.loads(done.stdout) if done.returncode == 0 else {}
        holds(f"the demonstration: {done.stdout}{done.stderr}", report.get("leftover_memberships") == 0)


def the_doctor_finds(container, bundle, mounts):
    """What it says of all that the image and the mounts are responsible for."""
    _, mounted = an_empty_volume(bundle, "state-doctor")
    done = container.run(["doctor", "--json"], USERS["the image's user"], [*mounts, mounted])
    verdicts = {finding["id"]: finding["verdict"] for finding in json.loads(done.stdout)["findings"]}
    looked_at = ["state.folder", "state.space", "audit.folder", "secret.key", "okta.name", "apono.name"]
    looked_at += [f"secret.{name}{part}" for name in ["token", "credentials"] for part in ["", ".access", ".mount"]]
    for probe in looked_at:
        holds(f"{probe} passes: {done.stdout}", verdicts[probe] == "PASS")


first, second = FOLDER / "first/oci", FOLDER / "second/oci"
digest, size, created, layer = the_document(first)
holds("made twice, it is the same", the_document(second)[0] == digest)
tars = [next(layout.parent.glob("*.oci.tar")).read_bytes() for layout in [first, second]]
holds("and so is its archive", tars[0] == tars[1])
libraries = the_files(layer, created)
the_containerfile_has_what_it_compiles()
bundle = others_read_it(first, digest)
it_runs(bundle)
runtime = must("runc", "--version").split()[2]
print(
    f"the image: {held()} assertions hold; {size / 1e6:.1f} MB of {LIMIT / 1e6:.0f}, {libraries} shared libraries, "
    f"digest equal ({digest[:19]}…), started by runc {runtime} as {' and as '.join(USERS)}"
)
