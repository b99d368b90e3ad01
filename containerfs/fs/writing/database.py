"""The journal's database: one SQLite file that several mounts may share.

A transaction survives a crash of the mount at once, and a crash of the machine once ``sync`` has returned: committing
appends to the write-ahead log, and ``sync`` flushes that log to the disk without holding anybody up, as do the
checkpoints. The log is given room in advance, so that dozens of transactions still succeed on a disk that has become
full.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from containerfs.fs import types
from containerfs.fs.disk import disk_errors, sync_path
from containerfs.fs.writing.checkpoints import Checkpoints

_VERSION = 4
_ATTEMPTS = """
CREATE TABLE attempts (
    key TEXT PRIMARY KEY, owner TEXT NOT NULL,
    container_id TEXT NOT NULL, path TEXT NOT NULL, size INTEGER, started INTEGER NOT NULL, entry INTEGER,
    data TEXT, source_id TEXT, digest TEXT, known TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX attempts_of_an_entry ON attempts (entry);
"""
_SCHEMA = f"""
CREATE TABLE entries (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, moved INTEGER,
    container_id TEXT NOT NULL, container_name TEXT NOT NULL, path TEXT NOT NULL,
    data TEXT, source TEXT, replaces TEXT NOT NULL, attributes TEXT NOT NULL, size INTEGER, digest TEXT,
    error TEXT, held INTEGER NOT NULL DEFAULT 0, stored TEXT, set_aside TEXT, boot TEXT,
    outdated INTEGER NOT NULL DEFAULT 0);
CREATE INDEX entries_with_data ON entries (data);
CREATE INDEX entries_of_a_path ON entries (container_id, path);
{_ATTEMPTS}
CREATE TABLE deletions (
    container_id TEXT NOT NULL, file_id TEXT NOT NULL, owner TEXT NOT NULL, PRIMARY KEY (container_id, file_id));
"""
_REMAKE_ATTEMPTS = f"""
ALTER TABLE attempts RENAME TO attempts_before;
DROP INDEX attempts_of_an_entry;
{_ATTEMPTS}
INSERT INTO attempts SELECT * FROM attempts_before;
DROP TABLE attempts_before;
"""
TABLES = ("entries", "attempts", "deletions")
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
_BUSY = 10.0  # seconds for which another mount's transaction is waited for
_RESERVE = 4 << 20  # bytes that the log is given in advance: more than it needs between two checkpoints


class DatabaseDamaged(Exception):
    """The file is not a database, or is damaged."""


class Database:
    """A connection. Thread-safe.

    Args:
        path: of the database, which is created if it is missing. Only one process may open or close it at a time.

    Raises:
        DatabaseDamaged: if it cannot be read.
        NoSpace: if the disk is full.
        Failed: if it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._log = path.with_name(f"{path.name}-wal")
        self._lock = threading.RLock()  # guards the connection
        self._has_reserve = False
        with _ERRORS:
            try:
                self._db = _connect(path)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
                    raise
                raise DatabaseDamaged(str(error)) from error
        self._checkpoints = Checkpoints(path)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Change the database, completely or not at all.

        Raises:
            NoSpace: if the disk is full; nothing has changed.
            Failed: if it cannot be changed; nothing has changed.
        """
        with self._lock, _ALL_ERRORS:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._reserve()
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # on a full disk, SQLite has already rolled it back
                    self._db.execute("ROLLBACK")
                raise
        self._checkpoints.committed()

    def select(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows that a statement finds. Raises Failed."""
        with self._lock, _ALL_ERRORS:
            return self._db.execute(statement, values).fetchall()

    def sync(self) -> None:
        """Flush all transactions so far to the disk. Raises NoSpace, Failed."""
        with disk_errors():
            sync_path(self._log)

    def close(self) -> None:
        """Close the connection. The last one of all processes copies the log into the database."""
        self._checkpoints.close()
        with self._lock:
            self._db.close()

    def _reserve(self) -> None:
        """Allocate space for the log if there is any. A transaction must be open, so that nobody else appends to it."""
        if self._has_reserve:
            return
        with suppress(OSError):
            fd = os.open(self._log, os.O_RDWR | os.O_CLOEXEC)
            try:
                os.posix_fallocate(fd, 0, _RESERVE)
                self._has_reserve = True
            finally:
                os.close(fd)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        _bring_up_to_date(db, path)
        (state,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if state != "ok":
            raise sqlite3.DatabaseError(state)
        for table in TABLES:
            db.execute(f"SELECT owner FROM {table} LIMIT 0")
    except BaseException:
        db.close()
        raise
    return db


def _bring_up_to_date(db: sqlite3.Connection, path: Path) -> None:
    db.execute("BEGIN IMMEDIATE")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > _VERSION:
        raise types.Failed(f"{path} was written by a newer version of containerfs: use that one")
    if version == 0:
        _execute(db, _SCHEMA)
    if version == 1:
        db.execute("ALTER TABLE entries ADD COLUMN boot TEXT")
    if version in (1, 2):
        db.execute("ALTER TABLE entries ADD COLUMN outdated INTEGER NOT NULL DEFAULT 0")
        db.execute("CREATE INDEX entries_of_a_path ON entries (container_id, path)")
    if version in (1, 2, 3):
        _execute(db, _REMAKE_ATTEMPTS)
    if version < _VERSION:
        db.execute(f"PRAGMA user_version = {_VERSION}")
    db.execute("COMMIT")


def _execute(db: sqlite3.Connection, statements: str) -> None:
    for statement in filter(str.strip, statements.split(";")):
        db.execute(statement)


class _DatabaseErrors:
    """Translates errors: a full disk is NoSpace, other failures are Failed.

    A context manager written out: each transaction would take three that are made of generators.

    Args:
        damage: whether damage is Failed as well; otherwise it is left to the caller.
    """

    def __init__(self, *, damage: bool) -> None:
        self._damage = damage

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.OperationalError):
            known = types.NoSpace if error.sqlite_errorcode in _FULL else types.Failed
            raise known(f"the journal cannot be used: {error}") from error
        if isinstance(error, sqlite3.ProgrammingError):
            raise types.Failed("the mount has ended, and its journal is closed") from error
        if self._damage and isinstance(error, sqlite3.DatabaseError):
            raise types.Failed(f"the journal is damaged: {error}; the next mount sets it aside") from error


_ERRORS, _ALL_ERRORS = _DatabaseErrors(damage=False), _DatabaseErrors(damage=True)
