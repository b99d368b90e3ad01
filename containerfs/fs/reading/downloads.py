"""One stream of a file's content from the service, resumed after interruptions, until nobody wants more of it.

Invariant: a download ends by itself, with a reason in ``failure`` if it could not continue. So waiting for it is
limited by the client's timeouts.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from containerfs.fs import types
from containerfs.fs.deadline import NEVER
from containerfs.fs.reading.pieces import LARGE
from containerfs.fs.reading.readahead import ReadAhead, Step
from containerfs.fs.remote import Remote, Stream
from containerfs.fs.types import RemoteFile

_IDLE = 10.0  # seconds after which a paused stream returns its connection
_LEAST_GATHERED, _GATHERED_IN_ALL = 128 << 10, 16 << 20  # bytes
_GATHERED, _GATHERING = 1 << 20, 0.01  # bytes and seconds after which received data is stored
_ATTEMPTS = 3  # without progress


class Destination(Protocol):
    """What a download fills, shared with those that wait for its bytes. Safe to call from any thread."""

    changed: threading.Condition
    """Guards the downloads' fields and what ``next_step`` depends on; notified whenever one of them changes."""

    @property
    def file(self) -> RemoteFile: ...

    @property
    def size(self) -> int | None:
        """The size in bytes; None while it is unknown."""

    def learn_size(self, size: int) -> None:
        """Take over the size that the service announces, in bytes.

        Raises:
            Failed: if the file is known to have another size.
        """

    def store(self, ahead: ReadAhead, data: bytes) -> None:
        """Store what a stream brings at its position, and advance the position.

        Raises:
            NoSpace: if the disk is full.
            Failed: if the content cannot be stored.
        """

    def next_step(self, ahead: ReadAhead) -> Step:
        """Return what a stream does next. ``changed`` must be held."""

    def ended(self, download: "Download") -> None:
        """Called once, when the download does nothing more and its ``failure`` is set."""


class Gathering:
    """How many bytes each of several downloads gathers before it stores them. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _running
        self._running = 0

    def __enter__(self) -> None:
        """Count one more download."""
        with self._lock:
            self._running += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._running -= 1

    def most(self) -> int:
        """Return the number of bytes, which is smaller the more downloads there are."""
        return max(_LEAST_GATHERED, min(_GATHERED, _GATHERED_IN_ALL // max(self._running, 1)))


class Download:
    """A stream. ``changed`` of its destination guards its fields.

    Args:
        ahead: where it begins, and how far it goes.
        gathering: shared by all downloads.

    Attributes:
        ahead: where it is now.
        started: whether a thread runs it, or has run it.
        failure: why it could not continue.
        moved_at: monotonic time when it last brought something.
    """

    def __init__(self, remote: Remote, destination: Destination, ahead: ReadAhead, gathering: Gathering) -> None:
        self.ahead = ahead
        self.started = False
        self.failure: types.FsError | None = None
        self.moved_at = NEVER
        self._remote = remote
        self._destination = destination
        self._gathering = gathering

    def run(self) -> None:
        """Stream until done. Errors end in ``failure`` instead of being raised, and are raised to those that wait."""
        failure: types.FsError | None = None
        try:
            with self._gathering:
                self._stream()
        except types.FsError as error:
            failure = error
        except Exception as error:
            failure = types.Failed(f"download of {self._destination.file.path!r}: {error!r}")
        finally:
            self.end(failure)

    def end(self, failure: types.FsError | None) -> None:
        """End the download, whether it has started or not."""
        self.failure = failure
        self._destination.ended(self)

    def _stream(self) -> None:
        attempts = 0
        while self._goes_on():
            before, asked_at = self.ahead.position, time.monotonic()
            try:
                with self._remote.content(self._destination.file, before, self._end()) as stream:
                    self._take(stream, time.monotonic() - asked_at)
            except types.Unreachable:
                attempts = 1 if self.ahead.position > before else attempts + 1
                if attempts == _ATTEMPTS:
                    raise

    def _take(self, stream: Stream, answered_after: float) -> None:
        destination, ahead = self._destination, self.ahead
        if stream.size is not None:
            destination.learn_size(stream.size)
        if stream.start < ahead.position:
            with destination.changed:
                ahead.restart(stream.start)
        waited, since = 0.0, time.monotonic()
        for chunk in gathered(stream.chunks, self._gathering.most):
            waited += time.monotonic() - since
            destination.store(ahead, chunk)
            ahead.arrives(answered_after, waited, is_part=stream.is_part)
            self.moved_at = time.monotonic()
            # After the last byte, the end of the answer is read too, because only then can its connection be reused.
            if ahead.position not in (destination.size, ahead.end) and not self._goes_on():
                return
            since = time.monotonic()
        if destination.size is None and ahead.end is None:
            destination.learn_size(ahead.position)
        elif ahead.position not in (destination.size, ahead.end):
            path, here, size = destination.file.path, ahead.position, destination.size
            raise types.Unreachable(f"{path!r} broke off after {here} of {size} bytes")

    def _end(self) -> int | None:
        """Return where the request ends. Of a large file a range is always requested, to see whether the service
        supports ranges."""
        end, size = self.ahead.end, self._destination.size
        if end is None:
            return size if size is not None and size >= LARGE else None
        return end if size is None else min(end, size)

    def _goes_on(self) -> bool:
        """Tell whether there is more to fetch. Pauses while the stream is far enough ahead of its readers."""
        changed = self._destination.changed
        with changed:
            while (step := self._destination.next_step(self.ahead)) is Step.PAUSE:
                if not changed.wait(_IDLE):
                    return False
            return step is Step.FETCH


def gathered(chunks: Iterable[bytes], most: Callable[[], int]) -> Iterator[bytes]:
    """Yield the same bytes in larger chunks, because each stored chunk wakes every reader.

    A slow stream is not delayed: a chunk that arrives 10 ms after the previous one was yielded is yielded at once. The
    rest of a burst waits for the next chunk, or for the end.

    Args:
        most: returns the number of bytes to gather, give or take a chunk.
    """
    gathering: list[bytes] = []
    size, since = 0, time.monotonic()
    try:
        for chunk in chunks:
            gathering.append(chunk)
            size += len(chunk)
            if size >= most() or time.monotonic() - since > _GATHERING:
                yield b"".join(gathering)
                gathering.clear()
                size, since = 0, time.monotonic()
    except types.FsError:
        if gathering:
            yield b"".join(gathering)
        raise
    if gathering:
        yield b"".join(gathering)
