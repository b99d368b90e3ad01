"""Recovery: what could not be sent, from all journals below a directory, for somebody to decide about.

Looking into a journal does not claim it: nothing of a dead mount is taken over, and what a running mount still tries to
send stays with it. While somebody looks into a journal, no mount of it starts or ends.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from containerfs.fs import types
from containerfs.fs.disk import FileLock, disk_errors
from containerfs.fs.staged import StagedFile, new_hash
from containerfs.fs.writing.database import Database, DatabaseDamaged
from containerfs.fs.writing.journal import unlisted_data
from containerfs.fs.writing.owners import NOBODY, Owners
from containerfs.fs.writing.records import ENTRY_COLUMNS, decode_entry
from containerfs.fs.writing.transaction import Transaction

_BLOCK = 1 << 20
_LISTED = "sequence, owner, container_name || '/' || path, container_id, data, digest, error, set_aside"


@dataclass(frozen=True, slots=True)
class Leftover:
    """Content that is on this machine and not on the service.

    Attributes:
        id: unique among all of them.
        name: ``CONTAINER/PATH``; if that was lost, the name of the file that holds the content.
        container_id: None if it was lost.
        path: of the content on this machine; None if it is on the service under another name.
        size: in bytes; None if the content is missing.
        written_at: in Unix seconds; None if the content is missing.
        error: why it is not on the service.
        is_set_aside: whether nobody tries to send it any more.
        is_running: whether a running mount has it, and tries again.
        mount: the process of that mount, if it is known.
        journal: the directory of its journal.
        sequence: its place in the journal; None if its record was lost.
        digest: of what was closed; None if it was not computed.
    """

    id: str
    name: str
    container_id: str | None
    path: Path | None
    size: int | None
    written_at: float | None
    error: str
    is_set_aside: bool
    is_running: bool
    mount: int | None
    journal: Path
    sequence: int | None = None
    digest: str | None = None

    def check_is_free(self) -> None:
        """Raise NotPermitted if a running mount has it."""
        if self.is_running:
            raise types.NotPermitted("a running mount has it: `containerfs sync MOUNT` tries again, rm discards it")


class Recovery:
    """What could not be sent by the mounts that share a cache directory.

    Every method raises Failed if a journal or the disk cannot be used.
    """

    def __init__(self, cache_dir: Path) -> None:
        self._journals = cache_dir / "journal"

    def leftovers(self) -> list[Leftover]:
        """Return everything that was not sent, within each journal in the order in which it was written."""
        with disk_errors():
            journals = sorted(self._journals.iterdir()) if self._journals.is_dir() else []
            return [leftover for journal in journals for leftover in _leftovers(journal)]

    def find(self, name: str) -> Leftover:
        """Return the one with that id or name. Raises NotFound, or AlreadyExists if several have the name."""
        leftovers = self.leftovers()
        found = [leftover for leftover in leftovers if leftover.id == name]
        found = found or [leftover for leftover in leftovers if leftover.name == name]
        if not found:
            raise types.NotFound(f"there is no {name}: 'containerfs recover list' shows what there is")
        if len(found) > 1:
            choices = ", ".join(f"{leftover.id} ({leftover.size} bytes)" for leftover in found)
            raise types.AlreadyExists(f"several are called {name}; give one of these instead: {choices}")
        return found[0]

    def save(self, leftover: Leftover, destination: Path) -> bool:
        """Copy the content to a file, replacing it, and return whether it is what was closed."""
        if leftover.path is None:
            raise types.Failed(f"{leftover.name} is a copy of a file that only the service has: send or discard it")
        partial = destination.with_name(f".{destination.name}.partial")
        with disk_errors():
            try:
                digest = _copy(leftover.path, partial)
                os.replace(partial, destination)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
        return leftover.digest in (None, digest)

    def send(self, leftover: Leftover) -> None:
        """Let the next mount try again. Raises Failed if that cannot succeed."""
        if leftover.sequence is None:
            raise types.Failed(f"the name of {leftover.name} is lost: save it, and copy it to where it belongs")
        if leftover.path is not None and leftover.size is None:
            raise types.Failed(f"the data of {leftover.name} is missing: there is nothing to send")
        with _changing(leftover) as db:
            columns = ", ".join(ENTRY_COLUMNS)
            (row,) = db.execute(f"SELECT {columns} FROM entries WHERE sequence = ?", (leftover.sequence,))
            try:
                decode_entry(row)
            except ValueError as error:
                raise types.Failed(f"{leftover.name}: its record cannot be read: save it, and copy it") from error
            Transaction(db, NOBODY).bring_back(leftover.sequence)

    def discard(self, leftover: Leftover) -> None:
        """Delete it here. The next mount deletes what may have reached the service."""
        if leftover.sequence is None:
            _discard_lost(leftover)
            return
        digest = leftover.digest or _digest(leftover.path)
        with _changing(leftover) as db:
            tx = Transaction(db, NOBODY)
            tx.drop(leftover.sequence)
            if leftover.path is not None:
                tx.data_gone(leftover.path.name, digest)
        if leftover.path is not None:
            with disk_errors():
                leftover.path.unlink(missing_ok=True)


@contextmanager
def _looking_into(journal: Path) -> Iterator[Database | None]:
    """Yield the database of a journal while no mount of it begins or ends; None if there is none that can be read."""
    path = journal / "journal.db"
    with disk_errors(), FileLock(journal / "opening"):
        if not path.exists():
            yield None
            return
        try:
            database = Database(path)
        except DatabaseDamaged:
            yield None
            return
        try:
            yield database
        finally:
            database.close()


@contextmanager
def _changing(leftover: Leftover) -> Iterator[sqlite3.Connection]:
    """Yield a transaction in the journal of something that no running mount owns. Raises NotPermitted, NotFound."""
    with _looking_into(leftover.journal) as database:
        current = (
            [] if database is None else [row for row in _rows(leftover.journal, database) if row.id == leftover.id]
        )
        if database is None or not current:
            raise types.NotFound(f"{leftover.name} no longer exists")
        current[0].check_is_free()
        with database.transaction() as db:
            yield db


def _leftovers(journal: Path) -> list[Leftover]:
    if not (journal / "data").is_dir():  # of an earlier version; the next mount takes it over
        return []
    with _looking_into(journal) as database:
        if database is None:
            paths = [*(journal / "data").iterdir()]
            lost = [_lost(journal, path, "its journal is damaged") for path in paths]
        else:
            lost = _rows(journal, database)
        return lost + [_lost(journal, path, "its journal was damaged") for path in unlisted_data(journal)]


def _rows(journal: Path, database: Database) -> list[Leftover]:
    owners = Owners(journal / "owners")
    rows = database.select(f"SELECT {_LISTED} FROM entries WHERE stored IS NULL ORDER BY sequence")
    return [_row(journal, owners, row) for row in rows]


def _row(journal: Path, owners: Owners, row: tuple[Any, ...]) -> Leftover:
    sequence, owner, name, container_id, data, digest, error, set_aside = row
    path = None if data is None else journal / "data" / data
    is_running = set_aside is None and owners.is_live(owner)
    return Leftover(
        id=f"{journal.name[:8]}.{sequence}",
        name=name,
        container_id=container_id,
        path=path,
        **_size_and_time(path),
        error=set_aside or error or ("it waits for its upload" if is_running else "its mount ended before its upload"),
        is_set_aside=set_aside is not None,
        is_running=is_running,
        mount=owners.pid(owner) if is_running else None,
        journal=journal,
        sequence=sequence,
        digest=digest,
    )


def _lost(journal: Path, path: Path, why: str) -> Leftover:
    """Return staged data whose record, and with it its name, was lost."""
    is_running = path.parent.parent == journal and bool(Owners(journal / "owners").live())
    name = str(path.relative_to(journal))
    return Leftover(
        id=f"{journal.name[:8]}.{types.digest(name)[:8]}",
        name=name,
        container_id=None,
        path=path,
        **_size_and_time(path),
        error=f"{why}, and its name is lost",
        is_set_aside=not is_running,
        is_running=is_running,
        mount=None,
        journal=journal,
    )


def _size_and_time(path: Path | None) -> dict[str, Any]:
    with suppress(FileNotFoundError):
        if path is not None:
            found = path.stat()
            return {"size": found.st_size, "written_at": found.st_mtime}
    return {"size": None, "written_at": None}


def _discard_lost(leftover: Leftover) -> None:
    leftover.check_is_free()
    assert leftover.path is not None
    with disk_errors():
        leftover.path.unlink(missing_ok=True)
        directory = leftover.path.parent
        if directory.parent != leftover.journal and not any(directory.iterdir()):
            shutil.rmtree(directory.parent)  # the files next to the data are of no more use


def _digest(path: Path | None) -> str | None:
    """Return the digest of staged data; None if it is missing."""
    return StagedFile(path, sealed=True).digest() if path is not None and path.exists() else None


def _copy(source: Path, target: Path) -> str:
    """Copy a file, flush the copy to the disk, and return its digest."""
    hash_ = new_hash()
    with source.open("rb") as reading, target.open("wb") as writing:
        while chunk := reading.read(_BLOCK):
            hash_.update(chunk)
            writing.write(chunk)
        writing.flush()
        os.fsync(writing.fileno())
    return hash_.hexdigest()
