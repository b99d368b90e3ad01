"""Stores of older versions are taken over as they are, and nothing but the server itself is needed."""

import contextlib
import json
import re
import sqlite3
from pathlib import Path

import httpx
from alembic.config import Config
from alembic.script import ScriptDirectory

from containerfs.server.storage import migration
from tests.server.conftest import LARGE, answered, blobs_in, create
from tests.server.live import eventually, running_server
from tests.server.test_backup import backup

TO_VERSION_6 = """
DROP TABLE small_blobs;
DROP INDEX container_files_source;
CREATE INDEX container_files_source ON container_files (container_id, file_id);
UPDATE alembic_version SET version_num = '0006';
"""

TO_VERSION_3 = (
    TO_VERSION_6
    + """
CREATE TABLE schema_version (version INTEGER NOT NULL);
INSERT INTO schema_version VALUES (3);
CREATE INDEX container_files_blob ON container_files (blob);
CREATE INDEX files_blob ON files (blob);
ALTER TABLE container_files DROP COLUMN attributes;
DROP TABLE blobs;
DROP TABLE api_keys;
DROP TABLE quotas;
DROP TABLE alembic_version;
"""
)

TO_VERSION_2 = (
    TO_VERSION_3
    + """
DROP INDEX containers_name;
DROP INDEX files_purpose;
UPDATE schema_version SET version = 2;
"""
)

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
        version = database.execute("SELECT version_num FROM alembic_version").fetchall()
        texts = [text for (text,) in database.execute("SELECT sql FROM sqlite_master ORDER BY name")]
        return [*((text and re.sub(r"\s+", " ", text),) for text in texts), *version]


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


def test_a_store_without_an_account_of_its_bytes_gets_one(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with running_server(store) as server, httpx.Client(base_url=server.base_url) as http:
        file = answered(http.post("/files", files={"file": ("f", LARGE)}, data={"purpose": "x"}))["id"]
        container = create(http, file_ids=[file])["id"]
        answered(http.post(f"/containers/{container}/files", files={"file": ("g", LARGE)}))
        server.stop()
    wanted = schema(store)
    run(store, TO_VERSION_3)
    orphan = store / "blobs" / "ab" / ("ab" * 16)
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"of no row")
    with running_server(store) as server, httpx.Client(base_url=server.base_url) as http:
        assert http.get(f"/containers/{container}/files/{file}/content").content == LARGE
        assert states(store) == {("live", 2): 1, ("live", 1): 1, ("dead", 0): 1}
        answered(http.delete(f"/files/{file}"))
        answered(http.delete(f"/containers/{container}"))
        assert blobs_in(store) == [orphan]
        run(store, "UPDATE blobs SET due_at = 1 WHERE due_at IS NOT NULL")
        server.stop()
    with running_server(store):
        eventually(lambda: not states(store))
    assert blobs_in(store) == []
    assert schema(store) == wanted


def test_small_contents_that_are_files_stay_files(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with running_server(store) as server, httpx.Client(base_url=server.base_url) as http:
        path = f"/containers/{create(http)['id']}/files"
        file = answered(http.post(path, files={"file": ("f", b"small")}))["id"]
        server.stop()
    wanted = schema(store)
    with contextlib.closing(sqlite3.connect(store / "metadata.sqlite3")) as database:
        [(name, content)] = database.execute("SELECT name, content FROM small_blobs")
    kept = store / "blobs" / name[:2] / name
    kept.parent.mkdir()
    kept.write_bytes(content)
    run(store, TO_VERSION_6)
    assert "1 contents of 5 bytes, 1 of them new" in backup(store, tmp_path / "backup")
    for place in (store, tmp_path / "backup"):
        with running_server(place) as server, httpx.Client(base_url=server.base_url) as http:
            assert http.get(f"{path}/{file}/content").content == b"small"
            answered(http.post(path, json={"file_id": file, "path": "copy"}))
            answered(http.delete(f"{path}/{file}"))
            assert len(blobs_in(place)) == 1
            [copy] = answered(http.get(path))["data"]
            assert http.get(f"{path}/{copy['id']}/content").content == b"small"
            answered(http.delete(f"{path}/{copy['id']}"))
            assert blobs_in(place) == []
            server.stop()
        assert schema(place) == wanted


def states(store: Path) -> dict[tuple[str, int], int]:
    """How many blobs there are of each state and number of copies; those that are only leased are left out."""
    with contextlib.closing(sqlite3.connect(store / "metadata.sqlite3")) as database:
        counted = "SELECT state, copies, count(*) FROM blobs WHERE state != 'new' GROUP BY state, copies"
        return {(state, copies): count for state, copies, count in database.execute(counted)}


def test_what_the_migrations_end_with_is_what_this_version_knows() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migration.__file__).with_name("migrations")))
    script = ScriptDirectory.from_config(config)
    assert [each.revision for each in script.walk_revisions()] == list(reversed(migration.REVISIONS))
