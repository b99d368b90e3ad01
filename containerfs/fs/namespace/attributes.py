"""Keeps on this machine what the API cannot hold: modes, owners, times, names and empty directories.

If a service stores them, its values count, except for what was set here and has not been sent yet.

The attributes of a file have its id as their key, those of a directory its path. A row exists only if something was set
here; everything else follows from what the service says. If this database is lost, no content is lost.
"""

import logging
import sqlite3
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from containerfs.fs.disk import FileLock
from containerfs.fs.types import FileAttributes

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attributes:
    """What was set here for one file or directory. Fields that were not set are None.

    Attributes:
        mode: permission bits.
        uid: user id of the owner.
        gid: group id of the owner.
        atime: time of the last access, in nanoseconds since 1970.
        mtime: time of the last change, in nanoseconds since 1970.
        path: the name that was asked for, if the service chose another.
        size: in bytes, if it was learned from the service but is not in its listings.
        sent: whether the service has mode, owner and time, so that its values count.
    """

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    atime: int | None = None
    mtime: int | None = None
    path: str | None = None
    size: int | None = None
    sent: bool | None = None

    @property
    def unsent(self) -> bool:
        """Whether something was set that a service which keeps attributes does not have yet."""
        return self.mtime is not None and not self.sent

    def carried(self) -> FileAttributes:
        """The attributes that a service can keep."""
        return FileAttributes(self.mode, self.uid, self.gid, self.mtime)


NOTHING = Attributes()


def shown_attributes(kept: Attributes | None, told: FileAttributes | None) -> Attributes | None:
    """Combine what is kept here with what the service says; None if there is nothing."""
    if told is None or (kept is not None and kept.unsent):
        return kept
    return replace(kept or NOTHING, mode=told.mode, uid=told.uid, gid=told.gid, mtime=told.mtime)


_SOON = 1.0  # seconds
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_COLUMNS = [field.name for field in fields(Attributes)]
_TIMES = ("atime", "mtime")
_SAVE = f"REPLACE INTO attributes VALUES ({', '.join('?' for _ in range(3 + len(_COLUMNS)))})"


_FILE, _DIRECTORY = "file:", "directory:"


def file_key(file_id: str) -> str:
    return _FILE + file_id


def directory_key(path: str) -> str:
    return _DIRECTORY + path


def file_id(key: str) -> str:
    """Return the file id in a ``file_key``."""
    return key.removeprefix(_FILE)


def directory_path(key: str) -> str | None:
    """Return the path in a ``directory_key``; None for the key of a file."""
    return key.removeprefix(_DIRECTORY) if key.startswith(_DIRECTORY) else None


class AttributeStore:
    """The attributes of one service's containers, in SQLite. Several mounts may share it. Thread-safe.

    Args:
        path: of the database. It is created if it is missing. If it is damaged, it is kept under another name, and a
            new one is created.
        service: names the service.
    """

    def __init__(self, path: Path, service: str) -> None:
        self._service = service
        self._lock = threading.Lock()  # guards everything below
        self._waiting: dict[tuple[str, str], Attributes] = {}  # by container id and key: to be saved soon
        self._timer: threading.Timer | None = None
        self._closed = False
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(path.with_name(path.name + ".lock")):
            self._db = _open(path)

    def load(self, container_id: str) -> dict[str, Attributes]:
        """Return everything that is kept for a container, by ``file_key`` or ``directory_key``."""
        rows = self._run(
            f"SELECT key, {', '.join(_COLUMNS)} FROM attributes WHERE service = ? AND container = ?",
            [(self._service, container_id)],
        )
        return {row[0]: _read(row[1:]) for row in rows}

    def load_containers(self) -> dict[str, Attributes]:
        """Return what is kept for the containers themselves, by their id."""
        rows = self._run(
            f"SELECT container, {', '.join(_COLUMNS)} FROM attributes WHERE service = ? AND key = ?",
            [(self._service, directory_key(""))],
        )
        return {row[0]: _read(row[1:]) for row in rows}

    def unsent(self) -> list[tuple[str, str, Attributes]]:
        """Return what a service that keeps attributes does not have yet: container ids, keys and attributes."""
        rows = self._run(
            f"SELECT container, key, {', '.join(_COLUMNS)} FROM attributes WHERE service = ? AND sent IS NULL",
            [(self._service,)],
        )
        found = [(container, key, _read(tuple(values))) for container, key, *values in rows]
        return [each for each in found if each[2].unsent]

    def note_sent(self, container_id: str, key: str, attributes: Attributes) -> None:
        """Record that the service has these attributes. Those of directories are then no longer kept here.

        Values that another mount has set in the meantime do not change.
        """
        change = "UPDATE attributes SET sent = 1" if directory_path(key) is None else "DELETE FROM attributes"
        same = " AND ".join(f"CAST({name} AS TEXT) IS CAST(? AS TEXT)" for name in _COLUMNS)  # times may be integers
        self._run(
            f"{change} WHERE service = ? AND container = ? AND key = ? AND {same}",
            [(self._service, container_id, key, *_written(attributes))],
        )

    def save(self, container_id: str, key: str, attributes: Attributes) -> None:
        self._run(_SAVE, [(self._service, container_id, key, *_written(attributes))])

    def save_soon(self, container_id: str, key: str, attributes: Attributes) -> None:
        """Save attributes within a second, together with others: access times, and what the service has too, which a
        crash of the mount may lose."""
        with self._lock:
            if self._closed:
                return
            self._waiting[container_id, key] = attributes
            if self._timer is None:
                timer = threading.Timer(_SOON, self._save_waiting)
                timer.daemon = True
                with suppress(RuntimeError):  # no more threads can be started; saved with the next change
                    timer.start()
                    self._timer = timer

    def forget(self, container_id: str, keys: Iterable[str]) -> None:
        self._run(
            "DELETE FROM attributes WHERE service = ? AND container = ? AND key = ?",
            [(self._service, container_id, key) for key in keys],
        )

    def forget_container(self, container_id: str) -> None:
        self._run("DELETE FROM attributes WHERE service = ? AND container = ?", [(self._service, container_id)])

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._execute(_SAVE, [])
            self._closed = True
            self._db.close()

    def _save_waiting(self) -> None:
        with self._lock:
            if not self._closed:  # as it is if the timer was due just then
                self._execute(_SAVE, [])

    def _run(self, statement: str, parameters: list[tuple[object, ...]]) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._execute(statement, parameters)

    def _execute(self, statement: str, parameters: list[tuple[object, ...]]) -> list[tuple[Any, ...]]:
        """Run a statement once for each tuple of parameters, after saving what waits, in one transaction. The lock must
        be held.

        Returns:
            The rows of a SELECT.
        """
        rows: list[tuple[Any, ...]] = []
        try:
            with self._db:
                if self._waiting:
                    self._db.executemany(_SAVE, self._take_waiting())
                for values in parameters:
                    rows += self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:  # losing attributes is better than failing the operation that sets them
            log.error("The local attributes could not be kept: %s", error)
        return rows

    def _take_waiting(self) -> list[tuple[object, ...]]:
        """Return the rows that wait to be saved, which no longer wait. The lock must be held."""
        if self._timer is not None:
            self._timer.cancel()
        waiting, self._waiting, self._timer = self._waiting, {}, None
        return [(self._service, *place, *_written(attributes)) for place, attributes in waiting.items()]


def _written(attributes: Attributes) -> list[int | str | None]:
    """Convert a value for SQLite, whose integers end with nanoseconds in the year 2262."""
    values = {name: getattr(attributes, name) for name in _COLUMNS}
    return [str(value) if name in _TIMES and value is not None else value for name, value in values.items()]


def _read(row: tuple[Any, ...]) -> Attributes:
    values: dict[str, Any] = dict(zip(_COLUMNS, row, strict=True))
    for name in _TIMES:
        values[name] = None if values[name] is None else int(values[name])
    values["sent"] = None if values["sent"] is None else bool(values["sent"])
    return Attributes(**values)


def _open(path: Path) -> sqlite3.Connection:
    """Open the database, and create it or replace a damaged one.

    One mount at a time does this. SQLite does not wait for locks while it switches a database to WAL, and a new
    database must not be set aside by another mount.
    """
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode not in _DAMAGED:
            raise
        log.warning("%s is damaged (%s): starting afresh, the old one is kept as %s.damaged", path, error, path.name)
        path.replace(path.with_name(path.name + ".damaged"))
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=10, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(
            f"CREATE TABLE IF NOT EXISTS attributes (service, container, key, {', '.join(_COLUMNS)},"
            " PRIMARY KEY (service, container, key)) WITHOUT ROWID"
        )
        if "sent" not in (name for _, name, *_ in db.execute("PRAGMA table_info(attributes)")):
            db.execute("ALTER TABLE attributes ADD COLUMN sent")
    except BaseException:
        db.close()
        raise
    return db
