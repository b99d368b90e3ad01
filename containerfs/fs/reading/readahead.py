"""How far one stream of a file runs ahead of its readers, and which reads wait for it. Decisions only.

A stream runs ahead by as much as was read from it in sequence, within bounds, and pauses there: ``head`` of a large
file fetches about a mebibyte, and a copy keeps the connection busy. A read somewhere in a file is more often the only
one there than the first of many. It is answered by a *probe*, a stream of a few bytes that ends by itself, so that its
connection can be reused. A reader that continues where a probe ends gets an unlimited stream.
"""

from enum import Enum, auto

from containerfs.fs.reading.ranges import Ranges

MiB = 1 << 20

SMALL = 1 * MiB  # up to this size, handing over to a thread costs more than it brings
MAX_AHEAD = 64 * MiB
_MIN_AHEAD = 1 * MiB
PROBE = 128 * 1024  # bytes that a read here or there fetches
_JUMP = 4 * MiB  # forward seeks up to this far wait for the stream, further ones send another request


class Step(Enum):
    """What a stream does next."""

    FETCH = auto()
    PAUSE = auto()
    END = auto()


class ReadAhead:
    """Where one stream is, and how far it should go. Not thread-safe.

    Args:
        start: the offset of its first byte.
        probe: whether it ends by itself.

    Attributes:
        position: the offset of the byte that comes next.
        end: that at which a probe ends; None for a stream without end.
        abandoned: whether it gives way to another stream.
    """

    def __init__(self, start: int, *, probe: bool = False) -> None:
        self.position = start
        self.end = start + PROBE if probe else None
        self.abandoned = False
        self._start = start
        self._limit = start
        self._ranged = True

    def restart(self, offset: int) -> None:
        """The service ignores ranges: the stream begins at ``offset``, and is the only way to all that follows."""
        self._ranged, self._start, self.position, self.end = False, offset, offset, None

    def will_reach(self, offset: int) -> bool:
        """Whether waiting for this stream is the quickest way to the byte at ``offset``."""
        distance = offset - self.position
        if self.abandoned or distance < 0 or (self.end is not None and offset >= self.end):
            return False
        return distance <= _JUMP or not self._ranged

    def want(self, stop: int) -> bool:
        """Go on to ``stop`` and as much further as was read in sequence; returns whether that is a change."""
        limit = stop + min(max(stop - self._start, _MIN_AHEAD), MAX_AHEAD)
        moved = limit > self._limit
        self._limit = max(limit, self._limit)
        return moved

    def passed(self, start: int, stop: int) -> bool:
        """A reader reads ``[start, stop)``, which is present: keep ahead of it if it follows this stream.

        Returns whether the stream goes further for it.
        """
        if self.end is not None:
            return False
        follows = self._start <= start < self.position and 2 * (self._limit - stop) < self._limit - self._start
        return follows and self.want(stop)

    def next_step(self, present: Ranges, size: int | None, *, read: bool) -> Step:
        """What to do now.

        Args:
            present: which bytes of the file are here.
            size: of the file, in bytes; None while it is unknown.
            read: whether anyone has the file open.
        """
        here = present.end_of(self.position)
        if self.abandoned or (size is not None and here >= size):
            return Step.END
        if self.end is not None:
            return Step.FETCH if max(here, self.position) < self.end else Step.END
        if not read:  # a small rest is worth keeping the connection for
            return Step.FETCH if size is not None and size - self.position <= SMALL else Step.END
        if self._ranged and here > self.position:
            return Step.END  # another stream has been here
        return Step.PAUSE if self.position >= self._limit else Step.FETCH
