"""Boots a systemd and runs the unit in it, against the simulators of the demonstration, as systemd/README.md says.

boot.py ROOT BINARY: within namespaces for mounts, processes and the network, made by boot.sh.
"""

import base64
import calendar
import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import re
import secrets
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

import catalogue
from cluster import Cluster
from checks import LIMIT, holds, ok, ran, until

ROOT, BINARY = (os.path.realpath(argument) for argument in sys.argv[1:3])
UNIT = "apono-connector.service"
README = pathlib.Path("systemd/README.md").read_text()
OPERATIONS = pathlib.Path("docs/operations.md").read_text()
FLEET = pathlib.Path("docs/fleet.md").read_text()
# Ten times the score of `systemd-analyze security`.
THRESHOLD = 12
# The checkout that README.md speaks of, and a port for calls.
PROGRAM = "/root/checkout/target/release/apono-connector"
CALLS = 8081
# Messages that there must be, by what is done here.
OCCASIONS = {"started", "reloading", "stopping", "stopped", "apono_connected", "membership_given", "membership_ended"}
OCCASIONS |= {"operator_ends_grant", "secret_renewed", "AOC-0101", "AOC-0702", "AOC-0713"}
begun = time.monotonic()


# The container.


def boot():
    # What this machine has there may be of the first version, which this systemd would take for its own.
    if os.path.ismount("/sys/fs/cgroup"):
        subprocess.run(["umount", "--recursive", "/sys/fs/cgroup"], check=True)
    for command in [
        ["mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"],
        ["mount", "-t", "tmpfs", "tmpfs", "/run"],
    ]:
        subprocess.run(command, check=True)
    group = tempfile.mkdtemp(prefix="boot-", dir="/sys/fs/cgroup")
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind("\0boot")
    notify.settimeout(1)
    console = tempfile.TemporaryFile("w+")
    nspawn = subprocess.Popen(
        ["systemd-nspawn", "--quiet", "--boot", "--machine=boot"]
        + [f"--directory={ROOT}", "--volatile=overlay", "--register=no", "--keep-unit"]
        + ["--notify-ready=yes", "--console=pipe"]
        # Without these, what is denied by address or by device is not.
        + ["--capability=CAP_BPF,CAP_NET_ADMIN,CAP_PERFMON", "--system-call-filter=bpf"]
        + [f"--bind-ro={BINARY}:{PROGRAM}", f"--bind-ro={os.path.realpath('systemd')}:/root/checkout/systemd"],
        env={**os.environ, "NOTIFY_SOCKET": "@boot"},
        preexec_fn=lambda: pathlib.Path(group, "cgroup.procs").write_text("0"),
        stdin=subprocess.DEVNULL,
        stdout=console,
        stderr=console,
    )
    end, leader, said = time.monotonic() + LIMIT, None, []
    while "READY=1" not in said:
        try:
            said = notify.recv(4096).decode().splitlines()
        except socket.timeout:
            console.seek(0)
            holds("the container boots", nspawn.poll() is None and time.monotonic() < end, console.read())
        for line in said:
            leader = line.partition("=")[2] if line.startswith("X_NSPAWN_LEADER_PID=") else leader
    return leader, group


def command(*arguments, at="/root"):
    namespaces = ["--mount", "--uts", "--ipc", "--pid", "--cgroup", "--root"]
    environment = ["-", f"PATH={os.environ['PATH']}", "HOME=/root", "LANG=C.UTF-8", "SYSTEMD_COLORS=0"]
    return ["nsenter", f"--target={leader}", *namespaces, "--", "env", f"--chdir={at}", *environment, *arguments]


def tried(*arguments, given=None, **more):
    return ran(*command(*arguments, **more), input=given, timeout=LIMIT)


def run(*arguments, **more):
    done = tried(*arguments, **more)
    told = (done.stdout + done.stderr).strip()
    holds(f"{' '.join(arguments)} succeeds", done.returncode == 0, f"{done.returncode}, {told}")
    return done.stdout


def inside(path):
    return pathlib.Path(f"/proc/{leader}/root{path}")


def write(path, text, mode=0o644):
    inside(path).parent.mkdir(parents=True, exist_ok=True)
    # By renaming, as who replaces secrets does.
    new = inside(f"{path}.new")
    new.write_text(text)
    new.chmod(mode)
    new.rename(inside(path))


def block(language, part, document=README):
    """The first block of README.md in this language that has `part` in it."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", document, re.DOTALL | re.MULTILINE)
    return holds(f"{part!r} is shown", [text for text in found if part in text])[0]


# The unit.


def shown(*properties):
    text = run("systemctl", "show", UNIT, f"--property={','.join(properties)}")
    values = dict(line.split("=", 1) for line in text.splitlines())
    return values[properties[0]] if len(properties) == 1 else values


def is_ready():
    try:
        with urllib.request.urlopen("http://127.0.0.1:8080/readyz", timeout=LIMIT) as answer:
            return answer.status == 200
    except OSError:
        return False


def is_active():
    return shown("ActiveState") == "active"


def journal(*matches):
    text = run("journalctl", "--no-pager", "--output=json", "--all", *(matches or [f"--unit={UNIT}"]))
    return [json.loads(line) for line in text.splitlines()]


def said(part):
    return [entry for entry in journal() if part in (entry.get("MESSAGE") or "")]


def restarts():
    return int(shown("NRestarts"))


def connector(*arguments):
    return tried("/usr/bin/apono-connector", *arguments)


def grants():
    done = connector("grants", "list", "--json")
    holds("grants list answers", done.returncode == 0, done.stderr.strip())
    return {grant["grant_id"]: grant for grant in map(json.loads, done.stdout.splitlines())}


def the_grant(login, group):
    """The one grant of this user for this group that is listed."""
    found = [grant for grant in grants().values() if grant["username"] == login and group in str(grant["groups"])]
    return found[0] if found else None


def at(text):
    """Seconds since 1970 of 2026-01-01T00:00:00.5Z, with as many decimals as there are."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{fraction or 0}")


# The simulated world.


def pull(stream, lines):
    for line in stream:
        lines.append(line)


def processes(*arguments):
    """Those whose arguments begin so; there are none but ours."""
    start = "\0".join(arguments)
    for process in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        # It may end at any time.
        with contextlib.suppress(OSError):
            if process.read_text().startswith(start):
                yield int(process.parent.name)


class World:
    """The simulators. The demonstration's own connector is stopped when its story is told."""

    def __init__(self):
        self.process = subprocess.Popen(
            command(PROGRAM, "demo", "--keep-running", "--users=20", "--groups=6"),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        lines = []
        reader = threading.Thread(target=pull, args=(self.process.stderr, lines), daemon=True)
        reader.start()
        is_over = lambda: self.process.poll() is not None
        until("the demonstration is told", lambda: is_over() or "Everything stays up" in "".join(lines))
        holds("the demonstration goes on", not is_over(), "".join(lines))
        places = dict(re.findall(r"^ +(simulated \w+|configuration) +(\S+)$", "".join(lines), re.MULTILINE))
        self.okta, self.apono = places["simulated Okta"], places["simulated Apono"]
        self.folder = os.path.dirname(places["configuration"])
        self.token = self.read("apono-token")
        self.credentials = json.loads(self.read("okta-credentials.json"))
        for process in processes(PROGRAM, "run", "--config", self.folder):
            os.kill(process, signal.SIGKILL)
        self.bearer = self.new_bearer()

    def hold(self, kind):
        """Stops the simulators, or lets them go on."""
        for process in processes(PROGRAM, "demo", ""):
            os.kill(process, kind)
        # What waits for them stops with them.
        if kind == signal.SIGCONT:
            self.process.send_signal(kind)

    def is_held(self):
        return all(
            "State:\tT" in pathlib.Path(f"/proc/{process}/status").read_text()
            for process in processes(PROGRAM, "demo", "")
        )

    def read(self, name):
        return inside(f"{self.folder}/{name}").read_text()

    def secrets(self):
        private = self.credentials["private_key"]
        return [self.token, *(private[part] for part in ["d", "p", "q"])]

    def new_bearer(self):
        """A token of Okta's for us, with the connector's key: what is so is asked of Okta."""
        key, client, now = self.credentials["private_key"], self.credentials["client_id"], int(time.time())
        number = lambda part: int.from_bytes(base64.urlsafe_b64decode(key[part] + "=="), "big")
        text = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")
        endpoint = f"{self.okta}/oauth2/v1/token"
        claims = {"iss": client, "sub": client, "aud": endpoint, "iat": now, "exp": now + 300}
        claims["jti"] = secrets.token_hex(16)
        signed = b".".join(text(json.dumps(part).encode()) for part in [{"alg": "RS256"}, claims])
        # RFC 8017, section 9.2.
        digest = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(signed).digest()
        length = (number("n").bit_length() + 7) // 8
        padded = b"\0\1" + b"\xff" * (length - len(digest) - 3) + b"\0" + digest
        signature = pow(int.from_bytes(padded, "big"), number("d"), number("n")).to_bytes(length, "big")
        form = {
            "grant_type": "client_credentials",
            "scope": "okta.users.read okta.groups.manage",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": (signed + b"." + text(signature)).decode(),
        }
        with urllib.request.urlopen(endpoint, urllib.parse.urlencode(form).encode(), timeout=LIMIT) as answer:
            return json.load(answer)["access_token"]

    def asked(self, path):
        request = urllib.request.Request(f"{self.okta}{path}", headers={"Authorization": f"Bearer {self.bearer}"})
        with urllib.request.urlopen(request, timeout=LIMIT) as answer:
            return json.load(answer)

    def members(self, group):
        return {user["profile"]["login"] for user in self.asked(f"/api/v1/groups/{group}/users")}

    def outsiders(self):
        """Pairs of an active user and a group that they are not in."""
        logins = [user["profile"]["login"] for user in self.asked("/api/v1/users") if user["status"] == "ACTIVE"]
        for group in self.asked("/api/v1/groups"):
            if group["type"] == "OKTA_GROUP":
                free = [login for login in logins if login not in self.members(group["id"])]
                yield free[0], group["id"]


def call(token, event, login, group):
    """One of Apono's published calls, to the listener of the connector."""
    body = {"event_type": event, "params": {"username": login, "resources": [group], "permission": "member"}}
    connection = http.client.HTTPConnection("127.0.0.1", CALLS, timeout=LIMIT)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request("POST", "/", json.dumps(body), headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def called(token, event, login, group):
    status, text = call(token, event, login, group)
    holds(f"the call {event} is answered", status == 200, f"{status} {text}")


# What must hold.


def configuration(world, folder="/run/credentials/apono-connector.service", level="info", lasts="10m"):
    """What README.md shows, for the simulated world, with a listener for calls."""
    demo = world.read("connector.toml")
    text = block("toml", "[[okta]]").replace("[apono]\n", f'[apono]\nurl = "{world.apono}"\n')
    for key in ["connector_id", "integration_id", "organization_url"]:
        line = re.search(rf"^{key} = .*$", demo, re.MULTILINE)[0]
        text, count = re.subn(rf"^{key} = .*$", line, text, flags=re.MULTILINE)
        holds(f"README.md shows {key}", count == 1)
    return f"""{text.replace("/run/credentials/apono-connector.service", folder)}
[okta.access.policy]
max_duration = "{lasts}"

[custom_integration]
enabled = true
listen = "127.0.0.1:{CALLS}"
token_file = "{folder}/custom-integration-token"

[log]
level = "{level}"
"""


def configure(text):
    write("/etc/apono-connector/connector.toml", text)


def the_quick_start(world):
    text = configuration(world).partition("[okta.access.policy]")[0]
    write("/root/checkout/connector.toml", text)
    write("/root/checkout/apono-token", world.token, 0o600)
    write("/root/checkout/okta-credentials.json", json.dumps(world.credentials), 0o600)
    run("bash", "-euxc", block("sh", "systemctl enable --now apono-connector"), at="/root/checkout")
    state = shown("ActiveState", "SubState", "StatusText", "UnitFileState", "NRestarts", "WatchdogUSec")
    holds("it is active when the start returns", state["ActiveState"] == "active", state)
    holds("it is enabled", state["UnitFileState"] == "enabled", state)
    holds("it has told of itself", state["StatusText"], state)
    holds("the watchdog is the unit's", state["WatchdogUSec"] == "1min", state)
    until("it is ready", is_ready)
    text = until("it says so", lambda: re.search(r"^ready; connected to Apono; .*$", shown("StatusText")))[0]
    holds("systemctl status shows it", f'Status: "{text}"' in run("systemctl", "status", "--no-pager", UNIT))
    ok(f"the quick start of README.md ends with an active unit: {text}")


def what_it_may(world):
    pid = shown("MainPID")
    status = dict(line.split(":\t", 1) for line in run("cat", f"/proc/{pid}/status").splitlines() if ":\t" in line)
    user = status["Uid"].split()[0]
    holds("its user is a dynamic one", 61184 <= int(user) <= 65519, user)
    holds("it has no capabilities", int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0, status["CapBnd"])
    folder = inside("/var/lib/private/apono-connector")
    for path, mode in [(folder, 0o700), *((path, 0o600) for path in folder.iterdir())]:
        found = path.lstat()
        holds(f"{path.name} is its own", (found.st_uid, stat.S_IMODE(found.st_mode)) == (int(user), mode), found)
    ok(f"its state is of its own user ({user}) with mode 0700, and its files with 0600")

    environment = run("cat", f"/proc/{pid}/environ").split("\0")
    where = "/run/credentials/apono-connector.service"
    holds("it is told where its secrets are", f"CREDENTIALS_DIRECTORY={where}" in environment, environment)
    holds("they are there", inside(f"{where}/apono-token").read_text() == world.token)
    command_line = run("cat", f"/proc/{pid}/cmdline")
    for place, text in [("environment", "\n".join(environment)), ("arguments", command_line)]:
        holds(f"no secret in its {place}", not any(secret in text for secret in world.secrets()))
    sources = ["apono-token", "okta-credentials.json"]
    originals = [f"/etc/apono-connector/credentials/{name}" for name in sources]
    copies = [f"{where}/{name}" for name in sources]
    private = [f"/proc/{pid}/environ", *(f"/var/lib/apono-connector/{name}" for name in ["state.db", "audit.jsonl"])]
    for who, paths in [("65534", originals + copies + private), (user, originals)]:
        for path in paths:
            holds(f"{path} is there", tried("test", "-e", path).returncode == 0)
            done = tried("setpriv", f"--reuid={who}", f"--regid={who}", "--clear-groups", "cat", path)
            holds(f"{path} is kept from user {who}", "Permission denied" in done.stderr, done.stderr)
    ok("its secrets are in $CREDENTIALS_DIRECTORY; no other user reads them, its environment or its state")

    done = tried("systemd-analyze", "security", "--no-pager", f"--threshold={THRESHOLD}", UNIT)
    holds("it is as little exposed as was thought", done.returncode == 0, done.stdout)
    ok(done.stdout.strip().splitlines()[-1].lstrip("→ "))


def another_secret(world, token):
    """The listener for calls, by which grants are made here."""
    write("/etc/apono-connector/credentials/custom-integration-token", token, 0o600)
    edit("custom", block("ini", "LoadCredential=custom-integration-token"))
    edit("watchdog", "[Service]\nWatchdogSec=8\n")
    configure(configuration(world))
    run("systemctl", "restart", UNIT)
    until("it is ready", is_ready)


def edit(name, text):
    write(f"/etc/systemd/system/{UNIT}.d/{name}.conf", text)
    run("systemctl", "daemon-reload")


def unedit(name):
    inside(f"/etc/systemd/system/{UNIT}.d/{name}.conf").unlink()
    run("systemctl", "daemon-reload")


def a_stuck_process(world, token, login, group):
    called(token, "grant-access", login, group)
    holds("Okta has the membership", login in world.members(group))
    before = the_grant(login, group)
    fed = {shown("WatchdogTimestampMonotonic")}
    until("the watchdog is fed", lambda: fed.add(shown("WatchdogTimestampMonotonic")) or len(fed) > 1)
    holds("nothing was restarted", restarts() == 0)
    run("systemctl", "kill", "--kill-who=main", "--signal=STOP", UNIT)
    ended = [f"UNIT={UNIT}", "UNIT_RESULT=watchdog"]
    until("the watchdog ends it", lambda: journal(*ended))
    until("it runs again", lambda: restarts() == 1 and is_ready())
    holds("the grant is as it was", the_grant(login, group) == before, grants())
    holds("Okta still has the membership", login in world.members(group))
    called(token, "revoke-access", login, group)
    holds("Okta has it no more", login not in world.members(group))
    unedit("watchdog")
    ok("a stuck process is restarted by the watchdog (8 s here); its grant lives on and is revoked after it")


def reloads(world, token, login, group):
    process = shown("MainPID", "NRestarts")
    debug = lambda: [entry for entry in journal() if is_debug(entry)]
    holds("nothing is told at the level debug", not debug(), debug())
    configure(configuration(world, level="debug", lasts="20s"))
    run("systemctl", "reload", UNIT)
    until("another level is taken up", debug)
    until("it is ready", is_ready)
    called(token, "grant-access", login, group)
    left = at(the_grant(login, group)["expires_at"]) - time.time()
    holds("another policy is taken up", left <= 20, left)
    called(token, "revoke-access", login, group)
    holds("the process is the same", shown("MainPID", "NRestarts") == process, process)
    ok("a reload takes up another level and another policy")

    good = inside("/etc/apono-connector/connector.toml").read_text()
    for bad, word in [(f"{good}\n[apono", "TOML"), (good.replace("max_duration", "max_durations"), "max_durations")]:
        count = len(said("the former configuration goes on"))
        configure(bad)
        done = tried("systemctl", "reload", UNIT)
        holds("a reload fails", done.returncode != 0)
        until("the journal says why", lambda: said(word))
        run("systemctl", "kill", "--kill-who=main", "--signal=HUP", UNIT)
        until("the process says so", lambda: len(said("the former configuration goes on")) > count)
        holds("the unit is active", is_active())
        holds("the former configuration is in force", call(token, "get-status", login, group)[0] == 200)
    configure(configuration(world, lasts="20s"))
    count = len(said("another configuration"))
    run("systemctl", "reload", UNIT)
    until("it is taken up again", lambda: len(said("another configuration")) > count)
    until("it is ready", is_ready)
    holds("the process is the same", shown("MainPID", "NRestarts") == process, process)
    ok("a reload of a wrong configuration fails, the former one goes on, and the next good one is taken up")


def is_debug(entry):
    return entry["_COMM"].startswith("apono") and entry["PRIORITY"] == "7"


def a_killed_process(world, token, login, group):
    called(token, "grant-access", login, group)
    grant, restarted = the_grant(login, group), restarts()
    expires = at(grant["expires_at"])
    run("systemctl", "kill", "--kill-who=main", "--signal=KILL", UNIT)
    until("it runs again", lambda: restarts() == restarted + 1 and is_ready())
    holds("the grant is as it was", the_grant(login, group) == grant, grants())
    left = expires - time.time()
    holds("it is not over", left > 0, left)
    # Okta limits how often it is asked.
    last = until("the grant ends", lambda: ended(world, login, group, expires), pause=0.5)
    ok(f"a killed process is restarted {left:.0f} s before its grant ends, which it does {last:.1f} s after its time")
    return grant


def ended(world, login, group, expires):
    begin = time.time()
    if login in world.members(group):
        return None
    # Okta was asked after this moment: it is not too early.
    late = time.time() - expires
    holds("it does not end before its time", late >= 0, late)
    holds("it ends on time", begin - expires < 10, late)
    return late


def stop():
    begin = time.monotonic()
    run("systemctl", "stop", UNIT)
    took = time.monotonic() - begin
    state = shown("ActiveState", "Result", "ExecMainCode", "ExecMainStatus", "TimeoutStopUSec")
    holds("the unit's limit", state["TimeoutStopUSec"] == "35s", state)
    holds("it stops within its limit", took < 35, took)
    holds("it is stopped", state["ActiveState"] == "inactive" and state["Result"] == "success", state)
    # CLD_EXITED.
    holds("it ended by itself", (state["ExecMainCode"], state["ExecMainStatus"]) == ("1", "0"), state)
    return took


def stops_and_starts(world, token, login, group):
    called(token, "grant-access", login, group)
    grant = the_grant(login, group)
    took = stop()
    holds("the grant is in the journal", the_grant(login, group) == grant, grants())
    run("systemctl", "start", UNIT)
    until("it is ready", is_ready)
    holds("the grant is as it was", the_grant(login, group) == grant, grants())
    done = connector("grants", "revoke", grant["grant_id"], "--reason", "a test")
    holds("an operator ends it", done.returncode == 0 and login not in world.members(group), done)
    ok(f"a stop takes {took:.1f} s of 35 and succeeds; the state outlives it")


def a_lost_disk(world, token, login, group):
    called(token, "grant-access", login, group)
    grant = the_grant(login, group)
    run("bash", "-euxc", block("sh", "-czf", OPERATIONS))
    until("it is ready", is_ready)
    holds("the grant is as it was", the_grant(login, group) == grant, grants())
    copied = oct(inside("/var/backups/apono-connector").stat().st_mode)
    holds("nobody else reads the copy", copied.endswith("700"), copied)
    stop()
    run("rm", "-r", "/var/lib/apono-connector", "/var/lib/private/apono-connector")
    # The second time, what is there is moved away.
    for _ in range(2):
        run("bash", "-euxc", block("sh", "-xzf", OPERATIONS))
        until("it is ready", is_ready)
        holds("the restored grant is as it was", the_grant(login, group) == grant, grants())
    done = connector("audit", "verify")
    holds("the restored trail is whole", done.returncode == 0, done.stdout + done.stderr)
    folder, user = inside("/var/lib/private/apono-connector"), inside(f"/proc/{shown('MainPID')}").stat().st_uid
    owners = {path.lstat().st_uid for path in [folder, *folder.iterdir()]}
    holds("the state is its own again", owners == {user}, owners)
    called(token, "revoke-access", login, group)
    holds("it ends", login not in world.members(group))
    ok("a lost disk is restored from a copy, as docs/operations.md says, and its grant ends")


def while_nobody_answers(world, token, login, group):
    # A call in hand, and Okta and Apono mute.
    world.hold(signal.SIGSTOP)
    caller = threading.Thread(target=call, args=(token, "grant-access", login, group), daemon=True)
    caller.start()
    until("the call is in hand", lambda: the_grant(login, group))
    took = stop()
    run("systemctl", "start", UNIT)
    holds("it starts all the same", is_active() and not is_ready())
    holds("they were mute all the time", world.is_held())
    world.hold(signal.SIGCONT)
    caller.join(LIMIT)
    until("it is ready", is_ready)
    called(token, "revoke-access", login, group)
    holds("what was begun is undone", login not in world.members(group) and not the_grant(login, group), grants())
    ok(f"while neither Okta nor Apono answers, a stop takes {took:.1f} s of 35 and succeeds, and so does a start")


def another_token(world, token, login, group):
    new = secrets.token_urlsafe(32)
    write("/etc/apono-connector/credentials/custom-integration-token", new, 0o600)
    run("systemctl", "restart", UNIT)
    until("it is ready", is_ready)
    answers = [call(known, "get-status", login, group)[0] for known in [token, new]]
    holds("the new token counts, and no other", answers == [401, 200], answers)
    ok("a restart reads changed credentials")


def what_no_restart_mends(world):
    good = inside("/etc/apono-connector/connector.toml").read_text()
    for status, bad in [("78", f"{good}\n[apono"), ("77", good.replace("demo-connector", "another"))]:
        run("systemctl", "stop", UNIT)
        configure(bad)
        done = tried("systemctl", "start", UNIT)
        holds("the start fails", done.returncode != 0)
        expected = {"ActiveState": "failed", "SubState": "failed", "ExecMainStatus": status, "NRestarts": "0"}
        state = shown(*expected)
        holds("it waits for a person", state == expected, state)
        holds("nothing is begun", "No jobs" in run("systemctl", "list-jobs"))
    configure(good)
    run("systemctl", "start", UNIT)
    until("it is ready", is_ready)
    ok("a wrong configuration (78) and another's state (77) are not tried again; mended, it starts")


def followed_secrets(world, token, login, group):
    """The part of README.md on secrets that others replace."""
    for name, text in [
        ("apono-token", world.token),
        ("okta-credentials.json", json.dumps(world.credentials)),
        ("custom-integration-token", token),
    ]:
        write(f"/root/checkout/{name}", text, 0o600)
    unedit("custom")
    write("/root/drop-in", block("ini", "SupplementaryGroups="))
    # `systemctl edit` wants a terminal, and an editor that is given a file, with a line before it or not.
    write("/root/editor", '#!/bin/bash\ncp /root/drop-in "${@: -1}"\n', 0o755)
    write("/root/commands", f"export SYSTEMD_EDITOR=/root/editor\n{block('sh', 'groupadd')}")
    run("script", "--quiet", "--return", "--command", "bash -eux /root/commands", "/dev/null", at="/root/checkout")
    edit("metadata", block("ini", "IPAddressDeny="))
    secrets_folder = "/etc/apono-connector/secrets"
    install = ["install", "-m", "0640", "-g", "apono-connector-secrets"]
    run(*install, "custom-integration-token", f"{secrets_folder}/", at="/root/checkout")
    configure(configuration(world, folder=secrets_folder))
    run("systemctl", "restart", UNIT)
    until("it is ready", is_ready)
    process = shown("MainPID", "NRestarts")
    holds("the metadata service is out of reach", "169.254.169.254" in shown("IPAddressDeny"))
    holds("there are no credentials", not inside(f"/run/credentials/{UNIT}").exists())
    holds("the token counts", call(token, "get-status", login, group)[0] == 200)
    new = secrets.token_urlsafe(32)
    write("/root/checkout/new", new)
    run(*install, "new", f"{secrets_folder}/new", at="/root/checkout")
    run("mv", f"{secrets_folder}/new", f"{secrets_folder}/custom-integration-token")
    until("the new token counts", lambda: call(new, "get-status", login, group)[0] == 200)
    holds("the old one does not", call(token, "get-status", login, group)[0] == 401)
    holds("the process is the same", shown("MainPID", "NRestarts") == process, process)
    done = tried("setpriv", "--reuid=65534", "--clear-groups", "cat", f"{secrets_folder}/apono-token")
    holds("they are kept from others", "Permission denied" in done.stderr, done.stderr)
    ok("secrets in a folder are followed while it runs, as README.md says")
    return new


def a_shared_state(world, token, login, group):
    """The part of README.md on several hosts, for one of them, with the state that it had; and a database that goes away."""
    password = secrets.token_urlsafe(32)
    former = inside("/etc/apono-connector/connector.toml").read_text()
    cluster = Cluster()
    try:
        cluster.prepare(password)
        called(token, "grant-access", login, group)
        grant = the_grant(login, group)
        stop()
        url = f"postgres://apono_connector@127.0.0.1:{cluster.port}/apono_connector"
        write("/etc/apono-connector/credentials/postgres-password", password, 0o600)
        # It comes after the one that takes all credentials away.
        edit("postgres", block("ini", "LoadCredential=postgres-password"))
        shown_url = "postgres://apono_connector@db.example.com/apono_connector"
        state = block("toml", shown_url).replace(shown_url, url)
        secrets_folder = "/etc/apono-connector/secrets"
        configure(configuration(world, folder=secrets_folder, lasts="20s") + state)
        moving = block("sh", "state migrate", FLEET).replace(shown_url, url)
        moving = moving.replace("/run/secrets/database/password", "/etc/apono-connector/credentials/postgres-password")
        run("bash", "-euxc", moving)
        run("systemctl", "start", UNIT)
        until("it is ready", is_ready)
        holds("the grant was carried over", the_grant(login, group) == grant, grants())
        named = cluster.ask("-c", "SELECT count(*) FROM apono_connector.daemons", database="apono_connector")
        holds("the database knows the daemon", named == "1", named)
        called(token, "revoke-access", login, group)
        holds("it ends", login not in world.members(group))
        ok("the unit's state is carried over to PostgreSQL, as docs/fleet.md and README.md say, and its grant ends")

        called(token, "grant-access", login, group)
        expires = at(the_grant(login, group)["expires_at"])
        cluster.stop()
        until("it is not ready", lambda: not is_ready())
        holds("the unit is active", is_active())
        last = until("the grant ends", lambda: ended(world, login, group, expires), pause=0.5)
        holds("nothing begins", call(token, "grant-access", login, group)[0] >= 500)
        stop()
        tried("systemctl", "start", "--no-block", UNIT)
        until("it has tried to start", lambda: shown("ExecMainStatus") == "75")
        cluster.start()
        until("it is ready again", is_ready)
        until("that is recorded", lambda: not the_grant(login, group))
        holds("the password is not in the journal", not any(password in json.dumps(entry) for entry in journal()))
        ok(f"without the database a grant ends {last:.1f} s after its time; who is started then waits for it")
        stop()
    finally:
        cluster.remove()
    unedit("postgres")
    configure(former)
    run("systemctl", "start", UNIT)
    until("it is ready", is_ready)


def the_journal(world, grant):
    entries = journal()
    for secret in world.secrets():
        holds("no secret in the journal", not any(secret in json.dumps(entry) for entry in entries))
    ok(f"{len(entries)} entries of the journal hold no secret")

    native = [entry for entry in entries if entry["_TRANSPORT"] == "journal" and entry["_COMM"] != "systemd"]
    for event, expected in [
        ("membership_given", {"PRIORITY": "6", "VERIFIED": "true", "OKTA_GROUP_ID": grant["groups"][0]["group_id"]}),
        ("membership_ended", {"PRIORITY": "6", "OKTA_USER_ID": grant["user_id"]}),
    ]:
        found = journal(f"GRANT_ID={grant['grant_id']}", f"EVENT={event}")
        holds(f"one entry of {event} is found by its grant", len(found) == 1, found)
        holds(f"{event} has its fields", expected.items() <= found[0].items(), found)
        told = connector("explain", grant["grant_id"]).stdout
        holds(f"{event} has the request that explain shows", found[0]["OKTA_REQUEST_ID"] in told, told)
    for code, priority in [("AOC-0101", "4"), ("AOC-0702", "3")]:
        found = journal(f"CODE={code}", f"PRIORITY={priority}")
        holds(f"entries are found by their code {code}", found and all("MESSAGE_ID" in entry for entry in found))
    ok(f"{len(native)} of them have fields, by which grants and codes are found")
    what_is_explained(native)


def what_is_explained(native):
    """Every message that the documents name is in the installed catalogue, and those of this run are shown with it."""
    run("bash", "-euxc", block("sh", "--update-catalog"))
    told = catalogue.documented()
    holds("the documents say something of each message", len(told) == catalogue.how_many(), len(told))
    ids = {catalogue.message_id(name): name for name in told}
    installed = catalogue.entries(run("journalctl", "--dump-catalog"))
    printed = catalogue.entries(connector("catalog").stdout)
    holds("the program explains these, and no others", printed.keys() == ids.keys(), printed.keys() ^ ids.keys())
    for one, name in ids.items():
        texts = told[name]
        holds(f"what is said of {name} is said by the journal", catalogue.is_explained(texts, installed.get(one, "")), texts)

    logged = {}
    for entry in native:
        name = entry.get("CODE", entry.get("EVENT"))
        holds("who has a name or a code has its id", ids.get(entry.get("MESSAGE_ID")) == name, entry)
        logged[name] = entry.get("MESSAGE_ID")
    logged.pop(None, None)
    holds("this run has logged what it does", OCCASIONS <= logged.keys(), OCCASIONS - logged.keys())
    for name, one in logged.items():
        shown = run("journalctl", "--no-pager", "--catalog", "--lines=1", f"MESSAGE_ID={one}")
        holds(f"journalctl -x explains {name}", catalogue.is_explained(told[name], shown), shown)
    ok(f"all {len(told)} messages are in the catalogue, and journalctl -x explains the {len(logged)} of this run")


def main():
    holds("the machine is up", run("systemctl", "is-system-running").strip() == "running")
    ok(f"{run('systemctl', '--version').splitlines()[0]} has booted after {time.monotonic() - begun:.1f} s")
    world = World()
    ok(f"the simulators run after {time.monotonic() - begun:.1f} s")
    login, group = next(world.outsiders())
    token = secrets.token_urlsafe(32)
    the_quick_start(world)
    what_it_may(world)
    another_secret(world, token)
    a_stuck_process(world, token, login, group)
    reloads(world, token, login, group)
    grant = a_killed_process(world, token, login, group)
    stops_and_starts(world, token, login, group)
    a_lost_disk(world, token, login, group)
    while_nobody_answers(world, token, login, group)
    another_token(world, token, login, group)
    what_no_restart_mends(world)
    token = followed_secrets(world, token, login, group)
    a_shared_state(world, token, login, group)
    the_journal(world, grant)
    ok(f"all of it, in {time.monotonic() - begun:.0f} s")


leader, group = boot()
try:
    main()
except BaseException:
    print(tried("journalctl", "--no-pager", "--lines=100", "--output=short-precise").stdout, flush=True)
    raise
finally:
    for process in processes("nsenter", ""):
        os.kill(process, signal.SIGKILL)
    os.kill(int(leader), signal.SIGKILL)
    # Who has lost a parent is ours to bury.
    with contextlib.suppress(ChildProcessError):
        while os.wait():
            pass
    for folder in sorted(pathlib.Path(group).glob("**"), reverse=True):
        folder.rmdir()
