"""How far one stream of a file runs ahead of its readers, and which reads wait for it. Decisions only.

A stream runs ahead by as much as was read from it in sequence, within limits, and then pauses: ``head`` of a large file
fetches about a mebibyte, and a copy keeps the connection busy. A read somewhere in a file is usually not followed by
others there. So it is served by a *probe*, a stream of a few bytes that ends by itself, so that its connection can be
reused. A reader that continues where a probe ends gets an unlimited stream.
"""

from enum import Enum, auto

from containerfs.fs.reading.ranges import Ranges

MiB = 1 << 20

SMALL = 1 * MiB  # for smaller files, a thread costs more than it gains
MAX_AHEAD = 64 * MiB
_MIN_AHEAD = 1 * MiB
PROBE = 128 * 1024  # bytes that a random read fetches
_JUMP = 4 * MiB  # seeks up to this far ahead wait for the stream; longer ones send another request
_FAR = 0.01  # seconds; a service that takes longer to answer is not near
_SLOW = 100e6  # bytes a second; this machine takes more


class Step(Enum):
    """What a stream does next."""

    FETCH = auto()
    PAUSE = auto()
    END = auto()


class ReadAhead:
    """Where one stream is, and how far it should go. Not thread-safe.

    Args:
        start: the offset of its first byte.
        end: where it ends by itself; None for an unlimited stream.

    Attributes:
        start: the offset of its first byte.
        position: the offset of the next byte.
        end: where it ends by itself; None for an unlimited stream.
        abandoned: whether it makes way for another stream.
        is_slow: whether further streams beside it would help.
    """

    def __init__(self, start: int, end: int | None = None) -> None:
        self.start = self.position = start
        self.end = end
        self.abandoned = self.is_slow = False
        self._limit = start
        self._ranged = True

    def restart(self, offset: int) -> None:
        """Handle a service that ignores ranges: the stream starts at ``offset``, and all later bytes come from it
        alone."""
        self._ranged, self.start, self.position, self.end = False, offset, offset, None

    def arrives(self, answered_after: float, waited: float, *, is_part: bool) -> None:
        """Learn how fast the stream is.

        Args:
            answered_after: seconds from the request to the head of its answer.
            waited: seconds spent waiting for its bytes since then.
            is_part: whether the service answered with a part of the file, so that other parts can be requested.
        """
        is_far = answered_after >= _FAR or self.position - self.start < _SLOW * waited
        self.is_slow = is_part and is_far

    def will_reach(self, offset: int) -> bool:
        """Tell whether waiting for this stream is the fastest way to the byte at ``offset``."""
        distance = offset - self.position
        if self.abandoned or distance < 0 or (self.end is not None and offset >= self.end):
            return False
        return distance <= _JUMP or not self._ranged

    def want(self, stop: int) -> bool:
        """Extend the stream to ``stop``, and as much further as was read in sequence. Returns whether that changes
        anything."""
        limit = stop + min(max(stop - self.start, _MIN_AHEAD), MAX_AHEAD)
        moved = limit > self._limit
        self._limit = max(limit, self._limit)
        return moved

    def passed(self, start: int, stop: int) -> bool:
        """Called when a reader reads the present bytes ``[start, stop)``, to stay ahead of it if it follows this
        stream.

        Returns:
            Whether the stream goes further because of it.
        """
        if self.end is not None:
            return False
        follows = self.start <= start < self.position and 2 * (self._limit - stop) < self._limit - self.start
        return follows and self.want(stop)

    def next_step(self, present: Ranges, size: int | None, *, read: bool) -> Step:
        """Decide what to do now.

        Args:
            present: the bytes of the file that are here.
            size: of the file in bytes; None while it is unknown.
            read: whether anybody has the file open.
        """
        here = present.end_of(self.position)
        if self.abandoned or (size is not None and here >= size):
            return Step.END
        end = size if self.end is None else self.end
        if not read and (end is None or end - self.position > SMALL):
            return Step.END  # a small rest is worth the connection
        if self.end is not None:
            return Step.FETCH if max(here, self.position) < self.end else Step.END
        if self._ranged and here > self.position:
            return Step.END  # another stream has brought these bytes
        return Step.PAUSE if self.position >= self._limit else Step.FETCH
