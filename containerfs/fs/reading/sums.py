"""Checksums of contents, one for each block, to detect damage by the disk when it is read.

A complete content has them at the end of its file, in a trailer that is itself verified. For a partial content, they
are in its note.
"""

import os
import struct
from array import array
from collections.abc import Iterator

import xxhash

from containerfs.fs.disk import write_all

BLOCK = 64 * 1024
"""The number of bytes under one checksum. Reading one byte reads and verifies a whole block, in about 10 microseconds.
"""

_PIECE = 16 * BLOCK
_FOOTER = struct.Struct("<8sQQ")  # magic, size of the content, checksum of everything before it in the trailer
_MAGIC = b"cfsums01"


def checksum(data: bytes | memoryview) -> int:
    """Return the checksum of a block, or of a part of one. It detects damage, not manipulation. Source: XXH3."""
    return xxhash.xxh3_64_intdigest(data)


def blocks(start: int, stop: int) -> range:
    """Return the numbers of the blocks that ``[start, stop)`` touches."""
    return range(start // BLOCK, -(-stop // BLOCK))


def pieces(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Split ``[start, stop)`` where blocks begin."""
    while start < stop:
        end = min(stop, (start // BLOCK + 1) * BLOCK)
        yield start, end
        start = end


def of_file(fd: int, size: int) -> "array[int]":
    """Return the checksums of the first ``size`` bytes of a file. Raises OSError."""
    sums = array("Q")
    for start in range(0, size, _PIECE):
        piece = memoryview(os.pread(fd, min(_PIECE, size - start), start))
        sums.extend(checksum(piece[at : at + BLOCK]) for at in range(0, len(piece), BLOCK))
    return sums


def append(fd: int, size: int, sums: "array[int]") -> None:
    """Append the trailer to a content of ``size`` bytes. Raises OSError."""
    body = sums.tobytes()
    write_all(fd, body + _footer(body, size), size)
    os.ftruncate(fd, size + len(body) + _FOOTER.size)


def read(fd: int) -> tuple[int, "array[int]"] | None:
    """Return the size of a complete content and its checksums; None if its file has no trailer, or a damaged one."""
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
