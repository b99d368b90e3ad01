"""A backup that is made while servers work is whole, can be served, and is brought up to date by the next."""

import contextlib
import hashlib
import random
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from containerfs.server.storage.local import without_deletions
from tests.server.conftest import LARGE, answered, blobs_in, contents_in, create
from tests.server.live import LiveServer, eventually, running_server
from tests.server.test_modes import open_to_others

CLIENTS = 3


def backup(store: Path, destination: Path, status: int = 0) -> str:
    """What the command says."""
    command = [sys.executable, "-m", "containerfs", "backup", str(destination), "--data-dir", str(store)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == status, done.stderr
    return done.stderr if status else done.stdout


def contents(server: LiveServer) -> dict[str, str | None]:
    """The ids of all files, with the digests of their contents, which are also their names; None if it is not there."""
    found: dict[str, str | None] = {}
    with httpx.Client(base_url=server.base_url, timeout=60) as http:
        for container in answered(http.get("/containers", params={"limit": 100}))["data"]:
            path = f"/containers/{container['id']}/files"
            params: dict[str, Any] = {"limit": 100}
            while True:
                page = answered(http.get(path, params=params))
                for file in page["data"]:
                    answer = http.get(f"{path}/{file['id']}/content")
                    digest = hashlib.sha256(answer.content).hexdigest()
                    found[file["id"]] = digest if answer.status_code == 200 else None
                    assert answer.status_code in (200, 404)
                    assert answer.status_code == 404 or file["path"].endswith(digest)
                if not page["has_more"]:
                    break
                params["after"] = page["last_id"]
    return found


class Load:
    """Clients that upload, copy and delete until they are told to stop."""

    def __init__(self, server: LiveServer) -> None:
        self._server = server
        self.over = threading.Event()
        self.progress = threading.Semaphore(0)
        self.kept: dict[str, str] = {}
        """What is uploaded, and not going to be deleted."""

    def work(self, seed: int) -> None:
        choose = random.Random(seed)
        with httpx.Client(base_url=self._server.base_url, timeout=60) as http:
            container = create(http, name=f"client {seed}")["id"]
            path = f"/containers/{container}/files"
            going: list[str] = []
            while not self.over.is_set():
                content = choose.randbytes(choose.randrange(50_000))
                digest = hashlib.sha256(content).hexdigest()
                file = answered(http.post(path, files={"file": (f"{len(self.kept)}/{digest}", content)}))
                if choose.random() < 0.5:
                    self.kept[file["id"]] = digest
                    copied = {"file_id": file["id"], "path": f"copy/{digest}"}
                    self.kept[answered(http.post(path, json=copied))["id"]] = digest
                else:
                    going.append(file["id"])
                    answered(http.delete(f"{path}/{going.pop(0)}"))
                self.progress.release()

    def go_on(self, steps: int) -> None:
        for _ in range(steps):
            assert self.progress.acquire(timeout=60)


def test_a_backup_while_servers_work(tmp_path: Path) -> None:
    store, destination = tmp_path / "store", tmp_path / "backup"
    with running_server(store, "--workers", "2", "--no-access-log") as server, ThreadPoolExecutor(CLIENTS) as pool:
        load = Load(server)
        working = [pool.submit(load.work, number) for number in range(CLIENTS)]
        for _ in range(2):
            load.go_on(20)
            before = dict(load.kept)
            said = backup(store, destination)
            load.go_on(10)
            with running_server(_copy(destination, tmp_path)) as restored:
                assert contents(restored).items() >= before.items()
        assert " 0 of them new" not in said
        load.over.set()
        for each in working:
            each.result()
        backup(store, destination)
        assert " 0 of them new" in backup(store, destination)
        assert not open_to_others(destination)
        at_the_end = contents(server)
        assert None not in at_the_end.values()
        assert server.stop() == 0
    with running_server(destination) as restored:
        assert contents(restored) == at_the_end
        assert len(contents_in(destination)) == len(set(at_the_end.values()))
        assert "a server is using" in backup(store, destination, status=1)
        with httpx.Client(base_url=restored.base_url) as http:
            create(http)
    assert "has changed it" in backup(store, destination, status=1)


def _copy(destination: Path, directory: Path) -> Path:
    """A server changes what it is started on, and the next backup goes on with this one."""
    copy = directory / "restored"
    subprocess.run(["rm", "-rf", copy], check=True)
    subprocess.run(["cp", "-r", destination, copy], check=True)
    return copy


def test_what_is_deleted_while_there_are_to_be_no_deletions_goes_later(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with running_server(store) as server, httpx.Client(base_url=server.base_url) as http:
        path = f"/containers/{create(http)['id']}/files"
        file = answered(http.post(path, files={"file": LARGE}))
        with without_deletions(store):
            answered(http.delete(f"{path}/{file['id']}"))
            assert http.get(f"{path}/{file['id']}").status_code == 404
            assert len(blobs_in(store)) == 1
        server.stop()
    with contextlib.closing(sqlite3.connect(store / "metadata.sqlite3")) as database, database:
        database.execute("UPDATE blobs SET due_at = 1 WHERE due_at IS NOT NULL")  # as if an hour had gone by
    with running_server(store):
        eventually(lambda: not blobs_in(store))


def test_what_the_store_has_lost_is_told_of(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with running_server(store) as server, httpx.Client(base_url=server.base_url) as http:
        path = f"/containers/{create(http)['id']}/files"
        for number in range(3):
            answered(http.post(path, files={"file": (str(number), LARGE)}))
        server.stop()
    blobs_in(store)[0].unlink()
    assert "1 contents are missing" in backup(store, tmp_path / "backup", status=1)
    assert len(blobs_in(tmp_path / "backup")) == 2


@pytest.mark.parametrize("destination", ["store", "store/inside", "file"])
def test_places_that_cannot_take_a_backup(tmp_path: Path, destination: str) -> None:
    with running_server(tmp_path / "store") as server:
        server.stop()
    (tmp_path / "file").write_text("")
    assert destination in backup(tmp_path / "store", tmp_path / destination, status=1)


def test_no_store_is_there(tmp_path: Path) -> None:
    assert "--data-dir" in backup(tmp_path / "no", tmp_path / "backup", status=1)
    assert not (tmp_path / "no").exists()
