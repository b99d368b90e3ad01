"""Fetches the next small files of a directory that is being read through, in parallel."""

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor

from cachetools import LRUCache

from containerfs.fs import types
from containerfs.fs.reading.cache import ContentCache
from containerfs.fs.reading.fetch import Fetcher, Reader
from containerfs.fs.reading.scans import Scan, Siblings
from containerfs.fs.types import RemoteFile

_FEWEST, _MOST = 4, 32  # files at a time
_READ_IN = 0.0015  # seconds in which a program copies a small file out of a mount
_AT_FIRST = 0.025  # seconds that a fetch is taken to last until one has ended
_LATEST = 0.25  # weight of the latest fetch in the time that one lasts
_LARGEST = 4 << 20  # bytes; larger files spend their time on content, not on round trips
_SCANS = 64  # number of directories remembered
_HELD, _LARGEST_HELD = 64, 128 << 10  # files that stay open until they are read, and bytes of the largest


class Prefetcher:
    """Detects scans of directories, and fetches ahead of them. Thread-safe."""

    def __init__(self, fetcher: Fetcher, cache: ContentCache) -> None:
        self._fetcher = fetcher
        self._cache = cache
        self._scans: LRUCache[Hashable, Scan[RemoteFile]] = LRUCache(_SCANS)
        self._due: deque[RemoteFile] = deque()
        self._fetching = 0  # threads
        self._lasts = _AT_FIRST  # seconds
        # Fetched files that were not opened since, the oldest first. They stay open, because opening and closing each a
        # second time took a tenth of the mount's time.
        self._held: OrderedDict[RemoteFile, Reader] = OrderedDict()
        self._lock = threading.Lock()  # guards all above
        self._closed = False
        self._pool = ThreadPoolExecutor(_MOST, "prefetch")

    def opened(self, file: RemoteFile, directory: Hashable, name: str, siblings: Siblings[RemoteFile]) -> None:
        """Called when a file is opened for reading. Never waits for the service, and never fails.

        Args:
            file: what was opened.
            directory: identifies its directory.
            name: of the file in its directory.
            siblings: the entries of the directory, read before this returns. The caller holds the lock that guards
                them.
        """
        with self._lock:
            held = self._held.pop(file, None)
            scan = self._scans.get(directory)
            if scan is None:
                scan = self._scans[directory] = Scan()
            self._due += scan.opened(name, siblings)
            more = min(len(self._due), at_a_time(self._lasts) - self._fetching)
            self._fetching += max(0, more)
        for _ in range(more):
            try:
                self._pool.submit(self._work)
            except RuntimeError:  # closed, or no more threads can be started; nobody waits for it
                with self._lock:
                    self._fetching -= 1
        if held is not None:
            held.close()

    def close(self) -> None:
        """Start no more downloads."""
        with self._lock:
            self._due.clear()
            self._closed, held = True, list(self._held.values())
            self._held.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for reader in held:
            reader.close()

    def _work(self) -> None:
        lasted = None
        while (file := self._next(lasted)) is not None:
            begun = time.monotonic()
            has_asked = self._fetch(file)
            lasted = time.monotonic() - begun if has_asked else None

    def _next(self, lasted: float | None) -> RemoteFile | None:
        """Return the next file for a thread whose last fetch took so long; None if the thread is to end."""
        with self._lock:
            if lasted is not None:
                self._lasts += _LATEST * (lasted - self._lasts)
            if self._due and self._fetching <= at_a_time(self._lasts):
                return self._due.popleft()
            self._fetching -= 1
            return None

    def _fetch(self, file: RemoteFile) -> bool:
        """Fetch a file; return whether that took a request."""
        if file.size is None or file.size > _LARGEST or self._cache.has(file):
            return False
        try:
            reader = self._fetcher.open(file)
            try:
                self._hold(file, reader, reader.ensure_all())
            except types.FsError:
                reader.close()
        except types.FsError:
            pass  # whoever opens the file will request it again, and get the error
        return True

    def _hold(self, file: RemoteFile, reader: Reader, size: int) -> None:
        """Keep a fetched file open if it is small, and close the one that was kept for longest, if there are many."""
        with self._lock:
            if self._closed or size > _LARGEST_HELD or file in self._held:
                released: Reader | None = reader
            else:
                self._held[file] = reader
                released = self._held.popitem(last=False)[1] if len(self._held) > _HELD else None
        if released is not None:
            released.close()


def at_a_time(lasts: float) -> int:
    """Return how many files are fetched at a time: as many as are read while one is fetched. More would only take the
    processor from each other, and from the program that reads.

    Args:
        lasts: seconds that a fetch lasts.
    """
    return min(_MOST, max(_FEWEST, math.ceil(lasts / _READ_IN)))
