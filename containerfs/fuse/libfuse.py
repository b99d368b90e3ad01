"""The part of libfuse 3 that is used: its low-level interface, which works with nodes rather than paths.

Only declarations that have stayed the same since libfuse 3.0 are used. Answers are passed in the kernel's own format
(``answers.py``), so only one structure that differs between machines is left: the attributes to be set.
Source: fuse_lowlevel.h and fuse_common.h of libfuse 3.
"""

import contextlib
import ctypes
import functools
import os
import platform
from pathlib import Path
from typing import Any

from containerfs.api.errors import ContainerFSError

_LIBRARIES = ("libfuse3.so.4", "libfuse3.so.3")  # the used part is the same in both

CACHE_SYMLINKS = 1 << 23
"""The kernel remembers the targets of links. Source: FUSE_CAP_CACHE_SYMLINKS, fuse_common.h"""

_u32, _u64, _i32, _i64 = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int32, ctypes.c_int64


class FuseMissing(ContainerFSError):
    """This machine cannot mount. The message says what to install."""


class Args(ctypes.Structure):
    """struct fuse_args."""

    _fields_ = [("argc", ctypes.c_int), ("argv", ctypes.POINTER(ctypes.c_char_p)), ("allocated", ctypes.c_int)]


class Version(ctypes.Structure):
    """struct libfuse_version."""

    _fields_ = [("major", _u32), ("minor", _u32), ("hotfix", _u32), ("padding", _u32)]


_MADE_FOR = Version(3, 14)


class Buffer(ctypes.Structure):
    """struct fuse_buf, with space for what later versions have added."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("mem", ctypes.c_void_p),
        ("fd", ctypes.c_int),
        ("pos", _i64),
        ("mem_size", ctypes.c_size_t),
        ("later", _u64 * 8),
    ]


class Context(ctypes.Structure):
    """struct fuse_ctx: the program that sent a request."""

    _fields_ = [("uid", _u32), ("gid", _u32), ("pid", _i32), ("umask", _u32)]


class ForgetData(ctypes.Structure):
    """struct fuse_forget_data."""

    _fields_ = [("ino", _u64), ("nlookup", _u64)]


class FileInfo(ctypes.Structure):
    """The beginning of struct fuse_file_info, which libfuse allocates."""

    _fields_ = [("flags", ctypes.c_int), ("bits", _u32), ("padding", _u32 * 2), ("fh", _u64), ("lock_owner", _u64)]


class Connection(ctypes.Structure):
    """The beginning of struct fuse_conn_info, which libfuse allocates."""

    _fields_ = [
        ("proto_major", _u32),
        ("proto_minor", _u32),
        ("max_write", _u32),
        ("max_read", _u32),
        ("max_readahead", _u32),
        ("capable", _u32),
        ("want", _u32),
        ("max_background", _u32),
        ("congestion_threshold", _u32),
        ("time_gran", _u32),
    ]


class Time(ctypes.Structure):
    """struct timespec."""

    _fields_ = [("seconds", _i64), ("nanoseconds", _i64)]


_ENDING: list[tuple[str, Any]] = [("atime", Time), ("mtime", Time), ("ctime", Time)]
_X86: list[tuple[str, Any]] = [
    ("dev", _u64), ("ino", _u64), ("nlink", _u64), ("mode", _u32), ("uid", _u32), ("gid", _u32), ("padding", _u32),
    ("rdev", _u64), ("size", _i64), ("blksize", _i64), ("blocks", _i64), *_ENDING,
]  # fmt: skip
_GENERIC: list[tuple[str, Any]] = [
    ("dev", _u64), ("ino", _u64), ("mode", _u32), ("nlink", _u32), ("uid", _u32), ("gid", _u32), ("rdev", _u64),
    ("padding", _u64), ("size", _i64), ("blksize", _i32), ("padding2", _i32), ("blocks", _i64), *_ENDING,
]  # fmt: skip
_STAT = {"x86_64": _X86, "aarch64": _GENERIC, "riscv64": _GENERIC, "loongarch64": _GENERIC, "ppc64le": _X86}
"""By machine. Source: bits/struct_stat.h, glibc; asm/stat.h, Linux."""


class Attributes(ctypes.Structure):
    """struct stat of this machine."""

    _fields_ = _STAT.get(platform.machine(), _GENERIC)


_request, _node, _name, _info = ctypes.c_void_p, _u64, ctypes.c_char_p, ctypes.POINTER(FileInfo)
_bytes, _size, _offset = ctypes.c_void_p, ctypes.c_size_t, _i64

OPERATIONS: dict[str, tuple[Any, ...]] = {
    "init": (ctypes.c_void_p, ctypes.POINTER(Connection)),
    "destroy": (ctypes.c_void_p,),
    "lookup": (_request, _node, _name),
    "forget": (_request, _node, _u64),
    "getattr": (_request, _node, _info),
    "setattr": (_request, _node, ctypes.POINTER(Attributes), ctypes.c_int, _info),
    "readlink": (_request, _node),
    "mknod": (_request, _node, _name, _u32, _u64),
    "mkdir": (_request, _node, _name, _u32),
    "unlink": (_request, _node, _name),
    "rmdir": (_request, _node, _name),
    "symlink": (_request, _name, _node, _name),
    "rename": (_request, _node, _name, _node, _name, ctypes.c_uint),
    "link": (_request, _node, _node, _name),
    "open": (_request, _node, _info),
    "read": (_request, _node, _size, _offset, _info),
    "write": (_request, _node, _bytes, _size, _offset, _info),
    "flush": (_request, _node, _info),
    "release": (_request, _node, _info),
    "fsync": (_request, _node, ctypes.c_int, _info),
    "opendir": (_request, _node, _info),
    "readdir": (_request, _node, _size, _offset, _info),
    "releasedir": (_request, _node, _info),
    "fsyncdir": (_request, _node, ctypes.c_int, _info),
    "statfs": (_request, _node),
    "setxattr": (_request, _node, _name, _bytes, _size, ctypes.c_int),
    "getxattr": (_request, _node, _name, _size),
    "listxattr": (_request, _node, _size),
    "removexattr": (_request, _node, _name),
    "access": (_request, _node, ctypes.c_int),
    "create": (_request, _node, _name, _u32, _info),
    "getlk": (),
    "setlk": (),
    "bmap": (),
    "ioctl": (),
    "poll": (),
    "write_buf": (),
    "retrieve_reply": (),
    "forget_multi": (_request, ctypes.c_size_t, ctypes.POINTER(ForgetData)),
    "flock": (),
    "fallocate": (_request, _node, ctypes.c_int, _offset, _offset, _info),
    "readdirplus": (_request, _node, _size, _offset, _info),
}
"""The members of struct fuse_lowlevel_ops in order, with the arguments of those that are used."""

CALLBACKS = {name: ctypes.CFUNCTYPE(None, *arguments) for name, arguments in OPERATIONS.items()}


class Operations(ctypes.Structure):
    """The beginning of struct fuse_lowlevel_ops."""

    _fields_ = list(CALLBACKS.items())


_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "fuse_session_mount": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_char_p)),
    "fuse_session_unmount": (None, (ctypes.c_void_p,)),
    "fuse_session_destroy": (None, (ctypes.c_void_p,)),
    "fuse_session_exit": (None, (ctypes.c_void_p,)),
    "fuse_session_exited": (ctypes.c_int, (ctypes.c_void_p,)),
    "fuse_session_receive_buf": (ctypes.c_int, (ctypes.c_void_p, ctypes.POINTER(Buffer))),
    "fuse_session_process_buf": (None, (ctypes.c_void_p, ctypes.POINTER(Buffer))),
    "fuse_req_ctx": (ctypes.POINTER(Context), (ctypes.c_void_p,)),
    "fuse_req_interrupted": (ctypes.c_int, (ctypes.c_void_p,)),
    "fuse_reply_err": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_int)),
    "fuse_reply_none": (None, (ctypes.c_void_p,)),
    "fuse_reply_buf": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)),
    "fuse_lowlevel_notify_inval_inode": (ctypes.c_int, (ctypes.c_void_p, _u64, _i64, _i64)),
}


@functools.cache
def load() -> Any:
    """Load the library. Raises FuseMissing."""
    if platform.machine() not in _STAT:
        raise FuseMissing(f"containerfs does not know libfuse on {platform.machine()}: {', '.join(_STAT)} are known")
    library = _open()
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def new_session(library: Any, arguments: list[str], operations: Operations) -> int | None:
    """Create a session that is not mounted yet; None if libfuse refuses, which it explains on standard error."""
    words = [os.fsencode(word) for word in arguments]
    given = Args(len(words), (ctypes.c_char_p * (len(words) + 1))(*words, None), 0)
    common = ctypes.byref(given), ctypes.byref(operations), ctypes.c_size_t(ctypes.sizeof(operations))
    if hasattr(library, "fuse_session_new_versioned"):  # since 3.17
        new = library.fuse_session_new_versioned
        new.restype = ctypes.c_void_p
        return new(*common, ctypes.byref(_MADE_FOR), None)  # type: ignore[no-any-return]
    new = library.fuse_session_new
    new.restype = ctypes.c_void_p
    return new(*common, None)  # type: ignore[no-any-return]


def _open() -> Any:
    for name in _LIBRARIES:
        with contextlib.suppress(OSError):
            return ctypes.CDLL(name)
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:  # without free descriptors, nothing is found
        raise FuseMissing(f"cannot look for libfuse: {error.strerror}") from error
    raise FuseMissing(f"libfuse 3 is missing. Install it: {install_command()}")


def install_command(release: Path = Path("/etc/os-release")) -> str:
    """Return the command that installs libfuse on this distribution. Source: os-release(5)."""
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


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
