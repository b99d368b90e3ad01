"""Errors of the local disk, as the file system's."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from containerfs.fs import types

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def disk_errors() -> Iterator[None]:
    """Around work on local files: a full disk is NoSpace, any other ``OSError`` is Failed."""
    try:
        yield
    except OSError as error:
        kind = types.NoSpace if error.errno in _FULL else types.Failed
        raise kind(f"on this machine's disk: {error}") from error
