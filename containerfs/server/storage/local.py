"""Blobs as files below a directory.

``blobs/BL/BLOB`` is a blob; it was fsynced, and so was its directory. A large one is written as ``tmp/…`` and then
renamed. Its writer holds an advisory lock (flock(2)) on it, which the kernel releases however the process ends. So a
temporary file without a lock is garbage, whatever its age.

Deleting blobs takes a shared lock on ``blobs``. While a backup holds it exclusively, nothing is deleted: blobs that
should have been are dead, and deleted later.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
from collections.abc import AsyncIterator, Collection, Iterator
from pathlib import Path

from containerfs.server.storage.failures import BlobNotFoundError, OutOfSpaceError
from containerfs.server.storage.leases import Leases, new_name
from containerfs.server.storage.metadata_store import Transaction
from containerfs.server.storage.reserve import Reserve, check_room, out_of_space
from containerfs.server.storage.threads import settled

_FLUSH_SIZE = 1024 * 1024
"""Bytes that are gathered before a thread writes them. At 1 MiB, the hop to the thread (0.1 ms) hardly matters, and a
writer holds two such pieces."""


class LocalBlobStore:
    """The BlobStore on a local file system."""

    def __init__(self, directory: Path, reserve: Reserve, leases: Leases) -> None:
        """Create what is missing below ``directory``.

        Raises:
            OSError: if that is not possible.
        """
        self._reserve, self._leases = reserve, leases
        self._blobs = directory / "blobs"
        self._unfinished = directory / "tmp"
        for part in (self._blobs, self._unfinished):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
            part.chmod(0o700)  # a store that was copied has the modes that the copying program gave it

    @contextlib.asynccontextmanager
    async def writer(self) -> AsyncIterator["LocalBlobWriter"]:
        writer = LocalBlobWriter(self._unfinished / new_name(), self._blobs, self._reserve, self._leases)
        try:
            yield writer
        finally:
            await writer.close()

    def recorded(self, tx: Transaction, blob: str, size: int) -> None:
        """Return None: no blob is kept in the rows."""

    async def open(self, blob: str, size: int) -> "LocalBlobReader":
        try:
            reader = LocalBlobReader(os.open(_path(self._blobs, blob), os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError as error:
            raise BlobNotFoundError(blob) from error
        if reader.size != size:
            await reader.close()
            raise OSError(f"the stored content {blob} has {reader.size} bytes instead of {size}")
        return reader

    async def discard(self, blobs: Collection[str]) -> None:
        await self.delete(blobs)

    async def delete(self, blobs: Collection[str]) -> bool:
        return not blobs or await asyncio.to_thread(self._delete, blobs)

    async def sweep_unfinished(self) -> None:
        await asyncio.to_thread(self._sweep_unfinished)

    async def close(self) -> None: ...

    def _sweep_unfinished(self) -> None:
        for path in self._unfinished.iterdir():
            fd = _hold(path)
            if fd is None:
                continue
            try:
                path.unlink(missing_ok=True)
            finally:
                os.close(fd)

    def _delete(self, blobs: Collection[str]) -> bool:
        with _held(self._blobs, fcntl.LOCK_SH | fcntl.LOCK_NB) as may_delete:
            for blob in blobs if may_delete else ():
                _path(self._blobs, blob).unlink(missing_ok=True)
        with contextlib.suppress(OutOfSpaceError):
            self._reserve.require()
        return may_delete


class LocalBlobWriter:
    """Gathers bytes and passes them to a thread, which writes one piece while the next is gathered.

    A blob of one piece is written under its own name once it is complete. The name is leased, so what a crash leaves
    there is deleted when the lease ends. A longer blob is written to a temporary file, which is renamed.
    """

    def __init__(self, unfinished: Path, finished: Path, reserve: Reserve, leases: Leases) -> None:
        """Prepare to write a file below the directory ``finished``, and, for a large blob, the file ``unfinished``
        first."""
        self._path, self._finished, self._reserve, self._leases = unfinished, finished, reserve, leases
        self.name: str | None = None
        self.size = 0
        self._leased = ""
        self._fd: int | None = None  # of the file at the path
        self._gathered: list[bytes | memoryview] = []
        self._gathered_size = 0
        self._flushing: asyncio.Future[None] | None = None

    def expect(self, size: int) -> None:
        check_room(self._finished, size)

    async def write(self, data: bytes | memoryview) -> None:
        self._gathered.append(data)
        self._gathered_size += len(data)
        self.size += len(data)
        if self._gathered_size >= _FLUSH_SIZE:
            await self._flush()

    async def commit(self) -> str:
        await self._flushed()
        self._leased = await self._leases.take()
        return self._leased

    def publish(self) -> None:
        finished = _path(self._finished, self._leased)
        directory = finished.parent
        with out_of_space():
            if not directory.is_dir():
                directory.mkdir(mode=0o700, exist_ok=True)
                _fsync_directory(directory.parent)
        unfinished = None if self._fd is None else self._path
        if unfinished is None:
            self._path = finished
        self._append(self._gathered)
        assert self._fd is not None
        with out_of_space():
            os.fsync(self._fd)
            if unfinished is not None:
                unfinished.rename(finished)
            _fsync_directory(directory)
        os.close(self._fd)
        self._fd, self.name = None, self._leased

    def record(self, tx: Transaction) -> None:
        """Do nothing: the blob is in its file."""

    async def close(self) -> None:
        try:
            # A commit has raised the errors of all pieces. Without a commit, they do not matter.
            with contextlib.suppress(OSError, OutOfSpaceError):
                await self._flushed()
        finally:
            if self._fd is not None:
                self._path.unlink(missing_ok=True)
                await _close(self._fd)

    async def _flush(self) -> None:
        await self._flushed()
        pieces, self._gathered, self._gathered_size = self._gathered, [], 0
        self._flushing = asyncio.get_running_loop().run_in_executor(None, self._append, pieces)

    async def _flushed(self) -> None:
        """Wait until the current piece is written, even if cancelled: the thread must not find its file closed."""
        flushing, self._flushing = self._flushing, None
        if flushing is not None:
            await settled(flushing)

    def _append(self, pieces: list[bytes | memoryview]) -> None:
        self._reserve.require()
        with out_of_space():
            if self._fd is None:
                self._fd = _create_locked(self._path)
            for piece in pieces:
                _write_all(self._fd, piece)


class LocalBlobReader:
    """An open blob. What is in the page cache is read at once, and the rest in a thread."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.size = os.fstat(fd).st_size

    async def seek(self, start: int, stop: int) -> None: ...

    async def address(self, seconds: float) -> str | None:
        return None

    async def read(self, offset: int, size: int) -> bytes:
        buffer = bytearray(size)
        try:
            count = os.preadv(self._fd, [buffer], offset, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EOPNOTSUPP):
                raise
            count = await asyncio.to_thread(os.preadv, self._fd, [buffer], offset)
        return bytes(memoryview(buffer)[:count])

    async def close(self) -> None:
        await _close(self._fd)


@contextlib.contextmanager
def without_deletions(directory: Path) -> Iterator[None]:
    """Keep all servers from deleting blobs of the store in a directory, until the context ends."""
    with _held(directory / "blobs", fcntl.LOCK_EX):
        yield


def _path(directory: Path, blob: str) -> Path:
    return directory / blob[:2] / blob


@contextlib.contextmanager
def _held(directory: Path, lock: int) -> Iterator[bool]:
    """Try to take a lock on a directory, and yield whether that succeeded."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        held = True
        try:
            fcntl.flock(fd, lock)
        except BlockingIOError:
            held = False
        yield held
    finally:
        os.close(fd)


def _create_locked(path: Path) -> int:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return fd
        os.close(fd)  # a sweep removed it before it was locked


def _hold(path: Path) -> int | None:
    """Lock a file against its writer. Returns a descriptor, or None if a writer has the lock or the file is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


async def _close(fd: int) -> None:
    """Close a file; if it is deleted, in a thread, because the last close frees its blocks, which takes long for large
    files."""
    if os.fstat(fd).st_nlink:
        os.close(fd)
    else:
        await settled(asyncio.get_running_loop().run_in_executor(None, os.close, fd))


def _write_all(fd: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _fsync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
