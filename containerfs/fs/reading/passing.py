"""A file that is read past the cache, because the disk has no room for it: one stream, and the last bytes it brought.

Readahead requests several pieces at a time, which arrive in any order. So the bytes that came a little earlier are kept
in memory, and those that lie a little ahead are waited for; for anything else the stream starts again.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack

from containerfs.fs import types
from containerfs.fs.remote import Remote
from containerfs.fs.tasks import moved
from containerfs.fs.types import RemoteFile

_HELD = 4 << 20  # bytes
_SKIPPED = 4 << 20  # bytes to read and drop rather than send another request
_ATTEMPTS = 3  # without progress


class PassingStream:
    """Reads one file. Thread-safe: those who read it wait for each other, and so for the network.

    Attributes:
        closed: whether it is read no more.
    """

    def __init__(self, remote: Remote, file: RemoteFile) -> None:
        self.closed = False
        self._remote = remote
        self._file = file
        self._size = file.size
        self._lock = threading.Lock()  # guards all that follows
        self._stream = ExitStack()
        self._chunks: Iterator[bytes] | None = None
        self._held = bytearray()
        self._start = 0  # of what is held

    def read(self, offset: int, size: int) -> bytes:
        """The bytes at ``offset``, fewer than ``size`` only at the end of the file.

        Raises:
            NotFound: the service has dropped the file.
            Unreachable: it broke off repeatedly, or does not answer; or the stream is closed.
        """
        try:
            with self._lock:
                return self._read(offset, offset + size)
        finally:
            self._give_back()

    def close(self) -> None:
        """Give the connection back, once nobody waits for what it brings. Waits for nothing."""
        self.closed = True
        self._give_back()

    def _read(self, offset: int, stop: int) -> bytes:
        if self.closed:
            raise types.Unreachable(f"{self._file.path!r} is not read any more")
        if not self._start <= offset <= self._end + _SKIPPED:
            self._begin(offset)
        while self._end < stop and self._take():
            self._trim(offset)
        return bytes(self._held[offset - self._start : stop - self._start])

    def _give_back(self) -> None:
        if self.closed and self._lock.acquire(blocking=False):
            try:
                self._stop()
            finally:
                self._lock.release()

    @property
    def _end(self) -> int:
        return self._start + len(self._held)

    def _begin(self, offset: int) -> None:
        """Stream from ``offset`` on next; nothing is held any more."""
        self._stop()
        self._held.clear()
        self._start = offset

    def _take(self) -> bool:
        """Hold the next bytes of the stream as well; returns False at the end of the file."""
        for attempt in range(_ATTEMPTS):
            if self._end == self._size:
                return False
            try:
                chunk = self._next()
            except types.Unreachable:
                self._stop()
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            if chunk:
                moved()
                self._held += chunk
                return True
            self._stop()
            if self._size is None:
                self._size = self._end
        raise types.Unreachable(f"{self._file.path!r} broke off after {self._end} of {self._size} bytes")

    def _next(self) -> bytes:
        if self._chunks is None:
            stream = self._stream.enter_context(self._remote.content(self._file, self._end))
            if stream.start != self._end:  # the service ignores ranges
                self._held.clear()
                self._start = stream.start
            self._chunks = iter(stream.chunks)
        return next(self._chunks, b"")

    def _trim(self, offset: int) -> None:
        """Let go of what came long ago, but for what is wanted now."""
        surplus = min(len(self._held) - _HELD, offset - self._start)
        if surplus > 0:
            del self._held[:surplus]
            self._start += surplus

    def _stop(self) -> None:
        self._chunks = None
        self._stream.close()
