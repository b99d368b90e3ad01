"""The content cache: one sparse file on disk for each file id, filled as it is read.

A file id's content never changes, so what is here is never revalidated and never out of date; it is keyed by
service, container and file id, and outlives the mount. Invariants: a pinned entry is never evicted by its own mount; a
file name in the cache is a hash, whatever a service calls its files. Several mounts may share a cache: a lock excludes
them from each other while they open, note, rename or delete its files, so that none sees half of what another does. A
file that one mount evicts stays with those who have it open.

A cache that was in use when the machine (not the mount) went down may hold ranges that never reached the disk: it is
emptied.
"""

import json
import logging
import os
import shutil
import threading
from pathlib import Path

from cachetools import LRUCache

from containerfs.fs.disk import FileLock, disk_errors
from containerfs.fs.reading import sums
from containerfs.fs.reading.entry import NOTE_SUFFIX, NOWHERE, CacheEntry
from containerfs.fs.reading.marker import UseMarker
from containerfs.fs.types import RemoteFile, digest

log = logging.getLogger(__name__)

_SHARDS = "[0-9a-f][0-9a-f]"


class ContentCache:
    """All cached content, within a budget of bytes. Thread-safe.

    Args:
        directory: created if missing; nobody else's.
        budget: bytes to keep at most, not counting what is pinned.
        service: names the service; content of different services never mixes.
    """

    def __init__(self, directory: Path, budget: int, service: str) -> None:
        self._directory = directory
        self._service = service
        self._lock = threading.Lock()  # guards _pinned, _unpinned and every entry's pins
        self._pinned: dict[str, CacheEntry] = {}
        self._unpinned = _Unpinned(directory, budget)
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._names = FileLock(directory / "lock")  # held while files of the cache are opened, noted, renamed, deleted
        self._marker = UseMarker(directory)
        with self._names:
            if self._marker.enter():
                log.warning("The machine went down while %s was in use: its contents are dropped", directory)
                self._drop_all()
                self._marker.forget_earlier_boots()
            self._load_unpinned()

    def pin(self, file: RemoteFile) -> CacheEntry:
        """The entry of a file, kept until ``unpin``; created empty if it is new. Raises NoSpace, TooManyOpenFiles."""
        key = self._key(file.container_id, file.id)
        with self._lock:
            entry = self._pinned.get(key)
            if entry is None:
                with disk_errors(), self._names:
                    entry = self._open(file, key)
                self._unpinned.forget(key)
                self._pinned[key] = entry
            entry.pins += 1
            return entry

    def pin_without_room(self, file: RemoteFile) -> CacheEntry:
        """An entry that holds nothing, of a file for which the disk has no room. Raises TooManyOpenFiles."""
        with disk_errors():
            entry = CacheEntry(file, NOWHERE)
        entry.pins = 1
        return entry

    def has(self, file: RemoteFile) -> bool:
        """Whether there is anything of a file here."""
        return self._unpinned.path(self._key(file.container_id, file.id)).exists()

    def repin(self, entry: CacheEntry) -> None:
        """Keep an entry, that is pinned, for one more ``unpin``."""
        with self._lock:
            entry.pins += 1

    def unpin(self, entry: CacheEntry) -> None:
        """Let go of an entry; the last one to do so makes it evictable."""
        with self._lock:
            entry.pins -= 1
            if not entry.pins:
                with self._names:
                    self._close(entry)

    def adopt(self, file: RemoteFile, staged: Path) -> None:
        """Take a file that was just uploaded as the content of its id: reading it back costs no request.

        Existing readers of the id keep the old content: some services give what replaces a file the same id.

        Raises:
            FsError: it cannot be moved here, and is where it was.
        """
        key = self._key(file.container_id, file.id)
        path = self._unpinned.path(key)
        with disk_errors():
            size = _sum_up(staged)
        with self._lock, self._names, disk_errors():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.replace(staged, path)
            path.with_suffix(NOTE_SUFFIX).unlink(missing_ok=True)
            self._pinned.pop(key, None)
            self._unpinned.keep(key, size)

    def drop(self, container_id: str, file_id: str) -> None:
        """Forget content that nobody will ask for again, since its id is gone. Existing readers keep it."""
        with self._lock, self._names:
            self._unpinned.discard(self._key(container_id, file_id))

    def shrink(self) -> None:
        """Evict all that is not pinned: the disk is full."""
        with self._lock, self._names:
            self._unpinned.clear()

    def usage(self) -> dict[str, int]:
        """Bytes and entries that are evictable, and entries that are pinned."""
        with self._lock:
            return {
                "bytes": int(self._unpinned.currsize),
                "entries": len(self._unpinned),
                "pinned": len(self._pinned),
            }

    def close(self) -> None:
        """Leave the cache usable for the next mount. What is pinned stays open, until those who use it let go of it."""
        with self._lock, self._names:
            for entry in self._pinned.values():
                try:
                    entry.note()
                except OSError as error:
                    log.warning("%r is kept in part only: %s", entry.file.path, error)
        self._marker.leave()

    def _open(self, file: RemoteFile, key: str) -> CacheEntry:
        path = self._unpinned.path(key)
        try:
            return CacheEntry(file, path)
        except FileNotFoundError:  # the first file of its shard
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            return CacheEntry(file, path)

    def _close(self, entry: CacheEntry) -> None:
        """Close an entry, and keep what it has. Needs both locks held."""
        key = self._key(entry.file.container_id, entry.file.id)
        if self._pinned.get(key) is entry:  # else what was uploaded has replaced it
            del self._pinned[key]
        if entry.evicted:
            entry.close()  # its name is nobody's, or another's
            return
        kept = 0
        try:
            kept = entry.close()
            os.utime(entry.path)  # the order of eviction, across mounts
        except OSError as error:
            log.warning("%r is not kept: %s", entry.file.path, error)
        if kept:
            self._unpinned.keep(key, kept)
        else:
            self._unpinned.discard(key)

    def _key(self, container_id: str, file_id: str) -> str:
        return digest(json.dumps([self._service, container_id, file_id]))

    def _drop_all(self) -> None:
        for shard in self._directory.glob(_SHARDS):
            shutil.rmtree(shard, ignore_errors=True)

    def _load_unpinned(self) -> None:
        found = []
        for shard in self._directory.glob(_SHARDS):
            with os.scandir(shard) as entries:
                found += [(entry.stat(), entry.name) for entry in entries if "." not in entry.name]
        for stat, name in sorted(found, key=lambda item: item[0].st_mtime):
            self._unpinned.keep(name, min(stat.st_size, stat.st_blocks * 512))


def _sum_up(staged: Path) -> int:
    """Put its checksums behind a content; returns its size. Raises OSError."""
    fd = os.open(staged, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        sums.append(fd, size, sums.of_file(fd, size))
    finally:
        os.close(fd)
    return size


class _Unpinned(LRUCache[str, int]):
    """Which entries may be evicted, oldest use first, and how many bytes each has; evicting deletes the file."""

    def __init__(self, directory: Path, budget: int) -> None:
        super().__init__(budget, getsizeof=int)
        self._directory = directory

    def path(self, key: str) -> Path:
        return self._directory / key[:2] / key

    def keep(self, key: str, size: int) -> None:
        self.forget(key)
        if size > self.maxsize:
            self._unlink(key)
        else:
            self[key] = size

    def forget(self, key: str) -> None:
        """Take out of the order without deleting the file."""
        if key in self:
            super().pop(key)

    def discard(self, key: str) -> None:
        self.forget(key)
        self._unlink(key)

    def popitem(self) -> tuple[str, int]:
        key, size = super().popitem()
        self._unlink(key)
        return key, size

    def clear(self) -> None:
        while self:  # cachetools' own forgets what it holds without ``popitem``
            self.popitem()

    def _unlink(self, key: str) -> None:
        path = self.path(key)
        path.unlink(missing_ok=True)
        path.with_suffix(NOTE_SUFFIX).unlink(missing_ok=True)
