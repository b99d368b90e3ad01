"""kill -9 in the midst of everything: what was acknowledged is whole, and nothing else stays."""

import contextlib
import hashlib
import random
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.server.conftest import answered, contents_in, create
from tests.server.live import LiveServer, eventually, running_server

CLIENTS = 4


class Acknowledged:
    """What the server said it has: id -> SHA-256; and which are deleted, or may be."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.uncertain: set[str] = set()
        self.count = threading.Semaphore(0)

    def work(self, server: LiveServer, container: str, seed: int) -> None:
        """Upload, copy and delete until the server dies."""
        choose = random.Random(seed)
        path = f"/containers/{container}/files"
        mine: list[str] = []
        with httpx.Client(base_url=server.base_url, timeout=60) as http:
            try:
                while True:
                    self._step(http, path, mine, choose, seed)
                    self.count.release()
            except httpx.TransportError:
                pass

    def _step(self, http: httpx.Client, path: str, mine: list[str], choose: random.Random, seed: int) -> None:
        name = f"{seed}-{len(mine)}"
        if mine and choose.random() < 0.3:
            id = mine.pop(choose.randrange(len(mine)))
            self.uncertain.add(id)
            answered(http.delete(f"{path}/{id}"))
            del self.files[id]
        elif mine and choose.random() < 0.3:
            source = choose.choice(mine)
            id = str(answered(http.post(path, json={"file_id": source, "path": f"c{name}{choose.random()}"}))["id"])
            self.files[id] = self.files[source]
            mine.append(id)
        else:
            content = choose.randbytes(choose.choice([0, 10, 5000, 300_000, 3_000_000]))
            upload = {"file": (f"{name}{choose.random()}", content)}
            id = str(answered(http.post(path, files=upload))["id"])
            self.files[id] = hashlib.sha256(content).hexdigest()
            mine.append(id)


def test_kill_at_any_moment(tmp_path: Path) -> None:
    store = tmp_path / "store"
    said = Acknowledged()
    with running_server(store) as server, httpx.Client(base_url=server.base_url) as http:
        container = create(http)["id"]
    for life in range(3):
        with running_server(store, "--sweep-interval", "0.1") as server, ThreadPoolExecutor(CLIENTS) as pool:
            for number in range(CLIENTS):
                pool.submit(said.work, server, container, life * CLIENTS + number)
            for _ in range(15 + 7 * life):
                said.count.acquire()
            server.kill()
        check(store, container, said)


def check(store: Path, container: str, said: Acknowledged) -> None:
    with running_server(store, "--sweep-interval", "0.1") as server, httpx.Client(base_url=server.base_url) as http:
        found: set[str] = set()
        params: dict[str, str | int] = {"limit": 100}
        while True:
            page = answered(http.get(f"/containers/{container}/files", params=params))
            found |= {file["id"] for file in page["data"]}
            if not page["has_more"]:
                break
            params["after"] = page["last_id"]
        assert set(said.files) - said.uncertain <= found
        for id in found:
            content = http.get(f"/containers/{container}/files/{id}/content")
            assert len(content.content) == int(content.headers["content-length"])
            if id in said.files:
                assert hashlib.sha256(content.content).hexdigest() == said.files[id]
        assert answered(http.get(f"/containers/{container}"))["file_count"] == len(found)
        # What was not acknowledged may be there or not, for this client will not hear of it.
        for id in found - set(said.files):
            answered(http.delete(f"/containers/{container}/files/{id}"))
        said.files = {id: digest for id, digest in said.files.items() if id in found}
        said.uncertain.clear()
        assert {path.name for path in (store / "blobs").glob("*/*")} <= accounted_blobs(store)
        wanted = named_blobs(store)
        with contextlib.closing(sqlite3.connect(store / "metadata.sqlite3")) as database, database:
            database.execute("UPDATE blobs SET due_at = 1 WHERE due_at IS NOT NULL")  # as if an hour had gone by
        eventually(lambda: accounted_blobs(store) == wanted)  # once a sweep has come by
        eventually(lambda: contents_in(store) == wanted)


def named_blobs(store: Path) -> set[str]:
    return _names(store, "SELECT blob FROM container_files")


def accounted_blobs(store: Path) -> set[str]:
    return _names(store, "SELECT name FROM blobs")


def _names(store: Path, statement: str) -> set[str]:
    with contextlib.closing(sqlite3.connect(store / "metadata.sqlite3")) as database:
        return {name for (name,) in database.execute(statement)}
