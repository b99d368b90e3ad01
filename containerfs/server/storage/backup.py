"""Copies a store of SQLite and files while servers use it. The copy is an ordinary data directory.

First the rows are copied, as of one moment (SQLite's online backup), and with them the small blobs. Then the other
blobs that they name are copied, which do not change, and which no server deletes in the meantime. So every row has its
bytes. The new rows replace those of the previous backup once all of their bytes are safe on the disk, and blobs that no
row names are removed last. So the directory holds a complete backup at any time, and the next backup only copies new
blobs, except for small ones.
"""

import contextlib
import itertools
import os
import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from containerfs.server.storage.failures import StoreError
from containerfs.server.storage.local import without_deletions
from containerfs.server.storage.open import DATABASE, holds_store

_MARKS_OF_A_SERVER = (f"{DATABASE}-wal", "reserve")
"""The first exists while a server runs, the second once a server has added something."""

_BLOBS_AT_ONCE = 1000
"""Blobs that are copied and then flushed together. Flushing one takes longer than copying a small one."""

_NAMED = "SELECT blob, bytes FROM container_files UNION SELECT blob, bytes FROM files"


@dataclass(slots=True)
class Backup:
    """The contents of a backup.

    Attributes:
        blobs: how many contents it has; copies that share their bytes count once.
        bytes: the size of all of them together.
        copied: how many of them are new, without those that are kept with the rows.
        missing: contents that rows name, and that are missing or incomplete in the store itself.
    """

    blobs: int = 0
    bytes: int = 0
    copied: int = 0
    missing: int = 0


def back_up(data_dir: Path, destination: Path) -> Backup:
    """Copy a store into a directory, which is created, or holds the previous backup and is updated.

    Raises:
        StoreError: if there is no store, or the directory cannot take a backup.
    """
    _check(data_dir, destination)
    try:
        return _Copy(data_dir, destination).run()
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"cannot back up {data_dir} to {destination}: {error}") from error


def _check(data_dir: Path, destination: Path) -> None:
    if not holds_store(data_dir):
        raise StoreError(f"there is no store in {data_dir} (--data-dir)")
    if destination.resolve().is_relative_to(data_dir.resolve()):
        raise StoreError(f"{destination} is inside the store itself")
    if any((destination / name).exists() for name in _MARKS_OF_A_SERVER):
        raise StoreError(f"a server is using {destination}, or has changed it: choose another directory")


class _Copy:
    def __init__(self, data_dir: Path, destination: Path) -> None:
        self._source, self._destination = data_dir, destination
        self._unfinished = destination / "tmp"
        self._rows = self._unfinished / DATABASE
        self._backup = Backup()

    def run(self) -> Backup:
        for directory in (self._destination, self._unfinished, self._destination / "blobs"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with without_deletions(self._source):
            self._copy_rows()
            with contextlib.closing(sqlite3.connect(self._rows)) as rows:
                named = iter(rows.execute(self._count_small_blobs(rows)))
                while batch := list(itertools.islice(named, _BLOBS_AT_ONCE)):
                    self._copy_blobs(batch)
        self._rows.replace(self._destination / DATABASE)
        os.sync()
        self._remove_others()
        return self._backup

    def _copy_rows(self) -> None:
        self._rows.unlink(missing_ok=True)
        os.close(os.open(self._rows, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with (
            contextlib.closing(sqlite3.connect(self._source / DATABASE)) as source,
            contextlib.closing(sqlite3.connect(self._rows)) as copy,
        ):
            source.backup(copy)  # in one step, because a copy in several steps starts again whenever a server writes
            copy.execute(
                "PRAGMA journal_mode = DELETE"
            )  # makes it one file; a server that opens it switches to WAL again

    def _count_small_blobs(self, rows: sqlite3.Connection) -> str:
        """Count the blobs that are kept with the rows. Return the query of the others, with their sizes."""
        if not rows.execute("SELECT 1 FROM sqlite_master WHERE name = 'small_blobs'").fetchone():
            return _NAMED  # in a store of an older version
        [[count, size]] = rows.execute("SELECT count(*), coalesce(sum(length(content)), 0) FROM small_blobs")
        self._backup.blobs += count
        self._backup.bytes += size
        return f"SELECT blob, bytes FROM ({_NAMED}) WHERE blob NOT IN (SELECT name FROM small_blobs)"

    def _copy_blobs(self, named: Sequence[tuple[str, int]]) -> None:
        copied = [blob for blob, size in named if self._copy_blob(blob, size)]
        if copied:
            os.sync()
        for blob in copied:
            path = _path(self._destination, blob)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            (self._unfinished / blob).rename(path)
        self._backup.copied += len(copied)

    def _copy_blob(self, blob: str, size: int) -> bool:
        """Copy a blob, and return whether that was done. It is not if the copy exists, or the store does not have the
        blob."""
        self._backup.blobs += 1
        self._backup.bytes += size
        if _size(_path(self._destination, blob)) == size:
            return False
        if _size(_path(self._source, blob)) != size:
            self._backup.missing += 1
            return False
        copy = self._unfinished / blob
        shutil.copyfile(_path(self._source, blob), copy)
        copy.chmod(0o600)
        return True

    def _remove_others(self) -> None:
        """Remove what no row names, and what an interrupted backup has left."""
        with contextlib.closing(sqlite3.connect(self._destination / DATABASE)) as rows:
            for path in (self._destination / "blobs").glob("*/*"):
                if not rows.execute(f"SELECT 1 FROM ({_NAMED}) WHERE blob = ?", (path.name,)).fetchone():
                    path.unlink()
        for path in self._unfinished.iterdir():
            path.unlink()


def _path(directory: Path, blob: str) -> Path:
    return directory / "blobs" / blob[:2] / blob


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
