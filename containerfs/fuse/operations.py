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
from containerfs.fs.kernel import Forget
from containerfs.fs.types import Attr, Entry
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
        forgetting: returns how the kernel is made to forget a file; None where it cannot be.
        on_ready: called once the kernel has the mount.
        inode32: whether inode numbers are to have 32 bits, for programs that take no longer ones.
    """

    use_ns = True
    # What comes with a handle comes without a path: the file, or its directory, may have none any more.
    flag_nullpath_ok = flag_nopath = 1
    flag_utime_omit_ok = 1

    def __init__(
        self,
        filesystem: FileSystem,
        context: Callable[[], tuple[int, int, int]],
        interrupted: Callable[[], bool],
        forgetting: Callable[[], Forget | None],
        on_ready: Callable[[], None],
        *,
        inode32: bool = False,
    ) -> None:
        self._fs = filesystem
        self._context = context
        self._interrupted = interrupted
        self._forgetting = forgetting
        self._on_ready = on_ready
        self._ino: Callable[[int], int] = _folded if inode32 else int

    def __call__(self, operation: str, *args: Any) -> Any:
        return getattr(self, operation)(*args)

    def init(self, path: str) -> None:
        forget = self._forgetting()
        if forget is not None:
            self._fs.attach_kernel(forget)
        self._on_ready()

    def getattr(self, path: Any, fi: Any = None) -> dict[str, int]:
        attr = self._fs.getattr(path) if fi is None else self._fs.fgetattr(fi.fh)
        return _stat(attr, self._ino(attr.ino))

    def opendir(self, path: str) -> int:
        return self._fs.opendir(path)

    def readdir(self, path: str | None, fh: int) -> list[tuple[str, dict[str, int], int]]:
        return [(entry.name, self.brief(fh, entry), 0) for entry in self.entries(fh)]

    def entries(self, fh: int) -> list[Entry]:
        """What is in an open directory, as its entries come: by ``readdir``, or one by one by the two below."""
        itself = [Entry(name, 1, stat.S_IFDIR) for name in (".", "..")]  # inode number 0 would hide them
        return itself + self._fs.readdir(fh)

    def brief(self, fh: int, entry: Entry) -> dict[str, int]:
        """What a listing of names needs of an entry."""
        return {"st_ino": self._ino(entry.ino), "st_mode": entry.mode}

    def full(self, fh: int, entry: Entry) -> dict[str, int] | None:
        """What ``getattr`` would answer for an entry; None where only that can."""
        attr = self._fs.attr_in(fh, entry.name)
        return None if attr is None else _stat(attr, self._ino(attr.ino))

    def releasedir(self, path: str | None, fh: int) -> None:
        self._fs.releasedir(fh)

    def fsyncdir(self, path: str | None, datasync: int, fh: int) -> None:
        self._fs.fsyncdir(fh)

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

    def truncate(self, path: Any, length: int, fi: Any = None) -> None:
        if fi is None:
            self._fs.truncate(path, length)
        else:
            self._fs.ftruncate(fi.fh, length)

    def fallocate(self, path: str | None, mode: int, offset: int, size: int, fi: Any) -> None:
        self._fs.fallocate(fi.fh, mode, offset, size)

    def flush(self, path: str | None, fi: Any) -> None:
        _, _, pid = self._context()
        self._fs.flush(fi.fh, pid)

    def fsync(self, path: str | None, datasync: int, fi: Any) -> None:
        self._fs.fsync(fi.fh)

    def release(self, path: str | None, fi: Any) -> None:
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
        uid, gid, _ = self._context()
        self._fs.symlink(target, source.encode("utf-8", "surrogateescape"), (uid, gid))

    def readlink(self, path: str) -> str:
        return self._fs.readlink(path).decode("utf-8", "surrogateescape")

    def link(self, target: str, source: str) -> None:
        self._fs.refuse("the API has no hard links")

    def mknod(self, path: str, mode: int, dev: int) -> None:
        self._fs.refuse("the API has no special files")

    def chmod(self, path: Any, mode: int, fi: Any = None) -> None:
        if fi is None:
            self._fs.chmod(path, mode)
        else:
            self._fs.fchmod(fi.fh, mode)

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
        self._fs.removexattr(path, name)

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


def _folded(ino: int) -> int:
    """Of 32 bits, and neither 0, which names nothing, nor, but for the root, 1."""
    folded = (ino ^ ino >> 32) & 0xFFFF_FFFF
    return folded if folded > 1 or ino == 1 else 2


def _stat(attr: Attr, ino: int) -> dict[str, int]:
    return {
        "st_ino": ino,
        "st_mode": attr.mode,
        "st_nlink": attr.nlink,
        "st_uid": attr.uid,
        "st_gid": attr.gid,
        "st_size": attr.size,
        "st_blocks": -(-attr.size // BLOCK) if attr.blocks is None else attr.blocks,
        "st_blksize": 128 * 1024,  # what programs read and write at a time; FUSE moves no more at once
        "st_atime": attr.atime,
        "st_mtime": attr.mtime,
        "st_ctime": attr.ctime,
    }
