"""The FUSE binding: the one module that imports it.

fusepy where libfuse 2 is present, else mfusepy, its maintained fork, with libfuse 3; both call the same ``Operations``.
Three of its methods are replaced: reads and writes go straight between the kernel's buffer and a file descriptor,
without the two copies that Python bytes would cost, and times keep what utimensat(2) says of "now" and "leave it".
"""

import codecs
import ctypes
import importlib
import time
from ctypes.util import find_library
from pathlib import Path
from types import ModuleType
from typing import Any

from containerfs.api.errors import ContainerFSError

# Linux file names are bytes. Those that are not UTF-8 have to survive the way to the file system, which refuses them.
_ENCODING = "containerfs-path"
_UTIME_NOW, _UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2  # Source: linux/stat.h


class FuseMissing(ContainerFSError):
    """This machine cannot mount; the message says what to install."""


def load() -> ModuleType:
    """The binding for the libfuse at hand. Raises FuseMissing."""
    if find_library("fuse"):
        return importlib.import_module("fuse")
    if find_library("fuse3"):
        return importlib.import_module("mfusepy")
    raise FuseMissing(f"libfuse is missing. Install it: {install_command()}")


def install_command(release: Path = Path("/etc/os-release")) -> str:
    """What installs libfuse on the distribution at hand. Source: os-release(5)."""
    fields = dict(line.split("=", 1) for line in _lines(release) if "=" in line)
    family = {fields.get("ID", "").strip('"'), *fields.get("ID_LIKE", "").strip('"').split()}
    if "ubuntu" in family and float(fields.get("VERSION_ID", '"0"').strip('"') or 0) >= 24:
        return "sudo apt install libfuse2t64 fuse3"
    commands = {
        "debian": "sudo apt install libfuse2 fuse3",
        "fedora": "sudo dnf install fuse-libs fuse",
        "arch": "sudo pacman -S fuse2",
        "suse": "sudo zypper install libfuse2 fuse",
        "alpine": "sudo apk add fuse",
    }
    return next((commands[name] for name in commands if name in family), "the package of libfuse 2, and fusermount")


def context(module: ModuleType) -> tuple[int, int, int]:
    """Who asks: user, group and thread id. Source: fuse_get_context, libfuse."""
    uid, gid, pid = module.fuse_get_context()
    return uid, gid, pid


def run(module: ModuleType, operations: object, mountpoint: str, options: dict[str, object]) -> None:
    """Mount, and serve until unmounted, on this thread and libfuse's own. Raises RuntimeError if it cannot mount."""
    codecs.register(_path_codec)
    _fuse_class(module)(operations, mountpoint, foreground=True, raw_fi=True, encoding=_ENCODING, **options)


def _fuse_class(module: ModuleType) -> Any:
    base: Any = module.FUSE

    class Fuse(base):  # type: ignore[misc]
        def read(self, path: bytes | None, buf: Any, size: int, offset: int, fip: Any) -> int:
            return self.operations.read_into(fip.contents.fh, _view(buf, size), offset)  # type: ignore[no-any-return]

        def write(self, path: bytes | None, buf: Any, size: int, offset: int, fip: Any) -> int:
            return self.operations.write_from(fip.contents.fh, _view(buf, size), offset)  # type: ignore[no-any-return]

        def utimens(self, path: bytes, buf: Any, *_: Any) -> int:
            times = (buf.contents.actime, buf.contents.modtime) if buf else (None, None)
            atime, mtime = map(_nanoseconds, times)
            return self.operations.set_times(path.decode(_ENCODING), atime, mtime)  # type: ignore[no-any-return]

    return Fuse


def _view(buffer: Any, size: int) -> memoryview:
    return memoryview((ctypes.c_char * size).from_address(ctypes.addressof(buffer.contents))).cast("B")


def _nanoseconds(timespec: Any) -> int | None:
    if timespec is None or timespec.tv_nsec == _UTIME_NOW:
        return time.time_ns()
    if timespec.tv_nsec == _UTIME_OMIT:
        return None
    return int(timespec.tv_sec) * 1_000_000_000 + int(timespec.tv_nsec)


def _path_codec(name: str) -> codecs.CodecInfo | None:
    if name.replace("_", "-") != _ENCODING:
        return None
    return codecs.CodecInfo(
        lambda text, errors="strict": (text.encode("utf-8", "surrogateescape"), len(text)),
        lambda data, errors="strict": (bytes(data).decode("utf-8", "surrogateescape"), len(data)),
        name=_ENCODING,
    )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
