"""The journal: what has to reach the service, in an SQLite database beside the staged files.

Three tables: *entries* (a path is to hold a content), *attempts* (requests whose result is not known) and *deletions*
(files of the service that are to go). What must be true together changes in one transaction. Several mounts of one
service and key may share a journal; each row belongs to one of them, and a mount that starts takes over what mounts
that are gone have left. The rows' sequence is the order in which things were written, across mounts.

A transaction survives a crash of the mount at once, and a crash of the machine once ``sync`` has returned: committing
appends to the database's write-ahead log, and ``sync`` has the log on the disk without holding anybody up.
"""

import logging
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from containerfs.fs import types
from containerfs.fs.disk import FileLock, disk_errors
from containerfs.fs.staged import StagedFile
from containerfs.fs.state import Failure
from containerfs.fs.types import RemoteFile
from containerfs.fs.writing.owners import NOBODY, Ownership
from containerfs.fs.writing.records import (
    Attempt,
    Deletion,
    Entry,
    SetAside,
    decode_attributes,
    decode_file,
    decode_ids,
    encode_attributes,
    encode_file,
    encode_ids,
)

log = logging.getLogger(__name__)

_VERSION = 1
_SCHEMA = """
CREATE TABLE entries (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL,
    container_id TEXT NOT NULL, container_name TEXT NOT NULL, path TEXT NOT NULL,
    data TEXT, source TEXT, replaces TEXT NOT NULL, attributes TEXT NOT NULL, size INTEGER, digest TEXT,
    error TEXT, held INTEGER NOT NULL DEFAULT 0, stored TEXT, set_aside TEXT);
CREATE TABLE attempts (
    key TEXT PRIMARY KEY, owner TEXT NOT NULL,
    container_id TEXT NOT NULL, path TEXT NOT NULL, size INTEGER, started INTEGER NOT NULL, entry INTEGER,
    data TEXT, source_id TEXT, digest TEXT, known TEXT NOT NULL);
CREATE INDEX attempts_of_an_entry ON attempts (entry);
CREATE TABLE deletions (
    container_id TEXT NOT NULL, file_id TEXT NOT NULL, owner TEXT NOT NULL, PRIMARY KEY (container_id, file_id));
"""
_TABLES = ("entries", "attempts", "deletions")
_ATTEMPT = ("key", "container_id", "path", "size", "started", "entry", "data", "source_id", "digest", "known")
_RESERVE = 1 << 20  # bytes kept free for the journal on a disk that has become full
_BUSY = 10.0  # seconds for which another mount's transaction is waited for


class Transaction:
    """Changes to the journal that happen together. Every method wants the journal's lock held."""

    def __init__(self, db: sqlite3.Connection, owner: str) -> None:
        self._db = db
        self._owner = owner

    # Entries

    def put(self, entry: Entry) -> int:
        """Note what is due, in place of the row that the entry has; returns the sequence of the new row."""
        row = (
            *(self._owner, entry.container_id, entry.container_name, entry.path, entry.data),
            *(encode_file(entry.source), encode_ids(entry.replaces), encode_attributes(entry.attributes)),
            *(entry.size, entry.digest, entry.error, entry.held, encode_file(entry.stored)),
        )
        cursor = self._db.execute(
            "INSERT INTO entries (owner, container_id, container_name, path, data, source, replaces, attributes, size,"
            " digest, error, held, stored) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )
        sequence = cursor.lastrowid
        assert sequence is not None
        if entry.sequence is not None:
            self.overtake(entry.sequence, by=sequence)
        return sequence

    def overtake(self, sequence: int, by: int) -> None:
        """A later content takes the place of an entry; what its attempts left is looked for once that is stored."""
        self._db.execute("UPDATE attempts SET entry = ? WHERE entry = ?", (by, sequence))
        self._db.execute("DELETE FROM entries WHERE sequence = ?", (sequence,))

    def drop(self, sequence: int) -> None:
        """Nothing is due for an entry any more; what its attempts may have left on the service is to be removed."""
        self._db.execute("DELETE FROM entries WHERE sequence = ?", (sequence,))
        self._db.execute("UPDATE attempts SET entry = NULL WHERE entry = ?", (sequence,))

    def move(self, sequence: int, path: str, replaces: Iterable[str]) -> None:
        """An entry gets another path, and takes the place of these files. Attempts elsewhere are not its own."""
        self._db.execute("UPDATE attempts SET entry = NULL WHERE entry = ? AND path != ?", (sequence, path))
        self._db.execute(
            "UPDATE entries SET path = ?, replaces = ? WHERE sequence = ?", (path, encode_ids(replaces), sequence)
        )

    def replace_also(self, sequence: int, file_ids: Iterable[str]) -> None:
        """Add to the files that an entry takes the place of."""
        for (text,) in self._db.execute("SELECT replaces FROM entries WHERE sequence = ?", (sequence,)).fetchall():
            merged = encode_ids(decode_ids(text) | frozenset(file_ids))
            self._db.execute("UPDATE entries SET replaces = ? WHERE sequence = ?", (merged, sequence))

    def note_failure(self, sequence: int, failure: Failure, digest: str | None) -> None:
        """Note why the last attempt failed, and the digest of the content if it was taken."""
        self._db.execute(
            "UPDATE entries SET error = ?, held = ?, digest = coalesce(digest, ?) WHERE sequence = ?",
            (failure.reason, failure.lasting, digest, sequence),
        )

    def note_closed(self, sequence: int, digest: str) -> None:
        """Note the digest of what was closed."""
        self._db.execute("UPDATE entries SET digest = ? WHERE sequence = ?", (digest, sequence))

    def note_stored(self, sequence: int, stored: RemoteFile) -> None:
        """The service has it; what it replaces stays until the rename that it is a part of is complete."""
        self._db.execute("UPDATE entries SET stored = ? WHERE sequence = ?", (encode_file(stored), sequence))

    def set_aside(self, sequence: int, reason: str) -> None:
        """Show an entry no more and try it no more, until somebody decides what becomes of it."""
        self._db.execute("UPDATE entries SET set_aside = ? WHERE sequence = ?", (reason, sequence))
        self._db.execute("UPDATE attempts SET entry = NULL WHERE entry = ?", (sequence,))

    def bring_back(self, sequence: int) -> None:
        """Let the next mount try an entry that was set aside."""
        self._db.execute(
            "UPDATE entries SET set_aside = NULL, error = NULL, held = 0, digest = NULL, owner = ? WHERE sequence = ?",
            (NOBODY, sequence),
        )

    # Attempts

    def begin(self, attempt: Attempt) -> None:
        """A request is about to be sent."""
        self._db.execute(
            "INSERT OR REPLACE INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(attempt.key, self._owner, attempt.container_id, attempt.path, attempt.size, attempt.started),
                *(attempt.entry, attempt.data, attempt.source_id, attempt.digest, encode_ids(attempt.known)),
            ),
        )

    def end(self, key: str) -> None:
        """What became of a request is known."""
        self._db.execute("DELETE FROM attempts WHERE key = ?", (key,))

    def note_digest(self, key: str, digest: str | None) -> None:
        """Note the digest of what a request has sent."""
        self._db.execute("UPDATE attempts SET digest = coalesce(digest, ?) WHERE key = ?", (digest, key))

    def abandon(self, key: str, digest: str | None, known: Iterable[str]) -> None:
        """Nobody wants the result of a request; it may be on the service, and is none of ``known``."""
        for (text,) in self._db.execute("SELECT known FROM attempts WHERE key = ?", (key,)).fetchall():
            merged = encode_ids(decode_ids(text) | frozenset(known))
            self._db.execute(
                "UPDATE attempts SET entry = NULL, known = ?, digest = coalesce(digest, ?) WHERE key = ?",
                (merged, digest, key),
            )

    def exonerate(self, container_id: str, path: str, file_id: str) -> None:
        """A file stands for a path: no request that was abandoned has left it."""
        statement = "SELECT key FROM attempts WHERE container_id = ? AND path = ? AND entry IS NULL"
        for (key,) in self._db.execute(statement, (container_id, path)).fetchall():
            self.abandon(key, None, [file_id])

    # Deletions

    def delete_later(self, container_id: str, file_ids: Iterable[str]) -> None:
        """Files of the service are to go."""
        rows = [(container_id, file_id, self._owner) for file_id in file_ids]
        self._db.executemany("INSERT OR REPLACE INTO deletions VALUES (?, ?, ?)", rows)

    def deleted(self, deletion: Deletion) -> None:
        """A file is gone, or is to stay after all."""
        self._db.execute(
            "DELETE FROM deletions WHERE container_id = ? AND file_id = ?", (deletion.container_id, deletion.file_id)
        )

    def forget_container(self, container_id: str) -> None:
        """A container is gone, and with it all that was to be deleted in it."""
        self._db.execute("DELETE FROM deletions WHERE container_id = ?", (container_id,))
        self._db.execute("DELETE FROM attempts WHERE container_id = ?", (container_id,))


class Journal:
    """The journal of one service and key. Thread-safe.

    Args:
        directory: of this journal; created if missing.

    Raises:
        NoSpace: the disk is full.
        Failed: it cannot be used; the message says why.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._data = directory / "data"
        self._lock = threading.RLock()  # guards the connection
        with disk_errors():
            self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._reserve = _Reserve(directory)
        with disk_errors(), FileLock(directory / "opening"):  # SQLite does not wait where it creates a database
            self._ownership = Ownership(directory / "owners")
            self._db = self._open()
            self._take_over()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Change the journal, whole or not at all. Raises NoSpace, Failed: nothing was changed."""
        with self._lock, _database_errors(), self._committed():
            yield Transaction(self._db, self._ownership.id)

    def sync(self) -> None:
        """Have all transactions so far on the disk. Raises NoSpace, Failed."""
        with disk_errors():
            _sync(self.directory / "journal.db-wal")

    def stage(self) -> StagedFile:
        """A new, empty staged file. Raises NoSpace, TooManyOpenFiles."""
        return StagedFile.create(self._data / f"{self._ownership.id}.{uuid.uuid4().hex}")

    def staged(self, name: str) -> StagedFile:
        """The staged file of a row."""
        return StagedFile(self._data / name, sealed=True)

    def sync_data(self, staged: StagedFile) -> None:
        """Have the bytes and the name of a staged file on the disk. Raises NoSpace, Failed."""
        staged.sync()
        with disk_errors():
            _sync(self._data)

    def discard(self, staged: StagedFile) -> None:
        """Delete a staged file that no row names any more."""
        if self.is_needed(staged):
            staged.rest()
        else:
            staged.remove()

    def is_needed(self, staged: StagedFile) -> bool:
        """Whether an entry has this content, or an attempt with an unknown result had it."""
        name = staged.path.name
        statement = "SELECT 1 FROM attempts WHERE data = ? UNION ALL SELECT 1 FROM entries WHERE data = ? LIMIT 1"
        return bool(self._select(statement, name, name))

    def entries(self) -> list[Entry]:
        """What is due of this mount, in the order in which it was written. Unreadable rows are set aside."""
        rows = self._select(
            "SELECT sequence, container_id, container_name, path, data, source, replaces, attributes, size, digest,"
            " error, held, stored FROM entries WHERE owner = ? AND set_aside IS NULL ORDER BY sequence",
            self._ownership.id,
        )
        return [entry for row in rows if (entry := self._entry(row)) is not None]

    def noted_digest(self, sequence: int) -> str | None:
        """The digest of what was closed; None where none was taken."""
        rows = self._select("SELECT digest FROM entries WHERE sequence = ?", sequence)
        return rows[0][0] if rows else None

    def attempts(self, entry: int | None = None) -> list[Attempt]:
        """The requests for an entry whose result is not known; with None, those whose result nobody wants."""
        condition, values = ("entry = ?", [entry]) if entry is not None else ("entry IS NULL", [])
        rows = self._select(
            f"SELECT {', '.join(_ATTEMPT)} FROM attempts WHERE owner = ? AND {condition} ORDER BY started",
            self._ownership.id,
            *values,
        )
        decoded = ({**dict(zip(_ATTEMPT, row, strict=True)), "known": decode_ids(row[-1])} for row in rows)
        return [Attempt(**values) for values in decoded]

    def deletions(self) -> list[Deletion]:
        """The files of the service that are to go."""
        rows = self._select("SELECT container_id, file_id FROM deletions WHERE owner = ?", self._ownership.id)
        return [Deletion(*row) for row in rows]

    def all_set_aside(self) -> list[SetAside]:
        """What waits for somebody's decision, of all mounts."""
        rows = self._select(
            "SELECT sequence, container_name || '/' || path, container_id, data, set_aside FROM entries"
            " WHERE set_aside IS NOT NULL ORDER BY sequence"
        )
        return [SetAside(*row) for row in rows]

    def take_returned(self) -> None:
        """Take what was set aside and is to be tried again."""
        with self.transaction():
            self._db.execute("UPDATE entries SET owner = ? WHERE owner = ?", (self._ownership.id, NOBODY))

    def unlisted_data(self) -> list[Path]:
        """Directories with staged files of a database that was damaged."""
        return sorted(path for path in self.directory.glob("damaged-*") if any(path.joinpath("data").iterdir()))

    def close(self) -> None:
        """Release the journal; what is still due stays for the next mount."""
        with self._lock:
            self._db.close()
        self._ownership.release()

    # How it is kept

    def _open(self) -> sqlite3.Connection:
        path = self.directory / "journal.db"
        try:
            with _database_errors():
                return _connect(path)
        except sqlite3.DatabaseError as error:
            self._set_aside_files([*self.directory.glob("journal.db*"), *self._data.iterdir()], str(error))
            return _connect(path)

    def _take_over(self) -> None:
        """Own what mounts that are gone have left. No other mount may begin meanwhile."""
        owners = self._select(" UNION ".join(f"SELECT owner FROM {table}" for table in _TABLES))
        dead = [owner for (owner,) in owners if not self._ownership.is_live(owner)]
        with self.transaction():
            for table in _TABLES:
                statement = f"UPDATE {table} SET owner = ? WHERE owner = ?"
                self._db.executemany(statement, [(self._ownership.id, owner) for owner in dead])
        self._remove_unnamed()
        self._ownership.forget_dead()

    def _remove_unnamed(self) -> None:
        """Remove the data that no row names: its writer was told nothing. Data that was promised has lost its row."""
        named = {name for (name,) in self._select("SELECT data FROM entries UNION SELECT data FROM attempts")}
        unnamed = [path for path in self._data.iterdir() if path.name not in named]
        lost = []
        for path in unnamed:
            owner = path.name.partition(".")[0]
            if self._ownership.is_live(owner):
                continue
            if StagedFile.is_promised(path):
                lost.append(path)
            else:
                path.unlink(missing_ok=True)
        if lost:
            self._set_aside_files(lost, "their records are missing")

    def _set_aside_files(self, paths: list[Path], why: str) -> None:
        aside = self.directory / f"damaged-{time.time_ns()}"
        log.error("%d files of the journal are set aside in %s: %s", len(paths), aside, why)
        (aside / "data").mkdir(parents=True, mode=0o700)
        for path in paths:
            path.rename(aside / path.relative_to(self.directory))

    def _entry(self, row: tuple[Any, ...]) -> Entry | None:
        sequence, container_id, container_name, path, data, source, replaces, attributes, *rest = row
        size, digest, error, held, stored = rest
        try:
            return Entry(
                container_id=container_id,
                container_name=container_name,
                path=path,
                data=data,
                source=decode_file(source),
                replaces=decode_ids(replaces),
                attributes=decode_attributes(attributes),
                size=size,
                digest=digest,
                error=error,
                held=bool(held),
                stored=decode_file(stored),
                sequence=sequence,
            )
        except (ValueError, TypeError) as error_:
            log.error("The journal's record of %s/%s cannot be read: %s", container_name, path, error_)
            with self.transaction() as tx:
                tx.set_aside(sequence, "its record in the journal cannot be read")
            return None

    def _select(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock, _database_errors():
            return self._db.execute(statement, values).fetchall()

    @contextmanager
    def _committed(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._commit()
        except BaseException:
            if self._db.in_transaction:  # a full disk may have rolled it back already
                self._db.execute("ROLLBACK")
            raise
        self._reserve.restore()

    def _commit(self) -> None:
        try:
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if not (_is_full(error) and self._db.in_transaction and self._reserve.give_up()):
                raise
            self._db.execute("COMMIT")


class _Reserve:
    """A file that holds room for the journal: on a full disk, what was written before can still be noted."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "reserve"
        self._held = False
        self.restore()

    def give_up(self) -> bool:
        """Free the room; False if it is in use already."""
        if not self._held:
            return False
        self._path.unlink(missing_ok=True)
        self._held = False
        return True

    def restore(self) -> None:
        """Take the room back, once there is some."""
        if self._held:
            return
        with suppress(OSError):
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, _RESERVE)
                self._held = True
            finally:
                os.close(fd)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("BEGIN IMMEDIATE")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {_VERSION}")
        db.execute("COMMIT")
        (state,) = db.execute("PRAGMA quick_check(1)").fetchone()
    except BaseException:
        db.close()
        raise
    if version > _VERSION:
        raise types.Failed(f"{path} was written by a newer version of containerfs: use that one")
    if state != "ok":
        db.close()
        raise sqlite3.DatabaseError(state)
    return db


@contextmanager
def _database_errors() -> Iterator[None]:
    """A full disk is NoSpace; what the database cannot do at this moment is Failed; damage is left to the caller."""
    try:
        yield
    except sqlite3.OperationalError as error:
        kind = types.NoSpace if _is_full(error) else types.Failed
        raise kind(f"the journal cannot be written: {error}") from error
    except sqlite3.ProgrammingError as error:
        raise types.Failed("the mount has ended, and its journal is closed") from error


def _is_full(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode == sqlite3.SQLITE_FULL


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
