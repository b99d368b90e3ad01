"""The local disk: translates its errors, and has locks that several mounts share."""

import ctypes
import errno
import fcntl
import os
import threading
import weakref
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

from containerfs.fs import types

_KINDS = {
    errno.ENOSPC: types.NoSpace,
    errno.EDQUOT: types.NoSpace,
    errno.EFBIG: types.TooLarge,
    errno.EMFILE: types.TooManyOpenFiles,
    errno.ENFILE: types.TooManyOpenFiles,
    errno.EOPNOTSUPP: types.NotSupported,
}
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class _DiskErrors:
    """A context manager written out: one that is made of a generator takes as long as a system call."""

    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            known = _KINDS.get(error.errno or 0, types.Failed)
            raise known(f"on this machine's disk: {error}") from error


_DISK_ERRORS = _DiskErrors()


def disk_errors() -> AbstractContextManager[None]:
    """Translate the ``OSError`` of work on local files by ``_KINDS``; others become Failed."""
    return _DISK_ERRORS


def write_all(fd: int, data: memoryview | bytes, offset: int) -> int:
    """Write all of ``data``, and return its size in bytes. A disk that is nearly full may take a part of it first.

    Raises:
        OSError: if some of it cannot be written.
    """
    left = memoryview(data)
    while left:
        written = os.pwrite(fd, left, offset)
        left, offset = left[written:], offset + written
    return len(data)


def fallocate(fd: int, mode: int, offset: int, size: int) -> None:
    """Allocate, punch out or zero a range. Python's own function has no mode. Source: fallocate(2).

    Raises:
        NoSpace: if the disk is full.
        TooLarge: if the file would be larger than its file system allows.
        NotSupported: if the file system cannot do it.
    """
    with disk_errors():
        if _libc.fallocate(fd, mode, offset, size):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def sync_path(path: Path) -> None:
    """Flush a file, or the names in a directory, to the disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_disk(path: Path) -> None:
    """Flush everything written to the disk that a file or directory is on. Source: syncfs(2).

    Raises:
        NoSpace: if some of it could not be written because the disk is full.
        Failed: if some of it could not be written.
    """
    with disk_errors():
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _libc.syncfs(fd):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        finally:
            os.close(fd)


@cache
def boot_id() -> str:
    """Return an id of this boot of the machine. Source: random(4)."""
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else "unknown"


class FileLock:
    """A lock that excludes other threads, and other processes that lock the same file. Not reentrant.

    The kernel releases it when its holder is killed. Its descriptor is closed with the last reference to it. Source:
    flock(2).

    Args:
        path: of the file; created if it is missing, and left in place.

    Raises:
        OSError: if the file cannot be opened or locked.
    """

    def __init__(self, path: Path) -> None:
        self._thread_lock = threading.Lock()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        weakref.finalize(self, os.close, self._fd)

    def __enter__(self) -> None:
        self._thread_lock.acquire()
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        except BaseException:
            self._thread_lock.release()
            raise

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        self._thread_lock.release()
