"""Many transfers at a time, on threads that do not keep the program from ending."""

import threading
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from containerfs.fs import types

T = TypeVar("T")

_GRACE = 3.0  # seconds that an interrupt waits for running work to clean up
_END = object()


class Crew:
    """Does the same work with many items in parallel. The first interrupt stops it.

    Args:
        size: how many items at a time.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._crash: BaseException | None = None

    def check(self) -> None:
        """Raise Interrupted if the crew was stopped. Long work calls this."""
        if self._stopping.is_set():
            raise types.Interrupted("interrupted")

    def each(
        self, items: Iterable[T], work: Callable[[T], object], failed: Callable[[T, types.FsError], object]
    ) -> None:
        """Do ``work`` with each item, and return when all are done.

        Args:
            failed: called with an item whose work raised an FsError; the others are done all the same.
        """
        waiting = iter(items)

        def run() -> None:
            while (item := self._next(waiting)) is not _END:
                self._do(item, work, failed)  # type: ignore[arg-type]

        threads = [threading.Thread(target=run, daemon=True) for _ in range(self._size)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException:
            self._stopping.set()
            until = time.monotonic() + _GRACE
            for thread in threads:
                thread.join(max(0.0, until - time.monotonic()))
            raise
        if self._crash is not None:
            raise self._crash

    def _next(self, waiting: "Iterable[T]") -> object:
        with self._lock:
            return _END if self._stopping.is_set() else next(iter(waiting), _END)

    def _do(self, item: T, work: Callable[[T], object], failed: Callable[[T, types.FsError], object]) -> None:
        try:
            work(item)
        except types.Interrupted:
            pass
        except types.FsError as error:
            failed(item, error)
        except BaseException as error:
            self._crash = error
            self._stopping.set()
