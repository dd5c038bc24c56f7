"""Installs, upgrades, removes and purges the packages, the .deb under a systemd that runs.

packages.py ROOT WORK BINARY: within namespaces for mounts, processes and the network, made by packages.sh.

WORK has the packages in `first`, and those of the next version in `second`.
"""

import atexit
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time

from checks import LIMIT, held, holds, must, ran, until

ROOT, WORK, BINARY = (os.path.realpath(argument) for argument in sys.argv[1:4])
NAME = "apono-connector"
GROUP = f"{NAME}-secrets"
UNIT = f"{NAME}.service"
CONFIGURATION = f"/etc/{NAME}/connector.toml"
# What must not be found any more once the package is purged.
CANARY = "canary-0f3c9a5e"
CLEAN = ["env", "-", f"PATH={os.environ['PATH']}", "HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]
VERSION = must(BINARY, "--version").split()[1]
# Whatever pages there are.
PAGES = sorted(path.name for path in pathlib.Path("target/packaging/stage/man").iterdir())
FILES = {
    "/usr/bin/apono-connector": 0o755,
    f"/usr/lib/systemd/system/{UNIT}": 0o644,
    f"/usr/lib/systemd/system/{UNIT}.d/10-group.conf": 0o644,
    f"/usr/lib/systemd/catalog/{NAME}.catalog": 0o644,
    f"/usr/lib/sysusers.d/{NAME}.conf": 0o644,
    f"/usr/lib/tmpfiles.d/{NAME}.conf": 0o644,
    f"/usr/share/bash-completion/completions/{NAME}": 0o644,
    f"/usr/share/fish/vendor_completions.d/{NAME}.fish": 0o644,
    f"/usr/share/doc/{NAME}/README.systemd.md": 0o644,
    **{f"/usr/share/man/man{page.rsplit('.', 1)[1]}/{page}.gz": 0o644 for page in PAGES},
}
OF_DEB = {
    f"/usr/share/zsh/vendor-completions/_{NAME}": 0o644,
    f"/usr/share/doc/{NAME}/copyright": 0o644,
    f"/usr/share/doc/{NAME}/changelog.Debian.gz": 0o644,
    f"/usr/share/doc/{NAME}/THIRD-PARTY-LICENSES.txt.gz": 0o644,
    f"/usr/share/lintian/overrides/{NAME}": 0o644,
}
OF_RPM = {
    f"/usr/share/zsh/site-functions/_{NAME}": 0o644,
    f"/usr/share/licenses/{NAME}/LICENSE": 0o644,
    f"/usr/share/licenses/{NAME}/THIRD-PARTY-LICENSES.txt.gz": 0o644,
}


def package(which, kind):
    return str(next(pathlib.Path(WORK, which).glob(f"*.{kind}")))


class Machine:
    """A filesystem to install into, and a way to run commands in it."""

    def __init__(self, root, prefix):
        self.root, self.prefix = root, prefix

    def tried(self, *command):
        return ran(*self.prefix, *CLEAN, *command, stdin=subprocess.DEVNULL)

    def run(self, *command):
        return must(*self.prefix, *CLEAN, *command, stdin=subprocess.DEVNULL)

    def inside(self, path):
        return pathlib.Path(f"{self.root}{path}")

    def about(self, path):
        """Mode, owner and group, by the machine's own names."""
        done = self.tried("stat", "--format=%a %U %G", path)
        return done.stdout.strip() if done.returncode == 0 else None

    def write(self, path, text, mode):
        self.inside(path).write_text(text)
        self.inside(path).chmod(mode)

    def files_are_there(self, files):
        for path, mode in files.items():
            holds(path, self.about(path) == f"{mode:o} root root", self.about(path))
        holds("the configuration is for its group", self.about(CONFIGURATION) == f"640 root {GROUP}", self.about(CONFIGURATION))
        holds("a folder for root's secrets", self.about(f"/etc/{NAME}/credentials") == "700 root root")
        holds("and one for its group", self.about(f"/etc/{NAME}/secrets") == f"750 root {GROUP}")
        holds("the group has no member", self.run("getent", "group", GROUP).strip().endswith(":"))
        holds("no user", self.tried("getent", "passwd", NAME).returncode != 0)
        ids = set(re.findall(r"^-- ([0-9a-f]{32})$", must(BINARY, "catalog"), re.MULTILINE))
        listed = self.run("journalctl", "--list-catalog")
        holds("the journal explains its messages", ids and all(one in listed for one in ids))
        holds("the program", self.run(f"/usr/bin/{NAME}", "--version").split() == [NAME, VERSION])

    def nothing_is_there(self, files):
        for path in files:
            holds(f"{path} is gone", self.about(path) is None)
        ids = set(re.findall(r"^-- ([0-9a-f]{32})$", must(BINARY, "catalog"), re.MULTILINE))
        holds("nor does the journal explain them", not any(one in self.run("journalctl", "--list-catalog") for one in ids))


def overlay(name):
    """Changes go to memory, and with us."""
    place = pathlib.Path("/run", name)
    for part in ["upper", "work", "root"]:
        (place / part).mkdir(parents=True)
    layers = f"lowerdir={ROOT},upperdir={place}/upper,workdir={place}/work"
    must("mount", "-t", "overlay", "overlay", "-o", layers, place / "root")
    return place / "root"


def boot():
    for command in [
        ["mount", "--make-rprivate", "/"],
        # What the host has mounted there may be of the first version, which this systemd would take for its own.
        ["umount", "--recursive", "/sys/fs/cgroup"],
        ["mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"],
        ["mount", "-t", "tmpfs", "tmpfs", "/run"],
    ]:
        must(*command)
    root = overlay("machine")
    group = tempfile.mkdtemp(prefix="packages-", dir="/sys/fs/cgroup")
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind("\0packages")
    notify.settimeout(LIMIT)
    console = tempfile.TemporaryFile("w+")
    nspawn = subprocess.Popen(
        ["setpriv", "--pdeathsig=KILL", "systemd-nspawn", "--quiet", f"--directory={root}", "--boot", "--machine=packages"]
        + ["--register=no", "--keep-unit", "--notify-ready=yes", "--console=pipe", f"--bind-ro={WORK}:/packages"]
        + ["--capability=CAP_BPF,CAP_NET_ADMIN,CAP_PERFMON", "--system-call-filter=bpf"],
        env={**os.environ, "NOTIFY_SOCKET": "@packages"},
        preexec_fn=lambda: pathlib.Path(group, "cgroup.procs").write_text("0"),
        stdin=subprocess.DEVNULL,
        stdout=console,
        stderr=console,
    )
    atexit.register(shut, group, nspawn)
    leader, said = None, []
    try:
        while "READY=1" not in said:
            said = notify.recv(4096).decode().splitlines()
            for line in said:
                leader = line.partition("=")[2] if line.startswith("X_NSPAWN_LEADER_PID=") else leader
    except TimeoutError:
        console.seek(0)
        sys.exit(f"{console.read()}\nthe container does not boot")
    namespaces = ["--mount", "--uts", "--ipc", "--pid", "--cgroup", "--root"]
    return Machine(f"/proc/{leader}/root", ["nsenter", f"--target={leader}", *namespaces, "--"])


def shut(group, nspawn):
    """Else its groups of processes would outlive it."""
    pathlib.Path(group, "cgroup.kill").write_text("1")
    nspawn.wait()
    for folder, _, _ in os.walk(group, topdown=False):
        while pathlib.Path(folder, "cgroup.procs").read_text():
            time.sleep(0.05)
        os.rmdir(folder)


def shown(machine, name):
    return machine.run("systemctl", "show", UNIT, f"--property={name}", "--value").strip()


def secrets(machine):
    """Made up, where systemd/README.md and the configuration say."""
    key = pathlib.Path(WORK, "key.json")
    if not key.exists():
        must(BINARY, "key", "generate", "--curve", "P-256", "--out", key)
    credentials = {"client_id": f"0oa{CANARY}", "private_key": json.loads(key.read_text())}
    machine.write(f"/etc/{NAME}/credentials/apono-token", CANARY, 0o600)
    machine.write(f"/etc/{NAME}/credentials/okta-credentials.json", json.dumps(credentials), 0o600)
    machine.write(f"/etc/{NAME}/secrets/proxy-credentials", f"user:{CANARY}", 0o640)
    machine.write(f"/etc/{NAME}/environment", f"# {CANARY}\n", 0o600)


def deb():
    machine = boot()
    state, private = f"/var/lib/{NAME}", f"/var/lib/private/{NAME}"
    machine.run("dpkg", "--install", f"/packages/first/{os.path.basename(package('first', 'deb'))}")
    machine.files_are_there({**FILES, **OF_DEB})
    holds("dpkg finds it whole", machine.run("dpkg", "--verify", NAME) == "")
    holds("it is not enabled", machine.tried("systemctl", "is-enabled", UNIT).stdout.strip() == "disabled")
    holds("nor started", shown(machine, "ActiveState") == "inactive")
    holds("there is no state yet", machine.about(state) is None)

    secrets(machine)
    edited = machine.inside(CONFIGURATION).read_text() + "# Edited.\n"
    machine.inside(CONFIGURATION).write_text(edited)
    done = machine.tried("systemctl", "enable", "--now", UNIT)
    log = machine.tried("journalctl", "--unit", UNIT, "--no-pager").stdout
    holds("it starts, and reads what is for its group", done.returncode == 0, f"{done.stderr}{log}")
    holds("by no user of the machine's", machine.tried("getent", "--service=files", "passwd", NAME).returncode != 0)
    until("it keeps state", lambda: machine.inside(f"{private}/state.db").exists())
    machine.inside(f"{private}/kept").write_text(CANARY)
    before = shown(machine, "MainPID")

    # As unattended upgrades do: what was edited is kept.
    keep = ["--force-confdef", "--force-confold"]
    second = f"/packages/second/{os.path.basename(package('second', 'deb'))}"
    machine.run("dpkg", *keep, "--install", second)
    machine.files_are_there({**FILES, **OF_DEB})
    holds("it is upgraded", machine.run("dpkg-query", "--show", "--showformat=${Version}", NAME) != f"{VERSION}-1")
    holds("what was edited is kept", machine.inside(CONFIGURATION).read_text() == edited)
    holds("what is new lies beside it", "More in the next" in machine.inside(f"{CONFIGURATION}.dpkg-dist").read_text())
    holds("the state is kept", machine.inside(f"{private}/kept").exists())
    holds("it stays enabled", machine.run("systemctl", "is-enabled", UNIT).strip() == "enabled")
    holds("it runs again", shown(machine, "ActiveState") == "active" and shown(machine, "MainPID") not in [before, "0"])
    holds("its secrets are kept", machine.about(f"/etc/{NAME}/credentials/apono-token") == "600 root root")

    machine.run("dpkg", "--remove", NAME)
    machine.nothing_is_there({**FILES, **OF_DEB})
    holds("removed, it does not run", shown(machine, "ActiveState") == "inactive")
    holds("the state is kept once more", machine.inside(f"{private}/kept").exists())
    holds("and so is the configuration", machine.inside(CONFIGURATION).read_text() == edited)

    machine.run("dpkg", "--purge", NAME)
    for path in [f"/etc/{NAME}", state, private, f"/etc/systemd/system/multi-user.target.wants/{UNIT}", f"/etc/systemd/system/{UNIT}"]:
        holds(f"purged, {path} is gone", machine.about(path) is None and not os.path.lexists(machine.inside(path)))
    found = machine.tried("grep", "--recursive", "--files-with-matches", "--binary-files=text", CANARY, "/etc", "/home", "/opt")
    more = machine.tried("grep", "--recursive", "--files-with-matches", CANARY, "/root", "/run", "/srv", "/tmp", "/usr", "/var")
    holds("no secret is left", found.stdout + more.stdout == "", found.stdout + more.stdout)

    # What nobody edited follows the package, and stays its group's.
    machine.run("dpkg", "--install", f"/packages/first/{os.path.basename(package('first', 'deb'))}")
    holds("purged and installed again, it is not enabled", machine.tried("systemctl", "is-enabled", UNIT).returncode != 0)
    machine.run("dpkg", "--install", second)
    machine.files_are_there({**FILES, **OF_DEB})
    holds("the new configuration is taken", "More in the next" in machine.inside(CONFIGURATION).read_text())
    holds("what does not run is not started", shown(machine, "ActiveState") == "inactive")
    machine.run("dpkg", "--purge", NAME)
    holds("and gone", machine.about(f"/etc/{NAME}") is None and machine.about(state) is None)


def rpm():
    root = overlay("rpm")
    for name in ["proc", "sys", "dev"]:
        must("mount", "--bind", f"/{name}", root / name)
    machine = Machine(root, ["chroot", str(root)])
    state = f"/var/lib/{NAME}"
    # Its database knows nothing of what Debian has installed there.
    command = ["rpm", f"--root={root}", "--nodeps", "--noverify"]
    wants = must("rpm", "--query", "--package", "--requires", package("first", "rpm"))
    holds("it needs the libraries and systemd", "libc.so.6()(64bit)" in wants and "systemd >= 250" in wants, wants)
    must("rpm", f"--root={root}", "--initdb")
    done = ran(*command, "--install", package("first", "rpm"))
    said = done.stdout + done.stderr
    holds("rpm installs it, and no script fails", done.returncode == 0 and "warning" not in said, said)
    machine.files_are_there({**FILES, **OF_RPM})
    done = ran("rpm", f"--root={root}", "--verify", "--nodeps", NAME)
    holds("rpm finds it whole", done.returncode == 0, done.stdout + done.stderr)
    links = f"/etc/systemd/system/multi-user.target.wants/{UNIT}"
    holds("it is not enabled", not os.path.lexists(machine.inside(links)))

    secrets(machine)
    machine.inside(state).mkdir()
    machine.inside(f"{state}/kept").write_text("")
    edited = machine.inside(CONFIGURATION).read_text() + "# Edited.\n"
    machine.inside(CONFIGURATION).write_text(edited)
    done = ran(*command, "--upgrade", package("second", "rpm"))
    holds("rpm upgrades it", done.returncode == 0 and "scriptlet failed" not in done.stderr, done.stdout + done.stderr)
    machine.files_are_there({**FILES, **OF_RPM})
    holds("what was edited is kept", machine.inside(CONFIGURATION).read_text() == edited)
    holds("what is new lies beside it", "More in the next" in machine.inside(f"{CONFIGURATION}.rpmnew").read_text())
    holds("the state is kept", machine.inside(f"{state}/kept").exists())
    holds("one version", len(must("rpm", f"--root={root}", "--query", NAME).split()) == 1)

    done = ran("rpm", f"--root={root}", "--erase", NAME)
    holds("rpm erases it", done.returncode == 0, done.stdout + done.stderr)
    machine.nothing_is_there({**FILES, **OF_RPM})
    holds("what was edited is saved", machine.inside(f"{CONFIGURATION}.rpmsave").read_text() == edited)
    holds("the state is kept once more", machine.inside(f"{state}/kept").exists())


deb()
of_deb = held()
rpm()
size = {kind: os.path.getsize(package("first", kind)) / 1e6 for kind in ["deb", "rpm"]}
print(
    f"the packages: .deb ({size['deb']:.1f} MB) {of_deb} assertions hold, under systemd; "
    f".rpm ({size['rpm']:.1f} MB) {held() - of_deb}; {len(PAGES)} manual pages"
)
