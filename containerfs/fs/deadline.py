"""How long an operation waits: until nothing has arrived for as long as its patience, or nobody wants its result.

A deadline is set where an operation begins, on the thread that serves it, and everything below that waits uses it.
Other threads have none: what they do ends by itself, and blocks nobody.
"""

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

from containerfs.fs import types

T = TypeVar("T")

NEVER = float("-inf")
_SLICE = 0.1  # seconds after which a wait looks whether it is to end; Ctrl-C may take half a second
_thread = threading.local()


class Deadline:
    """The deadline of one operation, which begins now.

    Args:
        patience: seconds to wait without progress, in all of the operation's waits together.
        interrupted: whether nobody wants the result any more. It is called on the thread that serves the operation.
        expired: told since when nothing has come, by the monotonic clock, if the patience ends.
        silent_since: tells since when the service has been silent, once it is known to be down; else None.
    """

    def __init__(
        self,
        patience: float,
        interrupted: Callable[[], bool],
        expired: Callable[[float], object],
        silent_since: Callable[[], float | None],
    ) -> None:
        self._patience = patience
        self._interrupted = interrupted
        self._expired = expired
        self._silent_since = silent_since
        self._got_on_at = NEVER
        self._moved_at = time.monotonic()

    def next_look(self, moved_at: float, patience: float | None = None) -> float:
        """Seconds to wait until the next look at it.

        Args:
            moved_at: the monotonic time at which what is waited for has last got on.
            patience: for what is waited for, if it deserves less than others.

        Raises:
            Interrupted: nobody wants the result any more.
            Unreachable: nothing has come for too long.
            Down: others have waited for too long, and nothing of what this operation waits for has come since.
        """
        if self._interrupted():
            raise types.Interrupted("nobody waits for it any more")
        self._got_on_at = max(self._got_on_at, moved_at)
        silent_since = self._silent_since()
        if silent_since is not None and self._got_on_at <= silent_since:
            raise types.Down("the service is down: earlier requests got no answer")
        self._moved_at = max(self._moved_at, moved_at)
        patience = self._patience if patience is None else min(patience, self._patience)
        left = self._moved_at + patience - time.monotonic()
        if left <= 0:
            self._expired(self._moved_at)
            raise types.Unreachable(f"the service has not answered for {patience:g} s")
        return min(left, _SLICE)

    def also_ended_by(self, interrupted: Callable[[], bool]) -> None:
        """Add another condition that interrupts the operation, once it has waited for a moment: most do not."""
        before, from_then_on = self._interrupted, time.monotonic() + _SLICE
        self._interrupted = lambda: before() or (time.monotonic() >= from_then_on and interrupted())


def current() -> Deadline | None:
    """The deadline of the operation that this thread serves; None if it serves none."""
    return getattr(_thread, "deadline", None)


class Operation:
    """A block within which this thread serves an operation."""

    __slots__ = ("_deadline",)

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def __enter__(self) -> None:
        _thread.deadline = self._deadline

    def __exit__(self, *_: object) -> None:
        _thread.deadline = None


def never() -> float:
    """Record progress of something that does not report it by itself."""
    return NEVER


def result(future: "Future[T]", moved_at: Callable[[], float] = never, until: float = math.inf) -> T:
    """The result of a future, as soon as there is one.

    Args:
        moved_at: tells when what is waited for has last got on.
        until: the monotonic time at which the wait ends in any case.

    Raises:
        TimeoutError: it is ``until``.
        Exception: what the future raises, and what the deadline does.
    """
    deadline = current()
    while not future.done():
        seconds = until - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        if deadline is not None:
            seconds = min(seconds, deadline.next_look(moved_at()))
        with suppress(TimeoutError):
            future.exception(None if seconds == math.inf else seconds)
    return future.result()


def wait(condition: threading.Condition, moved_at: float = NEVER, patience: float | None = None) -> None:
    """Wait until a condition, which is held, is notified, or for a moment. Raises what the deadline does."""
    deadline = current()
    condition.wait(None if deadline is None else deadline.next_look(moved_at, patience))


def wait_for(
    condition: threading.Condition, holds: Callable[[], bool], until: float, moved_at: Callable[[], float] = never
) -> None:
    """Wait until something holds, as looked at whenever a condition, which is held, is notified.

    Args:
        until: the monotonic time at which the wait ends in any case.
        moved_at: tells when what is waited for has last got on; ``time.monotonic`` where that is not the service, so
            that no patience with it ends.

    Raises:
        Interrupted: nobody wants the result any more.
        Unreachable: nothing has come for too long.
    """
    deadline = current()
    while not holds() and (seconds := until - time.monotonic()) > 0:
        condition.wait(seconds if deadline is None else min(seconds, deadline.next_look(moved_at())))
