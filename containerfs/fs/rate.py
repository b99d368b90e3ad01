"""How fast a transfer is, for people who watch it."""

import time
from collections import deque

_WINDOW = 5.0  # seconds that the rate looks back
_MARKS = 20  # in that time


class Rate:
    """The rate at which bytes come, over the last few seconds. One thread adds, any may ask."""

    def __init__(self) -> None:
        self._marks = deque([(time.monotonic(), 0)], _MARKS)
        self._total = 0

    def add(self, count: int) -> None:
        """So many more bytes have come."""
        self._total += count
        now = time.monotonic()
        if now - self._marks[-1][0] >= _WINDOW / _MARKS:
            self._marks.append((now, self._total))

    def per_second(self) -> float:
        """Bytes a second."""
        now = time.monotonic()
        marks = list(self._marks)
        since, before = next((mark for mark in marks if mark[0] >= now - _WINDOW), (now - _WINDOW, marks[-1][1]))
        return (self._total - before) / max(now - since, 0.05)


def seconds_left(missing: int | None, rate: float) -> float | None:
    """How long the rest takes at a rate of bytes a second; None where that cannot be said."""
    return missing / rate if missing is not None and rate > 0 else None
