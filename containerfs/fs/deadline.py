"""How long an operation waits: until nothing has arrived for as long as its patience, or nobody wants its result.

A deadline is set when an operation begins, on the thread that serves it, and everything below that waits uses it. Other
threads have none: their work ends by itself, and blocks nobody.
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
_SLICE = 0.1  # seconds between checks whether a wait should end; Ctrl-C may take half a second
_STOPPED = 5.0  # seconds between two checks after which this process was stopped, as a machine that is paused
_thread = threading.local()


class Deadline:
    """The deadline of an operation, which begins now.

    Args:
        patience: how many seconds to wait without progress, in all waits of the operation together.
        interrupted: returns whether nobody wants the result any more. Called on the thread that serves the operation.
        expired: called with the monotonic time of the last progress when the patience ends.
        silent_since: returns the monotonic time since which the service has been silent, if it is known to be down;
            otherwise None.
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
        self._moved_at = self._looked_at = time.monotonic()

    def next_look(self, moved_at: float, patience: float | None = None) -> float:
        """Return the seconds to wait until the next check.

        Args:
            moved_at: monotonic time of the last progress of what is waited for.
            patience: for what is waited for, if it is to be shorter.

        Raises:
            Interrupted: if nobody wants the result any more.
            Unreachable: if there was no progress for too long.
            Down: if others have waited for too long, and this operation has seen no progress since.
        """
        if self._interrupted():
            raise types.Interrupted("nobody waits for it any more")
        self._leave_out_stops()
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

    def _leave_out_stops(self) -> None:
        """Count no time in which nobody could have noticed an answer."""
        now = time.monotonic()
        if now - self._looked_at > _STOPPED:
            self._moved_at += now - self._looked_at
        self._looked_at = now

    def also_ended_by(self, interrupted: Callable[[], bool]) -> None:
        """Add a condition that interrupts the operation. It is only checked after a moment, because most operations
        never wait."""
        before, from_then_on = self._interrupted, time.monotonic() + _SLICE
        self._interrupted = lambda: before() or (time.monotonic() >= from_then_on and interrupted())


def current() -> Deadline | None:
    """Return the deadline of the operation that this thread serves; None if it serves none."""
    return getattr(_thread, "deadline", None)


class Operation:
    """A context in which this thread serves an operation."""

    __slots__ = ("_deadline",)

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def __enter__(self) -> None:
        _thread.deadline = self._deadline

    def __exit__(self, *_: object) -> None:
        _thread.deadline = None


def never() -> float:
    """Return the time of the last progress of something that does not report any."""
    return NEVER


def result(future: "Future[T]", moved_at: Callable[[], float] = never, until: float = math.inf) -> T:
    """Wait for the result of a future.

    Args:
        moved_at: returns the monotonic time of the last progress.
        until: monotonic time when to stop waiting in any case.

    Raises:
        TimeoutError: if ``until`` has passed.
        Exception: what the future or the deadline raises.
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
    """Wait until a condition, whose lock is held, is notified, or for a moment. Raises what the deadline raises."""
    deadline = current()
    condition.wait(None if deadline is None else deadline.next_look(moved_at, patience))


def wait_for(
    condition: threading.Condition, holds: Callable[[], bool], until: float, moved_at: Callable[[], float] = never
) -> None:
    """Wait until a predicate holds. It is checked whenever a condition, whose lock is held, is notified.

    Args:
        until: monotonic time when to stop waiting in any case.
        moved_at: returns the monotonic time of the last progress; ``time.monotonic`` if the service is not involved, so
            that no patience ends.

    Raises:
        Interrupted: if nobody wants the result any more.
        Unreachable: if there was no progress for too long.
    """
    deadline = current()
    while not holds() and (seconds := until - time.monotonic()) > 0:
        condition.wait(seconds if deadline is None else min(seconds, deadline.next_look(moved_at())))
