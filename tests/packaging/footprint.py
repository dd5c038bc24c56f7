"""What the running daemon takes: tests/packaging/footprint.py PATH_OF_THE_BINARY

Prints how long it takes from the start to READY with an empty state (the median of some starts; nothing is asserted of
time), and how much memory it has while it is idle, as `ps` shows it, which must stay below a limit. That is more than what
it has of its own: what is used of the program's file, and of the libraries', is counted too.
"""
import json
import os
import pathlib
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from checks import holds, must, until

MB = 1_000_000
LIMIT = 20
# What it allocates, so that a program which has become smaller does not hide that it has begun to hoard.
LIMIT_OF_ITS_OWN = 8
STARTS = 9
PATIENCE = 60


def main():
    binary = os.path.realpath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        configuration = configure(binary, folder)
        ready = []
        for _ in range(STARTS):
            for file in folder.glob("state*"):
                file.unlink()
            ready.append(start(binary, configuration, folder))
        print(f"-- start to READY with an empty state: {statistics.median(ready):.0f} ms, {max(ready):.0f} at the most")
    (resident, own), beside = idle(binary)
    print(
        f"-- idle beside {beside}: {resident:.1f} MB resident, of {LIMIT} at the most; "
        f"{own:.1f} MB of its own, of {LIMIT_OF_ITS_OWN} at the most"
    )
    holds(f"the idle daemon has less than {LIMIT} MB", resident < LIMIT, resident)
    holds(f"the idle daemon has less than {LIMIT_OF_ITS_OWN} MB of its own", own < LIMIT_OF_ITS_OWN, own)
    print("footprint: all of it holds")


def configure(binary, folder):
    """Peers that answer nothing are as good as any: READY does not wait for them."""
    key = folder / "key.json"
    must(binary, "key", "generate", "--out", key)
    (folder / "okta.json").write_text(json.dumps({"client_id": "0oaplaceholder", "private_key": json.loads(key.read_text())}))
    (folder / "token").write_text("placeholder-token")
    for secret in ("okta.json", "token"):
        (folder / secret).chmod(0o600)
    configuration = folder / "connector.toml"
    configuration.write_text(f"""
[apono]
url = "http://127.0.0.1:9"
connector_id = "footprint"
token_file = "{folder}/token"
[[okta]]
integration_id = "placeholder"
organization_url = "http://127.0.0.1:9"
credentials_file = "{folder}/okta.json"
[state]
url = "sqlite:{folder}/state.db"
[audit]
file = "{folder}/state-audit.jsonl"
[admin]
listen = "127.0.0.1:0"
""")
    return configuration


def start(binary, configuration, folder):
    """Milliseconds until READY."""
    path = folder / "notify"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(path))
        notify.settimeout(PATIENCE)
        began = time.monotonic()
        with open(folder / "log", "w") as log:
            daemon = subprocess.Popen(
                [binary, "run", "--config", configuration], stderr=log, env={**os.environ, "NOTIFY_SOCKET": str(path)}
            )
        try:
            while b"READY=1" not in notify.recv(4096).splitlines():
                pass
            return (time.monotonic() - began) * 1000
        except TimeoutError:
            sys.exit(f"it was never ready:\n{(folder / 'log').read_text()}")
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(PATIENCE)


def idle(binary):
    """MB of the daemon beside the demonstration's simulators, once its story is told; and what those have."""
    users, groups = 500, 40
    with tempfile.TemporaryFile("w+") as told:
        command = [binary, "demo", "--keep-running", f"--users={users}", f"--groups={groups}"]
        demo = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=told)
        try:
            until("the demonstration tells its story", lambda: is_told(demo, told), limit=5 * PATIENCE, pause=0.2)
            daemons = [pid for pid in children(demo.pid) if "run" in arguments(pid)]
            holds("one daemon runs", len(daemons) == 1, daemons)
            return settled(daemons[0]), f"{users} users and {groups} groups"
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait(PATIENCE)


def is_told(demo, told):
    told.seek(0)
    text = told.read()
    holds("the demonstration goes on", demo.poll() is None, text)
    return "Everything stays up until Ctrl-C" in text


def children(parent):
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if re.search(rf"^PPid:\s+{parent}$", (entry / "status").read_text(), re.MULTILINE):
                    yield int(entry.name)
            except OSError:
                continue


def arguments(pid):
    return pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def settled(pid):
    """MB resident and of its own, the smallest of some looks: what it takes for a moment is not what it takes while idle."""
    looks = []
    for _ in range(15):
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
        sizes = [re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE).group(1) for name in ("VmRSS", "RssAnon")]
        looks.append(tuple(int(size) * 1024 / MB for size in sizes))
        time.sleep(1)
    return min(looks)


if __name__ == "__main__":
    main()
