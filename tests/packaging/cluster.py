"""A PostgreSQL of its own, in a folder of its own, on loopback: what a fleet shares."""

import contextlib
import os
import pathlib
import pwd
import re
import shutil
import subprocess
import tempfile

from checks import free_port, must


class Cluster:
    def __init__(self):
        self.port = free_port()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="cluster-"))
        # PostgreSQL does not run as root.
        self.user = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        installed = pathlib.Path("/usr/lib/postgresql").glob("*/bin")
        newest = sorted(installed, key=lambda folder: int(re.sub(r"\D", "", folder.parent.name)))[-1:]
        self.path = os.pathsep.join([*map(str, newest), os.environ["PATH"]])
        self.data = self.folder / "data"
        self._must("initdb", "-D", self.data, "-U", "superuser", "--auth=trust", "--no-sync", "--encoding=UTF8")
        with open(self.data / "pg_hba.conf", "w") as rules:
            rules.write("local all superuser trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        with open(self.data / "postgresql.conf", "a") as settings:
            settings.write(f"listen_addresses = '127.0.0.1'\nport = {self.port}\nshared_buffers = '16MB'\n")
            settings.write(f"unix_socket_directories = '{self.folder}'\n")
        self.start()

    def _must(self, program, *arguments):
        identity = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        environment = {"PATH": self.path, "LC_ALL": "C"}
        # What it starts would hold a pipe open.
        with tempfile.TemporaryFile("w+") as told:
            done = subprocess.run(
                [program, *map(str, arguments)], env=environment, stdin=subprocess.DEVNULL, stdout=told, stderr=told,
                cwd="/", **identity,
            )
            told.seek(0)
            if done.returncode != 0:
                raise SystemExit(f"{program} fails: {told.read()}")

    def start(self):
        self._must("pg_ctl", "start", "-D", self.data, "-l", self.folder / "log", "-w", "-s")

    def stop(self):
        """As a loss of its machine would."""
        self._must("pg_ctl", "stop", "-D", self.data, "-m", "immediate", "-w", "-s")

    def prepare(self, password):
        """As a superuser prepares it for the connector."""
        file = self.folder / "password"
        file.write_text(password)
        arguments = ["-v", "ON_ERROR_STOP=1", "-v", f"password_file={file}", "-f", "deploy/database.sql"]
        self.ask(*arguments)

    def ask(self, *arguments, database="postgres"):
        environment = {"PATH": self.path, "LC_ALL": "C"}
        place = ["-h", self.folder, "-p", str(self.port), "-U", "superuser", "-d", database]
        return must("psql", "-X", "-q", "-A", "-t", *place, *arguments, env=environment).strip()

    def remove(self):
        with contextlib.suppress(SystemExit):
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
