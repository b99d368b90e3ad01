"""Staged files: what was written here and is not on the service yet, on this machine's disk.

A staged file is written until its writer closes it. From then on its bytes never change, so what is uploaded is what
was closed. A descriptor is open only while somebody uses the file, because thousands may wait for their upload.
"""

import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
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
    """Return the hash that identifies contents. SHA-256 would take a third of the time of writing a large file."""
    return blake3()


class StagedFile:
    """A file of staged bytes.

    Thread-safe: a descriptor is neither closed while it is used, nor twice, because its number may belong to another
    file by then.

    Args:
        path: of the file; created by ``create``, or left by an earlier mount.
        sealed: whether it is closed, so that nothing more is written to it.

    Attributes:
        in_sequence: its size in bytes, if each byte was written once, in order from the start; otherwise None. While it
            is set, those bytes do not change.
        follower: called with ``in_sequence`` whenever that changes, and quick; None if nobody follows the file.
    """

    __slots__ = ("_fd", "_lock", "follower", "in_sequence", "path", "sealed")

    def __init__(self, path: Path, *, sealed: bool = False) -> None:
        self.path = path
        self.sealed = sealed
        self.in_sequence: int | None = None
        self.follower: Callable[[int | None], object] | None = None
        self._fd: int | None = None
        self._lock = threading.Lock()  # guards the descriptor; held while it is used

    @classmethod
    def create(cls, path: Path) -> "StagedFile":
        """Create an empty staged file. Raises NoSpace, TooManyOpenFiles."""
        staged = cls(path)
        with disk_errors():
            staged._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        staged.in_sequence = 0
        return staged

    @property
    def size(self) -> int:
        """Return the size in bytes."""
        with self._lock, disk_errors():
            return os.stat(self.path if self._fd is None else self._fd).st_size

    def read(self, offset: int, size: int) -> bytes:
        """Read the bytes at ``offset``, fewer than ``size`` only at the end of the file.

        Raises:
            Failed: if the file is gone.
            TooManyOpenFiles: if no descriptor is left.
        """
        with self._lock:
            return os.pread(self._descriptor(), size, offset)

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
        """Return how much of the disk it takes, in units of 512 bytes."""
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
        """Copy the first ``size`` bytes of another file, by reference if the disk can do that. Its holes stay holes.
        Raises NoSpace."""
        with self._lock, disk_errors():
            if os.fstat(fd).st_size < size:
                raise OSError("the cached content is shorter than its size")
            self._break_sequence()
            descriptor = self._descriptor()
            os.ftruncate(descriptor, size)
            for done, end in _written(fd, size):
                while done < end:
                    copied = os.copy_file_range(fd, descriptor, min(end - done, _COPY_BLOCK), done, done)
                    if not copied:
                        raise OSError("the cached content was cut while it was copied")
                    done += copied

    def digest(self, size: int | None = None, is_wanted: Callable[[], bool] = lambda: True) -> str:
        """Return the hash of the content, or of its first ``size`` bytes, in hexadecimal.

        Args:
            is_wanted: called now and then.

        Raises:
            Cancelled: if it is not wanted any more.
            Failed: if the content cannot be read.
        """
        hash_, offset, end = new_hash(), 0, self.size if size is None else size
        with self.opened() as fd, disk_errors():
            while chunk := os.pread(fd, min(_HASH_BLOCK, end - offset), offset):
                if not is_wanted():
                    raise types.Cancelled("nobody wants the digest any more")
                hash_.update(chunk)
                offset += len(chunk)
        return hash_.hexdigest()

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Yield a separate descriptor, for reading without the node's lock. Raises Failed, TooManyOpenFiles."""
        with disk_errors():
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)

    @staticmethod
    def is_promised(path: Path) -> bool:
        """Tell whether a staged file that was left behind was promised to be kept."""
        return bool(path.stat().st_mode & stat.S_IXUSR)

    def promise(self) -> None:
        """Mark on the disk that the content was promised to be kept, so that it does not disappear with its record."""
        self.path.chmod(0o700)

    def release(self) -> None:
        """Remove the mark, because the promise was kept or is not needed any more. Raises FileNotFoundError."""
        self.path.chmod(0o600)

    def rest(self) -> None:
        """Close the descriptor; the next use opens another."""
        with self._lock:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def remove(self) -> None:
        """Delete the file."""
        self.rest()
        self.path.unlink(missing_ok=True)

    def _begin_write(self, offset: int) -> None:
        """Called before bytes change, so that nobody takes the new ones for the old. The lock must be held."""
        if offset != self.in_sequence:
            self._break_sequence()

    def _end_write(self, end: int) -> None:
        """The lock must be held."""
        if self.in_sequence is not None:
            self.in_sequence = end
            if self.follower is not None:
                self.follower(end)

    def _break_sequence(self) -> None:
        """The lock must be held."""
        self.in_sequence = None
        if self.follower is not None:
            self.follower(None)

    def _descriptor(self) -> int:
        """Return the descriptor, opened on first use. The lock must be held. Raises Failed if the file is gone,
        TooManyOpenFiles."""
        if self._fd is None:
            with disk_errors():
                self._fd = os.open(self.path, (os.O_RDONLY if self.sealed else os.O_RDWR) | os.O_CLOEXEC)
        return self._fd


def _written(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of what is not a hole among a file's first ``size`` bytes. Source: lseek(2)."""
    end = 0
    while end < size:
        try:
            begin = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no more of them
                return
            raise
        end = os.lseek(fd, begin, os.SEEK_HOLE)
        if begin < size:
            yield begin, min(end, size)


class StagedSource:
    """What the ways to upload a staged file share: its digest is computed while the bytes are sent.

    Attributes:
        size: in bytes; None while it is unknown.
        moved_at: monotonic time when new bytes were last sent.
        rate: at which new bytes are sent.
    """

    def __init__(self, size: int | None) -> None:
        self.size = size
        self.moved_at = NEVER
        self.rate = Rate()
        self._hash = new_hash()
        self._hashed = 0
        self._cancelled = False

    @property
    def sent(self) -> int:
        """The number of bytes sent. Bytes that were sent again count once."""
        return self._hashed

    @property
    def digest(self) -> str | None:
        """The digest of the whole content; None until all of it was read."""
        return self._hash.hexdigest() if self._hashed == self.size else None

    def cancel(self) -> None:
        """Make the upload stop at its next read."""
        self._cancelled = True

    def _take_digest(self, data: bytes, offset: int) -> bool:
        """Return whether the bytes are new, and not read again by a further attempt."""
        if offset != self._hashed:
            return False
        self._hash.update(data)
        self._hashed += len(data)
        self.rate.add(len(data))
        self.moved_at = time.monotonic()
        return True


class SealedSource(StagedSource):
    """A closed staged file as the client uploads it.

    Args:
        fd: of the file, which stays open as long as the upload lasts.
        size: in bytes.
        expected: the digest that was recorded when the file was closed; None if there is none.
    """

    def __init__(self, fd: int, size: int, expected: str | None) -> None:
        super().__init__(size)
        self._fd = fd
        self._length = size
        self._expected = expected

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes. The last bytes are withheld if they show that the file is damaged.

        Raises:
            Cancelled: if nobody wants the upload any more.
            Damaged: if the content is not what was closed.
        """
        if self._cancelled:
            raise types.Cancelled("the file was deleted or replaced during its upload")
        with disk_errors():
            data = os.pread(self._fd, min(size, self._length - offset), offset)
        is_new = self._take_digest(data, offset)
        if is_new and self._expected is not None and self.digest not in (None, self._expected):
            raise types.Damaged("the staged data was damaged on this machine's disk; it is not uploaded")
        return data
