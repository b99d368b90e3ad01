"""An incomplete download: a hidden file next to its target, which gets the target's name once it is complete.

Invariant: a file with the target's name is complete, whatever happens.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from containerfs.fs import types
from containerfs.fs.disk import disk_errors
from containerfs.fs.types import FileAttributes, RemoteFile, digest

_WORTH_KEEPING = 1 << 20  # bytes; a smaller file is not worth keeping


class Partial:
    """The bytes received so far, from the beginning.

    Attributes:
        size: their number.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.size = size

    def go_back(self, offset: int) -> None:
        """Keep only the bytes before ``offset``. Raises FsError."""
        with disk_errors():
            self._file.truncate(offset)
            self._file.seek(offset)
        self.size = offset

    def write(self, chunk: bytes) -> None:
        """Add bytes. Raises FsError."""
        with disk_errors():
            self._file.write(chunk)
        self.size += len(chunk)


@contextmanager
def partial(remote: RemoteFile, target: Path) -> Iterator[Partial]:
    """Give the partial download of a file. It becomes ``target`` if the context ends without an error.

    What an earlier attempt left is continued, if the size of the file is known, so that the result can be verified.
    After an error it stays, unless it is small, or the service no longer has the file.

    Raises:
        FsError: if the disk cannot take it, or another process downloads the same file to the same place.
    """
    path = partial_path(remote, target)
    with disk_errors():
        file = open(path, "ab", buffering=0)  # noqa: SIM115 - the disk's errors are translated, and the caller's are not
    with file:
        _claim(file, path)
        there = Partial(file, os.fstat(file.fileno()).st_size)
        if remote.size is None or there.size > remote.size:
            there.go_back(0)
        try:
            yield there
            with disk_errors():
                _become(file, path, target, remote)
        except BaseException as error:
            if there.size < _WORTH_KEEPING or remote.size is None or isinstance(error, types.NotFound):
                path.unlink(missing_ok=True)
            raise


def partial_path(remote: RemoteFile, target: Path) -> Path:
    """Return the path of a download to ``target`` until it is complete. It differs for different contents."""
    return target.with_name(f".containerfs-{digest(f'{remote.container_id} {remote.id} {target.name}')[:16]}.part")


def _claim(file: BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise types.Failed(f"another process is downloading it ({path} is locked)") from error


def _become(file: BinaryIO, path: Path, target: Path, remote: RemoteFile) -> None:
    attributes = remote.attributes or FileAttributes()
    if attributes.mode is not None:
        os.fchmod(file.fileno(), attributes.mode & _allowed(os.fstat(file.fileno()).st_mode))
    changed = remote.created_at * 1_000_000_000 if attributes.mtime is None else attributes.mtime
    if changed:
        os.utime(file.fileno(), ns=(changed, changed))
    path.replace(target)


def _allowed(new: int) -> int:
    """Return the widest mode for files here: that of a new file, and execution for all who may read it."""
    return (new & 0o666) | (new & 0o444) >> 2
