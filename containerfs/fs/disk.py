"""Errors of the local disk, as the file system's."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from containerfs.fs import types

_KINDS = {errno.ENOSPC: types.NoSpace, errno.EDQUOT: types.NoSpace, errno.EFBIG: types.TooLarge}


@contextmanager
def disk_errors() -> Iterator[None]:
    """Around work on local files: a full disk is NoSpace, too large a file TooLarge, any other ``OSError`` Failed."""
    try:
        yield
    except OSError as error:
        kind = _KINDS.get(error.errno or 0, types.Failed)
        raise kind(f"on this machine's disk: {error}") from error


def write_all(fd: int, data: memoryview | bytes, offset: int) -> int:
    """Write all of ``data``; returns how many bytes that is. A disk that is nearly full takes a part of it first.

    Raises:
        OSError: some of it cannot be written.
    """
    left = memoryview(data)
    while left:
        written = os.pwrite(fd, left, offset)
        left, offset = left[written:], offset + written
    return len(data)
