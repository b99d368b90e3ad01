"""A circuit breaker: while the service is down, calls fail at once, and one thread checks whether it is back."""

import logging
import threading
import time
from collections.abc import Callable

from containerfs.fs import types

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 4.0  # seconds between two looks


class CircuitBreaker:
    """Makes calls fail at once while the service is down.

    A service that was asked and has been silent for as long as anybody's patience is down. From then on it is asked in
    the background, ever more rarely, until it answers.

    Args:
        patience: seconds.
        ask: asks the service something, soon. Raises Unreachable if it does not answer.

    Attributes:
        on_return: called when a service answers again that did not when it was asked in the background. Where it
            did, it only fails some requests, which are tried again as rarely as others that fail.
    """

    def __init__(self, patience: float, ask: Callable[[], object]) -> None:
        self.on_return: Callable[[], object] = bool
        self._patience = patience
        self._ask = ask
        self._lock = threading.Lock()  # guards the four below
        self._heard_at = time.monotonic()
        self._silent_since: float | None = None  # since when it was asked in vain; None if it has answered since
        self._down = False
        self._was_away = False  # whether it did not answer in the background either, since it is down
        self._closed = threading.Event()

    def check(self) -> None:
        """Raises Down while the service is considered down."""
        if self._down:
            raise types.Down("the service has not answered; it is tried again in the background")

    def silent_since(self) -> float | None:
        """Since when the service has not answered, by the monotonic clock; None unless it is down."""
        with self._lock:
            return self._silent_since if self._down else None

    def heard(self) -> None:
        """The service has answered, whatever it said."""
        with self._lock:
            self._heard_at, self._silent_since = time.monotonic(), None
            was_down, self._down = self._down, False
            was_away, self._was_away = self._was_away, False
        if was_down:
            log.info("The service answers again")
        if was_away:
            self.on_return()

    def unanswered(self, since: float) -> None:
        """Somebody has waited without an answer since this monotonic time."""
        with self._lock:
            since = max(since, self._heard_at)
            self._silent_since = since if self._silent_since is None else min(since, self._silent_since)
            if self._down or self._closed.is_set() or time.monotonic() < self._silent_since + self._patience:
                return
            self._down = True
        log.warning("The service has not answered for %g s; it is tried again in the background", self._patience)
        try:
            threading.Thread(target=self._look, name="looking for the service", daemon=True).start()
        except RuntimeError:  # there are as many threads as there may be: calls find out themselves
            self._down = False

    def close(self) -> None:
        """Stop asking the service."""
        self._closed.set()

    def _look(self) -> None:
        pause = _FIRST_PAUSE
        while self._down and not self._closed.is_set():
            try:
                self._ask()
            except types.Unreachable:
                with self._lock:
                    self._was_away = self._down
                self._closed.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            except types.FsError:
                self.heard()
            else:
                self.heard()
