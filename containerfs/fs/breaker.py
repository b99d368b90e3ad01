"""A circuit breaker: while the service is down, calls fail at once, and one thread checks whether it is back."""

import logging
import threading
import time
from collections.abc import Callable

from containerfs.fs import types

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 4.0  # seconds between checks
_DOUBT = 0.4  # seconds that calls wait for the result of a check: of the first one, and of one that somebody asked for


class CircuitBreaker:
    """Makes calls fail at once while the service is down.

    If the service has been silent for the patience of some caller, it is checked in the background, at growing
    intervals, until it answers. It is down if it does not answer a check soon: a service that only fails some requests
    does answer. Calls wait for that result, so that they neither fail early nor ask a service that may be down.

    Args:
        patience: in seconds.
        ask: sends a quick request to the service. Raises Unreachable if it does not answer.

    Attributes:
        on_return: called when a service answers again that did not answer checks. If it did answer them, it only fails
            some requests, and those are retried like any others.
    """

    def __init__(self, patience: float, ask: Callable[[], object]) -> None:
        self.on_return: Callable[[], object] = bool
        self._patience = patience
        self._ask = ask
        self._lock = threading.Lock()  # guards the next six
        self._found = threading.Condition(self._lock)  # notified when a check has ended
        self._heard_at = time.monotonic()
        self._silent_since: float | None = None  # time since which it has not answered; None if it has
        self._asking = False  # checks in the background
        self._doubted_until = 0.0  # monotonic time until which calls wait for the latest check
        self._looks = 0  # number of checks so far
        self._was_away = False  # whether a check in the background has failed
        self._closed = threading.Event()

    def check(self) -> None:
        """Raise Down while the service is down. Waits for a moment while that is being found out."""
        with self._found:
            self._found.wait_for(lambda: not self._asking or self._is_down(), _DOUBT)
            is_down = self._is_down()
        if is_down:
            raise types.Down("the service has not answered; it is tried again in the background")

    def silent_since(self) -> float | None:
        """Return the monotonic time since which the service has not answered; None unless it is down."""
        with self._lock:
            return self._silent_since if self._is_down() else None

    def heard(self) -> None:
        """Called when the service has answered, with whatever result."""
        with self._lock:
            self._heard_at, self._silent_since = time.monotonic(), None
            was_asking, self._asking = self._asking, False
            was_away, self._was_away = self._was_away, False
            self._found.notify_all()
        if was_asking:
            log.info("The service answers again")
        if was_away:
            self.on_return()

    def unanswered(self, since: float) -> None:
        """Called when somebody has waited without an answer since ``since``, a monotonic time."""
        with self._lock:
            since = max(since, self._heard_at)
            self._silent_since = since if self._silent_since is None else min(since, self._silent_since)
            if self._asking or self._closed.is_set() or time.monotonic() < self._silent_since + self._patience:
                return
            self._asking, self._doubted_until = True, time.monotonic() + _DOUBT
        log.warning("The service has not answered for %g s; it is tried again in the background", self._patience)
        try:
            self._start(self._look_until_it_answers)
        except RuntimeError:  # no more threads can be started; calls will find out themselves
            self._asking = False

    def seek(self) -> None:
        """Check now whether a service that is down is back, because somebody wants everything tried. Calls wait a
        moment for it."""
        with self._lock:
            if not self._is_down() or self._closed.is_set():
                return
            before, self._doubted_until = self._doubted_until, time.monotonic() + _DOUBT
        try:
            self._start(self._look)
        except RuntimeError:
            self._doubted_until = before

    def close(self) -> None:
        """Stop checking the service."""
        self._closed.set()

    def _is_down(self) -> bool:
        return self._asking and time.monotonic() >= self._doubted_until

    def _start(self, look: Callable[[], object]) -> None:
        threading.Thread(target=look, name="looking for the service", daemon=True).start()

    def _look_until_it_answers(self) -> None:
        pause = _FIRST_PAUSE
        while self._asking and not self._closed.is_set() and not self._look():
            self._closed.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _look(self) -> bool:
        """Check the service, and return whether it answered."""
        with self._lock:
            self._looks += 1
            look = self._looks
        try:
            self._ask()
        except types.Unreachable:
            with self._lock:
                self._was_away = self._asking
                if look == self._looks:  # a later check may have found it
                    self._doubted_until = 0.0
                    self._found.notify_all()
            return False
        except types.FsError:
            pass
        self.heard()
        return True
