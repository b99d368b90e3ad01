"""Bandwidth limits: how much content is transferred per second. Only content counts, not requests."""

import threading
import time
from collections.abc import Iterable, Iterator

from containerfs.client.types import UploadSource

_PIECES = 4  # a second: what is sent in one go is small, so that others have their turn


class Pace:
    """A limit that all who share it keep together. Thread-safe.

    Args:
        rate: bytes a second.
    """

    def __init__(self, rate: int) -> None:
        self.piece = max(1, rate // _PIECES)
        self._rate = rate
        self._lock = threading.Lock()  # guards _free_at
        self._free_at = 0.0  # the monotonic time from which on the line is nobody's

    def take(self, count: int) -> None:
        """Wait until so many bytes may have gone over the line."""
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + count / self._rate
            wait = self._free_at - now
        time.sleep(wait)

    def chunks(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same chunks, as they may come."""
        for chunk in chunks:
            self.take(len(chunk))
            yield chunk


class PacedSource:
    """Content that is sent no faster than a limit allows. Implements ``UploadSource`` over another one."""

    def __init__(self, source: UploadSource, pace: Pace) -> None:
        self._source = source
        self._pace = pace

    @property
    def size(self) -> int | None:
        return self._source.size

    def read_at(self, offset: int, size: int) -> bytes:
        """In pieces, each of which is progress."""
        pieces = []
        for start in range(offset, offset + size, self._pace.piece):
            piece = self._source.read_at(start, min(self._pace.piece, offset + size - start))
            if not piece:
                break
            self._pace.take(len(piece))
            pieces.append(piece)
        return b"".join(pieces)
