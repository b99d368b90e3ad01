"""Answers in the kernel's format, which is the same on all machines. Source: linux/fuse.h."""

import functools
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

from containerfs.fs.types import Attr

_BLOCK = 512  # what blocks are counted in. Source: stat(2)
_IO_SIZE = 128 * 1024  # what programs read and write at a time
_SECOND = 1_000_000_000  # in nanoseconds
_UNSIGNED = (1 << 64) - 1
_KEEP_CACHE = 1 << 1  # FOPEN_KEEP_CACHE
_TYPE_SHIFT = 12  # from a mode to the type of a directory's entry. Source: dirent.h

_ATTR = struct.Struct("=QQQQQQIIIIIIIIII")  # fuse_attr
_VALIDITY = struct.Struct("=QII")  # of attributes alone
_NODE = struct.Struct("=QQQQII")  # what precedes the attributes of a node that was looked up
_OPEN = struct.Struct("=QII")  # fuse_open_out
_SIZE = struct.Struct("=II")  # fuse_write_out, fuse_getxattr_out
_STATFS = struct.Struct("=QQQQQIIII24x")  # fuse_kstatfs
_ENTRY = struct.Struct("=QQII")  # fuse_dirent, without the name
UNKNOWN = bytes(_NODE.size + _ATTR.size)
"""In a directory: a node that the kernel is not told of."""


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Answer:
    """What the kernel gets.

    Attributes:
        undelivered: called if the kernel does not take it, since its program has got a signal: nothing was opened then,
            and nothing found.
    """

    payload: bytes | memoryview
    undelivered: Callable[[], None] = _nothing


@dataclass(frozen=True, slots=True)
class Validity:
    """How many seconds the kernel may cache a name, and attributes."""

    name: float
    attributes: float


def attributes(attr: Attr, ino: int, validity: Validity) -> bytes:
    """Answers ``getattr`` and ``setattr``: fuse_attr_out."""
    return _VALIDITY.pack(*_split(validity.attributes), 0) + _attr(attr, ino)


def entry(number: int, attr: Attr, ino: int, validity: Validity) -> bytes:
    """Answers ``lookup`` and operations that create a node: fuse_entry_out.

    Args:
        number: by which the kernel asks for the node from now on.
    """
    name_seconds, name_rest = _split(validity.name)
    seconds, rest = _split(validity.attributes)
    return _NODE.pack(number, 0, name_seconds, seconds, name_rest, rest) + _attr(attr, ino)


def opened(fh: int, *, keep_pages: bool = False) -> bytes:
    """Answers ``open`` and ``opendir``, and ends the answer to ``create``: fuse_open_out."""
    return _OPEN.pack(fh, _KEEP_CACHE if keep_pages else 0, 0)


def size(number: int) -> bytes:
    """Answers ``write``, and requests for the size of an extended attribute."""
    return _SIZE.pack(number, 0)


def statfs(disk: os.statvfs_result) -> bytes:
    """Answers ``statfs``: fuse_statfs_out."""
    return _STATFS.pack(
        disk.f_blocks,
        disk.f_bfree,
        disk.f_bavail,
        disk.f_files,
        disk.f_ffree,
        disk.f_bsize,
        disk.f_namemax,
        disk.f_frsize,
        0,
    )


def directory_entry(name: bytes, ino: int, mode: int, offset: int) -> bytes:
    """An entry in the answer to ``readdir`` or, after ``entry``, to ``readdirplus``.

    Args:
        offset: of what follows it.
    """
    padding = -len(name) % 8
    return _ENTRY.pack(ino, offset, len(name), mode >> _TYPE_SHIFT) + name + bytes(padding)


def _attr(attr: Attr, ino: int) -> bytes:
    return _ATTR.pack(
        ino,
        attr.size,
        -(-attr.size // _BLOCK) if attr.blocks is None else attr.blocks,
        attr.atime // _SECOND & _UNSIGNED,
        attr.mtime // _SECOND & _UNSIGNED,
        attr.ctime // _SECOND & _UNSIGNED,
        attr.atime % _SECOND,
        attr.mtime % _SECOND,
        attr.ctime % _SECOND,
        attr.mode,
        attr.nlink,
        attr.uid,
        attr.gid,
        0,
        _IO_SIZE,
        0,
    )


@functools.cache  # validities are settings of the mount, and are split for each name
def _split(seconds: float) -> tuple[int, int]:
    whole = int(seconds)
    return whole, int((seconds - whole) * _SECOND)
