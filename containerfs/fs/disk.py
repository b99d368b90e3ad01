"""Errors of the local disk, as the file system's."""

import errno
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
