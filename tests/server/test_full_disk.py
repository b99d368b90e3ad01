"""A disk that is really full: nothing more is taken, and everything can be deleted."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.fuse.namespace import FOLLOWING, LET_GO
from tests.server.conftest import answered, blobs_in, create, refused
from tests.server.live import LiveServer, running_server
from tests.server.raw import connect

FILE = b"k" * 300_000


@dataclass
class Disk:
    """A small file system of its own, in a namespace that a process keeps."""

    store: Path
    keeper: int

    @property
    def inside(self) -> Path:
        """Where the store is for those outside the namespace."""
        return Path(f"/proc/{self.keeper}/root") / self.store.relative_to("/")

    @property
    def enter(self) -> list[str]:
        """A command that runs another inside."""
        user = ["--user", "--preserve-credentials"] if os.geteuid() else []
        return ["nsenter", "--mount", *user, f"--target={self.keeper}"]

    def serving(self, *options: str) -> contextlib.AbstractContextManager[LiveServer]:
        return running_server(self.store, *options, within=self.enter)

    def execute(self, statement: str) -> None:
        """On the database; from inside, since SQLite looks for its files where the links of a path lead."""
        database = str(self.store / "metadata.sqlite3")
        program = "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute(sys.argv[2]); d.commit(); d.close()"
        subprocess.run([*self.enter, sys.executable, "-c", program, database, statement], check=True, timeout=60)

    def fill(self) -> None:
        """Take all that is left, as another program might."""
        with (self.inside / "filler").open("ab", buffering=0) as filler:
            for size in (4096, 1):
                with contextlib.suppress(OSError):
                    while filler.write(b"x" * size) == size:
                        pass

    def relieve(self) -> None:
        (self.inside / "filler").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    store = tmp_path / "store"
    store.mkdir()
    script = f"{LET_GO}; mount -t tmpfs -o size=6m,mode=700 none '{store}' && echo ready && exec cat"
    command = [*FOLLOWING, *(["--map-root-user"] if os.geteuid() else []), "sh", "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdout is not None
        assert keeper.stdin is not None
        assert keeper.stdout.readline() == "ready\n"
        yield Disk(store, keeper.pid)
        keeper.stdin.close()


def upload(http: httpx.Client, container: str, name: str) -> httpx.Response:
    return http.post(f"/containers/{container}/files", files={"file": (name, FILE)})


def upload_until_refused(http: httpx.Client, container: str) -> list[str]:
    """The ids of the files that there was room for."""
    ids: list[str] = []
    while (response := upload(http, container, f"f{len(ids)}")).status_code == 200:
        ids.append(response.json()["id"])
    refused(response, 507)
    return ids


def test_it_is_said_and_leaves_nothing(disk: Disk) -> None:
    with disk.serving() as server, httpx.Client(base_url=server.base_url, timeout=60) as http:
        container = create(http)["id"]
        files = f"/containers/{container}/files"
        kept = answered(http.post(files, files={"file": ("same", b"k" * 1_000_000)}))
        for path, form in ((files, None), ("/files", {"purpose": "x"})):
            response = http.post(path, files={"file": ("same", b"x" * 10_000_000)}, data=form)
            assert refused(response, 507)["code"] == "insufficient_storage"
        assert len(blobs_in(disk.inside)) == 1
        assert http.get(f"{files}/{kept['id']}/content").content == b"k" * 1_000_000
        answered(http.post(files, files={"file": ("more", b"m" * 1_000_000)}))


def test_what_does_not_fit_is_refused_before_it_is_sent(disk: Disk) -> None:
    with disk.serving() as server, httpx.Client(base_url=server.base_url, timeout=60) as http:
        for path in (f"/containers/{create(http)['id']}/files", "/files"):
            with connect(server) as connection:
                connection.send(
                    f"POST /v1{path} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                    f"Content-Length: {400 << 20}\r\n"
                    "Content-Type: multipart/form-data; boundary=B\r\n\r\n".encode()
                )
                assert connection.receive_until((b"\r\n\r\n", b"}")).startswith(b"HTTP/1.1 507 ")


def test_everything_can_be_read_and_deleted(disk: Disk) -> None:
    idle = {"anchor": "last_active_at", "minutes": 20}
    with disk.serving() as server, httpx.Client(base_url=server.base_url, timeout=60) as http:
        container, other = (create(http, expires_after=idle)["id"] for _ in range(2))
        source = answered(http.post("/files", files={"file": ("s", b"s")}, data={"purpose": "x"}))["id"]
        ids = upload_until_refused(http, container)
        disk.execute("UPDATE containers SET last_active_at = 1")  # so that to read is activity, which is recorded
        disk.fill()
        for id in ids:
            path = f"/containers/{container}/files/{id}"
            assert http.get(f"{path}/content").content == FILE
            answered(http.delete(path))
            disk.fill()  # it takes at once what was freed
        answered(http.delete(f"/files/{source}"))
        for id in (container, other):
            answered(http.delete(f"/containers/{id}"))
        assert blobs_in(disk.inside) == []
        disk.relieve()
        again = upload_until_refused(http, create(http)["id"])
        assert len(again) > len(ids) * 3 / 4, "what was deleted is free again, but for what the database's log takes"
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("end", [LiveServer.stop, LiveServer.kill])
def test_a_server_starts_and_what_expired_makes_room(disk: Disk, end: Callable[[LiveServer], object]) -> None:
    with disk.serving() as server, httpx.Client(base_url=server.base_url, timeout=60) as http:
        container = create(http)["id"]
        upload_until_refused(http, container)
        disk.execute("UPDATE containers SET expires_at = 1")
        end(server)
    disk.fill()
    with disk.serving() as server, httpx.Client(base_url=server.base_url, timeout=60) as http:
        while blobs_in(disk.inside):
            answered(http.get("/containers"))
        assert upload_until_refused(http, create(http)["id"])
    assert "Traceback" not in server.log.read_text()
