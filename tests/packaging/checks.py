"""What the scripts beside it share: what must hold, what must come about, and commands that must succeed."""

import contextlib
import socket
import subprocess
import sys
import time

# How long whatever must come about may take, where nothing else is said, and a command, in seconds.
LIMIT = 60
LONGEST = 600

_held = 0


def holds(what, value, shown=""):
    """The value, if there is one; else this is the end."""
    global _held
    if not value:
        sys.exit(f"does not hold: {what}" + (f": {shown}" if shown != "" else ""))
    _held += 1
    return value


def held():
    """How many of them there were."""
    return _held


def ok(what):
    print(f"ok: {what}", flush=True)


def until(what, look, limit=LIMIT, pause=0.05):
    """What `look` returns, once it is something. Whoever is asked may not be there yet."""
    end = time.monotonic() + limit
    while True:
        with contextlib.suppress(OSError):
            if found := look():
                return holds(what, found)
        holds(f"within {limit} s: {what}", time.monotonic() < end)
        time.sleep(pause)


def ran(*command, **more):
    return subprocess.run(
        [str(part) for part in command], **{"capture_output": True, "text": True, "check": False, "timeout": LONGEST} | more
    )


def must(*command, **more):
    """What it prints."""
    done = ran(*command, **more)
    holds(f"{' '.join(map(str, command))} succeeds", done.returncode == 0, f"{done.returncode}, {done.stdout}{done.stderr}")
    return done.stdout


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
