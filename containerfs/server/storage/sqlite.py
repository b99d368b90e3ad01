"""The rows in one SQLite file: where and when transactions run.

Reads run in the calling thread. They take less time than a hop to another thread, and in WAL mode they do not wait for
writers. There is one writing thread, because SQLite has one writer at a time; it waits for other servers on the same
file (``busy_timeout``). With ``synchronous=FULL``, a commit is durable before it is acknowledged.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlalchemy import create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import PoolProxiedConnection

from containerfs.server.storage.failures import OutOfSpaceError, StoreError
from containerfs.server.storage.metadata_store import Transaction, nothing
from containerfs.server.storage.migration import prepare
from containerfs.server.storage.prepared import Cursor
from containerfs.server.storage.reserve import Reserve
from containerfs.server.storage.sql import SqlTransaction
from containerfs.server.storage.threads import settled

T = TypeVar("T")

_BUSY_TIMEOUT_S = 30.0
"""How long a write waits for another server's, in seconds."""

_WRITERS = 32
"""Threads that write: in most of their time, they make contents durable that rows are to name."""

_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
"""The errors of a full disk: for the files, and for the index of the WAL, which is mapped into memory."""


class SqliteMetadataStore:
    """The MetadataStore in one SQLite file."""

    def __init__(self, path: Path, reserve: Reserve) -> None:
        """Open the store, and create or migrate it if necessary.

        Raises:
            StoreError: if that is not possible. The message is one line.
        """
        self._reserve = reserve
        connect_args = {"timeout": _BUSY_TIMEOUT_S}
        self._engine = create_engine(f"sqlite:///{path}", connect_args=connect_args, paramstyle="named")
        event.listen(self._engine, "connect", _configure)
        try:
            self._writer, self._reader = self._connect()
        except (DatabaseError, OutOfSpaceError) as error:
            self._engine.dispose()
            reason = error.orig if isinstance(error, DatabaseError) else error
            raise StoreError(f"cannot open {path}: {reason}") from error
        self._threads = ThreadPoolExecutor(_WRITERS, thread_name_prefix="metadata-writer")
        self._writing = threading.Lock()  # guards the writer

    async def read(self, work: Callable[[Transaction], T]) -> T:
        return self._transact(self._reader, "BEGIN", work)

    async def write(
        self, work: Callable[[Transaction], T], *, frees: bool = False, first: Callable[[], None] = nothing
    ) -> T:
        return await settled(asyncio.get_running_loop().run_in_executor(self._threads, self._write, work, frees, first))

    async def survey(self, work: Callable[[Transaction], T]) -> T:
        return await settled(asyncio.get_running_loop().run_in_executor(None, self._survey, work))

    async def close(self) -> None:
        self._threads.shutdown()
        self._reader.close()
        self._writer.close()
        self._engine.dispose()

    def _survey(self, work: Callable[[Transaction], T]) -> T:
        with contextlib.closing(self._engine.raw_connection()) as connection:
            return self._transact(connection, "BEGIN", work)

    def _write(self, work: Callable[[Transaction], T], frees: bool, first: Callable[[], None]) -> T:
        first()
        with self._writing:
            return self._write_now(work, frees)

    def _write_now(self, work: Callable[[Transaction], T], frees: bool) -> T:
        if not frees:
            self._reserve.require()
            return self._change(work)
        with contextlib.suppress(OutOfSpaceError):
            return self._change(work)
        self._restart_wal()
        while True:
            try:
                return self._change(work)
            except OutOfSpaceError:
                if not self._reserve.give_up():
                    raise
                self._restart_wal()

    def _change(self, work: Callable[[Transaction], T]) -> T:
        with _translated():
            return self._transact(self._writer, "BEGIN IMMEDIATE", work)

    def _transact(self, connection: PoolProxiedConnection, begin: str, work: Callable[[Transaction], T]) -> T:
        cursor = connection.cursor()
        cursor.execute(begin)
        try:
            result = work(SqlTransaction(Cursor(self._engine.dialect, cursor)))
            connection.commit()
        except BaseException:
            connection.rollback()
            raise
        return result

    def _restart_wal(self) -> None:
        """Make the next transaction overwrite the WAL, which otherwise grows to 4 MB before it is reused."""
        with contextlib.suppress(sqlite3.OperationalError):  # the database would have to grow first, and cannot
            self._writer.cursor().execute("PRAGMA wal_checkpoint(RESTART)")

    def _connect(self) -> tuple[PoolProxiedConnection, PoolProxiedConnection]:
        """Return connections for writing and reading. SQLite creates files for them, on a full disk in the space of the
        reserve."""
        try:
            return self._prepared()
        except OutOfSpaceError:
            self._reserve.give_up()
            return self._prepared()

    def _prepared(self) -> tuple[PoolProxiedConnection, PoolProxiedConnection]:
        with _translated():
            with self._engine.connect() as connection, connection.begin():
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                prepare(connection)
            return self._engine.raw_connection(), self._engine.raw_connection()


def _configure(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # otherwise the driver guesses when to begin transactions
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (sqlite3.OperationalError, OperationalError) as error:
        cause = error.orig if isinstance(error, OperationalError) else error
        if isinstance(cause, sqlite3.OperationalError) and cause.sqlite_errorcode in _FULL:
            raise OutOfSpaceError("the metadata's disk is full") from error
        raise
