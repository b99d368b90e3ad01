"""One stream of a file's content from the service, resumed after an interruption, until nobody wants more of it.

Invariant: a download ends by itself, with a reason in ``failure`` if it could not continue; waiting for it is therefore
bounded by the client's timeouts.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Protocol

from containerfs.fs import types
from containerfs.fs.deadline import NEVER
from containerfs.fs.reading.pieces import LARGE
from containerfs.fs.reading.readahead import ReadAhead, Step
from containerfs.fs.remote import Remote, Stream
from containerfs.fs.types import RemoteFile

_IDLE = 10.0  # seconds after which a paused stream gives its connection back
_GATHERED, _GATHERING = 1 << 20, 0.01  # bytes and seconds after which what came is stored
_ATTEMPTS = 3  # without progress


class Destination(Protocol):
    """What a download fills, shared with those who wait for its bytes. Safe to call from any thread."""

    changed: threading.Condition
    """Guards the downloads' fields and what ``next_step`` depends on; notified whenever one of them changes."""

    @property
    def file(self) -> RemoteFile: ...

    @property
    def size(self) -> int | None:
        """In bytes; None while it is unknown."""

    def learn_size(self, size: int) -> None:
        """The service announces ``size`` bytes. Raises Failed if it is known to have another size."""

    def store(self, ahead: ReadAhead, data: bytes) -> None:
        """Keep what a stream brings at its position, and move the position on. Raises NoSpace, Failed."""

    def next_step(self, ahead: ReadAhead) -> Step:
        """What a stream does next. Needs ``changed`` held."""

    def ended(self, download: "Download") -> None:
        """The download does nothing more; its ``failure`` is set. Called once."""


class Download:
    """A stream. ``changed`` of its destination guards its fields.

    Args:
        ahead: where it begins, and how far it goes.

    Attributes:
        ahead: where it is by now.
        started: whether a thread runs it, or has.
        failure: why it could not go on.
        moved_at: the monotonic time at which it has brought something last.
    """

    def __init__(self, remote: Remote, destination: Destination, ahead: ReadAhead) -> None:
        self.ahead = ahead
        self.started = False
        self.failure: types.FsError | None = None
        self.moved_at = NEVER
        self._remote = remote
        self._destination = destination

    def run(self) -> None:
        """Stream until done. Ends in ``failure`` rather than an exception: those who wait raise it."""
        failure: types.FsError | None = None
        try:
            self._stream()
        except types.FsError as error:
            failure = error
        except Exception as error:
            failure = types.Failed(f"download of {self._destination.file.path!r}: {error!r}")
        finally:
            self.end(failure)

    def end(self, failure: types.FsError | None) -> None:
        """End it, run or not."""
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
        for chunk in gathered(stream.chunks):
            waited += time.monotonic() - since
            destination.store(ahead, chunk)
            ahead.arrives(answered_after, waited, is_part=stream.is_part)
            self.moved_at = time.monotonic()
            # After the last byte the end of the answer is read as well: only then is its connection used again.
            if ahead.position not in (destination.size, ahead.end) and not self._goes_on():
                return
            since = time.monotonic()
        if destination.size is None and ahead.end is None:
            destination.learn_size(ahead.position)
        elif ahead.position not in (destination.size, ahead.end):
            path, here, size = destination.file.path, ahead.position, destination.size
            raise types.Unreachable(f"{path!r} broke off after {here} of {size} bytes")

    def _end(self) -> int | None:
        """Where what is asked for ends; of a large file always a range, for the answer tells whether it is heeded."""
        end, size = self.ahead.end, self._destination.size
        if end is None:
            return size if size is not None and size >= LARGE else None
        return end if size is None else min(end, size)

    def _goes_on(self) -> bool:
        """Whether there is more to fetch; pauses while the stream is far enough ahead of its readers."""
        changed = self._destination.changed
        with changed:
            while (step := self._destination.next_step(self.ahead)) is Step.PAUSE:
                if not changed.wait(_IDLE):
                    return False
            return step is Step.FETCH


def gathered(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in larger chunks, since each chunk that is stored wakes every reader.

    It does not hold up a slow stream: a chunk that comes 10 ms after the last one was passed on is passed on at once.
    The rest of a burst waits for the next chunk, or for the end.
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
