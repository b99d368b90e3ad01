"""Staged files: what was written here and is not on the service yet, on this machine's disk.

A staged file is written until its writer closes it. From then on its bytes never change, so what is uploaded is what
was closed. A descriptor is open only while somebody uses the file, because thousands may wait for their upload.
"""

import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blake3 import blake3

from containerfs.fs import types
from containerfs.fs.deadline import NEVER
from containerfs.fs.disk import disk_errors, fallocate, write_all
from containerfs.fs.rate import Rate

_COPY_BLOCK = 8 << 20
_HASH_BLOCK = 1 << 20


def new_hash() -> blake3:
    """The hash that identifies contents. SHA-256 would take a third of the time of writing a large file."""
    return blake3()


class StagedFile:
    """One file of staged bytes. Thread-safe: a descriptor is not closed while it is used, nor twice, since its number
    may be another file's by then.

    Args:
        path: of the file; created by ``create``, or left by an earlier mount.
        sealed: whether it is closed, so that nothing is to be written to it any more.

    Attributes:
        in_sequence: how many bytes it has, if each was written once, in sequence from the start; None once that is not
            so. Those bytes have never changed, and will not as long as it is.
        grown: set whenever ``in_sequence`` changes, for whoever follows the file; None if nobody does.
    """

    __slots__ = ("_fd", "_lock", "grown", "in_sequence", "path", "sealed")

    def __init__(self, path: Path, *, sealed: bool = False) -> None:
        self.path = path
        self.sealed = sealed
        self.in_sequence: int | None = None
        self.grown: threading.Event | None = None
        self._fd: int | None = None
        self._lock = threading.Lock()  # guards the descriptor, and is held while it is used

    @classmethod
    def create(cls, path: Path) -> "StagedFile":
        """A new, empty staged file. Raises NoSpace, TooManyOpenFiles."""
        staged = cls(path)
        with disk_errors():
            staged._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        staged.in_sequence = 0
        return staged

    @property
    def size(self) -> int:
        """In bytes."""
        with self._lock, disk_errors():
            return os.stat(self.path if self._fd is None else self._fd).st_size

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Read at ``offset``; returns how many bytes, fewer than ``buffer`` holds only at the end.

        Raises Failed if the file is gone, TooManyOpenFiles.
        """
        with self._lock:
            return os.preadv(self._descriptor(), [buffer], offset)

    def write(self, data: memoryview, offset: int) -> int:
        """Write all of ``data`` at ``offset``. Raises NoSpace."""
        with self._lock, disk_errors():
            self._begin_write(offset)
            written = write_all(self._descriptor(), data, offset)
            self._end_write(offset + written)
            return written

    def append(self, data: memoryview) -> int:
        """Write all of ``data`` at the end. Raises NoSpace."""
        with self._lock, disk_errors():
            descriptor = self._descriptor()
            offset = os.fstat(descriptor).st_size
            self._begin_write(offset)
            written = write_all(descriptor, data, offset)
            self._end_write(offset + written)
            return written

    def truncate(self, size: int) -> None:
        """Cut or extend the file to ``size`` bytes. Raises NoSpace, TooLarge."""
        with self._lock, disk_errors():
            if size != self.in_sequence:
                self._break_sequence()
            os.ftruncate(self._descriptor(), size)

    @property
    def blocks(self) -> int:
        """What it takes of the disk, in units of 512 bytes."""
        with self._lock, disk_errors():
            return os.stat(self.path if self._fd is None else self._fd).st_blocks

    def allocate(self, mode: int, offset: int, size: int) -> None:
        """Allocate, punch out or zero a range. Source: fallocate(2). Raises NoSpace, TooLarge, NotSupported."""
        with self._lock:
            self._break_sequence()
            fallocate(self._descriptor(), mode, offset, size)

    def sync(self) -> None:
        """Flush the bytes to the disk. Raises Failed, NoSpace."""
        with self.opened() as descriptor, disk_errors():
            os.fdatasync(descriptor)

    def copy_from(self, fd: int, size: int) -> None:
        """Take over the first ``size`` bytes of another file, by reference where the disk can. Raises NoSpace."""
        done = 0
        with self._lock, disk_errors():
            self._break_sequence()
            descriptor = self._descriptor()
            while done < size:
                copied = os.copy_file_range(fd, descriptor, min(size - done, _COPY_BLOCK), done, done)
                if not copied:
                    raise OSError("the cached content is shorter than its size")
                done += copied

    def digest(self, size: int | None = None) -> str:
        """The hash of the content, or of its first ``size`` bytes, in hexadecimal."""
        hash_, offset, end = new_hash(), 0, self.size if size is None else size
        with self.opened() as fd, disk_errors():
            while chunk := os.pread(fd, min(_HASH_BLOCK, end - offset), offset):
                hash_.update(chunk)
                offset += len(chunk)
        return hash_.hexdigest()

    @contextmanager
    def opened(self) -> Iterator[int]:
        """A descriptor of one's own, to read from without the node's lock. Raises Failed, TooManyOpenFiles."""
        with disk_errors():
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)

    @staticmethod
    def is_promised(path: Path) -> bool:
        """Whether a staged file that was left behind was promised to be kept."""
        return bool(path.stat().st_mode & stat.S_IXUSR)

    def promise(self) -> None:
        """Mark on disk that the content was promised to be kept, so that it does not vanish with its record."""
        self.path.chmod(0o700)

    def release(self) -> None:
        """The promise was kept, or is not needed any more. Raises FileNotFoundError."""
        self.path.chmod(0o600)

    def rest(self) -> None:
        """Give the descriptor back; the next use opens another."""
        with self._lock:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def remove(self) -> None:
        """Delete the file."""
        self.rest()
        self.path.unlink(missing_ok=True)

    def _begin_write(self, offset: int) -> None:
        """Before bytes change, so that nobody takes them for those that were there. Wants the lock held."""
        if offset != self.in_sequence:
            self._break_sequence()

    def _end_write(self, end: int) -> None:
        """Wants the lock held."""
        if self.in_sequence is not None:
            self.in_sequence = end
            if self.grown is not None:
                self.grown.set()

    def _break_sequence(self) -> None:
        """Wants the lock held."""
        self.in_sequence = None
        if self.grown is not None:
            self.grown.set()

    def _descriptor(self) -> int:
        """Opened on first use. Wants the lock held. Raises Failed if the file is gone, TooManyOpenFiles."""
        if self._fd is None:
            with disk_errors():
                self._fd = os.open(self.path, (os.O_RDONLY if self.sealed else os.O_RDWR) | os.O_CLOEXEC)
        return self._fd


class SealedSource:
    """A closed staged file as the client uploads it; its digest is taken while the bytes are sent.

    Args:
        fd: of the file, for as long as the upload lasts.
        size: in bytes.
        expected: the digest that was noted when the file was closed; None if none was.

    Attributes:
        moved_at: the monotonic time at which bytes were sent that had not been sent before.
        rate: at which such bytes are sent.
    """

    def __init__(self, fd: int, size: int, expected: str | None) -> None:
        self.size = size
        self._fd = fd
        self._expected = expected
        self._hash = new_hash()
        self._hashed = 0
        self._cancelled = False
        self.moved_at = NEVER
        self.rate = Rate()

    @property
    def sent(self) -> int:
        """How many bytes were sent, those that were sent again counted once."""
        return self._hashed

    @property
    def digest(self) -> str | None:
        """Of the whole content; None until all of it was read."""
        return self._hash.hexdigest() if self._hashed == self.size else None

    def cancel(self) -> None:
        """Let the upload break off at its next read."""
        self._cancelled = True

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes. The last ones are withheld if they show that the file was damaged.

        Raises:
            Cancelled: nobody wants the upload any more.
            Damaged: the content is not what was closed.
        """
        if self._cancelled:
            raise types.Cancelled("the file was deleted or replaced during its upload")
        with disk_errors():
            data = os.pread(self._fd, min(size, self.size - offset), offset)
        self._take_digest(data, offset)
        return data

    def _take_digest(self, data: bytes, offset: int) -> None:
        if offset != self._hashed:
            return  # another attempt reads what was hashed before
        self._hash.update(data)
        self._hashed += len(data)
        self.rate.add(len(data))
        self.moved_at = time.monotonic()
        if self._expected is not None and self.digest not in (None, self._expected):
            raise types.Damaged("the staged data was damaged on this machine's disk; it is not uploaded")
