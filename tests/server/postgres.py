"""A real PostgreSQL for tests: its own processes, over a new directory, on a Unix socket."""

import contextlib
import getpass
import os
import secrets
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from containerfs.server.storage.open import database
from containerfs.server.storage.postgres import migrate
from tests.server.live import eventually

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
"""Where Debian has them, of each version."""

USER: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
"""It refuses to run as root."""


class Postgres:
    """A running server. Stopping and starting it again keeps what is in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.process = self._start()

    @property
    def url(self) -> str:
        return f"postgresql://{USER.get('user', getpass.getuser())}@/postgres?host={self.directory}"

    def new_database(self, *, migrated: bool = True) -> str:
        """The URL of a new store's tables: in a schema of their own, as a database is a thousand files."""
        name = f"store_{secrets.token_hex(4)}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f'CREATE SCHEMA "{name}"')  # type: ignore[call-overload]
        url = f"{self.url}&options=-csearch_path%3D{name}"
        if migrated:
            migrate(database(url), finish=False)
        return url

    def kill(self) -> None:
        """End it as a crash would, with all that it has started."""
        self.process.send_signal(signal.SIGSTOP)  # so that it starts nothing more
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in (*map(int, children), self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(60)
        eventually(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in children))

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """It neither answers nor ends, as if its disk did not answer."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        pids = (self.process.pid, *map(int, children))
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def start_again(self) -> None:
        self.process = self._start()

    def stop(self) -> None:
        """Without writing all of it down once more: it is removed next."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(60)

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [PROGRAMS[-1] / "postgres", "-D", self.directory / "data", "-k", self.directory]
        # Processes are killed here, and the machine is not: what they wrote is there, synced or not.
        options = ["-c", "listen_addresses=", "-c", "max_connections=200", "-c", "fsync=off"]
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen([*command, *options], cwd="/", stdout=log, stderr=log, **USER)
        asked = [PROGRAMS[-1] / "pg_isready", "--quiet", "--host", self.directory, "--timeout", "5"]
        while subprocess.run(asked, check=False).returncode:
            assert process.poll() is None, (self.directory / "log").read_text()
        return process


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A new server, stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="pg.") as made:
        directory = Path(made)
        if USER:
            subprocess.run(["chown", USER["user"], directory], check=True)
        command = [PROGRAMS[-1] / "initdb", "-D", directory / "data", "--auth=trust", "--no-sync", "--no-locale"]
        subprocess.run([*command, "--encoding=UTF8"], check=True, cwd="/", stdout=subprocess.DEVNULL, **USER)
        server = Postgres(directory)
        try:
            yield server
        finally:
            server.stop()
