"""Fetches the next small files of a directory that is being read through, in parallel."""

import threading
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from cachetools import LRUCache

from containerfs.fs import types
from containerfs.fs.reading.cache import ContentCache
from containerfs.fs.reading.fetch import Fetcher
from containerfs.fs.reading.scans import Scan, Siblings
from containerfs.fs.types import RemoteFile

_WORKERS = 32
_LARGEST = 4 << 20  # bytes; larger files spend their time on content, not on round trips
_SCANS = 64  # number of directories remembered


class Prefetcher:
    """Detects scans of directories, and fetches ahead of them. Thread-safe."""

    def __init__(self, fetcher: Fetcher, cache: ContentCache) -> None:
        self._fetcher = fetcher
        self._cache = cache
        self._scans: LRUCache[Hashable, Scan[RemoteFile]] = LRUCache(_SCANS)
        self._lock = threading.Lock()  # guards the scans
        self._pool = ThreadPoolExecutor(_WORKERS, "prefetch")

    def opened(self, directory: Hashable, name: str, siblings: Siblings[RemoteFile]) -> None:
        """Called when a file is opened for reading. Never waits for the service, and never fails.

        Args:
            directory: identifies the directory of the file.
            name: of the file in its directory.
            siblings: the entries of the directory, read before this returns. The caller holds the lock that guards
                them.
        """
        with self._lock:
            scan = self._scans.get(directory)
            if scan is None:
                scan = self._scans[directory] = Scan()
            following = scan.opened(name, siblings)
        for file in following:
            with suppress(RuntimeError):  # closed, or no more threads can be started; nobody waits for it
                self._pool.submit(self._fetch, file)

    def close(self) -> None:
        """Start no more downloads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, file: RemoteFile) -> None:
        if file.size is None or file.size > _LARGEST or self._cache.has(file):
            return
        try:
            reader = self._fetcher.open(file)
            try:
                reader.ensure_all()
            finally:
                reader.close()
        except types.FsError:
            pass  # whoever opens the file will request it again, and get the error
