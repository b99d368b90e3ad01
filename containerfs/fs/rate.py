"""How fast a transfer is, for people who watch it."""

import time
from collections import deque

_WINDOW = 5.0  # seconds over which the rate is measured
_MARKS = 20  # samples in that time


class Rate:
    """The rate at which bytes arrive, over the last few seconds. One thread adds, and any may ask."""

    def __init__(self) -> None:
        self._marks = deque([(time.monotonic(), 0)], _MARKS)
        self._total = 0

    def add(self, count: int) -> None:
        """Record that so many more bytes have arrived."""
        self._total += count
        now = time.monotonic()
        if now - self._marks[-1][0] >= _WINDOW / _MARKS:
            self._marks.append((now, self._total))

    def per_second(self) -> float:
        """Return the rate in bytes per second."""
        now = time.monotonic()
        marks = list(self._marks)
        since, before = next((mark for mark in marks if mark[0] >= now - _WINDOW), (now - _WINDOW, marks[-1][1]))
        return (self._total - before) / max(now - since, 0.05)


def seconds_left(missing: int | None, rate: float) -> float | None:
    """Return how many seconds the rest takes at a rate in bytes per second; None if that is not known."""
    return missing / rate if missing is not None and rate > 0 else None
