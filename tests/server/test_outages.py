"""kill -9 of each part of a large server in the midst of load: what was acknowledged is there, once, and whole."""

import hashlib
import os
import random
import secrets
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.server.conftest import answered, create
from tests.server.live import LiveServer, running_server
from tests.server.postgres import Postgres, running_postgres
from tests.server.s3 import ObjectStorage, running_object_storage

CLIENTS = 4
SIZES = [0, 10, 5000, 300_000, 9_000_000]


@pytest.fixture
def database() -> Iterator[Postgres]:
    """One that others do not miss when it is killed."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStorage]:
    with running_object_storage() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


class Load:
    """Clients that ask again, under the same idempotency key, until they are answered."""

    def __init__(self, server: LiveServer, container: str) -> None:
        self._server = server
        self._path = f"/containers/{container}/files"
        self.over = threading.Event()
        self.progress = threading.Semaphore(0)
        self.files: dict[str, str] = {}
        """What is acknowledged and not deleted: SHA-256 by id."""
        self.failures: Counter[str] = Counter()

    def work(self, seed: int) -> None:
        choose = random.Random(seed)
        mine: list[str] = []
        with httpx.Client(base_url=self._server.base_url, timeout=60) as http:
            while not self.over.is_set():
                self._step(http, choose, mine, seed)
                self.progress.release()

    def _step(self, http: httpx.Client, choose: random.Random, mine: list[str], seed: int) -> None:
        path = f"{seed}-{choose.random()}"
        if mine and choose.random() < 0.25:
            id = mine.pop(choose.randrange(len(mine)))
            self._ask(http, "DELETE", f"{self._path}/{id}", gone_is_fine=True)
            del self.files[id]
        elif mine and choose.random() < 0.3:
            source = choose.choice(mine)
            self._keep(self._ask(http, "POST", self._path, json={"file_id": source, "path": path}), mine, source)
        elif mine and choose.random() < 0.3:
            id = choose.choice(mine)
            content = self._ask(http, "GET", f"{self._path}/{id}/content").content
            assert hashlib.sha256(content).hexdigest() == self.files[id]
        else:
            content = choose.randbytes(choose.choice(SIZES))
            answer = self._ask(http, "POST", self._path, files={"file": (path, content)})
            self.files[answered(answer)["id"]] = hashlib.sha256(content).hexdigest()
            mine.append(answered(answer)["id"])

    def found(self, http: httpx.Client) -> dict[str, str]:
        """The digests of all contents that there are."""
        digests: dict[str, str] = {}
        params: dict[str, Any] = {"limit": 100}
        while True:
            page = answered(self._ask(http, "GET", self._path, params=params))
            for file in page["data"]:
                content = self._ask(http, "GET", f"{self._path}/{file['id']}/content").content
                digests[file["id"]] = hashlib.sha256(content).hexdigest()
            if not page["has_more"]:
                return digests
            params["after"] = page["last_id"]

    def _keep(self, answer: httpx.Response, mine: list[str], source: str) -> None:
        id = answered(answer)["id"]
        self.files[id] = self.files[source]
        mine.append(id)

    def _ask(
        self, http: httpx.Client, method: str, path: str, *, gone_is_fine: bool = False, **request: Any
    ) -> httpx.Response:
        headers = {"idempotency-key": secrets.token_hex(16)}
        for _ in range(1000):
            try:
                answer = http.request(method, path, headers=headers, **request)
            except httpx.TransportError as error:
                self.failures[type(error).__name__] += 1
            else:
                if answer.status_code == 200 or (gone_is_fine and answer.status_code == 404):
                    return answer
                assert answer.status_code == 503, answer.text
                self.failures["503"] += 1
            self.over.wait(0.1)
        raise AssertionError("it never recovered")

    def go_on(self, steps: int) -> None:
        for _ in range(steps):
            assert self.progress.acquire(timeout=90)


def test_each_part_dies_in_the_midst_of_load(database: Postgres, bucket: ObjectStorage, tmp_path: Path) -> None:
    url, contents = database.new_database(), bucket.new_bucket()
    options = ["--workers", "2", "--database", url, "--blobs", contents, "--sweep-interval", "1"]
    with (
        running_server(tmp_path / "store", *options) as server,
        httpx.Client(base_url=server.base_url, timeout=60) as http,
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        container = create(http)["id"]
        load = Load(server, container)
        working = [pool.submit(load.work, number) for number in range(CLIENTS)]
        try:
            load.go_on(20)
            kill_a_worker(server)
            load.go_on(20)
            database.kill()
            database.start_again()
            load.go_on(20)
            bucket.kill()
            bucket.start_again()
            load.go_on(20)
        finally:
            load.over.set()
        for each in working:
            each.result()
        assert load.failures
        assert load.found(http) == load.files
        assert answered(http.get(f"/containers/{container}"))["file_count"] == len(load.files)
        assert server.stop() == 0
    check_account(url, set(bucket.objects_in(contents)))


def kill_a_worker(server: LiveServer) -> None:
    parent = server.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)


def check_account(url: str, objects: set[str]) -> None:
    """Nothing is in the bucket that the database does not know of, and all is there that is named."""
    with psycopg.connect(url) as connection:
        named = Counter(name for (name,) in connection.execute("SELECT blob FROM container_files"))
        known = {name for (name,) in connection.execute("SELECT name FROM blobs")}
        small = {name for (name,) in connection.execute("SELECT name FROM small_blobs")}
        live = dict(connection.execute("SELECT name, copies FROM blobs WHERE state = 'live'").fetchall())
    assert live == named
    assert set(named) <= objects | small
    assert objects <= known
