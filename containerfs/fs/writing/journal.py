"""The journal: what has to reach the service, in an SQLite database next to the staged files.

Three tables: *entries* (a path should hold a content), *attempts* (requests with unknown results) and *deletions*
(files of the service that have to go). What must be true together changes in one transaction. Several mounts of one
service and key may share a journal. Each row belongs to one of them, and a new mount takes over what dead mounts left.
The sequence of the rows is the order in which things were written, across mounts.

When a mount begins, staged data that no row names is removed, unless it was promised to be kept. Then its row was lost,
and it is set aside, as is all data of a damaged database. Nothing that was promised is ever deleted.
"""

import json
import logging
import time
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from containerfs.fs import types
from containerfs.fs.disk import FileLock, disk_errors, sync_disk, sync_path
from containerfs.fs.staged import StagedFile
from containerfs.fs.writing.database import TABLES, Database, DatabaseDamaged
from containerfs.fs.writing.owners import NOBODY, Ownership
from containerfs.fs.writing.records import (
    ATTEMPT_COLUMNS,
    ENTRY_COLUMNS,
    Attempt,
    Deletion,
    Entry,
    SetAside,
    decode_attempt,
    decode_entry,
    decode_ids,
)
from containerfs.fs.writing.transaction import Transaction

log = logging.getLogger(__name__)

_FEW = 16  # files to sync one by one; for more, the whole disk is synced once

_SELECT_ENTRIES = f"SELECT {', '.join(ENTRY_COLUMNS)} FROM entries WHERE set_aside IS NULL"


class Journal:
    """The journal of one service and key. Thread-safe.

    Args:
        directory: of this journal; created if it is missing.

    Raises:
        NoSpace: if the disk is full.
        Failed: if it cannot be used. The message says why.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._data = directory / "data"
        with disk_errors():
            self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._opening = FileLock(directory / "opening")
        with disk_errors(), self._opening:
            self._ownership = Ownership(directory / "owners")
            try:
                self._database = self._open()
                self._take_over()
            except BaseException:
                self._ownership.release()
                raise
            for path in (directory, directory.parent, directory.parent.parent):
                sync_path(path)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Change the journal, completely or not at all.

        Raises:
            NoSpace: if the disk is full; nothing has changed.
            Failed: if it cannot be changed; nothing has changed.
        """
        with self._database.transaction() as db:
            tx = Transaction(db, self._ownership.id)
            yield tx
            for name in tx.unneeded():
                with suppress(
                    FileNotFoundError
                ):  # its content was missing, or was replaced while no program had it open
                    self.staged(name).release()

    def sync(self) -> None:
        """Flush all transactions so far to the disk. Raises NoSpace, Failed."""
        self._database.sync()

    def stage(self) -> StagedFile:
        """Create an empty staged file. Raises NoSpace, TooManyOpenFiles."""
        return StagedFile.create(self._data / f"{self._ownership.id}.{uuid.uuid4().hex}")

    def staged(self, name: str) -> StagedFile:
        """Return the staged file of a row."""
        return StagedFile(self._data / name, sealed=True)

    def sync_data(self, contents: Collection[StagedFile]) -> None:
        """Flush the bytes and names of staged files to the disk. Raises NoSpace, Failed."""
        if len(contents) > _FEW:
            sync_disk(self._data)
            return
        for staged in contents:
            staged.sync()
        with disk_errors():
            sync_path(self._data)

    def discard(self, staged: StagedFile) -> None:
        """Delete a staged file that no row names any more."""
        if self.is_needed(staged):
            staged.rest()
        else:
            staged.remove()

    def is_needed(self, staged: StagedFile) -> bool:
        """Tell whether an entry has this content, or an attempt with an unknown result had it."""
        name = staged.path.name
        statement = "SELECT 1 FROM attempts WHERE data = ? UNION ALL SELECT 1 FROM entries WHERE data = ? LIMIT 1"
        return bool(self._database.select(statement, name, name))

    def entries(self) -> list[Entry]:
        """Return what is due for this mount, in the order in which it was written. Unreadable rows are set aside."""
        rows = self._database.select(
            f"{_SELECT_ENTRIES} AND owner = ? ORDER BY coalesce(moved, sequence)", self._ownership.id
        )
        return [entry for row in rows if (entry := self._entry(row)) is not None]

    def noted_digest(self, sequence: int) -> str | None:
        """Return the digest of what was closed; None if it was not computed."""
        rows = self._database.select("SELECT digest FROM entries WHERE sequence = ?", sequence)
        return rows[0][0] if rows else None

    def still_due(self, sequences: Iterable[int]) -> list[int]:
        """Return those of these rows that still exist."""
        return self._found(sequences, "TRUE")

    def without_digest(self, sequences: Iterable[int]) -> list[int]:
        """Return those of these rows whose content was closed and has no digest yet."""
        return self._found(sequences, "digest IS NULL")

    def is_outdated(self, sequence: int) -> bool:
        """Tell whether another mount has stored later content at the path of an entry."""
        return bool(self._database.select("SELECT 1 FROM entries WHERE sequence = ? AND outdated", sequence))

    def attempts(self, entry: int | None = None) -> list[Attempt]:
        """Return the requests for an entry with unknown results; with None, those whose results nobody wants."""
        condition, values = ("entry = ?", [entry]) if entry is not None else ("entry IS NULL", [])
        return self._attempts(condition, *values)

    def attempt(self, key: str) -> Attempt | None:
        """Return a request with an unknown result."""
        return next(iter(self._attempts("key = ?", key)), None)

    def deletions(self) -> list[Deletion]:
        """Return the files of the service that have to go."""
        rows = self._database.select("SELECT container_id, file_id FROM deletions WHERE owner = ?", self._ownership.id)
        return [Deletion(*row) for row in rows]

    def copy_due(self, container_id: str, path: str) -> tuple[str, bool] | None:
        """Find an entry that is still to be copied from what the service has at ``path``.

        Storing anything else there might remove what is to be copied.

        Returns:
            Its path, and whether copying has failed; None if there is no such entry.
        """
        statement = (
            "SELECT path, error IS NOT NULL FROM entries"
            " WHERE container_id = ? AND source IS NOT NULL AND stored IS NULL"
            " AND set_aside IS NULL AND json_extract(source, '$.path') = ? AND path != ?"
        )
        rows = self._database.select(statement, container_id, path, path)
        return (rows[0][0], bool(rows[0][1])) if rows else None

    def is_attempted(self, container_id: str, path: str) -> bool:
        """Tell whether a request whose result is wanted may be storing something at a path."""
        statement = "SELECT 1 FROM attempts WHERE container_id = ? AND path = ? AND entry IS NOT NULL"
        return bool(self._database.select(statement, container_id, path))

    def doomed(self, container_id: str, entry: int | None) -> frozenset[str]:
        """Return the files of a container that have to go: all deletions, and what entries other than ``entry``
        replace."""
        deletions = self._database.select("SELECT file_id FROM deletions WHERE container_id = ?", container_id)
        replaced = self._database.select(
            "SELECT replaces FROM entries WHERE container_id = ? AND sequence IS NOT ?", container_id, entry
        )
        return frozenset(file_id for (file_id,) in deletions).union(*(decode_ids(text) for (text,) in replaced))

    def all_set_aside(self) -> list[SetAside]:
        """Return what waits for somebody's decision, of all mounts."""
        rows = self._database.select(
            "SELECT sequence, container_name || '/' || path, data, set_aside FROM entries"
            " WHERE set_aside IS NOT NULL ORDER BY sequence"
        )
        return [SetAside(*row) for row in rows]

    def due_elsewhere(self) -> list[tuple[str, str | None, int | None]]:
        """Return what other running mounts have to upload: its name, its staged file, and the process."""
        rows = self._database.select(
            "SELECT container_name || '/' || path, data, owner FROM entries"
            " WHERE stored IS NULL AND set_aside IS NULL AND owner != ? ORDER BY sequence",
            self._ownership.id,
        )
        live = {owner for owner in {owner for _, _, owner in rows} if self._ownership.is_live(owner)}
        return [(name, data, self._ownership.pid(owner)) for name, data, owner in rows if owner in live]

    def take_returned(self) -> list[Entry]:
        """Take over entries that were set aside and should be tried again, in the order in which they were written."""
        with self._database.transaction() as db:
            rows = db.execute(
                f"{_SELECT_ENTRIES} AND owner = ? ORDER BY coalesce(moved, sequence)", (NOBODY,)
            ).fetchall()
            db.execute("UPDATE entries SET owner = ? WHERE owner = ?", (self._ownership.id, NOBODY))
        return [entry for row in rows if (entry := self._entry(row)) is not None]

    def unlisted_data(self) -> list[Path]:
        """Return the staged files of a damaged database."""
        return unlisted_data(self.directory)

    def set_aside_files(self, data: list[Path], records: list[Path], why: str) -> None:
        """Keep staged files whose rows are lost where ``unlisted_data`` finds them. Raises OSError.

        Args:
            records: files that may tell somebody more about them; kept next to them.
        """
        aside = self.directory / f"damaged-{time.time_ns()}"
        log.error("%d staged files are set aside in %s: %s", len(data), aside, why)
        (aside / "data").mkdir(parents=True, mode=0o700)
        for path in data:  # first, because without its record, data that was not promised would be removed
            path.rename(aside / "data" / path.name)
        for path in records:
            path.rename(aside / path.name)

    def close(self) -> None:
        """Release the journal. What is still due is left for the next mount. Raises OSError."""
        with self._opening:
            self._database.close()
            self._ownership.release()

    # How it is kept

    def _open(self) -> Database:
        path = self.directory / "journal.db"
        try:
            return Database(path)
        except DatabaseDamaged as error:
            if self._ownership.others_live():
                raise types.Failed(f"{path} is damaged, and another mount uses it: unmount that first") from error
            self.set_aside_files([*self._data.iterdir()], [*self.directory.glob("journal.db*")], str(error))
            return Database(path)

    def _take_over(self) -> None:
        """Take over what dead mounts left. No other mount may begin in the meantime."""
        owners = self._database.select(" UNION ".join(f"SELECT owner FROM {table}" for table in TABLES))
        dead = [owner for (owner,) in owners if not self._ownership.is_live(owner)]
        with self.transaction() as tx:
            for owner in dead:
                tx.take_over(owner)
        self._remove_unnamed()
        self._ownership.forget_dead()

    def _remove_unnamed(self) -> None:
        """Remove data that no row names, and whose writer was promised nothing. If it was promised data, its row was
        lost."""
        named = {name for (name,) in self._database.select("SELECT data FROM entries UNION SELECT data FROM attempts")}
        live = self._ownership.live()
        lost = []
        for path in self._data.iterdir():
            if path.name in named or path.name.partition(".")[0] in live or not path.is_file():
                continue
            if StagedFile.is_promised(path):
                lost.append(path)
            else:
                path.unlink(missing_ok=True)
        if lost:
            self.set_aside_files(lost, [], "their records are missing")

    def _found(self, sequences: Iterable[int], condition: str) -> list[int]:
        statement = f"SELECT sequence FROM entries WHERE sequence IN (SELECT value FROM json_each(?)) AND {condition}"
        return [sequence for (sequence,) in self._database.select(statement, json.dumps(list(sequences)))]

    def _entry(self, row: tuple[Any, ...]) -> Entry | None:
        try:
            return decode_entry(row)
        except ValueError as error:
            sequence, _, container_name, path, *_ = row
            log.error("The journal's record of %s/%s cannot be read: %s", container_name, path, error)
            with self.transaction() as tx:
                tx.set_aside(sequence, "its record in the journal cannot be read")
            return None

    def _attempts(self, condition: str, *values: object) -> list[Attempt]:
        rows = self._database.select(
            f"SELECT {', '.join(ATTEMPT_COLUMNS)} FROM attempts WHERE owner = ? AND {condition} ORDER BY started",
            self._ownership.id,
            *values,
        )
        return [attempt for row in rows if (attempt := self._attempt(row)) is not None]

    def _attempt(self, row: tuple[Any, ...]) -> Attempt | None:
        try:
            return decode_attempt(row)
        except ValueError as error:
            key, _, path, *_ = row
            log.error(
                "Not looking for what an upload of %s has left: its record in the journal cannot be read: %s",
                path,
                error,
            )
            with self.transaction() as tx:
                tx.end(key)
            return None


def unlisted_data(directory: Path) -> list[Path]:
    """Return the staged files in a journal's directory whose rows were lost, and with them their names."""
    return sorted(path for path in directory.glob("damaged-*/data/*") if path.is_file())
