"""The content cache: one sparse file on disk for each file id, filled as it is read.

The content of a file id never changes, so cached content is never revalidated and never out of date. It is keyed by
service, container and file id, and outlives the mount. Invariants: a pinned entry is never evicted by its own mount; a
file name in the cache is a hash, whatever a service calls its files. Several mounts may share a cache. A lock excludes
them from each other while they open, note, rename or delete its files, so that none sees another's change half done. A
file that one mount evicts stays with those that have it open.

A cache that was in use when the machine (not the mount) went down may contain ranges that never reached the disk, and
is emptied.
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
_KEYS = 4096  # remembered: each is asked for several times while its file is open
_AT_ONCE = 16  # files deleted while others wait, which takes about a millisecond
_PAUSE = 0.001  # seconds in between: without it, who lets go of a lock is the first to have it again
_LEARNT_AT_ONCE = 1000


class ContentCache:
    """All cached content, within a budget of bytes. Thread-safe.

    Args:
        directory: created if missing; nobody else's.
        budget: bytes to keep at most, not counting what is pinned.
        service: names the service; content of different services never mixes.
        account: tells whose containers are asked for, once they have ended.
        describe: what is known of a container, by its id.

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
        self._used = False  # whether any content was, or may have been, changed
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
        """The entry of a file, kept until ``unpin``; created empty if it is new. Raises NoSpace, TooManyOpenFiles."""
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
        """An entry that holds nothing, of a file for which the disk has no room. Raises TooManyOpenFiles."""
        with disk_errors():
            entry = CacheEntry(file, NOWHERE)
        entry.pins = 1
        return entry

    def has(self, file: RemoteFile) -> bool:
        """Whether there is anything of a file here."""
        return self._path(self._key(file.container_id, file.id)).exists()

    def ended(self, listed: Sequence[RemoteContainer]) -> list[RemoteContainer]:
        """The containers of which there is content here, and which are not among all that the service lists."""
        return self._index.ended(listed)

    def whole_files(self, container_id: str) -> list[RemoteFile]:
        """The files of a container of which the whole content is here, newest first, as the service told of them."""
        found = []
        for key, file in self._index.files(container_id):
            path = self._path(key)
            if path.exists() and not path.with_suffix(NOTE_SUFFIX).exists():
                found.append(file)
            else:
                self._index.forget(key)
        return found

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
        path = self._path(key)
        with disk_errors():
            size = _sum_up(staged)
        with self._lock, self._names, disk_errors():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.replace(staged, path)
            self._used = True
            path.with_suffix(NOTE_SUFFIX).unlink(missing_ok=True)
            self._pinned.pop(key, None)
            self._keep(key, size)
            self._index.note(key, file, size)

    def drop(self, container_id: str, file_id: str) -> None:
        """Forget content that nobody will ask for again, since its id is gone. Existing readers keep it."""
        with self._lock, self._names:
            self._discard(self._key(container_id, file_id))

    def shrink(self) -> None:
        """Evict all that is not pinned: the disk is full."""
        self._learnt.wait()
        self._evict(budget=0)

    def usage(self) -> dict[str, int]:
        """Bytes and entries that are evictable, entries that are pinned, and the budget in bytes."""
        with self._lock:
            return {
                "bytes": self._evictable.total,
                "entries": len(self._evictable),
                "pinned": len(self._pinned),
                "budget": self._evictable.budget,
            }

    def close(self) -> None:
        """Leave the cache usable for the next mount. What is pinned stays open, until those who use it let go of it."""
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
        """Delete a file. Needs both locks held. The content goes before its note: without one it passes for whole."""
        path = self._path(key)
        path.unlink(missing_ok=True)
        path.with_suffix(NOTE_SUFFIX).unlink(missing_ok=True)
        self._index.forget(key)

    def _discard(self, key: str) -> None:
        self._evictable.forget(key)
        self._forget_file(key)

    def _keep(self, key: str, size: int) -> None:
        """Allow a file to be evicted. Needs both locks held. Large amounts are evicted little by little."""
        self._evictable.keep(key, size)
        for evicted in self._evictable.take_excess(_AT_ONCE):
            self._forget_file(evicted)
        if self._evictable.total > self._evictable.budget:
            with suppress(RuntimeError):  # closed, or as many threads as there may be
                self._background.submit(self._evict)

    def _evict(self, budget: int | None = None) -> None:
        """Delete what is beyond the budget, a little at a time: an operation that comes waits for that little only."""
        while not self._closed:
            with self._lock, self._names:
                evicted = self._evictable.take_excess(_AT_ONCE, budget)
                for key in evicted:
                    self._forget_file(key)
            if not evicted:
                return
            time.sleep(_PAUSE)

    def _learn(self) -> None:
        """Find out what an earlier mount left."""
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
        """When each file was used last, its key, and how many bytes it takes."""
        for shard in self._directory.glob(_SHARDS):
            with suppress(FileNotFoundError), os.scandir(shard) as files:
                for file in files:
                    if self._closed:
                        return
                    if "." not in file.name:
                        with suppress(FileNotFoundError):  # another mount has evicted it
                            stat = file.stat()
                            yield stat.st_mtime, file.name, min(stat.st_size, stat.st_blocks * 512)


def _sum_up(staged: Path) -> int:
    """Put its checksums behind a content; returns its size. Raises OSError."""
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
