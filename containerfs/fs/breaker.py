"""A circuit breaker: calls fail at once while the service is believed to be down."""

import threading
import time

from containerfs.fs import types

_LONGEST_PAUSE = 30.0  # seconds


class CircuitBreaker:
    """Fails at once what would only wait again for a service that did not answer a moment ago.

    One connection that breaks says little. After a second failure in a row, calls are refused for ``pause`` seconds,
    and for twice as long after each further one, 30 seconds at most.
    """

    def __init__(self, pause: float = 1.0) -> None:
        self._pause = pause
        self._failures = 0
        self._open_until = 0.0
        self._lock = threading.Lock()  # guards the two above

    def check(self) -> None:
        """Raises Unreachable while the service is believed to be down."""
        if time.monotonic() < self._open_until:
            raise types.Unreachable("the service did not answer a moment ago; trying again shortly")

    def failed(self) -> None:
        """The service did not answer a call."""
        with self._lock:
            self._failures += 1
            if self._failures > 1:
                pause = min(self._pause * 2 ** min(self._failures - 2, 10), _LONGEST_PAUSE)
                self._open_until = time.monotonic() + pause

    def answered(self) -> None:
        """The service answered a call, whatever it said."""
        with self._lock:
            self._failures, self._open_until = 0, 0.0
