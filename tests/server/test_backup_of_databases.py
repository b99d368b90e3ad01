"""Stores over PostgreSQL or a bucket are backed up, while servers work, and restored, as docs/SERVER.md says."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from containerfs.server.storage.open import sqlite_url
from tests.server.live import LiveServer, running_server
from tests.server.postgres import USER, Postgres
from tests.server.s3 import ObjectStorage
from tests.server.shell import DOCS, Shell, blocks
from tests.server.test_backup import CLIENTS, Load, contents

BACKUP, RESTORE = [block for block in blocks("SERVER.md", "bash") if "pg_" in block]
*BACKUP_OF_ROWS, BACKUP_OF_FILES = BACKUP.splitlines()
[BACKUP_OF_SQLITE] = re.findall(r"`(sqlite3 [^`]+)`", (DOCS / "SERVER.md").read_text())


@pytest.fixture
def shell(postgres: Postgres, tmp_path: Path) -> Iterator[Shell]:
    """With a whole database of its own, ``source``, as whole ones are copied."""
    user = {"PGUSER": USER["user"]} if USER else {}
    url = "postgresql:///source"
    shell = Shell(tmp_path, PGHOST=str(postgres.directory), CONTAINERFS_DATABASE=url, **user)
    shell.run("createdb source", "containerfs migrate")
    yield shell
    shell.run("dropdb --if-exists restored", "dropdb source")


def url_of(postgres: Postgres, database: str) -> str:
    return postgres.url.replace("/postgres?", f"/{database}?")


def worked_on(server: LiveServer, shell: Shell, *backup: str) -> tuple[dict[str, str], dict[str, str | None]]:
    """Make a backup while clients work; returns what was there before for good, and what is there in the end."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        load = Load(server)
        working = [pool.submit(load.work, number) for number in range(CLIENTS)]
        try:
            load.go_on(20)
            before = dict(load.kept)
            shell.run(*backup)
            load.go_on(10)
        finally:
            load.over.set()
        for each in working:
            each.result()
    return before, contents(server)


def test_postgresql_and_files(postgres: Postgres, shell: Shell, tmp_path: Path) -> None:
    source, copy = tmp_path / "files", tmp_path / "backups" / "contents"
    options = ("--database", url_of(postgres, "source"), "--blobs", source.as_uri())
    with running_server(tmp_path / "server", *options) as server:
        copy_files = BACKUP_OF_FILES.replace("/srv/containerfs", str(source))
        before, at_the_end = worked_on(server, shell, *BACKUP_OF_ROWS, copy_files)
    shell.run(RESTORE)
    options = ("--database", url_of(postgres, "restored"), "--blobs", copy.as_uri())
    with running_server(tmp_path / "restored", *options) as restored:
        found = contents(restored)
    assert found.items() >= before.items()
    assert {id for id, digest in found.items() if digest is None}.isdisjoint(at_the_end)


@pytest.mark.parametrize("rows", ["postgresql", "sqlite"])
def test_contents_in_a_bucket(
    postgres: Postgres, shell: Shell, object_storage: ObjectStorage, tmp_path: Path, rows: str
) -> None:
    source, copy = object_storage.new_bucket(), object_storage.new_bucket()
    is_sqlite = rows == "sqlite"
    database = sqlite_url(tmp_path / "store") if is_sqlite else url_of(postgres, "source")
    with running_server(tmp_path / "server", "--database", database, "--blobs", source) as server:
        backup = ("mkdir backups", BACKUP_OF_SQLITE) if is_sqlite else BACKUP_OF_ROWS
        before, _ = worked_on(server, shell, *backup)
        object_storage.copy(source, copy)
    if not is_sqlite:
        shell.run(RESTORE)
    database = sqlite_url(tmp_path / "backups") if is_sqlite else url_of(postgres, "restored")
    with running_server(tmp_path / "restored", "--database", database, "--blobs", copy) as restored:
        found = contents(restored)
    assert found.items() >= before.items()
    assert None not in found.values()
