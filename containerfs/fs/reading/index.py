"""An index of complete files in the cache, by container and name, for containers that the service no longer lists.

It is a database next to the cached content, and may be lost without harm: files that are not in it are just not shown
once their container has ended. Notes are written a second later, all at once.
"""

import json
import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

from containerfs.fs.types import FileAttributes, RemoteContainer, RemoteFile, digest

log = logging.getLogger(__name__)

_DELAY = 1.0  # seconds
_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (key PRIMARY KEY, owner, container, id, path, size, created_at, attributes)
    WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_by_container ON files (owner, container);
CREATE TABLE IF NOT EXISTS containers (owner, id, name, created_at, PRIMARY KEY (owner, id)) WITHOUT ROWID;
"""
_HELD = """
SELECT id, name, created_at, EXISTS (SELECT 1 FROM files WHERE files.owner = ?1 AND container = containers.id)
    FROM containers WHERE owner = ?1
"""
_FORGOTTEN = """
DELETE FROM containers WHERE owner = ?1 AND id = ?2
    AND NOT EXISTS (SELECT 1 FROM files WHERE files.owner = ?1 AND container = ?2)
"""

Describe = Callable[[str], RemoteContainer | None]
"""Returns what is known of a container, by its id."""


class Index:
    """Files and their containers, of all services. Thread-safe. It never fails, because content is worth more than its
    name.

    Args:
        path: of the database. A lock that excludes other mounts must be held while an index is created.
        service: names the service whose containers are noted here.
        account: tells whose containers are noted here.
        describe: returns what is known of a container; must take no lock.
    """

    def __init__(self, path: Path, service: str, account: str, describe: Describe) -> None:
        self._owner = digest(json.dumps([service, account]))
        self._describe = describe
        self._lock = threading.Lock()  # guards the next three; never held while waiting for the disk
        self._noted: dict[str, tuple[object, ...] | None] = {}  # by key; None for those to be forgotten
        self._named: dict[str, RemoteContainer] = {}  # by id, also to be written
        self._timer: threading.Timer | None = None
        self._disk = threading.RLock()  # guards what follows; taken first. Held while notes are being written
        self._containers: list[tuple[Any, ...]] = []  # as in the database at _read_at; none has changed since
        self._read_at = -math.inf
        self._db: sqlite3.Connection | None = None
        try:
            self._db = _open(path)
        except sqlite3.Error as error:
            _complain(error)

    def note(self, key: str, file: RemoteFile, size: int) -> None:
        """Note that the cache has the complete content of a file under a key."""
        attributes = None if file.attributes is None else json.dumps(astuple(file.attributes))
        container = self._describe(file.container_id)
        if container is not None:
            with self._lock:
                self._named[container.id] = container
        self._put(key, (key, self._owner, file.container_id, file.id, file.path, size, file.created_at, attributes))

    def forget(self, keys: Iterable[str]) -> None:
        """Note that the contents under some keys are no longer complete."""
        for key in keys:
            self._put(key, None)

    def forget_at_once(self, keys: Sequence[str]) -> None:
        """Do the same for many keys, in one transaction, for which the caller waits."""
        with self._disk:
            with self._lock:
                for key in keys:
                    self._noted.pop(key, None)
            self._run(_change(key, None) for key in keys)

    def clear(self) -> None:
        """Note that the cache is empty."""
        with self._disk, self._lock:
            self._noted.clear()
        self._run([("DELETE FROM files", ())])

    def ended(self, listed: Sequence[RemoteContainer]) -> list[RemoteContainer]:
        """Return the containers with noted files that are not in ``listed``, a complete listing."""
        self.write()
        there = {container.id: container for container in listed}
        changes: list[tuple[str, tuple[object, ...]]] = []
        found = []
        for id_, name, created_at, is_held in self._known_containers():
            if id_ in there and there[id_].name != name:
                changes.append(self._naming(there[id_]))
            elif id_ not in there and is_held:
                found.append(RemoteContainer(id_, name, created_at))
            elif id_ not in there:
                changes.append((_FORGOTTEN, (self._owner, id_)))
        if changes:
            self._run(changes)
        return found

    def files(self, container_id: str) -> list[tuple[str, RemoteFile]]:
        """Return the noted files of a container with their keys, newest first."""
        self.write()
        rows = self._run(
            [
                (
                    "SELECT key, id, path, size, created_at, attributes FROM files WHERE owner = ? AND container = ?"
                    " ORDER BY created_at DESC",
                    (self._owner, container_id),
                )
            ]
        )
        return [(key, _file(container_id, *values)) for key, *values in rows]

    def write(self) -> None:
        """Write the notes."""
        with self._disk:
            with self._lock:
                noted, self._noted, self._timer = self._noted, {}, None
                named, self._named = self._named, {}
            changes = [_change(key, row) for key, row in noted.items()]
            changes += [self._naming(container) for container in named.values()]
            if changes:
                self._run(changes)

    def close(self) -> None:
        """Write the notes, and end."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
        self.write()
        with self._disk:
            if self._db is not None:
                self._db.close()
                self._db = None

    def _put(self, key: str, row: tuple[object, ...] | None) -> None:
        with self._lock:
            self._noted[key] = row
            if self._timer is None and self._db is not None:
                timer = threading.Timer(_DELAY, self.write)
                timer.daemon = True
                with suppress(RuntimeError):  # no more threads can be started; the next note tries again
                    timer.start()
                    self._timer = timer

    def _known_containers(self) -> list[tuple[Any, ...]]:
        """Return the noted containers: id, name, time of creation, and whether they still have noted files."""
        with self._disk:
            if time.monotonic() >= self._read_at + _DELAY:
                self._containers = self._run([(_HELD, (self._owner,))])
                self._read_at = time.monotonic()
            return self._containers

    def _naming(self, container: RemoteContainer) -> tuple[str, tuple[object, ...]]:
        values = (self._owner, container.id, container.name, container.created_at)
        return "REPLACE INTO containers VALUES (?, ?, ?, ?)", values

    def _run(self, statements: Iterable[tuple[str, tuple[object, ...]]]) -> list[tuple[Any, ...]]:
        """Run statements in one transaction, and return the rows that they select."""
        rows: list[tuple[Any, ...]] = []
        with self._disk:
            if self._db is None:
                return rows
            before = self._db.total_changes
            try:
                with self._db:
                    for statement, values in statements:
                        rows += self._db.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                _complain(error)
            if self._db.total_changes > before:
                self._read_at = -math.inf
        return rows


def _change(key: str, row: tuple[object, ...] | None) -> tuple[str, tuple[object, ...]]:
    if row is None:
        return "DELETE FROM files WHERE key = ?", (key,)
    return "REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row


def _complain(error: sqlite3.Error) -> None:
    log.warning(
        "The cache's index cannot be written; cached files are not shown once their container has ended: %s", error
    )


def _file(container_id: str, id_: str, path: str, size: int, created_at: int, attributes: str | None) -> RemoteFile:
    told = None if attributes is None else FileAttributes(*json.loads(attributes))
    return RemoteFile(id_, container_id, path, size, created_at, attributes=told)


def _open(path: Path) -> sqlite3.Connection:
    """Open the database. A damaged one is replaced by a new one."""
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise
    for part in path.parent.glob(path.name + "*"):
        part.unlink(missing_ok=True)
    return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=10, check_same_thread=False)
    try:
        db.execute("PRAGMA synchronous = OFF")  # after a crash of the machine, the cache is emptied anyway
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(_SCHEMA)
    except BaseException:
        db.close()
        raise
    return db
