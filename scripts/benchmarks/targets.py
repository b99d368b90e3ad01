"""What is measured: places to put files, each mounted afresh for a measurement, over a store that stays.

A store is filled behind the mount's back; a target mounts one, with a cache that the caller names and so decides on
whether it is cold, and over a line as long as is asked for.
"""

import contextlib
import itertools
import json
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http.client import HTTPConnection
from math import inf
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.request import urlopen

from benchmarks.delay import Line, delayed
from benchmarks.processes import CONTAINERFS, Program, is_mounted, mountpoint, run, started
from containerfs import Client

CONTAINER = "bench"
_A_SECOND = 100  # files that are made in one, as a client might
_numbers = itertools.count()


@dataclass(frozen=True)
class Mounted:
    """A mount that answers: the directory to work in, its process, if there is one, and its line to the server."""

    path: Path
    pid: int | None = None
    line: Line | None = None


class Store(Protocol):
    def put(self, files: dict[str, Path]) -> None:
        """Store files, by their path below the directory that is worked in; those that are there are replaced."""


class Target(Protocol):
    name: str

    def mounted(self, cache: Path, round_trip: float = 0.0, rate: float = inf) -> AbstractContextManager[Mounted]:
        """Mount, with the cache in a directory, over a line to the store as ``delayed`` makes it."""


class Containerfs:
    """The mount, over a server of its own on TCP.

    Args:
        program: the command line of the version that mounts.
    """

    def __init__(
        self,
        server: "ContainerServer",
        work: Path,
        *options: str,
        name: str = "containerfs",
        program: Program = CONTAINERFS,
    ) -> None:
        self.name = name
        self._server = server
        self._work = work
        self._options = options
        self._program = program

    @contextlib.contextmanager
    def mounted(self, cache: Path, round_trip: float = 0.0, rate: float = inf) -> Iterator[Mounted]:
        with (
            delayed(self._server.port, round_trip, rate) as line,
            mountpoint(self._work / f"mount{next(_numbers)}") as path,
            containerfs_mount(
                path, cache, "--url", f"http://127.0.0.1:{line.port}/v1", *self._options, program=self._program
            ) as pid,
        ):
            yield Mounted(path / self._server.container.name, pid, line)


@contextlib.contextmanager
def containerfs_mount(path: Path, cache: Path, *options: str, program: Program = CONTAINERFS) -> Iterator[int]:
    """``containerfs mount``; yields the id of the process that stays."""
    run(*program, "mount", path, "--cache-dir", cache, *options)
    try:
        pid: int = json.loads(os.getxattr(path, "user.containerfs.status"))["pid"]
        yield pid
    finally:
        run(*program, "unmount", path)


class ContainerServer:
    """``containerfs serve`` on a free port.

    Attributes:
        container: the one that is worked in.
    """

    def __init__(self, pid: int, port: int, store: Path) -> None:
        self.pid = pid
        self.port = port
        self._store = store
        self.client = Client(base_url=f"http://127.0.0.1:{port}/v1", api_key="")
        self.container = self.client.containers.create(name=CONTAINER)

    @classmethod
    @contextlib.contextmanager
    def running(cls, store: Path) -> Iterator["ContainerServer"]:
        options = ("--port", "0", "--data-dir", store, "--max-upload-size", "0", "--no-access-log")
        with started(*CONTAINERFS, "serve", *options, ready=_tells_port) as (pid, said):
            server = cls(pid, _port(said), store)
            with server.client:
                yield server

    @contextlib.contextmanager
    def fresh_container(self) -> Iterator[None]:
        """Within the block, work in a new container: what was measured before is not to be listed."""
        before = self.container
        self.container = self.client.containers.create(name=f"{CONTAINER}{next(_numbers)}")
        try:
            yield
        finally:
            self.container = before

    def put(self, files: dict[str, Path]) -> None:
        with ThreadPoolExecutor(4) as pool:
            for stored in [pool.submit(self._put, name, path) for name, path in files.items()]:
                stored.result()

    def put_many(self, container: str, count: int, content: bytes = b"small\n") -> str:
        """Make a container with many files of one content, all but the first in its database directly; returns its id.

        A million of them by HTTP would take an hour.
        """
        made = self.client.containers.create(name=container).id
        if not count:
            return made
        first = self.client.containers.files.create(made, file=("00000", content)).id
        with contextlib.closing(sqlite3.connect(self._store / "metadata.sqlite3", timeout=60)) as database, database:
            columns = "container_id, bytes, blob"
            (row,) = database.execute(f"SELECT {columns} FROM container_files WHERE id = ?", [first])
            began = int(time.time()) - count // _A_SECOND
            others = (
                (f"cfile_{os.urandom(16).hex()}", f"/mnt/data/{number:05}", began + number // _A_SECOND, *row)
                for number in range(1, count)
            )
            insert = f"INSERT INTO container_files (id, path, created_at, {columns}) VALUES (?, ?, ?, ?, ?, ?)"
            database.executemany(insert, others)
            database.execute("UPDATE containers SET file_count = ? WHERE id = ?", [count, made])
        return made

    def requests(self) -> dict[str, int]:
        """How many it has answered, by method and route, as it counts them itself."""
        with urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            text = answer.read().decode()
        counted: dict[str, int] = {}
        for labels, value in re.findall(r"^containerfs_requests_total\{(.*)\} (\S+)$", text, re.MULTILINE):
            label = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            operation = f"{label['method']} {label['route']}"
            counted[operation] = counted.get(operation, 0) + int(float(value))
        return counted

    def _put(self, name: str, path: Path) -> None:
        with path.open("rb") as file:
            self.client.containers.files.create(self.container.id, file=(name, file))


class RcloneServer:
    """``rclone serve webdav`` of a local directory, on a free port."""

    def __init__(self, port: int) -> None:
        self.port = port

    @classmethod
    @contextlib.contextmanager
    def running(cls, served: Path) -> Iterator["RcloneServer"]:
        served.mkdir()
        command = ("rclone", "serve", "webdav", served, "--addr", "127.0.0.1:0", "--config", os.devnull)
        with started(*command, ready=_tells_port) as (_, said):
            yield cls(_port(said))

    def put(self, files: dict[str, Path]) -> None:
        """Through the server, which believes what it has listed for minutes. Source: RFC 4918 (MKCOL)."""
        with contextlib.closing(HTTPConnection("127.0.0.1", self.port)) as connection:
            for parent in {name.rpartition("/")[0] for name in files} - {""}:
                _send(connection, "MKCOL", parent)
            for name, path in files.items():
                with path.open("rb") as file:
                    _send(connection, "PUT", name, file)


class Rclone:
    """``rclone mount`` over its server."""

    def __init__(self, server: RcloneServer, work: Path, mode: str) -> None:
        self.name = f"rclone {mode}"
        self._server = server
        self._work = work
        self._mode = mode

    @contextlib.contextmanager
    def mounted(self, cache: Path, round_trip: float = 0.0, rate: float = inf) -> Iterator[Mounted]:
        with (
            delayed(self._server.port, round_trip, rate) as line,
            mountpoint(self._work / f"mount{next(_numbers)}") as path,
            self._mount(path, cache, line.port) as pid,
        ):
            yield Mounted(path, pid)

    @contextlib.contextmanager
    def _mount(self, path: Path, cache: Path, port: int) -> Iterator[int]:
        remote = ("--webdav-url", f"http://127.0.0.1:{port}", "--webdav-vendor", "other", "--config", os.devnull)
        options = ("--vfs-cache-mode", self._mode, "--cache-dir", cache)
        command = ("rclone", "mount", ":webdav:", path, *remote, *options)
        with started(*command, ready=lambda _: is_mounted(path)) as (pid, _):
            yield pid


class LocalDisk:
    """The floor: no mount, no server, the same disk."""

    name = "local disk"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir()

    def put(self, files: dict[str, Path]) -> None:
        for name, path in files.items():
            target = self._directory / name
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)

    @contextlib.contextmanager
    def mounted(self, cache: Path, round_trip: float = 0.0, rate: float = inf) -> Iterator[Mounted]:
        yield Mounted(self._directory)


def _send(connection: HTTPConnection, method: str, name: str, body: BinaryIO | None = None) -> None:
    connection.request(method, "/" + name, body)
    answer = connection.getresponse()
    answer.read()
    assert answer.status in (201, 204, 405), answer.status  # made, replaced, or a directory that is there


_PORT = re.compile(r"127\.0\.0\.1:(\d+)")


def _tells_port(said: str) -> bool:
    return _PORT.search(said) is not None and said.endswith("\n")


def _port(said: str) -> int:
    found = _PORT.search(said)
    assert found is not None, said
    return int(found[1])
