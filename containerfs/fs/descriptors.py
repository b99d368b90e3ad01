"""How many files programs may have open: fewer than this process may, because uploads and downloads need some too.

So programs run out of descriptors where they expect it, in open(). Files that are open can still be written, closed and
uploaded.
"""

import os
import resource

from containerfs.fs import types
from containerfs.fs.disk import disk_errors

_RESERVED = 64  # for uploads and downloads, which need a file and a connection each


class Headroom:
    """Refuses to open more files when only the reserve is left."""

    def __init__(self) -> None:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = limit - min(_RESERVED, limit // 3)

    def check(self) -> None:
        """Raise TooManyOpenFiles if only the reserve is left. The kernel uses the lowest free number, which shows how
        many are open."""
        with disk_errors():
            fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.close(fd)
        if fd >= self._most:
            raise types.TooManyOpenFiles(
                f"{fd} files are open, and the rest is reserved for uploads: raise 'ulimit -n'"
            )
