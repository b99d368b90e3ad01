"""The rows in a PostgreSQL database: where and how transactions run.

They run in threads, each on its own connection, concurrently with those of other processes, at READ COMMITTED. What a
transaction relies on is locked (``statements.py``), and a transaction that meets a deadlock is repeated. Reads have a
snapshot.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, select, text
from sqlalchemy.exc import DBAPIError

from containerfs.server.storage import migration
from containerfs.server.storage.failures import OutOfSpaceError, StoreError, StoreUnavailableError
from containerfs.server.storage.metadata_store import Transaction, nothing
from containerfs.server.storage.migration import EXPANDED, FINISHED, OutdatedError
from containerfs.server.storage.overdue import Overdue
from containerfs.server.storage.prepared import Cursor
from containerfs.server.storage.sql import SqlTransaction
from containerfs.server.storage.threads import settled

T = TypeVar("T")

_CONNECTIONS = 8
"""The number of connections of a process, and so of concurrent transactions. More do not make a process faster, because
it has one interpreter."""

_PATIENCE_S = 5
"""How long to wait for a new connection, in seconds."""

_SILENCE_S = 10

_NOTICING = {
    "keepalives_idle": str(_PATIENCE_S),
    "keepalives_interval": str(_PATIENCE_S),
    "tcp_user_timeout": str(1000 * _SILENCE_S),
}
"""How long the database's machine may acknowledge nothing before a connection is given up. By default, those that use
one wait for a quarter of an hour if that machine is gone, even if another has taken its place. Source: tcp(7)."""

_STATEMENT_LIMIT_MS = 30_000
"""How long a statement may take, including waiting for locks, in milliseconds."""

_TRANSACTION_LIMIT_S = 60
"""How long a transaction may take, in seconds, even if the database does not end its statements in time."""

_ATTEMPTS = 10

_CONFLICTS = ("40001", "40P01")
"""Serialization failure and deadlock. Source: PostgreSQL's appendix A, also for the next."""

_FULL = ("53100",)

_MIGRATION_LOCK = 0x636F6E7461696E
"""The advisory lock that a migration takes."""

_NAME = f"containerfs {FINISHED}"
"""The name that connections give the database. Servers of older versions have names that sort before it."""

logger = logging.getLogger("containerfs.server")


class PostgresMetadataStore:
    """The MetadataStore in a PostgreSQL database."""

    def __init__(self, url: URL) -> None:
        """Connect to a database.

        Raises:
            StoreError: if that is not possible, or the database was not migrated.
        """
        engine = _engine(url)
        self._writing = engine
        self._reading = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        try:
            with _opening(url), engine.connect() as connection:
                if migration.check(connection) != FINISHED:
                    logger.warning("once no server of the previous version runs, run 'containerfs migrate --finish'")
        except BaseException:
            engine.dispose()
            raise
        self._threads = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="metadata")
        self._overdue = Overdue(_TRANSACTION_LIMIT_S)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        return await self._run(self._reading, work, nothing)

    async def write(
        self, work: Callable[[Transaction], T], *, frees: bool = False, first: Callable[[], None] = nothing
    ) -> T:
        return await self._run(self._writing, work, first)

    async def survey(self, work: Callable[[Transaction], T]) -> T:
        return await settled(asyncio.get_running_loop().run_in_executor(None, _survey, self._reading, work))

    async def close(self) -> None:
        self._threads.shutdown()
        self._overdue.close()
        self._writing.dispose()

    async def _run(self, engine: Engine, work: Callable[[Transaction], T], first: Callable[[], None]) -> T:
        def run() -> T:
            first()
            return _transact(engine, work, self._overdue)

        return await settled(asyncio.get_running_loop().run_in_executor(self._threads, run))


def migrate(url: URL, *, finish: bool) -> str:
    """Create the tables in an empty database, or migrate them. Only one process at a time does this.

    Args:
        finish: whether no server of an older version is to be used any more. Otherwise running ones can go on.

    Returns:
        The revision that the database has then.

    Raises:
        StoreError: if that is not possible, or servers of an older version run. The message is one line.
    """
    engine = _engine(url)
    try:
        with _opening(url), engine.begin() as connection:
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            if finish:
                _check_that_none_is_older(connection)
            return migration.prepare(connection, FINISHED if finish else EXPANDED)
    finally:
        engine.dispose()


_OLDER = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND application_name LIKE 'containerfs%' AND application_name < :name"
)


def _check_that_none_is_older(connection: Connection) -> None:
    if older := connection.scalar(_OLDER, {"name": _NAME}):
        raise StoreError(
            f"servers of the previous version are connected to the database ({older} connections): stop them"
        )


def _engine(url: URL) -> Engine:
    own = {"connect_timeout": str(_PATIENCE_S), "application_name": _NAME, **_NOTICING}
    options = f"{url.query.get('options', '')} -c statement_timeout={_STATEMENT_LIMIT_MS}"
    engine = create_engine(
        url.update_query_dict({**own, **url.query, "options": options}),
        isolation_level="READ COMMITTED",
        pool_size=_CONNECTIONS + 1,  # another one for surveys
        max_overflow=0,
        pool_use_lifo=True,
    )
    event.listen(engine, "connect", _prepare_nothing_behind_a_pooler)
    return engine


def _prepare_nothing_behind_a_pooler(connection: psycopg.Connection, _: object) -> None:
    """Do not prepare statements if a pooler such as PgBouncer is in between.

    A pooler lends the database's connections to one client after another, with their prepared statements, so the same
    name may belong to another client's statement. It does not pass on the process ids of the connections, which gives
    it away.
    """
    [pid] = connection.execute("SELECT pg_backend_pid()").fetchone() or [None]
    connection.rollback()
    if pid != connection.info.backend_pid:
        connection.prepare_threshold = None


@contextlib.contextmanager
def _opening(url: URL) -> Iterator[None]:
    """Translate errors; the messages name the database without its password."""
    name = url.set(drivername="postgresql", query={}).render_as_string()
    try:
        yield
    except OutdatedError as error:
        raise StoreError(f"{error}: run 'containerfs migrate --database {name}'") from error
    except DBAPIError as error:
        raise StoreError(f"cannot use the database {name}: {' '.join(str(error.orig).split())}") from error


def _transact(engine: Engine, work: Callable[[Transaction], T], overdue: Overdue) -> T:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with engine.connect() as connection, overdue.watched(_driver(connection)):
                return _attempt(connection, work)
        except DBAPIError as error:
            if not _is_worth_another(error) or attempt == _ATTEMPTS:
                raise _translated(error) from error
        time.sleep(random.uniform(0, 0.01 * attempt))
    raise AssertionError


def _attempt(connection: Connection, work: Callable[[Transaction], T]) -> T:
    transaction = connection.begin()
    result = _done(connection, work)
    try:
        transaction.commit()
    except DBAPIError as error:
        raise _translated(error) from error  # it may have happened, so it is not repeated
    return result


def _driver(connection: Connection) -> psycopg.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver


def _done(connection: Connection, work: Callable[[Transaction], T]) -> T:
    """Do the work of a transaction. Raises the errors of the driver as SQLAlchemy does."""
    driver = _driver(connection)
    try:
        return work(SqlTransaction(Cursor(connection.dialect, connection.connection.cursor())))
    except psycopg.Error as error:
        if is_broken := driver.closed:
            connection.invalidate(error)
        raise DBAPIError.instance(None, None, error, psycopg.Error, connection_invalidated=is_broken) from error


def _is_worth_another(error: DBAPIError) -> bool:
    """Tell whether to repeat a transaction: after a conflict, or if the connection broke before a commit."""
    return _state(error) in _CONFLICTS or error.connection_invalidated


def _translated(error: DBAPIError) -> Exception:
    if _state(error) in _FULL:
        return OutOfSpaceError("the database's disk is full")
    if isinstance(error.orig, psycopg.OperationalError | psycopg.InterfaceError):
        return StoreUnavailableError(" ".join(str(error.orig).split()))
    return error


def _state(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


def _survey(engine: Engine, work: Callable[[Transaction], T]) -> T:
    try:
        with engine.connect() as connection, connection.begin():
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            return _done(connection, work)
    except DBAPIError as error:
        raise _translated(error) from error
