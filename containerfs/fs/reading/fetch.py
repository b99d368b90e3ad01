"""Reading files of the service through the content cache: all readers of a file share its entry and its downloads.

The first reader of a range starts a download, and others wait for it. A far seek starts another download there if the
service supports ranges; otherwise it waits for the one that is running.

A file's ``changed`` is the innermost lock: neither the cache nor the service is called while it is held.
"""

import threading
from dataclasses import dataclass
from weakref import WeakValueDictionary

from containerfs.fs import deadline, types
from containerfs.fs.rate import Rate
from containerfs.fs.reading.cache import ContentCache
from containerfs.fs.reading.downloads import Download
from containerfs.fs.reading.entry import CacheEntry
from containerfs.fs.reading.passing import PassingStream
from containerfs.fs.reading.pieces import Pieces
from containerfs.fs.reading.readahead import MAX_AHEAD, PROBE, SMALL, ReadAhead, Step
from containerfs.fs.remote import Remote
from containerfs.fs.tasks import Task, Workers
from containerfs.fs.types import RemoteFile

_READINGS = 3  # of what proves damaged; each time it is fetched again
_FEW = 0.4  # seconds to wait for a file that has stalled
_STREAMS = 4  # per file; random readers would otherwise pile up streams


@dataclass(frozen=True, slots=True)
class Fetch:
    """A file that is being downloaded.

    Attributes:
        size: in bytes; None while it is unknown.
        present: bytes of it that are here.
        rate: at which more come, in bytes a second.
    """

    file: RemoteFile
    size: int | None
    present: int
    rate: float


class Fetcher:
    """Opens files of the service to be read. Thread-safe."""

    def __init__(self, remote: Remote, cache: ContentCache, workers: Workers) -> None:
        self._remote = remote
        self._cache = cache
        self._workers = workers
        self._lock = threading.Lock()  # guards _shared
        self._shared: WeakValueDictionary[CacheEntry, _SharedFile] = WeakValueDictionary()

    def open(self, file: RemoteFile) -> "Reader":
        """Open a file, without asking the service. Close the reader when it is done.

        Raises:
            TooManyOpenFiles: no descriptor is left.
        """
        entry = self._pin(file)
        with self._lock:
            shared = self._shared.get(entry)
            if shared is None:
                shared = self._shared[entry] = _SharedFile(self._remote, self._cache, self._workers, entry)
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
        """The files that are being downloaded now."""
        with self._lock:
            files = list(self._shared.values())
        return [fetch for file in files if (fetch := file.fetch()) is not None]

    def has(self, file: RemoteFile) -> bool:
        """Whether there is anything of a file here."""
        return self._cache.has(file)

    def evict(self) -> None:
        """Drop all cached content that nobody has open."""
        self._cache.shrink()


class Reader:
    """One opening of a file. Thread-safe, but nothing may run when it is closed.

    Attributes:
        fd: a descriptor of the content, to be used once that is ensured. It is closed with the reader.
    """

    def __init__(self, shared: "_SharedFile") -> None:
        self.fd = shared.entry.fd
        self._shared = shared
        self._entry = shared.entry
        self._passing: PassingStream | None = None  # set with what the readers share locked
        shared.enter()

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Read at ``offset`` into ``buffer``; returns how many bytes, fewer than it holds only at the end of the file.

        Waits until they are in the cache; where the disk has no room for them, they pass by it.

        Raises:
            NotFound: the service has dropped the file.
            Unreachable: it broke off repeatedly, or does not answer.
            Failed: it sent something else than it had announced.
        """
        passing = None if self._passing is None else self._pass_by()
        if passing is None or self._entry.has(offset, offset + len(buffer)):
            try:
                return self._read_cached(buffer, offset)
            except types.NoSpace:
                passing = self._pass_by()
        return self._shared.read_past(passing, buffer, offset)

    def _read_cached(self, buffer: memoryview, offset: int) -> int:
        for _ in range(_READINGS):
            if not self._entry.complete:
                self._shared.ensure(offset, offset + len(buffer))
            read = self._entry.read_into(buffer, offset)
            if read is not None:
                return read
        raise types.Failed(f"this machine's disk damages what is stored of {self._entry.file.path!r}")

    def _pass_by(self) -> PassingStream:
        with self._shared.changed:
            if self._passing is None or self._passing.closed:
                self._passing = self._shared.stream_past()
            return self._passing

    @property
    def is_whole(self) -> bool:
        """Whether the cache has all of the file."""
        return self._entry.complete

    def ensure_all(self) -> int:
        """Wait until the cache has all of the file; returns its size in bytes. Raises as ``read_into``, and NoSpace."""
        entry = self._entry
        while not entry.complete:
            with entry.lock:
                here = entry.present.end_of(0)
            self._shared.ensure(here, here + MAX_AHEAD)
        assert entry.size is not None
        return entry.size

    def ensure_sound(self, size: int | None) -> int:
        """Wait until the whole file is in the cache, and compare what it begins with with its checksums.

        Args:
            size: how many bytes of it to compare; None for all.

        Returns:
            The size of the file, in bytes.

        Raises:
            NoSpace: the disk is full.
            FsError: as ``read_into``.
        """
        for _ in range(_READINGS):
            whole = self.ensure_all()
            if self._entry.is_sound(0, whole if size is None else min(size, whole)):
                return whole
        raise types.Failed(f"this machine's disk damages what is stored of {self._entry.file.path!r}")

    def close(self) -> None:
        """Close it. Without readers a file's downloads stop, but for a small rest; what came so far is kept."""
        self._shared.leave()
        if self._passing is not None:
            self._passing.close()


class _SharedFile:
    """A file while it is open or a download of it runs: its entry, its readers and its downloads.

    ``changed`` guards all that, and is notified whenever some of it changes.

    Attributes:
        stalled: whether somebody has given up waiting, and nothing has arrived since.
    """

    def __init__(self, remote: Remote, cache: ContentCache, workers: Workers, entry: CacheEntry) -> None:
        self.entry = entry
        self.changed = threading.Condition(entry.lock)
        self.readers = 0
        self.stalled = False
        self.downloads: list[Download] = []
        self._pieces = Pieces()
        self._rate = Rate()
        self._remote = remote
        self._cache = cache
        self._workers = workers

    # For readers

    def enter(self) -> None:
        """One more reader, for whom the entry is pinned."""
        with self.changed:
            self.readers += 1

    def leave(self) -> None:
        """One reader fewer."""
        with self.changed:
            self.readers -= 1
            self.changed.notify_all()
        self._cache.unpin(self.entry)

    def fetch(self) -> Fetch | None:
        """How its downloads get on; None if none runs."""
        with self.changed:
            if not self.downloads:
                return None
            return Fetch(self.file, self.size, self.entry.present.total(), self._rate.per_second())

    def stream_past(self) -> PassingStream:
        """A way to the content that needs no room on the disk."""
        return PassingStream(self._remote, self.file)

    def read_past(self, passing: PassingStream, buffer: memoryview, offset: int) -> int:
        """Read as ``Reader.read_into``. The next reader after one that gave up waiting starts another stream."""
        size = len(buffer)
        try:
            data = self._workers.do(lambda: passing.read(offset, size))
        except types.Unreachable:
            passing.close()
            raise
        buffer[: len(data)] = data
        return len(data)

    def ensure(self, start: int, stop: int) -> None:
        """Wait until the bytes ``[start, stop)``, as far as the file has them, are in the cache."""
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
        """Wait for a moment, or until something changes. Raises what the deadline does. Needs ``changed`` held."""
        try:
            deadline.wait(self.changed, download.moved_at, _FEW if self.stalled else None)
        except types.Unreachable:
            self.stalled = download.ahead.abandoned = True  # the next reader starts another stream, and is less patient
            self.changed.notify_all()
            raise

    def _missing(self, start: int, stop: int) -> int | None:
        """The first byte that is wanted and not here; the stream that passed here learns how far readers are."""
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
        """The download that brings ``offset``: one under way, or a new one, not yet started."""
        download = next((each for each in self.downloads if each.ahead.will_reach(offset)), None)
        if download is None:
            is_probe = stop - offset <= SMALL and not self._follows(offset)
            if not is_probe:
                self._make_way()
            download = Download(self._remote, self, ReadAhead(offset, max(stop, offset + PROBE) if is_probe else None))
            self.downloads.append(download)
        if download.ahead.want(stop):
            self.changed.notify_all()
        return download

    def _next_piece(self, stop: int, *, waits: bool) -> Download | None:
        """Another download beside those under way, not yet started, for a reader that reads up to ``stop``."""
        streams = [download.ahead for download in self.downloads]
        ahead = self._pieces.next(stop, streams, self.entry.present, self.size, waits=waits)
        if ahead is None:
            return None
        download = Download(self._remote, self, ahead)
        self.downloads.append(download)
        return download

    def _follows(self, offset: int) -> bool:
        """Whether what is before ``offset`` was read, or is being fetched: the file is read on from there."""
        small = self.size is not None and self.size <= SMALL
        if not offset or small or self.entry.present.end_of(offset - 1) >= offset:
            return True
        return any(download.ahead.will_reach(offset - 1) for download in self.downloads)

    def _make_way(self) -> None:
        """Abandon the oldest download without end if there are as many as there may be."""
        going_on = [download for download in self.downloads if download.ahead.end is None]
        going_on = [download for download in going_on if not download.ahead.abandoned]
        if len(going_on) >= _STREAMS:
            going_on[0].ahead.abandoned = True
            self.changed.notify_all()

    def _start(self, download: Download) -> None:
        """Run a download: as a task if the file is small, else on a thread. It keeps the entry pinned until it ends."""
        self._cache.repin(self.entry)
        if self.size is not None and self.size <= SMALL:
            try:
                self._workers.begin(Task(download.run))
            except types.Failed as error:
                download.end(error)
            return
        try:
            threading.Thread(target=download.run, name="download", daemon=True).start()
        except RuntimeError as error:  # the process has as many threads as it may have
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
            raise types.Failed(f"{self.file.path!r} has {known} bytes by the listing, and {size} to download")

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
