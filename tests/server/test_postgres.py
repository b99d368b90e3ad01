"""What is PostgreSQL's alone: its migrations, its connections, and transactions that run side by side."""

import asyncio
import contextlib
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest

from containerfs.server.errors import NotFound
from containerfs.server.requests import CopyFile, CreateContainer
from containerfs.server.service import Service
from containerfs.server.storage import postgres as postgres_store
from containerfs.server.storage.failures import StoreUnavailableError
from containerfs.server.storage.metadata_store import LINGER_S
from containerfs.server.storage.open import Stores
from containerfs.server.storage.records import PageQuery
from containerfs.server.sweeper import Sweeper
from tests.server.conftest import LARGE, answered, blobs_in, contents_in, create, refused
from tests.server.hosted import Clock
from tests.server.live import ServerDidNotStart, running_server
from tests.server.postgres import Postgres


def migrate(url: str, *options: str, status: int = 0) -> str:
    command = [sys.executable, "-m", "containerfs", "migrate", "--database", url, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def test_a_server_waits_for_the_migration_and_refuses_what_it_does_not_know(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.new_database(migrated=False)

    def refusal() -> str:
        with (
            pytest.raises(ServerDidNotStart) as refused,
            running_server(tmp_path / "store", "--database", url),
        ):
            pass
        return str(refused.value)

    assert "containerfs migrate --database postgresql://" in refusal()
    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(migrate, [url] * 2))) == 1
    with (
        running_server(tmp_path / "store", "--database", url) as server,
        httpx.Client(base_url=server.base_url) as http,
    ):
        create(http)
    assert migrate(url) == migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM containers").fetchone() == (1,)
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "9999" in refusal()
    assert "9999" in migrate(url, status=1)


TO_VERSION_4 = """
DROP TABLE small_blobs;
ALTER TABLE container_files DROP COLUMN attributes;
DROP TABLE api_keys;
DROP TABLE quotas;
UPDATE alembic_version SET version_num = '0004';
"""


def columns(url: str) -> set[tuple[str, ...]]:
    """What tables there are, of which columns, and the indexes."""
    with psycopg.connect(url) as connection:
        asked = (
            "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns "
            "WHERE table_schema = current_schema() "
            "UNION SELECT tablename, indexname, '', '' FROM pg_indexes WHERE schemaname = current_schema()"
        )
        return set(connection.execute(asked).fetchall())


def test_an_older_database_becomes_what_a_new_one_is(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.new_database()
    wanted = columns(url)
    assert len(wanted) > 50
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(TO_VERSION_4)
    with pytest.raises(ServerDidNotStart, match="0004"), running_server(tmp_path / "store", "--database", url):
        pass
    migrate(url, "--finish")
    assert columns(url) == wanted


def test_a_database_that_cannot_be_had_is_told_of_without_its_password(tmp_path: Path) -> None:
    for url in (f"postgresql://me:hunter2@/none?host={tmp_path}", "mysql://me:hunter2@localhost/a", "hunter2"):
        said = migrate(url, status=1)
        assert said.count("\n") == 1
        assert "hunter2" not in said
        assert "Traceback" not in said


@pytest.fixture(scope="module")
def http(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    store = tmp_path_factory.mktemp("server") / "store"
    with (
        running_server(store, "--database", postgres.new_database()) as server,
        httpx.Client(base_url=server.base_url, timeout=60) as client,
    ):
        yield client
        assert "Traceback" not in server.log.read_text()


def test_what_postgresql_takes_in_no_text_is_refused(http: httpx.Client) -> None:
    container = create(http)["id"]
    for path in ("/containers/a%00b", "/files/a%00b", f"/containers/{container}/files/a%00b/content"):
        assert http.get(path).status_code == 404
        assert http.delete(path).status_code in (404, 405)
    for path, param in (("/containers", "name"), ("/containers", "after"), ("/files", "purpose"), ("/files", "after")):
        refused(http.get(path, params={param: "a\0b"}), 400, param)
    refused(http.post("/containers", json={"name": "a", "file_ids": ["a\0b"]}), 400, "file_ids.0")
    refused(http.post(f"/containers/{container}/files", json={"file_id": "a\0b"}), 400, "file_id")
    refused(http.post(f"/containers/{container}/files", data={"file_id": "a\0b"}, files={"x": b""}), 400, "file_id")
    refused(http.post(f"/containers/{container}/files", json={"file_id": "a", "path": "a\0b"}), 400, "path")
    policy = {"type": "allowlist", "allowed_domains": ["a\0b"]}
    assert create(http, network_policy=policy)["network_policy"] == policy


def test_one_request_with_a_key_is_carried_out_of_many_at_once(http: httpx.Client) -> None:
    def ask(_: int) -> str:
        once = {"idempotency-key": "the same"}
        return str(answered(http.post("/containers", json={"name": "once"}, headers=once))["id"])

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(ask, range(64)))) == 1
    assert len(answered(http.get("/containers", params={"name": "once"}))["data"]) == 1


ROUNDS, CONTAINERS = 40, 4


async def life(service: Service, containers: list[str], seed: int, refusals: Counter[str]) -> None:
    """Upload, copy and delete, all in the same few containers, what others are deleting."""
    choose = random.Random(seed)
    for number in range(ROUNDS):
        container = choose.choice(containers)
        page = await service.container_files.page("n", choose.choice(containers), PageQuery(5))
        try:
            if choose.random() < 0.4 or not page.data:
                async with service.contents.receive() as blob:
                    await blob.write(f"{seed} {number}".encode())
                    await service.container_files.add("n", container, f"f{choose.randrange(6)}", blob)
            elif choose.random() < 0.5:
                copy = CopyFile(file_id=choose.choice(page.data).id, path=f"f{choose.randrange(6)}")
                await service.container_files.copy("n", container, copy)
            else:
                file = choose.choice(page.data)
                await service.container_files.delete("n", file.container_id, file.id)
        except NotFound as error:
            refusals[error.message.split()[0]] += 1


def test_copies_race_deletions_and_lose_no_bytes(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.new_database()

    async def scenario() -> None:
        stores = [Stores.open(url, tmp_path.as_uri()) for _ in range(2)]
        services = [Service(each) for each in stores]
        containers = [
            (await services[0].containers.create("n", CreateContainer(name=str(number)))).id
            for number in range(CONTAINERS)
        ]
        refusals: Counter[str] = Counter()
        await asyncio.gather(*(life(services[seed % 2], containers, seed, refusals) for seed in range(24)))
        for container in containers:
            page = await services[0].container_files.page("n", container, PageQuery(100))
            assert (await services[0].containers.retrieve("n", container)).file_count == len(page.data)
            for file in page.data:
                content = await services[0].container_files.content("n", container, file.id)
                await content.blob.close()
        for each in stores:
            await each.close()

    asyncio.run(scenario())
    check_account(url, tmp_path)


def check_account(url: str, store: Path) -> None:
    """What is recorded of blobs is what rows name, and what is there."""
    with psycopg.connect(url) as connection:
        named = Counter(name for (name,) in connection.execute("SELECT blob FROM container_files"))
        live = dict(connection.execute("SELECT name, copies FROM blobs WHERE state = 'live'").fetchall())
        others = connection.execute("SELECT name FROM blobs WHERE state != 'live' AND due_at IS NULL").fetchall()
    assert live == named
    assert others == []
    assert contents_in(store, url) == set(named)


def test_two_transactions_that_wait_for_each_other_both_happen(postgres: Postgres, tmp_path: Path) -> None:
    async def scenario() -> list[int]:
        stores = Stores.open(postgres.new_database(), tmp_path.as_uri())
        await stores.metadata.write(lambda tx: tx.lease_blobs(["a", "b"], 1000))
        together = [asyncio.Event(), asyncio.Event()]
        loop, runs = asyncio.get_running_loop(), [0, 0]

        def crossing(number: int) -> Callable[..., None]:
            def work(tx: object) -> None:
                runs[number] += 1
                tx._use("ab"[number])  # type: ignore[attr-defined]
                loop.call_soon_threadsafe(together[number].set)
                asyncio.run_coroutine_threadsafe(together[1 - number].wait(), loop).result(60)
                tx._use("ab"[1 - number])  # type: ignore[attr-defined]

            return work

        await asyncio.gather(*(stores.metadata.write(crossing(number)) for number in (0, 1)))
        await stores.close()
        return sorted(runs)

    assert asyncio.run(scenario()) == [1, 2]


def test_a_database_that_hangs_is_given_up(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_store, "_TRANSACTION_LIMIT_S", 1)

    async def scenario() -> None:
        stores = Stores.open(postgres.new_database(), tmp_path.as_uri())  # has a connection, and keeps it
        with postgres.hanging(), pytest.raises(StoreUnavailableError):
            await stores.metadata.write(lambda tx: tx.lease_blobs(["a"], 1000))
        answers = False
        while not answers:
            with contextlib.suppress(StoreUnavailableError):  # a slow machine may take longer than the limit
                answers = await stores.metadata.read(lambda tx: tx.keys()) == []
        await stores.close()

    asyncio.run(scenario())


SHARED, FILES = 8, 150


async def fill(service: Service) -> None:
    """Containers that expire, each with files of its own and copies of those that are in all of them."""
    rule = {"anchor": "created_at", "days": 1}
    first, *others = [
        (await service.containers.create("n", CreateContainer.model_validate({"name": "a", "expires_after": rule}))).id
        for _ in range(12)
    ]
    files = []
    for number in range(FILES):
        async with service.contents.receive() as blob:
            await blob.write(LARGE if number % 2 else b"small")
            container = first if number < SHARED else others[number % len(others)]
            files.append(await service.container_files.add("n", container, f"f{number}", blob))
    for number, container in enumerate(others):
        for file in files[:SHARED] if number % 2 else reversed(files[:SHARED]):
            await service.container_files.copy("n", container, CopyFile(file_id=file.id))


def test_two_sweeps_at_a_time_do_each_thing_once(postgres: Postgres, tmp_path: Path) -> None:
    url, clock, done = postgres.new_database(), Clock(time.time()), Counter[str]()
    log = (postgres.directory / "log").read_text()

    def count(what: str, number: float) -> None:
        done[what] += int(number)

    def number_of(table: str) -> int:
        with psycopg.connect(url) as connection:
            row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # type: ignore[call-overload]
            return int(row[0])

    async def scenario() -> int:
        stores = [Stores.open(url, tmp_path.as_uri()) for _ in range(2)]
        await fill(Service(stores[0], clock=clock))
        recorded = number_of("blobs") - number_of("small_blobs")  # some are names that are used next
        sweepers = [Sweeper(each, clock=clock, count=count, transaction_s=0) for each in stores]
        for seconds in (86_400, LINGER_S):
            clock.now += seconds
            await asyncio.gather(*(sweeper.sweep() for sweeper in sweepers))
        for each in stores:
            await each.close()
        return recorded

    recorded = asyncio.run(scenario())
    assert done == {"expired_rows": 12 + FILES + 11 * SHARED, "deleted_blobs": recorded}
    assert [number_of(table) for table in ("containers", "container_files", "blobs")] == [0, 0, 0]
    assert blobs_in(tmp_path) == []
    assert "deadlock" not in (postgres.directory / "log").read_text().removeprefix(log)
