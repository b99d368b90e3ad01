"""A store in a database is upgraded while servers run, some of the previous version and some of this one."""

import asyncio
from pathlib import Path

import httpx
import psycopg
import pytest

from containerfs.server.storage.leases import Leases
from containerfs.server.storage.local import LocalBlobStore
from containerfs.server.storage.open import open_metadata
from containerfs.server.storage.records import ContainerFileRecord
from containerfs.server.storage.reserve import Reserve
from tests.server.conftest import answered, blobs_in, create
from tests.server.live import running_server
from tests.server.postgres import Postgres
from tests.server.test_postgres import migrate

TO_VERSION_6 = """
DROP TABLE small_blobs;
DROP INDEX container_files_source;
CREATE INDEX container_files_source ON container_files (container_id, file_id);
UPDATE alembic_version SET version_num = '0006';
"""


@pytest.fixture
def older(postgres: Postgres) -> str:
    """The URL of a database of the previous version."""
    url = postgres.new_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(TO_VERSION_6)
    return url


class OldServer:
    """What a server of the previous version does: all contents that it knows are in its directory. It was started
    before the migration, and named its connections as that version does."""

    def __init__(self, url: str, directory: Path) -> None:
        self._metadata = open_metadata(f"{url}&application_name=containerfs")
        self._blobs = LocalBlobStore(directory, Reserve(directory), Leases(self._metadata))

    async def put(self, container: str, id: str, content: bytes) -> None:
        async with self._blobs.writer() as writer:
            await writer.write(content)
            file = ContainerFileRecord(id, container, "/mnt/data/old", len(content), 1, await writer.commit())
            writer.publish()
            await self._metadata.write(lambda tx: tx.insert_container_file(file, None, 1))

    async def read(self, container: str, id: str) -> bytes:
        file = await self._metadata.read(lambda tx: tx.container_file(container, id))
        assert file is not None
        reader = await self._blobs.open(file.blob, file.bytes)
        try:
            return await reader.read(0, reader.size)
        finally:
            await reader.close()

    async def close(self) -> None:
        await self._metadata.close()


def small_contents(url: str) -> int:
    with psycopg.connect(url) as connection:
        [count] = connection.execute("SELECT count(*) FROM small_blobs").fetchone() or [0]
    return int(count)


def test_servers_of_both_versions_read_all_contents_until_the_upgrade_is_finished(older: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    assert "migrate --finish" in migrate(older)
    with (
        running_server(store, "--database", older) as server,
        httpx.Client(base_url=server.base_url) as http,
        asyncio.Runner() as runner,
    ):
        old = OldServer(older, store)
        container = create(http)["id"]
        path = f"/containers/{container}/files"
        file = answered(http.post(path, files={"file": ("new", b"small")}))["id"]
        assert runner.run(old.read(container, file)) == b"small"
        runner.run(old.put(container, "cfile_old", b"of the old one"))
        assert http.get(f"{path}/cfile_old/content").content == b"of the old one"
        assert small_contents(older) == 0

        refusal = migrate(older, "--finish", status=1)
        assert "previous version" in refusal
        assert refusal.count("\n") == 1
        runner.run(old.close())
        assert "0008" in migrate(older, "--finish")

        answered(http.post(path, files={"file": ("another", b"small too")}))
        assert small_contents(older) == 1
        for id, content in ((file, b"small"), ("cfile_old", b"of the old one")):
            assert http.get(f"{path}/{id}/content").content == content
            answered(http.delete(f"{path}/{id}"))
        assert blobs_in(store) == []
    assert store.with_name("store.log").read_text().count("migrate --finish") == 1
    with running_server(store, "--database", older):
        pass
    assert store.with_name("store.log").read_text().count("migrate --finish") == 1


def test_an_upgrade_without_servers_takes_one_step(older: str) -> None:
    assert "0008" in migrate(older, "--finish")
    assert migrate(older, "--finish") == migrate(older)
