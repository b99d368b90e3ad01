"""An incomplete download: a hidden file next to its target, whose name it gets once it is complete.

Invariant: a file under the target's name is complete, whatever happens meanwhile.
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

_WORTH_KEEPING = 1 << 20  # bytes; fewer are fetched again sooner than somebody wonders what the file is


class Partial:
    """The bytes received so far, from the beginning.

    Attributes:
        size: how many.
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
    """The partial download of a file; it becomes ``target`` if nothing is raised.

    What an earlier attempt has left is gone on with, if the file's size can tell whether the result is whole. What is
    raised leaves it there, unless it is little, or the service has dropped the file.

    Raises:
        FsError: the disk does not take it, or another process downloads the same file to the same place.
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
    """The path of a download to ``target`` until it is complete; other contents have other paths."""
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
    """The permissions a file may have here, of those that a new one gets: those who may read it may also run it."""
    return (new & 0o666) | (new & 0o444) >> 2
