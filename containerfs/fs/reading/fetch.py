"""Reads files of the service through the content cache. All readers of a file share its entry and its downloads.

The first reader of a range starts a download, and others wait for it. A seek far ahead starts another download there if
the service supports ranges; otherwise it waits for the running one.

A file's ``changed`` is the innermost lock: while it is held, neither the cache nor the service is called.
"""

import threading
from dataclasses import dataclass
from weakref import WeakValueDictionary

from containerfs.fs import deadline, types
from containerfs.fs.rate import Rate
from containerfs.fs.reading.cache import ContentCache
from containerfs.fs.reading.downloads import Download, Gathering
from containerfs.fs.reading.entry import CacheEntry
from containerfs.fs.reading.passing import PassingStream
from containerfs.fs.reading.pieces import Pieces
from containerfs.fs.reading.readahead import MAX_AHEAD, PROBE, SMALL, ReadAhead, Step
from containerfs.fs.remote import Remote
from containerfs.fs.tasks import Task, Workers
from containerfs.fs.types import RemoteFile

_READINGS = 3  # reads of damaged content; each fetches it again
_FEW = 0.4  # seconds to wait for a stalled file
_STREAMS = 4  # for each file; otherwise random readers would start ever more streams


@dataclass(frozen=True, slots=True)
class Fetch:
    """A file that is being downloaded.

    Attributes:
        size: in bytes; None while it is unknown.
        present: the number of bytes that are here.
        rate: in bytes per second.
    """

    file: RemoteFile
    size: int | None
    present: int
    rate: float


class Fetcher:
    """Opens files of the service for reading. Thread-safe."""

    def __init__(self, remote: Remote, cache: ContentCache, workers: Workers) -> None:
        self._remote = remote
        self._cache = cache
        self._workers = workers
        self._gathering = Gathering()
        self._lock = threading.Lock()  # guards _shared
        self._shared: WeakValueDictionary[CacheEntry, _SharedFile] = WeakValueDictionary()

    def open(self, file: RemoteFile) -> "Reader":
        """Open a file without sending a request. Close the reader when done.

        Raises:
            TooManyOpenFiles: if no descriptor is left.
        """
        entry = self._pin(file)
        with self._lock:
            shared = self._shared.get(entry)
            if shared is None:
                shared = self._shared[entry] = _SharedFile(
                    self._remote, self._cache, self._workers, self._gathering, entry
                )
        return Reader(shared)

    def _pin(self, file: RemoteFile) -> CacheEntry:
        try:
            return self._cache.pin(file)
        except types.NoSpace:
            self._cache.shrink()
        try:
            return self._cache.pin(file)
        except types.NoSpace:
            return self._cache.pin_without_room(file)

    def under_way(self) -> list[Fetch]:
        """Return the files that are being downloaded now."""
        with self._lock:
            files = list(self._shared.values())
        return [fetch for file in files if (fetch := file.fetch()) is not None]

    def has(self, file: RemoteFile) -> bool:
        """Tell whether the cache has anything of a file."""
        return self._cache.has(file)

    def evict(self) -> None:
        """Drop all cached content that is not open."""
        self._cache.shrink()


class Reader:
    """One opening of a file. Thread-safe, except that no other method may be running when it is closed.

    Attributes:
        fd: a descriptor of the content, to be used after ``ensure_all``. It is closed with the reader.
    """

    def __init__(self, shared: "_SharedFile") -> None:
        self.fd = shared.entry.fd
        self._shared = shared
        self._entry = shared.entry
        self._passing: PassingStream | None = None  # set while the shared lock is held
        shared.enter()

    def read(self, offset: int, size: int) -> bytes:
        """Read up to ``size`` bytes at ``offset``, and wait for them if necessary.

        If the disk has no space for them, they bypass the cache.

        Returns:
            The bytes, fewer than ``size`` only at the end of the file.

        Raises:
            NotFound: if the service no longer has the file.
            Unreachable: if the service does not answer, or breaks off repeatedly.
            Failed: if the service sends something else than it announced.
        """
        passing = None if self._passing is None else self._pass_by()
        if passing is None or self._entry.has(offset, offset + size):
            try:
                return self._read_cached(offset, size)
            except types.NoSpace:
                passing = self._pass_by()
        return self._shared.read_past(passing, offset, size)

    def _read_cached(self, offset: int, size: int) -> bytes:
        for _ in range(_READINGS):
            if not self._entry.complete:
                self._shared.ensure(offset, offset + size)
            read = self._entry.read(offset, size)
            if read is not None:
                return read
        raise types.Failed(f"this machine's disk keeps damaging the cached content of {self._entry.file.path!r}")

    def _pass_by(self) -> PassingStream:
        with self._shared.changed:
            if self._passing is None or self._passing.closed:
                self._passing = self._shared.stream_past()
            return self._passing

    @property
    def is_whole(self) -> bool:
        """Tell whether the cache has the whole file."""
        return self._entry.complete

    def ensure_all(self) -> int:
        """Wait until the cache has the whole file; return its size in bytes. Raises as ``read`` does, and NoSpace."""
        entry = self._entry
        while not entry.complete:
            with entry.lock:
                here = entry.present.end_of(0)
            self._shared.ensure(here, here + MAX_AHEAD)
        assert entry.size is not None
        return entry.size

    def ensure_sound(self, size: int | None) -> int:
        """Wait until the cache has the whole file, and compare its first bytes with their checksums.

        Args:
            size: how many bytes to compare; None for all.

        Returns:
            The size of the file in bytes.

        Raises:
            NoSpace: if the disk is full.
            FsError: as ``read``.
        """
        for _ in range(_READINGS):
            whole = self.ensure_all()
            if self._entry.is_sound(0, whole if size is None else min(size, whole)):
                return whole
        raise types.Failed(f"this machine's disk keeps damaging the cached content of {self._entry.file.path!r}")

    def close(self) -> None:
        """Close the reader. Without readers, a file's downloads stop, unless little is missing. What has arrived is
        kept."""
        self._shared.leave()
        if self._passing is not None:
            self._passing.close()


class _SharedFile:
    """A file that is open or being downloaded: its entry, its readers and its downloads.

    ``changed`` guards all of that, and is notified whenever some of it changes.

    Attributes:
        stalled: whether somebody has given up waiting, and nothing has arrived since.
    """

    def __init__(
        self, remote: Remote, cache: ContentCache, workers: Workers, gathering: Gathering, entry: CacheEntry
    ) -> None:
        self.entry = entry
        self.changed = threading.Condition(entry.lock)
        self.readers = 0
        self.stalled = False
        self.downloads: list[Download] = []
        self._gathering = gathering
        self._pieces = Pieces()
        self._rate = Rate()
        self._remote = remote
        self._cache = cache
        self._workers = workers

    # For readers

    def enter(self) -> None:
        """Add a reader, for whom the entry is pinned."""
        with self.changed:
            self.readers += 1

    def leave(self) -> None:
        """Remove a reader."""
        with self.changed:
            self.readers -= 1
            self.changed.notify_all()
        self._cache.unpin(self.entry)

    def fetch(self) -> Fetch | None:
        """Return the progress of its downloads; None if there are none."""
        with self.changed:
            if not self.downloads:
                return None
            return Fetch(self.file, self.size, self.entry.present.total(), self._rate.per_second())

    def stream_past(self) -> PassingStream:
        """Return a stream of the content that needs no space on the disk."""
        return PassingStream(self._remote, self.file)

    def read_past(self, passing: PassingStream, offset: int, size: int) -> bytes:
        """Read as ``Reader.read`` does. If a reader has given up waiting, the next one starts another stream."""
        try:
            return self._workers.do(lambda: passing.read(offset, size))
        except types.Unreachable:
            passing.close()
            raise

    def ensure(self, start: int, stop: int) -> None:
        """Wait until the bytes ``[start, stop)`` are in the cache, up to the end of the file."""
        download: Download | None = None
        while True:
            with self.changed:
                missing = self._missing(start, stop)
                begun = self._next_piece(stop, waits=missing is not None)
                if begun is None:
                    if missing is None:
                        return
                    if download is not None and download.failure:
                        raise download.failure
                    begun = download = self._download(missing, stop)
                    if download.started:
                        self._wait(download)
                        continue
                begun.started = True
            self._start(begun)

    def _wait(self, download: Download) -> None:
        """Wait for a moment, or until something changes. Raises what the deadline raises. ``changed`` must be held."""
        try:
            deadline.wait(self.changed, download.moved_at, _FEW if self.stalled else None)
        except types.Unreachable:
            self.stalled = download.ahead.abandoned = (
                True  # the next reader starts another stream, and waits for less time
            )
            self.changed.notify_all()
            raise

    def _missing(self, start: int, stop: int) -> int | None:
        """Return the first missing byte of a range. The stream that fetched the bytes before it learns that they are
        read."""
        size = self.entry.size
        if size is not None:
            stop = min(stop, size)
        missing = self.entry.present.end_of(start)
        if missing < stop or (size is None and missing == start):
            return missing
        for download in self.downloads:
            if download.ahead.passed(start, stop):
                self.changed.notify_all()
        return None

    def _download(self, offset: int, stop: int) -> Download:
        """Return the download that will bring ``offset``: a running one, or a new one, which is not started yet."""
        download = next((each for each in self.downloads if each.ahead.will_reach(offset)), None)
        if download is None:
            is_probe = stop - offset <= SMALL and not self._follows(offset)
            if not is_probe:
                self._make_way()
            download = self._add(ReadAhead(offset, max(stop, offset + PROBE) if is_probe else None))
        if download.ahead.want(stop):
            self.changed.notify_all()
        return download

    def _next_piece(self, stop: int, *, waits: bool) -> Download | None:
        """Return a further download, which is not started yet, for a reader that reads up to ``stop``."""
        streams = [download.ahead for download in self.downloads]
        ahead = self._pieces.next(stop, streams, self.entry.present, self.size, waits=waits)
        return None if ahead is None else self._add(ahead)

    def _add(self, ahead: ReadAhead) -> Download:
        download = Download(self._remote, self, ahead, self._gathering)
        self.downloads.append(download)
        return download

    def _follows(self, offset: int) -> bool:
        """Tell whether the file is read on at ``offset``: the bytes before it were read, or are being fetched."""
        small = self.size is not None and self.size <= SMALL
        if not offset or small or self.entry.present.end_of(offset - 1) >= offset:
            return True
        return any(download.ahead.will_reach(offset - 1) for download in self.downloads)

    def _make_way(self) -> None:
        """Abandon the oldest unlimited download if there are as many as allowed."""
        going_on = [download for download in self.downloads if download.ahead.end is None]
        going_on = [download for download in going_on if not download.ahead.abandoned]
        if len(going_on) >= _STREAMS:
            going_on[0].ahead.abandoned = True
            self.changed.notify_all()

    def _start(self, download: Download) -> None:
        """Run a download: as a task if the file is small, and otherwise on a thread. The entry stays pinned until it
        ends."""
        self._cache.repin(self.entry)
        if self.size is not None and self.size <= SMALL:
            try:
                self._workers.begin(Task(download.run))
            except types.Failed as error:
                download.end(error)
            return
        try:
            threading.Thread(target=download.run, name="download", daemon=True).start()
        except RuntimeError as error:  # no more threads can be started
            download.end(types.Failed(f"download of {self.file.path!r}: {error}"))

    # For downloads

    @property
    def file(self) -> RemoteFile:
        return self.entry.file

    @property
    def size(self) -> int | None:
        return self.entry.size

    def learn_size(self, size: int) -> None:
        with self.changed:
            known = self.entry.size
            if known is None:
                self.entry.learn_size(size)
                self.changed.notify_all()
        if known not in (None, size):
            raise types.Failed(f"{self.file.path!r} has {known} bytes in the listing, but {size} in the download")

    def store(self, ahead: ReadAhead, data: bytes) -> None:
        start, stop = ahead.position, ahead.position + len(data)
        if self.size is not None and stop > self.size:
            raise types.Failed(f"the service sends more than the {self.size} bytes of {self.file.path!r}")
        try:
            self.entry.write(start, data)
        except types.NoSpace:
            self._cache.shrink()
            self.entry.write(start, data)
        with self.changed:
            self.entry.add(start, stop)
            self._rate.add(stop - start)
            ahead.position = stop
            self.stalled = False
            self.changed.notify_all()

    def next_step(self, ahead: ReadAhead) -> Step:
        return ahead.next_step(self.entry.present, self.entry.size, read=self.readers > 0)

    def ended(self, download: Download) -> None:
        with self.changed:
            self.downloads.remove(download)
            self.changed.notify_all()
        self._cache.unpin(self.entry)
