"""Stores of older versions are taken over as they are, and nothing but the server itself is needed."""

import contextlib
import json
import sqlite3
from pathlib import Path

import httpx

from tests.server.conftest import answered, create
from tests.server.live import running_server

TO_VERSION_2 = """
DROP INDEX containers_name;
DROP INDEX files_purpose;
UPDATE schema_version SET version = 2;
"""

TO_VERSION_1 = (
    TO_VERSION_2
    + """
DROP TABLE departed;
DROP TABLE answers;
UPDATE schema_version SET version = 1;
"""
)

SECRET = "hunter2-hunter2"

POLICY = {
    "type": "allowlist",
    "allowed_domains": ["example.com"],
    "domain_secrets": [{"domain": "example.com", "name": "token", "value": SECRET}],
}


def run(store: Path, script: str) -> None:
    with contextlib.closing(sqlite3.connect(store / "metadata.sqlite3")) as database:
        database.executescript(script)


def schema(store: Path) -> list[tuple[str | int | None, ...]]:
    with contextlib.closing(sqlite3.connect(store / "metadata.sqlite3")) as database:
        version = database.execute("SELECT version FROM schema_version").fetchall()
        return [*database.execute("SELECT sql FROM sqlite_master ORDER BY name"), *version]


def test_a_store_of_the_first_version(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with running_server(store) as server, httpx.Client(base_url=server.base_url) as http:
        container = create(http)["id"]
    wanted = schema(store)
    run(store, TO_VERSION_1)
    with running_server(store) as server, httpx.Client(base_url=server.base_url) as http:
        answered(http.delete(f"/containers/{container}"))
    assert schema(store) == wanted


def test_a_store_that_kept_secrets_forgets_them(tmp_path: Path) -> None:
    store = tmp_path / "store"
    once = {"idempotency-key": "k"}
    with running_server(store) as server, httpx.Client(base_url=server.base_url) as http:
        request = {"name": "secretive", "network_policy": POLICY}
        created = answered(http.post("/containers", json=request, headers=once))
    wanted = schema(store)
    run(store, TO_VERSION_2)
    with contextlib.closing(sqlite3.connect(store / "metadata.sqlite3")) as database, database:
        database.execute("UPDATE containers SET network_policy = ?", [json.dumps(POLICY)])
        body = json.dumps({**created, "network_policy": POLICY})
        database.execute("UPDATE answers SET body = ?", [body])
    assert SECRET in (store / "metadata.sqlite3").read_bytes().decode("latin-1")
    with running_server(store) as server, httpx.Client(base_url=server.base_url) as http:
        assert answered(http.get(f"/containers/{created['id']}")) == created
        assert answered(http.post("/containers", json=request, headers=once)) == created
        assert server.stop() == 0
    assert SECRET not in (store / "metadata.sqlite3").read_bytes().decode("latin-1")
    assert schema(store) == wanted
