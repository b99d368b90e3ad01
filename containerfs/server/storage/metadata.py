"""The rows in SQL, as SQLite runs it: statements of SQLAlchemy Core that PostgreSQL takes as well.

``SqlTransaction`` is a Transaction on any connection; ``SqliteMetadataStore`` decides where it runs. SQLite reads are
done in the calling thread: they take less than the hop to another one would, and in WAL mode wait for no writer. There
is one writing thread, since SQLite takes one writer at a time; other servers on the same file are waited for
(``busy_timeout``). ``synchronous=FULL`` makes each commit durable before it is acknowledged.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    CursorResult,
    Select,
    Table,
    create_engine,
    delete,
    event,
    insert,
    or_,
    select,
    tuple_,
    union,
    update,
)
from sqlalchemy.exc import OperationalError

from containerfs.server.storage.base import (
    Answer,
    ContainerFileRecord,
    ContainerRecord,
    FileRecord,
    OutOfSpaceError,
    PageQuery,
    StoreError,
    Transaction,
    UnknownCursorError,
)
from containerfs.server.storage.local import settled
from containerfs.server.storage.schema import answers, container_files, containers, departed, files, prepare

T = TypeVar("T")
Record = TypeVar("Record", ContainerRecord, ContainerFileRecord, FileRecord)

_BUSY_TIMEOUT_S = 30.0
"""How long a write waits for another server's."""


class SqlTransaction:
    """A Transaction on one SQL connection, inside a database transaction that the store began and will end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def insert_container(self, record: ContainerRecord) -> None:
        self._connection.execute(insert(containers), asdict(record))

    def container(self, namespace: str, id: str, now: int) -> ContainerRecord | None:
        row = self._first(
            _columns(containers, ContainerRecord).where(
                containers.c.id == id, containers.c.namespace == namespace, _alive(containers, now)
            )
        )
        return ContainerRecord(*row) if row else None

    def containers(self, namespace: str, query: PageQuery, now: int, name: str | None) -> list[ContainerRecord]:
        statement = _columns(containers, ContainerRecord).where(
            containers.c.namespace == namespace, _alive(containers, now)
        )
        if name is not None:
            statement = statement.where(containers.c.name == name)
        return self._page(statement, containers, ContainerRecord, containers.c.namespace, namespace, query)

    def touch_container(self, id: str, last_active_at: int, expires_at: int | None, added: int) -> None:
        self._connection.execute(
            update(containers)
            .where(containers.c.id == id)
            .values(last_active_at=last_active_at, expires_at=expires_at, file_count=containers.c.file_count + added)
        )

    def delete_container(self, id: str, now: int) -> list[str]:
        mine = container_files.c.container_id == id
        blobs = set(self._connection.scalars(select(container_files.c.blob).where(mine)))
        self._connection.execute(delete(container_files).where(mine))
        # Its files need no places any more: listing them is a 404 from now on.
        self._connection.execute(delete(departed).where(departed.c.listing == id))
        self._depart(containers, containers.c.namespace, id, now)
        return self._garbage(blobs)

    def expired_containers(self, now: int, limit: int) -> list[str]:
        return self._expired(containers, now, limit)

    def insert_container_file(self, record: ContainerFileRecord) -> None:
        self._connection.execute(insert(container_files), asdict(record))

    def container_file(self, container_id: str, id: str) -> ContainerFileRecord | None:
        mine = _columns(container_files, ContainerFileRecord).where(container_files.c.container_id == container_id)
        copies = mine.where(container_files.c.file_id == id).order_by(container_files.c.seq.desc()).limit(1)
        row = self._first(mine.where(container_files.c.id == id)) or self._first(copies)
        return ContainerFileRecord(*row) if row else None

    def container_file_at(self, container_id: str, path: str) -> ContainerFileRecord | None:
        row = self._first(
            _columns(container_files, ContainerFileRecord).where(
                container_files.c.container_id == container_id, container_files.c.path == path
            )
        )
        return ContainerFileRecord(*row) if row else None

    def container_files(self, container_id: str, query: PageQuery) -> list[ContainerFileRecord]:
        column = container_files.c.container_id
        statement = _columns(container_files, ContainerFileRecord).where(column == container_id)
        return self._page(statement, container_files, ContainerFileRecord, column, container_id, query)

    def source(self, namespace: str, id: str, now: int) -> FileRecord | ContainerFileRecord | None:
        if file := self.file(namespace, id, now):
            return file
        row = self._first(
            _columns(container_files, ContainerFileRecord)
            .join(containers, containers.c.id == container_files.c.container_id)
            .where(container_files.c.id == id, containers.c.namespace == namespace, _alive(containers, now))
        )
        return ContainerFileRecord(*row) if row else None

    def delete_container_file(self, id: str, now: int) -> list[str]:
        return self._garbage(self._depart(container_files, container_files.c.container_id, id, now))

    def insert_file(self, record: FileRecord) -> None:
        self._connection.execute(insert(files), asdict(record))

    def file(self, namespace: str, id: str, now: int) -> FileRecord | None:
        row = self._first(
            _columns(files, FileRecord).where(files.c.id == id, files.c.namespace == namespace, _alive(files, now))
        )
        return FileRecord(*row) if row else None

    def files(self, namespace: str, query: PageQuery, now: int, purpose: str | None) -> list[FileRecord]:
        statement = _columns(files, FileRecord).where(files.c.namespace == namespace, _alive(files, now))
        if purpose is not None:
            statement = statement.where(files.c.purpose == purpose)
        return self._page(statement, files, FileRecord, files.c.namespace, namespace, query)

    def delete_file(self, id: str, now: int) -> list[str]:
        return self._garbage(self._depart(files, files.c.namespace, id, now))

    def expired_files(self, now: int, limit: int) -> list[str]:
        return self._expired(files, now, limit)

    def answer(self, namespace: str, key: str, since: int) -> Answer | None:
        row = self._first(
            select(answers.c.digest, answers.c.body).where(
                answers.c.namespace == namespace, answers.c.key == key, answers.c.answered_at >= since
            )
        )
        return Answer(*row) if row else None

    def record_answer(self, namespace: str, key: str, answer: Answer, now: int) -> None:
        self._connection.execute(delete(answers).where(answers.c.namespace == namespace, answers.c.key == key))
        values = {"namespace": namespace, "key": key, "answered_at": now, **asdict(answer)}
        self._connection.execute(insert(answers), values)

    def named_blobs(self, blobs: Collection[str]) -> set[str]:
        names = union(*(select(table.c.blob).where(table.c.blob.in_(blobs)) for table in (container_files, files)))
        return set(self._connection.scalars(names))

    def forget(self, cursors_before: int, answers_before: int) -> None:
        self._connection.execute(delete(departed).where(departed.c.departed_at < cursors_before))
        self._connection.execute(delete(answers).where(answers.c.answered_at < answers_before))

    def _page(
        self,
        statement: Select[Any],
        table: Table,
        kind: type[Record],
        listing_column: ColumnElement[str],
        listing: str,
        query: PageQuery,
    ) -> list[Record]:
        """One page of ``table`` where ``listing_column`` (what a listing is of) is ``listing``."""
        key = tuple_(table.c.created_at, table.c.seq)
        ascending = query.order == "asc"
        if query.after is not None:
            place = self._place(table, listing_column, listing, query.after)
            statement = statement.where(key > place if ascending else key < place)
        by = (table.c.created_at, table.c.seq)
        statement = statement.order_by(*(by if ascending else (column.desc() for column in by)))
        return [kind(*row) for row in self._connection.execute(statement.limit(query.limit + 1))]

    def _place(
        self, table: Table, listing_column: ColumnElement[str], listing: str, id: str
    ) -> ColumnElement[tuple[int, int]]:
        present = select(table.c.created_at, table.c.seq).where(table.c.id == id, listing_column == listing)
        past = select(departed.c.created_at, departed.c.seq).where(departed.c.id == id, departed.c.listing == listing)
        row = self._first(present) or self._first(past)
        if row is None:
            raise UnknownCursorError(id)
        return tuple_(*row)

    def _depart(self, table: Table, listing_column: ColumnElement[str], id: str, now: int) -> set[str]:
        """Delete a row and keep its place in the listing; returns its blob, if it has one."""
        blob = [table.c.blob] if "blob" in table.c else []
        row = self._first(select(listing_column, table.c.created_at, table.c.seq, *blob).where(table.c.id == id))
        if row is None:
            return set()
        self._connection.execute(delete(table).where(table.c.id == id))
        place = {"id": id, "listing": row[0], "created_at": row[1], "seq": row[2], "departed_at": now}
        self._connection.execute(insert(departed), place)
        return set(row[3:])

    def _garbage(self, blobs: set[str]) -> list[str]:
        return sorted(blobs - self.named_blobs(blobs)) if blobs else []

    def _expired(self, table: Table, now: int, limit: int) -> list[str]:
        return list(self._connection.scalars(select(table.c.id).where(table.c.expires_at <= now).limit(limit)))

    def _first(self, statement: Select[Any]) -> Sequence[Any] | None:
        result: CursorResult[Any] = self._connection.execute(statement)
        return result.first()


def _columns(table: Table, kind: type[Record]) -> Select[Any]:
    """Select the columns that make up a record, in its order."""
    return select(*(table.c[field.name] for field in fields(kind)))


def _alive(table: Table, now: int) -> ColumnElement[bool]:
    return or_(table.c.expires_at.is_(None), table.c.expires_at > now)


class SqliteMetadataStore:
    """The MetadataStore in one SQLite file."""

    def __init__(self, path: Path) -> None:
        """Open the store, creating or migrating it.

        Raises:
            StoreError: if that cannot be done, with the reason in one line.
        """
        self._engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": _BUSY_TIMEOUT_S})
        event.listen(self._engine, "connect", _configure)
        event.listen(self._engine, "begin", _begin)
        try:
            self._writer = self._engine.connect().execution_options(containerfs_begin="BEGIN IMMEDIATE")
            with self._writer.begin():
                prepare(self._writer)
            self._reader = self._engine.connect()
        except OperationalError as error:
            raise StoreError(f"cannot open {path}: {error.orig}") from error
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="metadata-writer")

    async def read(self, work: Callable[[Transaction], T]) -> T:
        with self._reader.begin():
            return work(SqlTransaction(self._reader))

    async def write(self, work: Callable[[Transaction], T]) -> T:
        return await settled(asyncio.get_running_loop().run_in_executor(self._thread, self._write, work))

    async def close(self) -> None:
        self._thread.shutdown()
        self._reader.close()
        self._writer.close()
        self._engine.dispose()

    def _write(self, work: Callable[[Transaction], T]) -> T:
        with _translated(), self._writer.begin():
            return work(SqlTransaction(self._writer))


def _configure(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions begin when we say so, not when the driver guesses
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("containerfs_begin", "BEGIN"))


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        if isinstance(error.orig, sqlite3.OperationalError) and error.orig.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise OutOfSpaceError("the metadata's disk is full") from error
        raise
