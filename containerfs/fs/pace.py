"""Bandwidth limits: how much content is transferred per second. Only content counts, not requests."""

import threading
import time
from collections.abc import Iterable, Iterator

from containerfs.client.types import UploadSource

_PIECES = 4  # pieces per second: small ones, so that others get their turn


class Pace:
    """A limit for everything that shares it. Thread-safe.

    Args:
        rate: in bytes per second.
    """

    def __init__(self, rate: int) -> None:
        self.piece = max(1, rate // _PIECES)
        self._rate = rate
        self._lock = threading.Lock()  # guards _free_at
        self._free_at = 0.0  # monotonic time when the line becomes free

    def take(self, count: int) -> None:
        """Wait until so many bytes may be transferred."""
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + count / self._rate
            wait = self._free_at - now
        time.sleep(wait)

    def chunks(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield chunks no faster than the limit allows."""
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
        """Read in pieces, each of which counts as progress."""
        pieces = []
        for start in range(offset, offset + size, self._pace.piece):
            wanted = min(self._pace.piece, offset + size - start)
            piece = self._source.read_at(start, wanted)
            self._pace.take(len(piece))
            pieces.append(piece)
            if len(piece) < wanted:
                break
        return b"".join(pieces)
