"""Staged writes: what was written here and is not on the service yet, with a record of each that is due.

A staged file is ``ID.data``; its record, ``ID.json``, appears once the content is to be uploaded, and goes when the
service has it. At the next mount, records whose upload did not end are replayed; data without a record was never closed
or synced, nobody was told that it is safe, and it is removed. A journal belongs to one mount at a time: each mount has
a directory of its own, locked, and takes over those of mounts that are gone.
"""

import fcntl
import json
import logging
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from containerfs.fs.attributes import Attributes
from containerfs.fs.disk import disk_errors, write_all

log = logging.getLogger(__name__)

_COPY_BLOCK = 8 << 20


class StagedFile:
    """The content of a file that is being written, on this machine's disk.

    Attributes:
        version: grows with each change; what was uploaded is named by it.
        torn: a write to it failed; it is not what its writer meant.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.version = 0
        self.torn = False
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @property
    def size(self) -> int:
        return os.fstat(self.fd).st_size

    @property
    def key(self) -> str:
        """The same for every attempt to upload this version."""
        return f"{self.path.stem}-{self.version}"

    def read_into(self, buffer: memoryview, offset: int) -> int:
        return os.preadv(self.fd, [buffer], offset)

    def write(self, data: memoryview, offset: int) -> int:
        """Write all of ``data`` at ``offset``. Raises NoSpace."""
        with disk_errors():
            written = write_all(self.fd, data, offset)
        self.version += 1
        return written

    def append(self, data: memoryview) -> int:
        return self.write(data, self.size)

    def truncate(self, size: int) -> None:
        with disk_errors():
            os.ftruncate(self.fd, size)
        self.version += 1

    def sync(self) -> None:
        with disk_errors():
            os.fdatasync(self.fd)

    def copy_from(self, fd: int, size: int) -> None:
        """Take over the first ``size`` bytes of another file, by reference where the disk can. Raises NoSpace."""
        done = 0
        with disk_errors():
            while done < size:
                copied = os.copy_file_range(fd, self.fd, min(size - done, _COPY_BLOCK), done, done)
                if not copied:
                    raise OSError("the cached content is shorter than its size")
                done += copied

    def close(self) -> None:
        os.close(self.fd)


@dataclass(frozen=True, slots=True)
class Record:
    """What is to be done with a staged file.

    Attributes:
        path: below the container.
        replaces: the file ids that it takes the place of, to be deleted once it is safe.
        attributes: to be kept for it.
        since: Unix seconds from which on an attempt may have reached the service without our learning of it.
        error: why the last attempt failed; None if none did.
    """

    container_id: str
    container_name: str
    path: str
    replaces: list[str] = field(default_factory=list)
    attributes: Attributes = field(default_factory=Attributes)
    since: int = field(default_factory=lambda: int(time.time()))
    error: str | None = None


class Journal:
    """The staged files and records of one mount.

    Args:
        directory: of all mounts' journals for one service.
    """

    def __init__(self, directory: Path) -> None:
        name = uuid.uuid4().hex
        self.directory = directory / name
        unlocked = directory / f".{name}"  # none takes it over before it is locked
        unlocked.mkdir(parents=True, mode=0o700)
        self._lock = _lock(unlocked)
        unlocked.rename(self.directory)
        for other in directory.iterdir():
            if other != self.directory and other.is_dir() and not other.name.startswith("."):
                self._take_over(other)

    def stage(self) -> StagedFile:
        """A new, empty staged file. Raises NoSpace."""
        with disk_errors():
            return StagedFile(self.directory / f"{uuid.uuid4().hex}.data")

    def record(self, staged: StagedFile, record: Record, *, durable: bool) -> None:
        """Note what is due: a crash of the mount loses nothing from here on; if ``durable``, nor does the machine's.

        Raises:
            NoSpace: the disk is full; nothing is noted.
        """
        target = self._record_path(staged)
        temporary = target.with_suffix(".tmp")
        with disk_errors():
            if durable:
                os.fdatasync(staged.fd)
            with open(temporary, "w") as file:
                json.dump(asdict(record), file)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, target)
            if durable:
                _sync_directory(self.directory)

    def has_record(self, staged: StagedFile) -> bool:
        """Whether a staged file is due, as far as the next mount would know."""
        return self._record_path(staged).exists()

    def forget(self, staged: StagedFile) -> None:
        """Drop the record: nothing is due any more. The data stays with whoever holds it."""
        self._record_path(staged).unlink(missing_ok=True)

    def discard(self, staged: StagedFile) -> None:
        """Drop the record and the data."""
        self.forget(staged)
        staged.path.unlink(missing_ok=True)
        staged.close()

    def replay(self) -> Iterator[tuple[Record, StagedFile]]:
        """What earlier mounts left undone. Data that nobody was told is safe is removed."""
        for path in sorted(self.directory.glob("*.data")):
            staged = StagedFile(path)
            record = self._load(self._record_path(staged))
            if record is None:
                self.discard(staged)
            else:
                yield record, staged

    def close(self) -> None:
        """Release the journal; what is still due stays for the next mount."""
        for path in self.directory.glob("*.data"):
            if not path.with_suffix(".json").exists():
                path.unlink(missing_ok=True)
        with suppress(OSError):
            self.directory.joinpath("lock").unlink()
            self.directory.rmdir()
        os.close(self._lock)

    def _record_path(self, staged: StagedFile) -> Path:
        return staged.path.with_suffix(".json")

    def _take_over(self, other: Path) -> None:
        """Move what a mount that is gone has left here; a mount that lives holds the lock, and keeps its own."""
        try:
            lock = _lock(other)
        except OSError:
            return
        # Records first: data whose record is missing would be taken for garbage.
        for path in sorted(other.iterdir(), key=lambda path: path.suffix != ".json"):
            if path.name == "lock" or path.suffix == ".tmp":
                path.unlink()
            else:
                os.replace(path, self.directory / path.name)
        with suppress(OSError):
            other.rmdir()
        os.close(lock)

    @staticmethod
    def _load(path: Path) -> Record | None:
        try:
            loaded: dict[str, Any] = json.loads(path.read_text())
            record = Record(**loaded)
            return replace(record, attributes=Attributes(**loaded["attributes"]))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            log.error("%s cannot be read (%s): its data is kept beside it, and not uploaded", path, error)
            path.rename(path.with_suffix(".unreadable"))
            path.with_suffix(".data").rename(path.with_suffix(".unreadable-data"))
            return None


def _lock(directory: Path) -> int:
    """Lock a mount's directory; the lock goes with the process. Raises OSError if another holds it."""
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
