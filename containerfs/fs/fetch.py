"""Downloads into the content cache: started by the first reader of a range, shared by all.

A download runs ahead of its readers by as much as they have read from it in sequence, within bounds, and pauses there:
``head`` of a large file fetches about a mebibyte, and a copy of it keeps the line busy. A far seek starts another
download there where the service honours ranges, else it waits on the one that runs. Invariant: a download ends by
itself, with a reason in ``failure`` if it could not go on; waiting for it is thus bounded by the client's time-outs.
"""

import threading
import time
from collections.abc import Iterable, Iterator

from containerfs.fs import types
from containerfs.fs.content import CacheEntry, ContentCache
from containerfs.fs.remote import Remote, Stream
from containerfs.fs.types import RemoteFile

MiB = 1 << 20

_INLINE = 1 * MiB  # up to this size, handing over to a thread costs more than it brings
_MIN_AHEAD, _MAX_AHEAD = 1 * MiB, 64 * MiB
_JUMP = 4 * MiB  # forward seeks up to this far wait on the stream, further ones ask anew
_STREAMS = 4  # per file; random readers would otherwise pile up streams
_IDLE = 10.0  # seconds after which a paused stream gives its connection back
_GATHERED, _GATHERING = 1 * MiB, 0.01  # bytes and seconds after which what came is stored
_ATTEMPTS = 3  # without progress


class Fetcher:
    """Reads files of the service through the content cache."""

    def __init__(self, remote: Remote, cache: ContentCache) -> None:
        self._remote = remote
        self._cache = cache

    def open(self, file: RemoteFile) -> CacheEntry:
        """The file's entry, to be given back with ``close``. No network. Raises NoSpace."""
        entry = self._cache.pin(file)
        with entry.changed:
            entry.readers += 1
        return entry

    def close(self, entry: CacheEntry) -> None:
        """Let go of an entry. Without readers its downloads stop, but for a small rest; what came so far stays."""
        with entry.changed:
            entry.readers -= 1
            entry.changed.notify_all()
        self._cache.unpin(entry)

    def evict(self) -> None:
        """Drop all cached content that nobody has open."""
        self._cache.shrink()

    def ensure(self, entry: CacheEntry, start: int, stop: int) -> None:
        """Wait until the bytes ``[start, stop)``, as far as the file has them, are in the cache.

        Raises:
            NotFound: the service has dropped the file.
            Unreachable: it broke off repeatedly, or does not answer.
            Failed: it sent something else than it had announced.
        """
        while True:
            with entry.changed:
                missing = self._missing(entry, start, stop)
                if missing is None:
                    return
                download = self._download(entry, missing, stop)
                if download.started:
                    entry.changed.wait()
                    if download.failure:
                        raise download.failure
                    continue
                download.started = True
            self._start(download)
            if download.failure:
                raise download.failure

    def ensure_all(self, entry: CacheEntry) -> int:
        """Wait until the whole file is in the cache; returns its size. Raises as ``ensure``."""
        while not entry.complete:
            with entry.changed:
                here = entry.present.end_of(0)
            self.ensure(entry, here, here + _MAX_AHEAD)
        assert entry.size is not None
        return entry.size

    def _missing(self, entry: CacheEntry, start: int, stop: int) -> int | None:
        """The first byte that is wanted and not there; the stream that passed here learns how far readers are."""
        if entry.size is not None:
            stop = min(stop, entry.size)
        missing = entry.present.end_of(start)
        if missing >= stop and (entry.size is not None or missing > start):
            for download in entry.downloads:
                download.passed(start, stop)
            return None
        return missing

    def _download(self, entry: CacheEntry, offset: int, stop: int) -> "Download":
        """The stream that brings ``offset``: one under way, or a new one, not yet started."""
        download = next((each for each in entry.downloads if each.will_reach(offset)), None)
        if download is None:
            going_on = [each for each in entry.downloads if not each.abandoned]
            if len(going_on) >= _STREAMS:
                going_on[0].abandoned = True
                entry.changed.notify_all()
            self._cache.repin(entry)
            download = Download(self._remote, self._cache, entry, offset)
            entry.downloads.append(download)
        download.want(stop)
        return download

    @staticmethod
    def _start(download: "Download") -> None:
        size = download.entry.size
        if size is not None and size <= _INLINE:
            download.run()
        else:
            threading.Thread(target=download.run, name="download", daemon=True).start()


class Download:
    """One stream of a file's content, from ``start`` on, until nobody wants more of it.

    All fields are guarded by ``entry.changed``.
    """

    def __init__(self, remote: Remote, cache: ContentCache, entry: CacheEntry, start: int) -> None:
        self.entry = entry
        self.failure: types.FsError | None = None
        self.started = False
        self.abandoned = False
        self._remote = remote
        self._cache = cache
        self._start = start
        self._position = start
        self._limit = start
        self._ranged = True  # until the service answers with the whole file

    def will_reach(self, offset: int) -> bool:
        """Whether waiting for this stream is the quickest way to the byte at ``offset``."""
        ahead = offset - self._position
        return not self.abandoned and ahead >= 0 and (ahead <= _JUMP or not self._ranged)

    def want(self, stop: int) -> None:
        """Go on to ``stop`` and as much further as was read in sequence so far."""
        ahead = min(max(stop - self._start, _MIN_AHEAD), _MAX_AHEAD)
        if stop + ahead > self._limit:
            self._limit = stop + ahead
            self.entry.changed.notify_all()

    def passed(self, start: int, stop: int) -> None:
        """A reader reads ``[start, stop)``, which is here: keep ahead of it if it follows this stream."""
        if self._start <= start < self._position and 2 * (self._limit - stop) < self._limit - self._start:
            self.want(stop)

    def run(self) -> None:
        """Stream until done. Ends in ``failure`` rather than an exception: those who wait raise it."""
        failure: types.FsError | None = None
        try:
            self._stream()
        except types.FsError as error:
            failure = error
        except Exception as error:
            failure = types.Failed(f"download of {self.entry.file.path!r}: {error!r}")
        finally:
            with self.entry.changed:
                self.failure = failure
                self.entry.downloads.remove(self)
                self.entry.changed.notify_all()
            self._cache.unpin(self.entry)

    def _stream(self) -> None:
        attempts = 0
        while self._goes_on():
            before = self._position
            try:
                with self._remote.content(self.entry.file, self._position) as stream:
                    self._take(stream)
            except types.Unreachable:
                attempts = 1 if self._position > before else attempts + 1
                if attempts == _ATTEMPTS:
                    raise

    def _take(self, stream: Stream) -> None:
        entry = self.entry
        if stream.size is not None:
            self._learn_size(stream.size)
        offset = stream.start
        if offset < self._position:
            with entry.changed:
                self._ranged, self._start, self._position = False, offset, offset
        for chunk in gathered(stream.chunks):
            self._store(offset, chunk)
            offset += len(chunk)
            # After the last byte the end of the answer is read as well: only then is its connection used again.
            if offset != entry.size and not self._goes_on():
                return
        if entry.size is None:
            self._learn_size(offset)
        elif offset != entry.size:
            raise types.Unreachable(f"{entry.file.path!r} broke off after {offset} of {entry.size} bytes")

    def _store(self, offset: int, chunk: bytes) -> None:
        if self.entry.size is not None and offset + len(chunk) > self.entry.size:
            raise types.Failed(f"the service sends more than the {self.entry.size} bytes of {self.entry.file.path!r}")
        try:
            self.entry.store(offset, chunk)
        except types.NoSpace:
            self._cache.shrink()
            self.entry.store(offset, chunk)
        self._position = offset + len(chunk)

    def _learn_size(self, size: int) -> None:
        with self.entry.changed:
            known, self.entry.size = self.entry.size, size if self.entry.size is None else self.entry.size
            self.entry.changed.notify_all()
        if known not in (None, size):
            raise types.Failed(f"{self.entry.file.path!r} has {known} bytes by the listing, and {size} to download")

    def _goes_on(self) -> bool:
        """Whether there is more to fetch; pauses while the stream is far enough ahead of its readers."""
        entry = self.entry
        with entry.changed:
            while self._position >= self._limit and self._wanted():
                if not entry.changed.wait(_IDLE):
                    return False
            return self._wanted()

    def _wanted(self) -> bool:
        entry, size = self.entry, self.entry.size
        if self.abandoned or (size is not None and entry.present.end_of(self._position) >= size):
            return False
        if not entry.readers:  # a small rest is worth keeping the connection for
            return size is not None and size - self._position <= _INLINE
        return not (self._ranged and entry.present.end_of(self._position) > self._position)


def gathered(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Chunks of a stream, gathered as they come, for every one that is stored wakes all readers.

    A slow stream is not held up by it: a chunk that comes a hundredth of a second after the last that was passed on is
    passed on at once. Of a burst, what is short of a full gathering waits for the next chunk, or for the end.
    """
    gathering: list[bytes] = []
    size, since = 0, time.monotonic()
    try:
        for chunk in chunks:
            gathering.append(chunk)
            size += len(chunk)
            if size >= _GATHERED or time.monotonic() - since > _GATHERING:
                yield b"".join(gathering)
                gathering.clear()
                size, since = 0, time.monotonic()
    except types.FsError:
        if gathering:
            yield b"".join(gathering)
        raise
    if gathering:
        yield b"".join(gathering)
