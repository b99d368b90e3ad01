"""Work that operations wait for, done on threads of its own, so that an operation can end before the work does.

An operation that is over leaves its tasks running. They end by themselves, by the client's timeouts, and their results
are there for the next operation.
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

_THREADS = 1024  # more than there are operations at a time, see fuse/session.py


class Task(Generic[T]):
    """Something to do once, for all who wait for it."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._moved_at = deadline.NEVER
        self._is_ours = False  # whether what is done at the moment needs nothing of the service
        self._within: Task[Any] | None = None  # the task of which it is a part
        self._work = work
        self._outcome: Future[T] = Future()
        self._claim = threading.Lock()

    @property
    def done(self) -> bool:
        return self._outcome.done()

    @property
    def moved_at(self) -> float:
        """The monotonic time at which it has last got on."""
        return time.monotonic() if self._is_ours else self._moved_at

    def result(self) -> T:
        """What it brings, or raises, as soon as that is known. Raises Interrupted, Unreachable: by the deadline."""
        return deadline.result(self._outcome, lambda: self.moved_at)

    def refuse(self, error: types.FsError) -> bool:
        """It cannot be done; returns whether that is so: it may have been begun."""
        if not self._claim.acquire(blocking=False):
            return False
        self._outcome.set_exception(error)
        return True

    def run(self) -> None:
        """Do it, unless that was begun, or refused."""
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
    """Record progress in this context, so that whoever waits for it, or for what it is part of, keeps waiting."""
    task, now = _current.get(), time.monotonic()
    while task is not None:
        task._moved_at = now
        task = task._within


@contextmanager
def own_work() -> Iterator[None]:
    """What is done within the block needs nothing of the service: no patience with it ends meanwhile."""
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
        """What a new task brings. Raises as ``begin`` and ``Task.result``."""
        operation = deadline.current()
        if operation is not None:
            operation.next_look(deadline.NEVER)  # what is over begins nothing
        task = Task(work)
        self.begin(task)
        return task.result()

    def begin(self, task: Task[T]) -> None:
        """Begin a task: on another thread if this one serves an operation, which may have to end before; else here, and
        it is done when this returns.

        Raises:
            Failed: no thread can be started; those who wait for the task get the same error.
        """
        if deadline.current() is None:
            task.run()
            return
        try:
            self._pool.submit(task.run)
        except RuntimeError as error:
            refused = types.Failed(f"no thread can be started ({error}): raise the limit on processes")
            if task.refuse(refused):  # else the pool has come to it nevertheless
                raise refused from error

    def close(self) -> None:
        """Start nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
