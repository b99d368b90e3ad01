"""Many at once: nothing lost, nothing doubled, no 500; also at two servers on one store."""

import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.server.conftest import answered, contents_in, create
from tests.server.live import LiveServer, running_server

CLIENTS = 64


def client(servers: list[LiveServer], shared: str, number: int, together: threading.Barrier) -> tuple[str, set[str]]:
    """One client's life; returns its container, and the ids of the files that must be left in it."""
    choose = random.Random(number)
    with httpx.Client(base_url=servers[number % len(servers)].base_url, timeout=60) as http:
        together.wait(60)
        mine = create(http, name=f"client {number}")["id"]
        path = f"/containers/{mine}/files"
        kept: dict[str, str] = {}
        for step in range(4):
            name = f"f{choose.randrange(4)}"
            content = f"{number}/{step}".encode() * choose.randrange(1, 8000)
            file = answered(http.post(path, files={"file": (name, content)}))
            kept[name] = file["id"]
            assert http.get(f"{path}/{file['id']}/content").content == content
            # All write the same path of the same container: one of them is there at any time.
            answered(http.post(f"/containers/{shared}/files", files={"file": ("contended", content)}))
            answered(http.get(f"/containers/{shared}/files", params={"limit": 100}))
            if choose.random() < 0.3:
                answered(http.delete(f"{path}/{kept.pop(name)}"))
        assert {item["id"] for item in answered(http.get(path))["data"]} == set(kept.values())
        scratch = create(http)["id"]
        answered(http.delete(f"/containers/{scratch}"))
        return mine, set(kept.values())


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_sixty_four_clients_at_two_servers(tmp_path: Path, database: str, request: pytest.FixtureRequest) -> None:
    store = tmp_path / "store"
    url = request.getfixturevalue("postgres").new_database() if database == "postgresql" else None
    options = ["--sweep-interval", "0.1", *(["--database", url] if url else [])]
    with (
        running_server(store, *options) as one,
        running_server(store, *options) as two,
        httpx.Client(base_url=one.base_url, timeout=60) as http,
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        shared = create(http, name="shared")["id"]
        together = threading.Barrier(CLIENTS)
        results = list(pool.map(lambda number: client([one, two], shared, number, together), range(CLIENTS)))
        listed: list[str] = []
        params: dict[str, str | int] = {"limit": 30}
        while True:
            page = answered(http.get("/containers", params=params))
            listed += [item["id"] for item in page["data"]]
            if not page["has_more"]:
                break
            params["after"] = page["last_id"]
        assert sorted(listed) == sorted([shared, *(container for container, _ in results)])
        for container, kept in results:
            assert answered(http.get(f"/containers/{container}"))["file_count"] == len(kept)
        assert answered(http.get(f"/containers/{shared}"))["file_count"] == 1
        assert len(contents_in(store, url)) == 1 + sum(len(kept) for _, kept in results)
        for server in (one, two):
            metrics = httpx.get(server.root_url + "/metrics").text
            assert 'status="200"' in metrics
            assert 'status="5' not in metrics
            assert "Traceback" not in server.log.read_text()


MAKE_TOGETHER = """
import asyncio, multiprocessing, sys
from pathlib import Path
from containerfs.server.storage.open import open_stores

def make(together, directory):
    for number in range(60):
        together.wait(60)
        try:
            asyncio.run(open_stores(directory / str(number)).close())
        except Exception:
            together.abort()
            raise

together = multiprocessing.get_context("fork").Barrier(5)
processes = [
    multiprocessing.get_context("fork").Process(target=make, args=(together, Path(sys.argv[1]))) for _ in range(5)
]
for process in processes:
    process.start()
for process in processes:
    process.join()
sys.exit(any(process.exitcode for process in processes))
"""


def test_servers_that_make_a_store_together(tmp_path: Path) -> None:
    """In processes of their own: threads do not get in each other's way enough."""
    subprocess.run([sys.executable, "-c", MAKE_TOGETHER, str(tmp_path)], check=True, timeout=100)
