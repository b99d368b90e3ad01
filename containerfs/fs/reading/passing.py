"""Reads a file past the cache, because the disk has no space for it: one stream, and the bytes it brought last.

The kernel's readahead requests several pieces at a time, which arrive in any order. So the most recent bytes are kept
in memory, and bytes a little further ahead are waited for. For anything else, the stream starts again.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack

from containerfs.fs import types
from containerfs.fs.remote import Remote
from containerfs.fs.tasks import moved
from containerfs.fs.types import RemoteFile

_HELD = 4 << 20  # bytes
_SKIPPED = 4 << 20  # bytes that are read and dropped to avoid another request
_ATTEMPTS = 3  # without progress


class PassingStream:
    """Reads one file. Thread-safe: readers wait for each other, and so for the network.

    Attributes:
        closed: whether it can no longer be read.
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
        self._start = 0  # of the bytes that are held

    def read(self, offset: int, size: int) -> bytes:
        """Return the bytes at ``offset``, fewer than ``size`` only at the end of the file.

        Raises:
            NotFound: if the service no longer has the file.
            Unreachable: if the service does not answer, or breaks off repeatedly; or if the stream is closed.
        """
        try:
            with self._lock:
                return self._read(offset, offset + size)
        finally:
            self._give_back()

    def close(self) -> None:
        """Return the connection once nobody waits for its bytes. Does not wait for that."""
        self.closed = True
        self._give_back()

    def _read(self, offset: int, stop: int) -> bytes:
        if self.closed:
            raise types.Unreachable(f"{self._file.path!r} is no longer being read")
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
        """Start streaming at ``offset``, with nothing in memory."""
        self._stop()
        self._held.clear()
        self._start = offset

    def _take(self) -> bool:
        """Receive the next bytes of the stream; return False at the end of the file."""
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
        """Drop the oldest bytes, except those that are needed now."""
        surplus = min(len(self._held) - _HELD, offset - self._start)
        if surplus > 0:
            del self._held[:surplus]
            self._start += surplus

    def _stop(self) -> None:
        self._chunks = None
        self._stream.close()
