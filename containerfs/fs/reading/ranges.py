"""A set of byte ranges: the parts of a file that are present.

Invariant: the ranges are sorted, disjoint, not adjacent and not empty.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Ranges:
    """The smallest number of half-open ranges ``[start, stop)`` of byte offsets. Not thread-safe."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in ranges:
            self.add(start, stop)

    def add(self, start: int, stop: int) -> None:
        """Add a range, merging it with those that it overlaps or touches. An empty range changes nothing."""
        if start >= stop:
            return
        first = bisect_left(self._stops, start)
        last = bisect_right(self._starts, stop)
        if first < last:
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[last - 1])
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]

    def remove(self, start: int, stop: int) -> None:
        """Remove a range, as far as it is present."""
        if start >= stop:
            return
        before = Ranges((first, min(last, start)) for first, last in self)
        for first, last in self:
            before.add(max(first, stop), last)
        self._starts, self._stops = before._starts, before._stops

    def end_of(self, offset: int) -> int:
        """Return where the present bytes from ``offset`` on end; ``offset`` itself if that byte is missing."""
        index = bisect_right(self._starts, offset) - 1
        return max(offset, self._stops[index]) if index >= 0 else offset

    def covers(self, start: int, stop: int) -> bool:
        """Tell whether every byte of ``[start, stop)`` is present."""
        return self.end_of(start) >= stop

    def total(self) -> int:
        """Return the number of present bytes."""
        return sum(self._stops) - sum(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._starts, self._stops, strict=True))
