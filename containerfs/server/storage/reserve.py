"""Space that is held back on the disk of a store, so that deleting works when the disk is full.

The reserve is a file of allocated blocks that are not used. SQLite has to write before it frees anything. So when the
disk is full, a deletion gives up the reserve, and creates it again from the space that it has freed. Until that
succeeds, nothing is added to the store, so that no upload can take the space that the next deletion needs. Several
threads and servers may use it at once.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from containerfs.server.storage.failures import OutOfSpaceError

_MAX_BYTES = 32 * 1024 * 1024
"""A few times as much as a transaction writes that deletes 500 rows of a large store: a page in each of five indexes.
"""

_SHARE = 16
"""On a small disk, the reserve is at most one sixteenth of it."""


class Reserve:
    """The reserve in a directory."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "reserve"

    def require(self) -> None:
        """Create the reserve if it is missing.

        Raises:
            OutOfSpaceError: if there is no space for it.
        """
        disk = os.statvfs(self._path.parent)
        size = min(_MAX_BYTES, disk.f_blocks * disk.f_frsize // _SHARE)
        if self._size() >= size:
            return
        if disk.f_bavail * disk.f_frsize < size:
            raise OutOfSpaceError("the disk is full, and its reserve is in use")
        with out_of_space():
            self._allocate(size)

    def give_up(self) -> bool:
        """Free the reserve, and return whether there was one."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
            return True
        return False

    def _size(self) -> int:
        """Return the size of the reserve in bytes. It is too small if a crash interrupted the allocation, which makes
        the file grow."""
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


def check_room(directory: Path, size: int) -> None:
    """Raise OutOfSpaceError if the disk of a directory has less than ``size`` bytes left."""
    disk = os.statvfs(directory)
    if disk.f_bavail * disk.f_frsize < size:
        raise OutOfSpaceError("the disk has less space left than the content needs")


@contextlib.contextmanager
def out_of_space() -> Iterator[None]:
    """Raise OutOfSpaceError for those system errors that mean a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OutOfSpaceError(error.strerror) from error
        raise
