"""Faults for a service in memory: to hold a request up, to refuse one, to lose an answer."""

import threading
import time
from collections.abc import Callable

from containerfs.fs import types


class Gate:
    """Holds up requests of one operation until it is opened."""

    def __init__(self, operation: str) -> None:
        self._operation = operation
        self._reached = threading.Semaphore(0)
        self._open = threading.Event()

    def __call__(self, operation: str, subject: str) -> None:
        if operation == self._operation and not self._open.is_set():
            self._reached.release()
            assert self._open.wait(30)

    def wait(self, count: int = 1) -> None:
        """Until ``count`` more requests are held up."""
        for _ in range(count):
            assert self._reached.acquire(timeout=30)

    def open(self) -> None:
        self._open.set()


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what no event tells."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def failing(operation: str, times: int = 1, kind: type[types.FsError] = types.Failed) -> Callable[[str, str], None]:
    """Let the next requests of an operation fail."""
    left = threading.Semaphore(times)

    def fault(asked: str, subject: str) -> None:
        if asked == operation and left.acquire(blocking=False):
            raise kind(f"{operation} of {subject!r} is refused")

    return fault


def down(operation: str, subject: str) -> None:
    """The service does not answer at all."""
    raise types.Unreachable("down")
