"""Blobs as files below one directory.

``tmp/BLOB`` is a blob in the making, ``blobs/BL/BLOB`` a finished one: written, fsynced, renamed, its directory
fsynced. Whoever writes a blob holds an advisory lock (flock(2)) on it from creation until its row is committed, and
the kernel drops the lock however the process ends. So an unlocked temporary file, and an unlocked blob that no row
names, belong to no one, with no clock or grace period involved.

Whoever deletes blobs holds a shared lock on ``blobs`` meanwhile. While another has it alone, for a backup, nothing is
deleted: what should have been is garbage, which a later sweep finds.
"""

import asyncio
import contextlib
import errno
import fcntl
import itertools
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from pathlib import Path

from containerfs.server.storage.base import BlobNotFoundError, OutOfSpaceError
from containerfs.server.storage.reserve import Reserve, out_of_space
from containerfs.server.storage.threads import settled

_FLUSH_SIZE = 1024 * 1024
"""Bytes gathered before they go to a thread: at a megabyte the hop (0.1 ms) no longer shows, and a writer holds two."""

_SWEEP_BATCH = 500
"""Blobs that a sweep asks about at a time: others wait for the question."""


class LocalBlobStore:
    """The BlobStore on a local file system."""

    def __init__(self, directory: Path, reserve: Reserve) -> None:
        """Create what is missing below ``directory``; raises OSError if that cannot be done."""
        self._reserve = reserve
        self._blobs = directory / "blobs"
        self._unfinished = directory / "tmp"
        for part in (self._blobs, self._unfinished):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
            part.chmod(0o700)  # a store that was copied here has the modes that the copy gave it

    @contextlib.asynccontextmanager
    async def writer(self) -> AsyncIterator["LocalBlobWriter"]:
        name = secrets.token_hex(16)
        writer = LocalBlobWriter(self._unfinished / name, self._path(name), self._reserve)
        try:
            yield writer
        finally:
            await writer.close()

    async def open(self, blob: str) -> "LocalBlobReader":
        try:
            return LocalBlobReader(os.open(self._path(blob), os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError as error:
            raise BlobNotFoundError(blob) from error

    async def delete(self, blobs: Collection[str]) -> None:
        if blobs:
            await asyncio.to_thread(self._delete, blobs)

    async def sweep(self, named: Callable[[Collection[str]], Awaitable[set[str]]]) -> int:
        swept = await asyncio.to_thread(self._sweep_unfinished)
        names = self._names()
        while batch := await asyncio.to_thread(lambda: set(itertools.islice(names, _SWEEP_BATCH))):
            for blob in batch - await named(batch):
                swept += await self._sweep_blob(blob, named)
        return swept

    async def _sweep_blob(self, blob: str, named: Callable[[Collection[str]], Awaitable[set[str]]]) -> bool:
        fd = _hold(self._path(blob))
        if fd is None:
            return False
        try:
            # Asked again under the lock: its writer may have committed the row since.
            if await named([blob]):
                return False
            return self._unlink([blob])
        finally:
            await _close(fd)

    def _sweep_unfinished(self) -> int:
        swept = 0
        for path in self._unfinished.iterdir():
            fd = _hold(path)
            if fd is None:
                continue
            try:
                path.unlink(missing_ok=True)
                swept += 1
            finally:
                os.close(fd)
        return swept

    def _names(self) -> Iterator[str]:
        for directory in self._blobs.iterdir():
            yield from os.listdir(directory)

    def _delete(self, blobs: Collection[str]) -> None:
        self._unlink(blobs)
        with contextlib.suppress(OutOfSpaceError):
            self._reserve.require()

    def _unlink(self, blobs: Collection[str]) -> bool:
        """Whether they are gone; they stay for now if there are to be no deletions."""
        with _held(self._blobs, fcntl.LOCK_SH | fcntl.LOCK_NB) as may_delete:
            for blob in blobs if may_delete else ():
                self._path(blob).unlink(missing_ok=True)
        return may_delete

    def _path(self, blob: str) -> Path:
        return self._blobs / blob[:2] / blob


class LocalBlobWriter:
    """Gathers what is written and hands it to a thread, one piece there while the next is gathered."""

    def __init__(self, unfinished: Path, finished: Path, reserve: Reserve) -> None:
        self._unfinished, self._finished, self._reserve = unfinished, finished, reserve
        self.name: str | None = None
        self.size = 0
        self._gathered: list[bytes | memoryview] = []
        self._gathered_size = 0
        self._flushing: asyncio.Future[None] | None = None
        with out_of_space():
            self._fd = _create_locked(unfinished)

    async def write(self, data: bytes | memoryview) -> None:
        self._gathered.append(data)
        self._gathered_size += len(data)
        self.size += len(data)
        if self._gathered_size >= _FLUSH_SIZE:
            await self._flush()

    async def commit(self) -> str:
        await self._flushed()
        await settled(asyncio.get_running_loop().run_in_executor(None, self._publish, self._gathered))
        self.name = self._finished.name
        return self.name

    async def close(self) -> None:
        try:
            # A commit has seen the outcome of every piece; without one, no one cares for it.
            with contextlib.suppress(OSError, OutOfSpaceError):
                await self._flushed()
        finally:
            self._unfinished.unlink(missing_ok=True)
            await _close(self._fd)

    async def _flush(self) -> None:
        await self._flushed()
        pieces, self._gathered, self._gathered_size = self._gathered, [], 0
        self._flushing = asyncio.get_running_loop().run_in_executor(None, self._append, pieces)

    async def _flushed(self) -> None:
        """Wait for the piece under way, also when cancelled: the file must not be closed under its thread."""
        flushing, self._flushing = self._flushing, None
        if flushing is not None:
            await settled(flushing)

    def _append(self, pieces: list[bytes | memoryview]) -> None:
        self._reserve.require()
        with out_of_space():
            for piece in pieces:
                _write_all(self._fd, piece)

    def _publish(self, last_pieces: list[bytes | memoryview]) -> None:
        self._append(last_pieces)
        with out_of_space():
            os.fsync(self._fd)
            directory = self._finished.parent
            if not directory.is_dir():
                directory.mkdir(mode=0o700, exist_ok=True)
                _fsync_directory(directory.parent)
            self._unfinished.rename(self._finished)
            _fsync_directory(directory)


class LocalBlobReader:
    """An open blob. What the page cache holds is read at once, the rest in a thread."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.size = os.fstat(fd).st_size

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
    """Have no server delete a blob from the store in a directory, until the context ends."""
    with _held(directory / "blobs", fcntl.LOCK_EX):
        yield


@contextlib.contextmanager
def _held(directory: Path, lock: int) -> Iterator[bool]:
    """Hold a lock on a directory, if it can be had; whether it is held."""
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
        os.close(fd)  # a sweep was quicker than the lock


def _hold(path: Path) -> int | None:
    """A descriptor that keeps writers off the file until it is closed; None if one holds it, or there is no file."""
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
    """Close in a thread: the last close of a deleted file frees its blocks, which takes long for a large one."""
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
