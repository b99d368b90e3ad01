"""Room kept back on a store's disk, so that what frees room can be done when there is none left.

The reserve is a file of allocated blocks that holds nothing. SQLite writes before it frees, so whoever deletes gives
the reserve up when the disk is full, and makes it again of what was freed. Until that succeeds nothing is added to the
store, so that an upload cannot take what the next deletion needs. Safe for use by several threads and servers at once.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from containerfs.server.storage.base import OutOfSpaceError

_MAX_BYTES = 32 * 1024 * 1024
"""Some times what a transaction writes that deletes 500 rows of a large store: a page in each of four indexes."""

_SHARE = 16
"""At most this part of the disk, where it is small."""


class Reserve:
    """The reserve in a directory."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "reserve"

    def require(self) -> None:
        """Make the reserve if it is not there. Raises OutOfSpaceError if there is no room for it."""
        disk = os.statvfs(self._path.parent)
        size = min(_MAX_BYTES, disk.f_blocks * disk.f_frsize // _SHARE)
        if self._size() >= size:
            return
        if disk.f_bavail * disk.f_frsize < size:
            raise OutOfSpaceError("the disk is full, and its reserve is in use")
        with out_of_space():
            self._allocate(size)

    def give_up(self) -> bool:
        """Free the reserve; whether there was one."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
            return True
        return False

    def _size(self) -> int:
        """Smaller than wanted if a crash cut the allocation short: the file grows with its blocks."""
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def _allocate(self, size: int) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError:
            self._path.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)


@contextlib.contextmanager
def out_of_space() -> Iterator[None]:
    """Raise OutOfSpaceError for the errors of the system that mean it."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OutOfSpaceError(error.strerror) from error
        raise
