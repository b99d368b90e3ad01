"""Containers of more files than one statement could name blobs for (125,000 on Debian), and what is done about them."""

import contextlib
import sqlite3
import time
from pathlib import Path

import httpx

from tests.server.conftest import answered, contents_in, create, refused
from tests.server.live import running_server

MANY = 130_000


def fill(store: Path, container: str, count: int) -> None:
    """Add files to a container in the database alone: their bytes are missing, which no one notices here."""
    with contextlib.closing(sqlite3.connect(store / "metadata.sqlite3")) as database, database:
        rows = (
            (f"cfile_{container}{n}", container, f"/mnt/data/{n}", 1, 1, f"{n:032x}{container}") for n in range(count)
        )
        insert = (
            "INSERT INTO container_files (id, container_id, path, bytes, created_at, blob) VALUES (?, ?, ?, ?, ?, ?)"
        )
        database.executemany(insert, rows)
        blobs = ((f"{n:032x}{container}",) for n in range(count))
        database.executemany("INSERT INTO blobs (name, state, copies) VALUES (?, 'live', 1)", blobs)
        database.execute("UPDATE containers SET file_count = file_count + ? WHERE id = ?", (count, container))


def end(store: Path, container: str) -> None:
    """Let a container have expired a second ago."""
    with contextlib.closing(sqlite3.connect(store / "metadata.sqlite3")) as database, database:
        database.execute("UPDATE containers SET expires_at = ? WHERE id = ?", (int(time.time()) - 1, container))


def rows(store: Path, table: str) -> int:
    with contextlib.closing(sqlite3.connect(store / "metadata.sqlite3")) as database:
        [(count,)] = database.execute(f"SELECT count(*) FROM {table}")
    return int(count)


def put(http: httpx.Client, container: str) -> None:
    answered(http.post(f"/containers/{container}/files", files={"file": ("f", b"x")}))


def test_one_that_is_deleted_is_gone_at_once_and_its_rows_after_a_while(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with running_server(store) as server, httpx.Client(base_url=server.base_url, timeout=60) as http:
        large, staying = (create(http)["id"] for _ in range(2))
        for container in (large, staying):
            put(http, container)
        fill(store, large, MANY)
        answered(http.delete(f"/containers/{large}"))
        refused(http.get(f"/containers/{large}"), 404)
        refused(http.delete(f"/containers/{large}"), 404)
        refused(http.get(f"/containers/{large}/files"), 404)
        refused(http.post(f"/containers/{large}/files", files={"file": ("g", b"")}), 404)
        assert [item["id"] for item in answered(http.get("/containers"))["data"]] == [staying]
        assert answered(http.get("/containers", params={"after": large, "order": "asc"}))["data"] != []
        assert rows(store, "container_files") > 1
        while rows(store, "container_files") > 1:
            put(http, staying)  # others are served meanwhile
        assert answered(http.get(f"/containers/{staying}"))["file_count"] == 1
        while len(contents_in(store)) > 1:
            put(http, staying)
    assert "Traceback" not in server.log.read_text()


def test_one_that_has_expired_holds_up_no_other(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with running_server(store, "--sweep-interval", "0.1") as server, httpx.Client(base_url=server.base_url) as http:
        large, small = (create(http)["id"] for _ in range(2))
        fill(store, large, MANY)
        put(http, small)
        for container in (large, small):
            end(store, container)
        while rows(store, "containers"):
            answered(http.get("/containers"))
        assert rows(store, "container_files") == 0
    assert "Traceback" not in server.log.read_text()


def test_one_whose_deletion_was_cut_short_goes_with_the_next_start(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with running_server(store) as server, httpx.Client(base_url=server.base_url, timeout=60) as http:
        container = create(http)["id"]
        fill(store, container, 20_000)
        answered(http.delete(f"/containers/{container}"))
        server.kill()
    assert rows(store, "container_files") > 0
    with running_server(store) as server, httpx.Client(base_url=server.base_url) as http:
        while rows(store, "containers"):
            answered(http.get("/containers"))
        assert rows(store, "container_files") == 0
