"""What the statements cost: none reads a whole table where it wants a row, and a page is one of them."""

import asyncio
import re
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Connection, Executable, create_engine
from sqlalchemy.dialects import postgresql, sqlite

from containerfs.server.requests import CreateContainer
from containerfs.server.service import Service
from containerfs.server.storage import statements
from containerfs.server.storage.open import Stores, open_stores
from containerfs.server.storage.records import PageQuery
from containerfs.server.storage.schema import container_files, containers, files, metadata
from containerfs.server.storage.sqlite import SqliteMetadataStore

TABLES = (containers, container_files, files)

ANY_WAY = ("usage", "keys", "all_quotas", "bytes_and_files", "claim_key", "record_dead_blob", "keep_writers_out")
"""These look at all rows there are, or are text: two that find their row by the conflict with it, and the last, which
is PostgreSQL's."""

STATEMENTS: dict[str, Executable] = {
    **{
        name: value for name, value in vars(statements).items() if isinstance(value, Executable) and name not in ANY_WAY
    },
    **{f"expired {table}": statements.expired(table) for table in (containers, files)},
    **{f"deletion {table}": statements.deletion(table) for table in TABLES},
    **{f"place {table}": statements.place(table) for table in TABLES},
    **{f"row and place {table}": statements.row_and_place(table) for table in TABLES},
    **{
        f"page {table} {order} {continued}": statements.page(table, order, continued=continued)  # type: ignore[arg-type]
        for table in TABLES
        for order in ("asc", "desc")
        for continued in (False, True)
    },
    **{
        f"page {table} by {column} {order}": statements.page(table, order, continued=True, filter_by=column)  # type: ignore[arg-type]
        for table, column in ((containers, "name"), (files, "purpose"))
        for order in ("asc", "desc")
    },
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_finds_its_rows_by_an_index(name: str) -> None:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        metadata.create_all(connection)
        plan = " ".join(row[-1] for row in explain(connection, STATEMENTS[name]))
    engine.dispose()
    assert "SEARCH" in plan
    assert "SCAN" not in re.sub("SCAN (some_files|due_blobs)", "", plan)  # which are no more than asked for
    assert "ORDER BY" not in plan.replace("UNION USING TEMP B-TREE", "")


@pytest.mark.parametrize("name", [name for name in STATEMENTS if " by " in name])
def test_a_filtered_page_reads_only_what_it_shows(name: str) -> None:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        metadata.create_all(connection)
        [plan] = [row[-1] for row in explain(connection, STATEMENTS[name])]
    engine.dispose()
    assert re.search(r"namespace=\? AND (name|purpose)=\?", str(plan)), plan


def explain(connection: Connection, statement: Executable) -> list[tuple[object, ...]]:
    compiled = statement.compile(connection)  # type: ignore[attr-defined]
    values = (1,) * len(compiled.positiontup)
    return [tuple(row) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", values)]


@pytest.mark.parametrize("name", STATEMENTS)
def test_both_databases_can_say_it(name: str) -> None:
    for dialect in (sqlite.dialect(), postgresql.dialect()):  # type: ignore[no-untyped-call]
        assert str(STATEMENTS[name].compile(dialect=dialect))  # type: ignore[attr-defined]


def test_a_page_of_a_hundred_files_is_one_query(tmp_path: Path) -> None:
    async def scenario() -> list[str]:
        stores = open_stores(tmp_path)
        service = Service(stores)
        source = await upload(service)
        created = await service.containers.create("n", CreateContainer(name="a", file_ids=[source]))
        run = watched(stores)
        await service.container_files.page("n", created.id, PageQuery(100))
        await stores.close()
        return run

    run = asyncio.run(scenario())
    assert [sum(f"FROM {table}" in statement for statement in run) for table in ("containers", "container_files")] == [
        1,
        1,
    ]
    assert len(run) == 2


def test_blobs_are_named_in_statements_of_one_size(tmp_path: Path) -> None:
    """Each of another size would be compiled, and kept."""

    async def scenario() -> set[str]:
        stores = open_stores(tmp_path)
        run = watched(stores)
        for count in (1, 2, 99, 100, 101, 1000):
            names = [f"{number}" for number in range(count)]
            await stores.metadata.write(lambda tx, names=names: tx.forget_blobs(names))  # type: ignore[misc]
        await stores.metadata.write(lambda tx: tx.forget_blobs([]))
        await stores.close()
        return {re.sub("'[^']*'", "?", statement) for statement in run}

    assert len(asyncio.run(scenario())) == 1


def watched(stores: Stores, *, with_transactions: bool = False) -> list[str]:
    """The statements that are run from now on, by default without the beginnings and ends of transactions."""
    run: list[str] = []

    def note(statement: str) -> None:
        if with_transactions or not statement.startswith(("BEGIN", "COMMIT")):
            run.append(statement)

    metadata = stores.metadata
    assert isinstance(metadata, SqliteMetadataStore)
    for connection in (metadata._reader, metadata._writer):
        driver = connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.set_trace_callback(note)
    return run


async def upload(service: Service) -> str:
    async with service.contents.receive() as blob:
        await blob.write(b"x")
        return (await service.files.create("n", "f", "p", blob)).id


def test_a_small_content_is_read_in_the_transaction_that_finds_it(tmp_path: Path) -> None:
    async def scenario() -> list[str]:
        stores = open_stores(tmp_path)
        service = Service(stores)
        file = await upload(service)
        container = (await service.containers.create("n", CreateContainer(name="a", file_ids=[file]))).id
        run = watched(stores, with_transactions=True)
        for content in (
            await service.files.content("n", file),
            await service.container_files.content("n", container, file),
        ):
            assert await content.blob.read(0, 9) == b"x"
            await content.blob.close()
        await stores.close()
        return run

    run = asyncio.run(scenario())
    assert [statement for statement in run if statement.startswith("BEGIN")] == ["BEGIN"] * 2
    assert sum("small_blobs" in statement for statement in run) == 2


def test_a_container_with_many_files_takes_few_statements(tmp_path: Path) -> None:
    """Others who write wait for it."""

    async def scenario() -> tuple[list[str], list[str]]:
        stores = open_stores(tmp_path)
        service = Service(stores)
        ids = [await upload(service) for _ in range(120)]
        run = watched(stores)
        created = await service.containers.create("n", CreateContainer(name="a", file_ids=[*ids, ids[0]]))
        assert created.file_count == 1  # they have one name
        [kept] = (await service.container_files.page("n", created.id, PageQuery(10))).data
        assert kept.file_id == ids[0]
        await stores.close()
        return run, ids

    run, ids = asyncio.run(scenario())
    assert len(run) < 12 < len(ids)
