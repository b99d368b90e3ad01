"""Operations as the binding calls them: translated to the file system's, and decided there.

The methods have the names and arguments of fusepy's ``Operations``. Errors leave as ``OSError`` with the number of
``errno.py``'s table.
"""

import errno
import os
import stat
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from containerfs.fs.filesystem import FileSystem
from containerfs.fs.types import Attr
from containerfs.fuse.errno import errno_of

C = TypeVar("C", bound=type)

RENAME_NOREPLACE = 1  # Source: renameat2(2)
BLOCK = 512  # what st_blocks counts in. Source: stat(2)


def translating(cls: C) -> C:
    """Let every public method be an operation, and raise ``OSError`` in place of the file system's errors."""
    for name, method in list(vars(cls).items()):
        if callable(method) and not name.startswith("_"):
            setattr(cls, name, _translating(method))
    return cls


def _translating(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def translated(self: "ContainerOperations", *args: Any, **kwargs: Any) -> Any:
        try:
            with self._fs.operation(self._interrupted):
                return method(self, *args, **kwargs)
        except Exception as error:
            number = errno_of(error, method.__name__)
            raise OSError(number, os.strerror(number)) from error

    return translated


@translating
class ContainerOperations:
    """Translates, and decides nothing.

    Args:
        context: tells who asks: user, group and thread id.
        interrupted: whether nobody waits any more for the operation that this thread serves.
        on_ready: called once the kernel has the mount.
    """

    use_ns = True
    flag_utime_omit_ok = 1

    def __init__(
        self,
        filesystem: FileSystem,
        context: Callable[[], tuple[int, int, int]],
        interrupted: Callable[[], bool],
        on_ready: Callable[[], None],
    ) -> None:
        self._fs = filesystem
        self._context = context
        self._interrupted = interrupted
        self._on_ready = on_ready

    def __call__(self, operation: str, *args: Any) -> Any:
        return getattr(self, operation)(*args)

    def init(self, path: str) -> None:
        self._on_ready()

    def getattr(self, path: str, fi: Any = None) -> dict[str, int]:
        return _stat(self._fs.getattr(path))

    def opendir(self, path: str) -> int:
        return self._fs.opendir(path)

    def readdir(self, path: str, fh: int) -> list[tuple[str, dict[str, int], int]]:
        itself = [(name, {"st_ino": 1, "st_mode": stat.S_IFDIR}, 0) for name in (".", "..")]  # 0 would hide them
        inside = self._fs.readdir(fh)
        return itself + [(entry.name, {"st_ino": entry.ino, "st_mode": entry.mode}, 0) for entry in inside]

    def releasedir(self, path: str, fh: int) -> None:
        self._fs.releasedir(fh)

    def fsyncdir(self, path: str, datasync: int, fh: int) -> None:
        self._fs.sync(path)

    def mkdir(self, path: str, mode: int) -> None:
        uid, gid, _ = self._context()
        self._fs.mkdir(path, mode, (uid, gid))

    def rmdir(self, path: str) -> None:
        self._fs.rmdir(path)

    def create(self, path: str, mode: int, fi: Any) -> None:
        uid, gid, pid = self._context()
        fi.fh = self._fs.create(path, fi.flags, mode, pid, (uid, gid))

    def open(self, path: str, fi: Any) -> None:
        _, _, pid = self._context()
        fi.fh, fi.keep_cache = self._fs.open(path, fi.flags, pid)

    def read_into(self, fh: int, buffer: memoryview, offset: int) -> int:
        return self._fs.read_into(fh, buffer, offset)

    def write_from(self, fh: int, data: memoryview, offset: int) -> int:
        return self._fs.write(fh, data, offset)

    def read(self, path: str, size: int, offset: int, fi: Any) -> bytes:
        buffer = bytearray(size)
        return bytes(buffer[: self._fs.read_into(fi.fh, memoryview(buffer), offset)])

    def write(self, path: str, data: bytes, offset: int, fi: Any) -> int:
        return self._fs.write(fi.fh, memoryview(data), offset)

    def truncate(self, path: str, length: int, fi: Any = None) -> None:
        if fi is None:
            self._fs.truncate(path, length)
        else:
            self._fs.ftruncate(fi.fh, length)

    def flush(self, path: str, fi: Any) -> None:
        _, _, pid = self._context()
        self._fs.flush(fi.fh, pid)

    def fsync(self, path: str, datasync: int, fi: Any) -> None:
        self._fs.fsync(fi.fh)

    def release(self, path: str, fi: Any) -> None:
        self._fs.release(fi.fh)

    def unlink(self, path: str) -> None:
        self._fs.unlink(path)

    def rename(self, old: str, new: str) -> None:
        self._fs.rename(old, new)

    def move(self, old: str, new: str, flags: int) -> None:
        if flags & ~RENAME_NOREPLACE:
            raise OSError(errno.EINVAL, "two names cannot be exchanged")
        self._fs.rename(old, new, replace=not flags)

    def symlink(self, target: str, source: str) -> None:
        self._fs.refuse("the API has no symbolic links")

    def link(self, target: str, source: str) -> None:
        self._fs.refuse("the API has no hard links")

    def mknod(self, path: str, mode: int, dev: int) -> None:
        self._fs.refuse("the API has no special files")

    def chmod(self, path: str, mode: int) -> None:
        self._fs.chmod(path, mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        self._fs.chown(path, uid, gid)

    def set_times(self, path: str, atime: int | None, mtime: int | None) -> None:
        self._fs.utimens(path, atime, mtime)

    def utimens(self, path: str, times: tuple[int, int]) -> None:
        self._fs.utimens(path, *times)

    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        return self._fs.getxattr(path, name)

    def listxattr(self, path: str) -> list[str]:
        return self._fs.listxattr(path)

    def setxattr(self, path: str, name: str, value: bytes, options: int, position: int = 0) -> None:
        self._fs.setxattr(path, name, value)

    def removexattr(self, path: str, name: str) -> None:
        self._fs.setxattr(path, name, b"")

    def statfs(self, path: str) -> dict[str, int]:
        disk = self._fs.statfs()
        names = (
            "f_bsize",
            "f_frsize",
            "f_blocks",
            "f_bfree",
            "f_bavail",
            "f_files",
            "f_ffree",
            "f_favail",
            "f_namemax",
        )
        return {name: getattr(disk, name) for name in names}


def _stat(attr: Attr) -> dict[str, int]:
    return {
        "st_ino": attr.ino,
        "st_mode": attr.mode,
        "st_nlink": attr.nlink,
        "st_uid": attr.uid,
        "st_gid": attr.gid,
        "st_size": attr.size,
        "st_blocks": -(-attr.size // BLOCK),
        "st_blksize": 128 * 1024,  # what programs read and write at a time; FUSE moves no more at once
        "st_atime": attr.atime,
        "st_mtime": attr.mtime,
        "st_ctime": attr.ctime,
    }
