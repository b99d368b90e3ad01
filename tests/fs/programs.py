"""What programs do with files, asked of a ``Paths`` as the kernel would: open, then use, flush and release."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from containerfs.fs import types
from tests.fs.paths import Paths

BLOCK = 128 * 1024  # what the kernel asks for at most


@contextmanager
def opened(fs: Paths, path: str, flags: int = os.O_RDONLY) -> Iterator[int]:
    """A handle, closed at the end as close(2) does: flush, whose error counts, and release."""
    fh = fs.open(path, flags)[0]
    try:
        yield fh
        fs.flush(fh)
    finally:
        fs.release(fh)


@contextmanager
def created(fs: Paths, path: str, flags: int = os.O_RDWR | os.O_CREAT, mode: int = 0o644) -> Iterator[int]:
    """The same for a file that is new, or is truncated."""
    try:
        fs.getattr(path)
    except types.NotFound:
        fh = fs.create(path, flags, mode)
    else:
        fh = fs.open(path, flags | os.O_TRUNC)[0]
    try:
        yield fh
        fs.flush(fh)
    finally:
        fs.release(fh)


def write(fs: Paths, path: str, content: bytes) -> None:
    """``cp``: create or truncate, write, close."""
    with created(fs, path) as fh:
        put(fs, fh, content)


def put(fs: Paths, fh: int, content: bytes, offset: int = 0) -> None:
    for start in range(0, len(content), BLOCK):
        fs.write(fh, memoryview(content)[start : start + BLOCK], offset + start)


def append(fs: Paths, path: str, content: bytes) -> None:
    with opened(fs, path, os.O_WRONLY | os.O_APPEND) as fh:
        put(fs, fh, content)


def read(fs: Paths, path: str) -> bytes:
    """``cat``: stat, open, read to the end, close."""
    fs.getattr(path)
    with opened(fs, path) as fh:
        return take(fs, fh)


def take(fs: Paths, fh: int) -> bytes:
    """All of an open file, to the first short read."""
    content = b""
    while piece := at(fs, fh, len(content), BLOCK):
        content += piece
    return content


def at(fs: Paths, fh: int, offset: int, size: int) -> bytes:
    return fs.read(fh, offset, size)


def names(fs: Paths, path: str) -> list[str]:
    """``ls``, sorted."""
    fh = fs.opendir(path)
    try:
        return sorted(entries(fs, fh))
    finally:
        fs.releasedir(fh)


def entries(fs: Paths, fh: int) -> list[str]:
    """The names in an open directory, from where it was read to."""
    found: list[str] = []
    while more := fs.readdir(fh):
        found += [name for name, _ in more]
    return found


def exists(fs: Paths, path: str) -> bool:
    try:
        fs.getattr(path)
    except types.NotFound:
        return False
    return True


def state(fs: Paths, path: str) -> str:
    return fs.getxattr(path, "user.containerfs.state").decode()
