"""The content cache: one sparse file on disk for each file id, filled as it is read.

The content of a file id never changes, so cached content is never revalidated and never out of date. Its key consists
of service, container and file id, and it outlives the mount. Invariants: a mount never evicts an entry that it has
pinned. A file name in the cache is a hash, whatever a service calls its files. Several mounts may share a cache. A lock
excludes them from each other while they open, note, rename or delete its files, so that none sees a half-done change. A
file that one mount evicts stays with those that have it open.

If the machine (not the mount) went down while the cache was in use, some ranges may never have reached the disk, so the
cache is emptied.
"""

import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from containerfs.fs import types
from containerfs.fs.disk import FileLock, disk_errors
from containerfs.fs.reading import sums
from containerfs.fs.reading.entry import NOTE_SUFFIX, NOWHERE, CacheEntry
from containerfs.fs.reading.eviction import Evictable
from containerfs.fs.reading.index import Describe, Index
from containerfs.fs.reading.marker import UseMarker
from containerfs.fs.types import RemoteContainer, RemoteFile, digest

log = logging.getLogger(__name__)

_SHARDS = "[0-9a-f][0-9a-f]"
_KEYS = 4096  # keys remembered: each is needed several times while its file is open
_AT_ONCE = 16  # files deleted at a time, which takes about a millisecond
_PAUSE = 0.001  # seconds in between; without a pause, the thread that releases a lock is the first to take it again
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
        self._directory = directory
        self._service = service
        self._lock = threading.Lock()  # guards _pinned, _evictable and every entry's pins
        self._pinned: dict[str, CacheEntry] = {}
        self._evictable = Evictable(budget)
        self._closed = False
        self._used = False  # whether any content may have been changed
        self._learnt = threading.Event()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._names = FileLock(directory / "lock")  # held while files of the cache are opened, noted, renamed, deleted
        self._marker = UseMarker(directory)
        with self._names:
            self._index = Index(directory / "index.db", service, account, describe)
            if self._marker.enter():
                log.warning("The machine went down while %s was in use; its contents are dropped", directory)
                self._drop_all()
                self._marker.forget_earlier_boots()
        self._background = ThreadPoolExecutor(1, "cache")
        try:
            self._background.submit(self._learn)
        except RuntimeError as error:
            raise types.Failed(f"no thread can be started ({error}): raise the limit on processes") from error

    def pin(self, file: RemoteFile) -> CacheEntry:
        """Return the entry of a file, which is kept until ``unpin``. A new one is empty.

        Raises:
            NoSpace: if the disk is full.
            TooManyOpenFiles: if no descriptor is left.
        """
        key = self._key(file.container_id, file.id)
        with self._lock:
            entry = self._pinned.get(key)
            if entry is None:
                self._used = True
                with disk_errors(), self._names:
                    entry = self._open(file, key)
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
        return self._path(self._key(file.container_id, file.id)).exists()

    def ended(self, listed: Sequence[RemoteContainer]) -> list[RemoteContainer]:
        """Return the containers of which the cache has content, and which are not in ``listed``, a complete listing."""
        return self._index.ended(listed)

    def whole_files(self, container_id: str) -> list[RemoteFile]:
        """Return the files of a container whose complete content is cached, newest first, as the service described
        them."""
        found = []
        for key, file in self._index.files(container_id):
            path = self._path(key)
            if path.exists() and not path.with_suffix(NOTE_SUFFIX).exists():
                found.append(file)
            else:
                self._index.forget(key)
        return found

    def repin(self, entry: CacheEntry) -> None:
        """Pin a pinned entry once more; it needs one more ``unpin``."""
        with self._lock:
            entry.pins += 1

    def unpin(self, entry: CacheEntry) -> None:
        """Release an entry. After the last release it can be evicted."""
        with self._lock:
            entry.pins -= 1
            if not entry.pins:
                with self._names:
                    self._close(entry)

    def adopt(self, file: RemoteFile, staged: Path) -> None:
        """Take over the file of an upload as the content of its id, so that reading it back costs no request.

        Existing readers of the id keep the old content, because some services give a replacement the same id.

        Raises:
            FsError: if it cannot be moved here. It stays where it was.
        """
        key = self._key(file.container_id, file.id)
        path = self._path(key)
        with disk_errors():
            size = _sum_up(staged)
        with self._lock, self._names, disk_errors():
            _move(staged, path)
            self._used = True
            note = path.with_suffix(NOTE_SUFFIX)
            if os.path.exists(note):  # true of few files, and cheaper to check than to handle an exception
                note.unlink(missing_ok=True)
            self._pinned.pop(key, None)
            self._keep(key, size)
            self._index.note(key, file, size)

    def drop(self, container_id: str, file_id: str) -> None:
        """Forget content whose id is gone, so that nobody will ask for it. Existing readers keep it."""
        with self._lock, self._names:
            self._discard(self._key(container_id, file_id))

    def shrink(self) -> None:
        """Evict everything that is not pinned, because the disk is full."""
        self._learnt.wait()
        self._evict(budget=0)

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

    def _open(self, file: RemoteFile, key: str) -> CacheEntry:
        path = self._path(key)
        try:
            return CacheEntry(file, path)
        except FileNotFoundError:  # the first file of its shard
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            return CacheEntry(file, path)

    def _close(self, entry: CacheEntry) -> None:
        """Close an entry, and keep what it has. Both locks must be held."""
        key = self._key(entry.file.container_id, entry.file.id)
        if self._pinned.get(key) is entry:  # otherwise an upload has replaced it
            del self._pinned[key]
        if entry.evicted:
            entry.close()  # its name is unused, or belongs to another file
            return
        kept = 0
        try:
            kept = entry.close()
            os.utime(entry.path)  # the order of eviction, across mounts
        except OSError as error:
            log.warning("%r is not cached: %s", entry.file.path, error)
        if kept:
            self._keep(key, kept)
        else:
            self._discard(key)
        if kept and entry.was_completed:
            self._index.note(key, entry.file, kept)

    def _path(self, key: str) -> Path:
        return self._directory / key[:2] / key

    def _key(self, container_id: str, file_id: str) -> str:
        return _key(self._service, container_id, file_id)

    def _drop_all(self) -> None:
        for shard in self._directory.glob(_SHARDS):
            shutil.rmtree(shard, ignore_errors=True)
        self._index.clear()

    def _forget_file(self, key: str) -> None:
        """Delete a file. Both locks must be held. The content is deleted before its note, because without a note it
        counts as complete."""
        path = self._path(key)
        path.unlink(missing_ok=True)
        path.with_suffix(NOTE_SUFFIX).unlink(missing_ok=True)
        self._index.forget(key)

    def _discard(self, key: str) -> None:
        self._evictable.forget(key)
        self._forget_file(key)

    def _keep(self, key: str, size: int) -> None:
        """Allow a file to be evicted. Both locks must be held. Large amounts are evicted little by little."""
        self._evictable.keep(key, size)
        for evicted in self._evictable.take_excess(_AT_ONCE):
            self._forget_file(evicted)
        if self._evictable.total > self._evictable.budget:
            with suppress(RuntimeError):  # closed, or no more threads can be started
                self._background.submit(self._evict)

    def _evict(self, budget: int | None = None) -> None:
        """Delete what exceeds the budget, a few files at a time, so that operations never wait long."""
        while not self._closed:
            with self._lock, self._names:
                evicted = self._evictable.take_excess(_AT_ONCE, budget)
                for key in evicted:
                    self._forget_file(key)
            if not evicted:
                return
            time.sleep(_PAUSE)

    def _learn(self) -> None:
        """Read what earlier mounts left."""
        try:
            found = sorted(self._on_disk(), reverse=True)
            for start in range(0, len(found), _LEARNT_AT_ONCE):
                with self._lock:
                    learnt = found[start : start + _LEARNT_AT_ONCE]
                    self._evictable.learn((key, size) for _, key, size in learnt if key not in self._pinned)
            with self._lock:
                self._evictable.all_learnt()
        finally:
            self._learnt.set()
        self._evict()

    def _on_disk(self) -> Iterator[tuple[float, str, int]]:
        """Yield when each file was used last, its key, and how many bytes it takes."""
        for shard in self._directory.glob(_SHARDS):
            with suppress(FileNotFoundError), os.scandir(shard) as files:
                for file in files:
                    if self._closed:
                        return
                    if "." not in file.name:
                        with suppress(FileNotFoundError):  # another mount has evicted it
                            stat = file.stat()
                            yield stat.st_mtime, file.name, min(stat.st_size, stat.st_blocks * 512)


def _move(staged: Path, path: Path) -> None:
    try:
        os.replace(staged, path)
    except FileNotFoundError:  # the first file of its shard
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.replace(staged, path)


def _sum_up(staged: Path) -> int:
    """Append the checksums to a content, and return its size in bytes. Raises OSError."""
    fd = os.open(staged, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        sums.append(fd, size, sums.of_file(fd, size))
    finally:
        os.close(fd)
    return size


@lru_cache(_KEYS)
def _key(*identity: str) -> str:
    return digest(json.dumps(identity))
