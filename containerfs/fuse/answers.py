"""Answers in the kernel's format, which is the same on all machines. Source: linux/fuse.h."""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

from containerfs.fs.types import Attr

_BLOCK = 512  # the unit of blocks. Source: stat(2)
_IO_SIZE = 128 * 1024  # what programs should read and write at a time
_SECOND = 1_000_000_000  # in nanoseconds
_UNSIGNED = (1 << 64) - 1
_KEEP_CACHE = 1 << 1  # FOPEN_KEEP_CACHE
_TYPE_SHIFT = 12  # from a mode to the type of a directory's entry. Source: dirent.h

_ATTR = struct.Struct("=QQQQQQIIIIIIIIII")  # fuse_attr
_VALIDITY = struct.Struct("=QII")  # of attributes alone
_NODE = struct.Struct("=QQQQII")  # what precedes the attributes of a found node
_OPEN = struct.Struct("=QII")  # fuse_open_out
_SIZE = struct.Struct("=II")  # fuse_write_out, fuse_getxattr_out
_STATFS = struct.Struct("=QQQQQIIII24x")  # fuse_kstatfs
_DIRENT = "QQII"  # fuse_dirent, without the name
_WORD = 8  # bytes; names are padded to a multiple of this
_NAMES = range(0, 1025 + _WORD, _WORD)  # padded lengths. Source: FUSE_NAME_MAX, linux/fuse.h
_ENTRIES = [struct.Struct(f"={_DIRENT}{length}s") for length in _NAMES]
_FULL_ENTRIES = [struct.Struct(f"{_NODE.format}{_ATTR.format[1:]}{_DIRENT}{length}s") for length in _NAMES]
_UNKNOWN = bytes(
    _NODE.size + _ATTR.size
)  # in place of a node and its attributes, if the kernel is not told of the node
ENTRY, FULL_ENTRY = _ENTRIES[0].size, _FULL_ENTRIES[0].size
"""The size of an entry in the answers to ``readdir`` and ``readdirplus`` in bytes, without the name."""


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to the kernel.

    Attributes:
        undelivered: called if the kernel does not take the answer, because its program got a signal. Then nothing was
            opened or found.
    """

    payload: bytes
    undelivered: Callable[[], None] = _nothing


class Validity:
    """How long the kernel may cache what it is told.

    Args:
        name: in seconds.
        attributes: in seconds.
    """

    __slots__ = ("of_attributes", "of_node")

    def __init__(self, name: float, attributes: float) -> None:
        (name_seconds, name_rest), (seconds, rest) = _split(name), _split(attributes)
        self.of_node = name_seconds, seconds, name_rest, rest
        self.of_attributes = seconds, rest


def attributes(attr: Attr, ino: int, validity: Validity) -> bytes:
    """Make the answer to ``getattr`` and ``setattr``: fuse_attr_out."""
    return _VALIDITY.pack(*validity.of_attributes, 0) + _attr(attr, ino)


def entry(number: int, attr: Attr, ino: int, validity: Validity) -> bytes:
    """Make the answer to ``lookup`` and to operations that create a node: fuse_entry_out.

    Args:
        number: by which the kernel refers to the node from now on.
    """
    return _NODE.pack(number, 0, *validity.of_node) + _attr(attr, ino)


def opened(fh: int, *, keep_pages: bool = False) -> bytes:
    """Make the answer to ``open`` and ``opendir``, and the end of the answer to ``create``: fuse_open_out."""
    return _OPEN.pack(fh, _KEEP_CACHE if keep_pages else 0, 0)


def size(number: int) -> bytes:
    """Make the answer to ``write``, and to requests for the size of an extended attribute."""
    return _SIZE.pack(number, 0)


def statfs(disk: os.statvfs_result) -> bytes:
    """Make the answer to ``statfs``: fuse_statfs_out."""
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


def filled(name: bytes) -> int:
    """Return how many bytes a name takes in a directory's entry."""
    return -(-len(name) // _WORD) * _WORD


def directory_entry(name: bytes, ino: int, mode: int, offset: int) -> bytes:
    """Make an entry in the answer to ``readdir``.

    Args:
        offset: of the entry that follows.
    """
    return _ENTRIES[-(-len(name) // _WORD)].pack(ino, offset, len(name), mode >> _TYPE_SHIFT, name)


def unknown_entry(name: bytes, ino: int, mode: int, offset: int) -> bytes:
    """Make an entry in the answer to ``readdirplus`` that tells the kernel no more than ``readdir`` does."""
    return _UNKNOWN + directory_entry(name, ino, mode, offset)


def full_entry(name: bytes, number: int, attr: Attr, ino: int, offset: int, validity: Validity) -> bytes:
    """Make an entry in the answer to ``readdirplus``: an ``entry`` followed by a ``directory_entry``."""
    return _FULL_ENTRIES[-(-len(name) // _WORD)].pack(
        number,
        0,
        *validity.of_node,
        *_fields(attr, ino),
        ino,
        offset,
        len(name),
        attr.mode >> _TYPE_SHIFT,
        name,
    )


def _attr(attr: Attr, ino: int) -> bytes:
    return _ATTR.pack(*_fields(attr, ino))


def _fields(attr: Attr, ino: int) -> tuple[int, ...]:
    _, mode, size, uid, gid, atime, mtime, ctime, nlink, blocks = attr
    modified = changed = accessed = _moment(mtime)
    if not atime == mtime == ctime:  # true of nearly all entries of a long listing
        accessed, changed = _moment(atime), _moment(ctime)
    return (
        ino,
        size,
        -(-size // _BLOCK) if blocks is None else blocks,
        accessed[0],
        modified[0],
        changed[0],
        accessed[1],
        modified[1],
        changed[1],
        mode,
        nlink,
        uid,
        gid,
        0,
        _IO_SIZE,
        0,
    )


def _moment(time: int) -> tuple[int, int]:
    """Split nanoseconds into seconds and the rest."""
    return time // _SECOND & _UNSIGNED, time % _SECOND


def _split(seconds: float) -> tuple[int, int]:
    whole = int(seconds)
    return whole, int((seconds - whole) * _SECOND)
