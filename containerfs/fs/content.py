"""The content cache: one sparse file on disk for each file id, filled as it is read.

A file id's content never changes, so what is here is never revalidated and never out of date; it is keyed by
service, container and file id, and outlives the mount. Invariants: a byte inside an entry's present ranges is the
service's byte; a pinned entry is never evicted; a file name in the cache is a hash, whatever a service calls its files.
A cache that was in use when the machine (not the mount) went down may hold ranges that never reached the disk: it is
emptied.
"""

import json
import logging
import os
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cachetools import LRUCache

from containerfs.fs.disk import disk_errors, write_all
from containerfs.fs.ranges import Ranges
from containerfs.fs.types import RemoteFile, digest

if TYPE_CHECKING:
    from containerfs.fs.fetch import Download

log = logging.getLogger(__name__)

_PATIENCE = 5.0  # seconds for which the end of a mount waits for the disk
_RANGES_SUFFIX = ".ranges"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class CacheEntry:
    """The cached content of one file id, open while it is pinned.

    Attributes:
        file: what the service says of it.
        size: in bytes; None until it is known.
        present: which of its bytes are here.
        changed: notified whenever the fields that it guards change: ``present``, ``size``, ``downloads``, ``readers``.
        downloads: those under way.
        readers: how many have it open to read.
    """

    def __init__(self, file: RemoteFile, path: Path) -> None:
        self.file = file
        self.path = path
        self.size = file.size
        self.changed = threading.Condition()
        self.downloads: list[Download] = []
        self.readers = 0
        self.pins = 0  # guarded by the cache's lock, as is the next
        self.dropped = False
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.present = self._load_ranges()
        self.note()  # a hole must never pass for content, however this ends

    @property
    def complete(self) -> bool:
        """Whether all of the content is here."""
        return self.size is not None and self.present.covers(0, self.size)

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Copy present bytes from ``offset`` on into ``buffer``; returns how many, fewer only at the end."""
        return os.preadv(self.fd, [buffer], offset)

    def store(self, offset: int, data: bytes) -> None:
        """Keep bytes that the service sent. Raises NoSpace."""
        with disk_errors():
            write_all(self.fd, data, offset)
        with self.changed:
            self.present.add(offset, offset + len(data))
            self.changed.notify_all()

    def note(self) -> None:
        """Note on disk what is present; a mount that is killed leaves the note before, which is true as well."""
        if not os.fstat(self.fd).st_nlink:
            return  # evicted by another mount that shares the cache: the name is not this file's any more
        ranges = self.path.with_suffix(_RANGES_SUFFIX)
        if self.complete:
            ranges.unlink(missing_ok=True)
        else:
            ranges.write_text(json.dumps(list(self.present)))

    def close(self) -> int:
        """Note what is present, close, and return how many bytes that is."""
        self.note()
        os.close(self.fd)
        return self.present.total()

    def _load_ranges(self) -> Ranges:
        """What is present: as noted beside the file; without a note the file is complete, or new."""
        stored = os.fstat(self.fd).st_size
        try:
            noted = json.loads(self.path.with_suffix(_RANGES_SUFFIX).read_text())
            return Ranges((start, min(stop, stored)) for start, stop in noted)
        except FileNotFoundError:
            return Ranges([(0, stored)] if stored == self.size else [])
        except (ValueError, TypeError):
            return Ranges()


class ContentCache:
    """All cached content, within a budget of bytes.

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
        self._marker = _UseMarker(directory)
        self._marker.enter()
        self._load_unpinned()

    def pin(self, file: RemoteFile) -> CacheEntry:
        """The entry of a file, kept until ``unpin``; created empty if it is new. Raises NoSpace."""
        key = self._key(file.container_id, file.id)
        with self._lock:
            entry = self._pinned.get(key)
            if entry is None:
                path = self._path(key)
                with disk_errors():
                    path.parent.mkdir(exist_ok=True, mode=0o700)
                    entry = CacheEntry(file, path)
                self._unpinned.forget(key)
                self._pinned[key] = entry
            entry.pins += 1
            return entry

    def has(self, file: RemoteFile) -> bool:
        """Whether there is anything of a file here."""
        return self._path(self._key(file.container_id, file.id)).exists()

    def repin(self, entry: CacheEntry) -> None:
        """Keep an entry, that is pinned, for one more ``unpin``."""
        with self._lock:
            entry.pins += 1

    def unpin(self, entry: CacheEntry) -> None:
        """Let go of an entry; the last one to do so makes it evictable."""
        with self._lock:
            entry.pins -= 1
            if entry.pins:
                return
            key = self._key(entry.file.container_id, entry.file.id)
            if self._pinned.get(key) is not entry:  # replaced by what was uploaded
                entry.close()
                return
            del self._pinned[key]
            kept = entry.close()
            if entry.dropped:
                self._unpinned.discard(key)
                return
            with suppress(FileNotFoundError):  # another mount that shares the cache has evicted it
                os.utime(entry.path)  # the order of eviction, across mounts
                self._unpinned.keep(key, kept)

    def adopt(self, file: RemoteFile, staged: Path) -> None:
        """Take a file that was just uploaded as the content of its id: reading it back costs no request.

        Who has the id open already reads on in what he has: some services give what replaces a file the same id.
        """
        key = self._key(file.container_id, file.id)
        path = self._path(key)
        with self._lock:
            self._pinned.pop(key, None)
            path.parent.mkdir(exist_ok=True, mode=0o700)
            os.replace(staged, path)
            path.with_suffix(_RANGES_SUFFIX).unlink(missing_ok=True)
            self._unpinned.keep(key, file.size or 0)

    def drop(self, container_id: str, file_id: str) -> None:
        """Forget content that nobody will ask for again, since its id is gone. Pinned content stays for its readers."""
        key = self._key(container_id, file_id)
        with self._lock:
            if key in self._pinned:
                self._pinned[key].dropped = True
            else:
                self._unpinned.discard(key)

    def shrink(self) -> None:
        """Evict all that is not pinned: the disk is full."""
        with self._lock:
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
        with self._lock:
            for entry in self._pinned.values():
                entry.note()
        self._marker.leave()

    def _key(self, container_id: str, file_id: str) -> str:
        return digest(json.dumps([self._service, container_id, file_id]))

    def _path(self, key: str) -> Path:
        return _content_path(self._directory, key)

    def _load_unpinned(self) -> None:
        found = []
        for shard in self._directory.glob("[0-9a-f][0-9a-f]"):
            with os.scandir(shard) as entries:
                found += [(entry.stat(), entry.name) for entry in entries if not entry.name.endswith(_RANGES_SUFFIX)]
        for stat, name in sorted(found, key=lambda item: item[0].st_mtime):
            self._unpinned.keep(name, min(stat.st_size, stat.st_blocks * 512))


class _Unpinned(LRUCache[str, int]):
    """Which entries may be evicted, oldest use first, and how many bytes each has; evicting deletes the file."""

    def __init__(self, directory: Path, budget: int) -> None:
        super().__init__(budget, getsizeof=int)
        self._directory = directory

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
        path = _content_path(self._directory, key)
        path.unlink(missing_ok=True)
        path.with_suffix(_RANGES_SUFFIX).unlink(missing_ok=True)


class _UseMarker:
    """A file that stands in the cache while a mount uses it, and says since which boot of the machine.

    If one from an earlier boot is found, the machine went down under a mount, and pages that the cache believes in may
    never have reached the disk.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._boot = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else "unknown"
        self._path = directory / f"in-use-{os.getpid()}-{time.monotonic_ns()}"

    def enter(self) -> None:
        others = list(self._directory.glob("in-use-*"))
        if any(other.read_text() != self._boot for other in others):
            log.warning("The machine went down while %s was in use: its contents are dropped", self._directory)
            for shard in self._directory.glob("[0-9a-f][0-9a-f]"):
                shutil.rmtree(shard, ignore_errors=True)
            for other in others:
                other.unlink(missing_ok=True)
        self._path.write_text(self._boot)

    def leave(self) -> None:
        """Take the marker away, once all that was written is on the disk; a disk that is too busy for that keeps it."""
        syncing = threading.Thread(target=os.sync, daemon=True)  # what mounts that were killed had written, too
        syncing.start()
        syncing.join(_PATIENCE)
        if syncing.is_alive():
            return
        for marker in [self._path, *self._directory.glob("in-use-*")]:
            if marker == self._path or not Path("/proc", marker.name.split("-")[2]).exists():
                marker.unlink(missing_ok=True)


def _content_path(directory: Path, key: str) -> Path:
    return directory / key[:2] / key
