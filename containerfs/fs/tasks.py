"""Work that operations wait for, on threads of its own, so that an operation can end before the work does.

An operation that has ended leaves its tasks running. They end by the client's timeouts, and their results are there for
the next operation.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

from containerfs.fs import deadline, types

T = TypeVar("T")

_THREADS = 1024  # more than the number of concurrent operations, see fuse/session.py


class Task(Generic[T]):
    """Something to do once, for all who wait for it."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._moved_at = deadline.NEVER
        self._is_ours = False  # whether the current work does not need the service
        self._within: Task[Any] | None = None  # the task that it is a part of
        self._work = work
        self._outcome: Future[T] = Future()
        self._claim = threading.Lock()

    @property
    def done(self) -> bool:
        return self._outcome.done()

    @property
    def moved_at(self) -> float:
        """Return the monotonic time of its last progress."""
        return time.monotonic() if self._is_ours else self._moved_at

    def result(self) -> T:
        """Wait for its result, and return or raise it. Raises Interrupted, Unreachable as the deadline demands."""
        return deadline.result(self._outcome, lambda: self.moved_at)

    def refuse(self, error: types.FsError) -> bool:
        """Make it fail with an error, unless it has begun. Returns whether that was possible."""
        if not self._claim.acquire(blocking=False):
            return False
        self._outcome.set_exception(error)
        return True

    def run(self) -> None:
        """Do the work, unless it has begun or was refused."""
        if not self._claim.acquire(blocking=False):
            return
        self._within = _current.get()
        outer = _current.set(self)
        try:
            self._outcome.set_result(self._work())
        except BaseException as error:
            self._outcome.set_exception(error)
        finally:
            _current.reset(outer)


_current: ContextVar[Task[Any] | None] = ContextVar("task", default=None)


def moved() -> None:
    """Record progress in this context, so that those who wait for it, or for what it belongs to, keep waiting."""
    task, now = _current.get(), time.monotonic()
    while task is not None:
        task._moved_at = now
        task = task._within


@contextmanager
def own_work() -> Iterator[None]:
    """Mark work within the context as not needing the service, so that nobody's patience with the service ends
    meanwhile."""
    task = _current.get()
    if task is None:
        yield
        return
    task._is_ours = True
    try:
        yield
    finally:
        task._is_ours, task._moved_at = False, time.monotonic()


class Workers:
    """Threads for tasks. Thread-safe."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, "task")

    def do(self, work: Callable[[], T]) -> T:
        """Do some work as a new task, and return its result. Raises as ``begin`` and ``Task.result`` do."""
        operation = deadline.current()
        if operation is not None:
            operation.next_look(deadline.NEVER)  # an operation that has ended begins nothing
        task = Task(work)
        self.begin(task)
        return task.result()

    def begin(self, task: Task[T]) -> None:
        """Begin a task: on another thread if this one serves an operation, which may have to end earlier; otherwise on
        this thread, so that the task is done when this returns.

        Raises:
            Failed: if no thread can be started. Those who wait for the task get the same error.
        """
        if deadline.current() is None:
            task.run()
        else:
            self.begin_elsewhere(task)

    def begin_elsewhere(self, task: Task[T]) -> None:
        """Begin a task on another thread. Raises as ``begin`` does."""
        try:
            self._pool.submit(task.run)
        except RuntimeError as error:
            refused = types.NoThread(error)
            if task.refuse(refused):  # otherwise the pool has begun it after all
                raise refused from error

    def close(self) -> None:
        """Start no more tasks."""
        self._pool.shutdown(wait=False, cancel_futures=True)
