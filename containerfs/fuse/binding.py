"""The FUSE binding: the one module that imports it.

mfusepy with libfuse 3, whose requests carry up to 1 MiB; where only libfuse 2 is, fusepy, with 128 KiB. mfusepy is
fusepy's maintained fork, and both call the same ``Operations``. Some methods are replaced: reads and writes go straight
between the kernel's buffer and a file descriptor, without the two copies that Python bytes would cost; times keep what
utimensat(2) says of "now" and "leave it"; renames keep the flags of renameat2(2); truncating and changing modes keep
the handle, where the kernel gives one; with libfuse 3, directories are given
out as far as the kernel asks for, and where it asks for them with attributes, so that it need not ask for each.
"""

import codecs
import contextlib
import ctypes
import errno
import functools
import importlib
import os
import threading
import time
from collections.abc import Callable
from ctypes.util import find_library
from pathlib import Path
from types import ModuleType
from typing import Any

from containerfs.api.errors import ContainerFSError

# Linux file names are bytes. Those that are not UTF-8 have to survive the way to the file system, which refuses them.
_ENCODING = "containerfs-path"
_LIBFUSE_2_ONLY = ("big_writes", "atomic_o_trunc")  # libfuse 3 does both unasked
_ITSELF = (".", "..")  # of which no attributes are kept
_READDIR_PLUS, _FILL_DIR_PLUS = 1 << 0, 1 << 1  # Source: fuse.h, libfuse 3
# Operations at a time. Each that waits for the service has a thread of libfuse, which starts them as it needs them; the
# kernel sends no more reads ahead at a time than _BACKGROUND (12, unless it is told), so that some are left for others.
_THREADS, _BACKGROUND = 1000, 500
_TO_LOOK = 8  # descriptors, more than it takes to run a program
_FORGOTTEN = (0, -errno.ENOENT)  # the latter: it remembers nothing
_this_thread = threading.local()
_UTIME_NOW, _UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2  # Source: linux/stat.h


class FuseMissing(ContainerFSError):
    """This machine cannot mount; the message says what to install."""


@functools.cache  # looking for a library starts programs
def load() -> ModuleType:
    """The binding for the libfuse at hand. Raises FuseMissing."""
    if _has("fuse3"):
        os.environ.setdefault("FUSE_LIBRARY_NAME", "fuse3")  # mfusepy would take libfuse 2 first
        return importlib.import_module("mfusepy")
    if _has("fuse"):
        return importlib.import_module("fuse")
    raise FuseMissing(f"libfuse is missing. Install it: {install_command()}")


def _has(library: str) -> bool:
    """Whether a library is installed. Raises FuseMissing if that cannot be found out."""
    try:
        found = find_library(library)
    except OSError as error:
        _check_descriptors()
        raise FuseMissing(f"cannot look for libfuse: {error}") from error
    if found is None:
        _check_descriptors()
    return found is not None


def _check_descriptors() -> None:
    """Raises FuseMissing without descriptors: ``find_library`` then finds nothing, or blames something else."""
    try:
        with contextlib.ExitStack() as opened:
            for _ in range(_TO_LOOK):
                opened.enter_context(open(os.devnull))
    except OSError as error:
        raise FuseMissing(f"cannot look for libfuse: {error.strerror}") from error


def install_command(release: Path = Path("/etc/os-release")) -> str:
    """What installs libfuse on the distribution at hand. Source: os-release(5)."""
    fields = dict(line.split("=", 1) for line in _lines(release) if "=" in line)
    family = {fields.get("ID", "").strip('"'), *fields.get("ID_LIKE", "").strip('"').split()}
    commands = {
        "debian": "sudo apt install fuse3",
        "fedora": "sudo dnf install fuse3 fuse3-libs",
        "arch": "sudo pacman -S fuse3",
        "suse": "sudo zypper install fuse3 libfuse3-3",
        "alpine": "sudo apk add fuse3 fuse3-libs",
    }
    return next((commands[name] for name in commands if name in family), "the package of libfuse 3, with fusermount3")


def context(module: ModuleType) -> tuple[int, int, int]:
    """Who asks: user, group and thread id. Source: fuse_get_context, libfuse."""
    uid, gid, pid = module.fuse_get_context()
    return uid, gid, pid


def forgetting(module: ModuleType) -> Callable[[str], bool] | None:
    """How the kernel is made to forget a file; None with libfuse 2, which has no way. Called within a request.

    Source: fuse_invalidate_path, libfuse 3.2.
    """
    if module.__name__ != "mfusepy":
        return None
    libfuse = module._libfuse
    session = ctypes.c_void_p(libfuse.fuse_get_context().contents.fuse)

    def forget(path: str) -> bool:
        return libfuse.fuse_invalidate_path(session, path.encode("utf-8", "surrogateescape")) in _FORGOTTEN

    return forget


def interrupted(module: ModuleType) -> bool:
    """Whether the operation that this thread serves is to end: its program has got a signal, or the mount ends.

    Source: fuse_interrupted, fuse_session_exited, libfuse.
    """
    libfuse = module._libfuse
    return bool(libfuse.fuse_interrupted()) or _is_ending(libfuse)


def _is_ending(libfuse: Any) -> bool:
    fuse = ctypes.c_void_p(libfuse.fuse_get_context().contents.fuse)
    if hasattr(libfuse, "fuse_session_exited"):
        libfuse.fuse_get_session.restype = ctypes.c_void_p
        return bool(libfuse.fuse_session_exited(ctypes.c_void_p(libfuse.fuse_get_session(fuse))))
    return bool(libfuse.fuse_exited(fuse))


def run(module: ModuleType, operations: object, mountpoint: str, options: dict[str, object]) -> None:
    """Mount, and serve until unmounted, on this thread and libfuse's own. Raises RuntimeError if it cannot mount."""
    codecs.register(_path_codec)
    if module.__name__ == "mfusepy":
        options = {name: value for name, value in options.items() if name not in _LIBFUSE_2_ONLY}
        if (module.fuse_version_major, module.fuse_version_minor) >= (3, 12):
            options["max_threads"] = _THREADS
    else:
        # What the kernel cannot be told to forget it is not to remember.
        options = options | {"attr_timeout": 0, "max_background": _BACKGROUND}
    _fuse_class(module)(operations, mountpoint, foreground=True, raw_fi=True, encoding=_ENCODING, **options)


def _fuse_class(module: ModuleType) -> Any:
    base: Any = module.FUSE

    class Fuse(base):  # type: ignore[misc]
        def _init(self, connection: Any, config: Any) -> None:
            connection.contents.max_background = _BACKGROUND
            if config and module.fuse_version_minor >= 17:  # which else tells the kernel to interrupt nothing
                config.contents.intr = 1
            super()._init(connection, config)

        def _wrapper(self, *args: Any, **kwargs: Any) -> Any:
            _keep_thread_state()
            return super()._wrapper(*args, **kwargs)

        def read(self, path: bytes | None, buf: Any, size: int, offset: int, fip: Any) -> int:
            return self.operations.read_into(fip.contents.fh, _view(buf, size), offset)  # type: ignore[no-any-return]

        def write(self, path: bytes | None, buf: Any, size: int, offset: int, fip: Any) -> int:
            return self.operations.write_from(fip.contents.fh, _view(buf, size), offset)  # type: ignore[no-any-return]

    def utimens(self: Any, path: bytes, buf: Any, *_: Any) -> int:
        times = (buf.contents.actime, buf.contents.modtime) if buf else (None, None)
        atime, mtime = map(_nanoseconds, times)
        return self.operations.set_times(path.decode(_ENCODING), atime, mtime)  # type: ignore[no-any-return]

    def rename(self: Any, old: bytes, new: bytes, flags: int = 0) -> int:
        return self.operations.move(old.decode(_ENCODING), new.decode(_ENCODING), flags)  # type: ignore[no-any-return]

    if module.__name__ == "mfusepy":
        _give_out_directories(Fuse, module)

    def truncate_fuse_3(self: Any, path: bytes | None, length: int, fip: Any) -> int:
        return self.ftruncate(path, length, fip)  # type: ignore[no-any-return]

    def chmod_fuse_3(self: Any, path: bytes | None, mode: int, fip: Any) -> int:
        decoded = None if path is None else path.decode(_ENCODING)
        return self.operations.chmod(decoded, mode, fip.contents if fip else None)  # type: ignore[no-any-return]

    for taking_handles in (truncate_fuse_3, chmod_fuse_3):
        if hasattr(base, taking_handles.__name__):
            setattr(Fuse, taking_handles.__name__, taking_handles)
    for method in (utimens, rename):
        for suffix in ("", "_fuse_2", "_fuse_3"):  # mfusepy has one for each libfuse
            if hasattr(base, method.__name__ + suffix):
                setattr(Fuse, method.__name__ + suffix, method)
    return Fuse


def _give_out_directories(fuse: Any, module: ModuleType) -> None:
    """Let a class answer readdir with offsets, and with attributes. Source: fuse_operations.readdir, libfuse 3."""
    listed: dict[int, list[Any]] = {}  # by handle: what the offsets are in
    base = fuse.releasedir

    def readdir_fuse_3(self: Any, _: bytes | None, buf: Any, filler: Any, offset: int, fip: Any, flags: int) -> int:
        fh = fip.contents.fh
        if not offset:
            listed[fh] = self.operations.entries(fh)
        entries, attributes = listed[fh], module.c_stat()
        pointer = ctypes.pointer(attributes)
        for place in range(offset, len(entries)):
            entry = entries[place]
            full = self.operations.full(fh, entry) if flags & _READDIR_PLUS else None
            module.set_st_attrs(attributes, full or self.operations.brief(fh, entry), use_ns=True)
            name = entry.name.encode(_ENCODING)
            if filler(buf, name, pointer, place + 1, _FILL_DIR_PLUS if full or entry.name in _ITSELF else 0):
                break
        return 0

    def releasedir(self: Any, path: bytes | None, fip: Any) -> int:
        listed.pop(fip.contents.fh, None)
        return base(self, path, fip)  # type: ignore[no-any-return]

    fuse.readdir_fuse_3, fuse.releasedir = readdir_fuse_3, releasedir


def _keep_thread_state() -> None:
    """Let Python remember the calling thread.

    To Python, libfuse's threads are new at every callback, and forgotten after it: that took half of the time of a
    short operation. The threads of libfuse 3.12 and later stay; those of earlier ones come and go, and leave a little
    memory behind each. Source: PyGILState_Ensure, Python's C API.
    """
    if not hasattr(_this_thread, "kept"):
        ctypes.pythonapi.PyGILState_Ensure()
        _this_thread.kept = True


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
