"""The content cache: one sparse file on disk for each file id, filled as it is read.

The content of a file id never changes, so cached content is never revalidated and never out of date. Its key consists
of service, container and file id, and it outlives the mount. Invariants: a mount never evicts an entry that it has
pinned. A file name in the cache is a hash, whatever a service calls its files. Several mounts may share a cache. A lock
excludes them from each other while they open, note or rename its files, so that none sees a half-done change. A file
that one mount evicts stays with those that have it open.

Files are deleted without any lock, since a disk takes its time for that. Within a mount, only those wait who ask for a
file that is being deleted. Other mounts may see a file without its note, which counts as empty, or a note without its
file, whose checksums fit nothing else.

If the machine (not the mount) went down while the cache was in use, some ranges may never have reached the disk, so the
cache is emptied.
"""

import itertools
import json
import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from containerfs.fs import types
from containerfs.fs.disk import FileLock, disk_errors
from containerfs.fs.reading.entry import NOWHERE, CacheEntry
from containerfs.fs.reading.eviction import Evictable
from containerfs.fs.reading.index import Describe, Index
from containerfs.fs.reading.marker import UseMarker
from containerfs.fs.reading.shards import Shards, add_checksums
from containerfs.fs.types import RemoteContainer, RemoteFile, digest

log = logging.getLogger(__name__)

_KEYS = 4096  # keys remembered: each is needed several times while its file is open
_AT_ONCE = 128  # files deleted at a time, which takes some milliseconds
_LEARNT_AT_ONCE = 1000


class ContentCache:
    """All cached content, within a budget. Thread-safe.

    Args:
        directory: created if it is missing; used for nothing else.
        budget: how many bytes to keep, not counting pinned entries.
        service: names the service. Content of different services never mixes.
        account: tells whose containers are shown once they have ended.
        describe: returns what is known of a container, by its id.

    Raises:
        Failed: if no thread can be started.
    """

    def __init__(
        self, directory: Path, budget: int, service: str, account: str = "", describe: Describe = lambda _: None
    ) -> None:
        self._shards = Shards(directory)
        self._service = service
        self._lock = threading.Lock()  # guards _pinned, _evictable, _going and every entry's pins
        self._pinned: dict[str, CacheEntry] = {}
        self._evictable = Evictable(budget)
        self._going: set[str] = set()  # the keys whose files are being deleted
        self._gone = threading.Condition(self._lock)
        self._closed = False
        self._used = False  # whether any content may have been changed
        self._learnt = threading.Event()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._names = FileLock(directory / "lock")  # held while files of the cache are opened, noted, renamed
        self._marker = UseMarker(directory)
        with self._names:
            self._index = Index(directory / "index.db", service, account, describe)
            if self._marker.enter():
                log.warning("The machine went down while %s was in use; its contents are dropped", directory)
                self._shards.clear()
                self._index.clear()
                self._marker.forget_earlier_boots()
        self._background = ThreadPoolExecutor(1, "cache")
        try:
            self._background.submit(self._learn)
        except RuntimeError as error:
            raise types.NoThread(error) from error

    def pin(self, file: RemoteFile) -> CacheEntry:
        """Return the entry of a file, which is kept until ``unpin``. A new one is empty.

        Raises:
            NoSpace: if the disk is full.
            TooManyOpenFiles: if no descriptor is left.
        """
        key = self._key(file.container_id, file.id)
        with self._lock:
            self._wait_until_gone(key)
            entry = self._pinned.get(key)
            if entry is None:
                self._used = True
                with disk_errors(), self._names:
                    entry = self._shards.open(file, key)
                self._evictable.forget(key)
                self._pinned[key] = entry
            entry.pins += 1
            return entry

    def pin_without_room(self, file: RemoteFile) -> CacheEntry:
        """Return an entry that cannot hold anything, for a file for which the disk has no space. Raises
        TooManyOpenFiles."""
        with disk_errors():
            entry = CacheEntry(file, NOWHERE)
        entry.pins = 1
        return entry

    def has(self, file: RemoteFile) -> bool:
        """Tell whether the cache has anything of a file."""
        return self._shards.path(self._key(file.container_id, file.id)).exists()

    def ended(self, listed: Sequence[RemoteContainer]) -> list[RemoteContainer]:
        """Return the containers of which the cache has content, and which are not in ``listed``, a complete listing."""
        return self._index.ended(listed)

    def whole_files(self, container_id: str) -> list[RemoteFile]:
        """Return the files of a container whose complete content is cached, newest first, as the service described
        them."""
        found = []
        for key, file in self._index.files(container_id):
            if self._shards.is_complete(key):
                found.append(file)
            else:
                self._index.forget([key])
        return found

    def repin(self, entry: CacheEntry) -> None:
        """Pin a pinned entry once more; it needs one more ``unpin``."""
        with self._lock:
            entry.pins += 1

    def unpin(self, entry: CacheEntry) -> None:
        """Release an entry. After the last release it can be evicted."""
        key = self._key(entry.file.container_id, entry.file.id)
        with self._lock:
            self._wait_until_gone(key)
            entry.pins -= 1
            if entry.pins:
                return
            if self._pinned.get(key) is entry:  # otherwise an upload has replaced it
                del self._pinned[key]
            with self._names:
                is_kept = self._close(entry, key)
            if not is_kept:
                self._going.add(key)
        if not is_kept:
            self._delete([key], self._index.forget)

    def adopt(self, file: RemoteFile, staged: Path) -> None:
        """Take over the file of an upload as the content of its id, so that reading it back costs no request.

        Existing readers of the id keep the old content, because some services give a replacement the same id.

        Raises:
            FsError: if it cannot be moved here. It stays where it was.
        """
        key = self._key(file.container_id, file.id)
        with disk_errors():
            size = add_checksums(staged)
        with self._lock:
            self._wait_until_gone(key)
            with self._names, disk_errors():
                self._shards.put(key, staged)
            self._used = True
            self._pinned.pop(key, None)
            self._keep(key, size)
            self._index.note(key, file, size)

    def drop(self, container_id: str, file_id: str) -> None:
        """Forget content whose id is gone, so that nobody will ask for it. Existing readers keep it."""
        key = self._key(container_id, file_id)
        with self._lock:
            self._wait_until_gone(key)
            self._evictable.forget(key)
            self._going.add(key)
        self._delete([key], self._index.forget)

    def shrink(self) -> None:
        """Evict everything that is not pinned, because the disk is full."""
        self._learnt.wait()
        self._evict(budget=0)
        with self._lock:
            self._gone.wait_for(lambda: not self._going)

    def usage(self) -> dict[str, int]:
        """Return the bytes and number of entries that can be evicted, the number of pinned entries, and the budget in
        bytes."""
        with self._lock:
            return {
                "bytes": self._evictable.total,
                "entries": len(self._evictable),
                "pinned": len(self._pinned),
                "budget": self._evictable.budget,
            }

    def close(self) -> None:
        """Leave the cache usable for the next mount. Pinned entries stay open until they are released."""
        self._closed = True
        self._background.shutdown(cancel_futures=True)
        self._learnt.set()
        with self._lock, self._names:
            for entry in self._pinned.values():
                try:
                    entry.note()
                except OSError as error:
                    log.warning("%r is cached only in part: %s", entry.file.path, error)
        self._index.close()
        self._marker.leave(used=self._used)

    def _close(self, entry: CacheEntry, key: str) -> bool:
        """Close an entry, and return whether its file stays. Both locks must be held."""
        if entry.evicted:
            entry.close()
            return True  # the name is unused, or belongs to another file
        kept = 0
        try:
            kept = entry.close()
            os.utime(entry.path)  # the order of eviction, across mounts
        except OSError as error:
            log.warning("%r is not cached: %s", entry.file.path, error)
        if kept:
            self._keep(key, kept)
        if kept and entry.was_completed:
            self._index.note(key, entry.file, kept)
        return bool(kept)

    def _key(self, container_id: str, file_id: str) -> str:
        return _key(self._service, container_id, file_id)

    def _wait_until_gone(self, key: str) -> None:
        """Wait while a file is being deleted. The lock must be held; it is released meanwhile."""
        self._gone.wait_for(lambda: key not in self._going)

    def _keep(self, key: str, size: int) -> None:
        """Allow a file to be evicted. The lock must be held."""
        self._evictable.keep(key, size)
        if self._evictable.total > self._evictable.budget:
            with suppress(RuntimeError):  # closed
                self._background.submit(self._evict)

    def _evict(self, budget: int | None = None) -> None:
        """Delete what exceeds the budget, some files at a time, oldest first."""
        while not self._closed:
            with self._lock:
                evicted = self._evictable.take_excess(_AT_ONCE, budget)
                self._going.update(evicted)
            if not evicted:
                return
            self._delete(evicted, self._index.forget_at_once)

    def _delete(self, keys: list[str], forget: Callable[[list[str]], None]) -> None:
        """Delete files whose keys are in ``_going``, and remove them from there. The lock must not be held."""
        try:
            for key in keys:
                self._shards.delete(key)
            forget(keys)
        finally:
            with self._lock:
                self._going.difference_update(keys)
                self._gone.notify_all()

    def _learn(self) -> None:
        """Read what earlier mounts left."""
        try:
            found = sorted(itertools.takewhile(lambda _: not self._closed, self._shards.all()), reverse=True)
            for start in range(0, len(found), _LEARNT_AT_ONCE):
                with self._lock:
                    learnt = found[start : start + _LEARNT_AT_ONCE]
                    self._evictable.learn((key, size) for _, key, size in learnt if key not in self._pinned)
            with self._lock:
                self._evictable.all_learnt()
        finally:
            self._learnt.set()
        self._evict()


@lru_cache(_KEYS)
def _key(*identity: str) -> str:
    return digest(json.dumps(identity))
