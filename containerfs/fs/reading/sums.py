"""Checksums of a content, one for each block, so that damage by the disk is noticed when it is read.

A complete content has them at the end of its file, in a trailer that verifies itself; for a partial one, they are in
its note.
"""

import os
import struct
from array import array
from collections.abc import Iterator

import xxhash

from containerfs.fs.disk import write_all

BLOCK = 64 * 1024
"""Bytes under one checksum. A read of one byte reads and checks as many: 10 microseconds or so."""

_PIECE = 16 * BLOCK
_FOOTER = struct.Struct("<8sQQ")  # magic, size of the content, checksum of all that is before it in the trailer
_MAGIC = b"cfsums01"


def checksum(data: bytes | memoryview) -> int:
    """Of a block or a part of one. It detects damage, and no malice. Source: XXH3."""
    return xxhash.xxh3_64_intdigest(data)


def blocks(start: int, stop: int) -> range:
    """The numbers of the blocks that ``[start, stop)`` touches."""
    return range(start // BLOCK, -(-stop // BLOCK))


def pieces(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """``[start, stop)``, cut where blocks begin."""
    while start < stop:
        end = min(stop, (start // BLOCK + 1) * BLOCK)
        yield start, end
        start = end


def empty(size: int) -> "array[int]":
    """Room for the checksums of a content of ``size`` bytes."""
    return array("Q", bytes(8 * len(blocks(0, size))))


def of_file(fd: int, size: int) -> "array[int]":
    """The checksums of the first ``size`` bytes of a file. Raises OSError."""
    sums = array("Q")
    for start in range(0, size, _PIECE):
        piece = memoryview(os.pread(fd, min(_PIECE, size - start), start))
        sums.extend(checksum(piece[at : at + BLOCK]) for at in range(0, len(piece), BLOCK))
    return sums


def append(fd: int, size: int, sums: "array[int]") -> None:
    """Put the trailer behind a content of ``size`` bytes. Raises OSError."""
    body = sums.tobytes()
    write_all(fd, body + _footer(body, size), size)
    os.ftruncate(fd, size + len(body) + _FOOTER.size)


def read(fd: int) -> tuple[int, "array[int]"] | None:
    """The size of a complete content, and its checksums; None if its file has no trailer, or a damaged one."""
    length = os.fstat(fd).st_size
    if length < _FOOTER.size:
        return None
    footer = os.pread(fd, _FOOTER.size, length - _FOOTER.size)
    magic, size, _ = _FOOTER.unpack(footer)
    body_size = length - _FOOTER.size - size
    if magic != _MAGIC or body_size != 8 * len(blocks(0, size)):
        return None
    body = os.pread(fd, body_size, size)
    return (size, array("Q", body)) if footer == _footer(body, size) else None


def _footer(body: bytes, size: int) -> bytes:
    return _FOOTER.pack(_MAGIC, size, checksum(body + size.to_bytes(8, "little")))
