"""Takes over journals of earlier versions.

These had a directory for each mount, with a lock, ``ID.data`` for each staged file, and ``ID.json`` once it was due.
Such a directory is first moved as a whole into the journal that takes it over. Then it is emptied record by record: a
row is written, then the data is moved, and then the record is removed. A row is known by the name of its data, so an
interrupted import neither loses nor repeats anything.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from containerfs.fs.disk import disk_errors
from containerfs.fs.namespace.attributes import Attributes
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.records import Attempt, Entry

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Record:
    """What an earlier version recorded of a staged file. If ``since`` is set, an attempt after it may have reached the
    service."""

    container_id: str
    container_name: str
    path: str
    since: int
    replaces: list[str] = field(default_factory=list)
    attributes: Attributes = field(default_factory=Attributes)
    error: str | None = None


_RECORD = TypeAdapter(_Record)


def take_over(old: Path, journal: Journal) -> None:
    """Take over what mounts of an earlier version left, except those that are still running.

    Args:
        old: the directory of their journals.

    Raises:
        NoSpace: if the disk is full. The next mount takes over the rest.
        Failed: if it cannot be read or written. The next mount takes over the rest.
    """
    taken = journal.directory / "legacy"
    with disk_errors():
        with _locked(_directories(old)) as abandoned:
            for directory in abandoned:
                taken.mkdir(mode=0o700, exist_ok=True)
                directory.rename(taken / directory.name)
        with _locked(_directories(taken)) as ours:
            _import_all(ours, journal)
        for directory in (old, taken):
            with suppress(OSError):  # a running mount uses a part of it
                directory.rmdir()


def _directories(parent: Path) -> list[Path]:
    return [path for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []


@contextmanager
def _locked(directories: list[Path]) -> Iterator[list[Path]]:
    """Yield those of the directories that nobody else has locked, locked."""
    with ExitStack() as stack:
        yield [directory for directory in directories if _lock(directory, stack)]


def _lock(directory: Path, stack: ExitStack) -> bool:
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _import_all(directories: list[Path], journal: Journal) -> None:
    records = [path for directory in directories for path in directory.glob("*.json")]
    for record in sorted(records, key=lambda path: path.stat().st_mtime_ns):
        _import(record, journal)
    for directory in directories:
        _set_aside(directory, "*.unreadable-data", "*.unreadable", journal)
        shutil.rmtree(directory)  # the rest was never closed or synced


def _import(path: Path, journal: Journal) -> None:
    try:
        record = _RECORD.validate_json(path.read_bytes(), strict=True)
    except ValueError as error:
        log.error("%s cannot be read: %s", path, error)
        _set_aside(path.parent, f"{path.stem}.data", path.name, journal)
        return
    data = path.with_suffix(".data")
    staged = journal.staged(f"legacy.{path.stem}")
    if not journal.is_needed(staged):
        _note(record, staged.path.name, data.stat().st_size if data.exists() else None, journal)
    if data.exists():
        data.rename(staged.path)
        staged.promise()
    path.unlink()


def _set_aside(directory: Path, data: str, records: str, journal: Journal) -> None:
    """Keep the files that match, if there are any."""
    found = [*directory.glob(data)]
    if found:
        journal.set_aside_files(found, [*directory.glob(records)], "the records of an earlier version cannot be read")


def _note(record: _Record, data: str, size: int | None, journal: Journal) -> None:
    replaces = frozenset(record.replaces)
    entry = Entry(
        record.container_id,
        record.container_name,
        record.path,
        data,
        replaces=replaces,
        attributes=record.attributes,
        error=record.error,
    )
    with journal.transaction() as tx:
        sequence = tx.put(entry)
        tx.begin(
            Attempt(
                f"containerfs-{data}",
                record.container_id,
                record.path,
                size,
                record.since,
                entry=sequence,
                data=data,
                known=replaces,
            )
        )
