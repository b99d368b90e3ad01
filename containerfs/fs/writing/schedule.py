"""When uploads and deletions run: a heap of due times over a pool of threads.

At most ``_SLOTS`` jobs run at a time, as long as they make progress. A job that hangs occupies a thread but no slot, so
others continue. A key has at most one job; submitting it again changes when it runs.
"""

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto

from containerfs.fs import types

log = logging.getLogger(__name__)

_SLOTS = 16
_THREADS = 256
_STALLED = 2.0  # seconds without progress after which a job loses its slot

_CALM = 0.5  # seconds without another patient job after which waiting ones begin
PATIENCE = 3.0
"""Seconds after which a patient job should be due, so that nothing stays only on this machine for long."""

Heap = list[tuple[float, int, "Job"]]


class Manner(Enum):
    """How a job waits for its turn."""

    USUAL = auto()
    BRIEF = auto()
    """Sends no requests, and needs no slot."""
    PATIENT = auto()
    """Nobody waits for it. It begins when it is due, or earlier, if no other such job was submitted for half a second.
    So a program that writes one file after another has the machine to itself."""


class Job:
    """Something to do once.

    Args:
        key: what it is about.
        run: does it; called with the job, on which it records progress.
        refused: called with the reason, instead of ``run``, if no thread can be started.
        due: monotonic time when to run it.
        manner: how it waits for that.
    """

    def __init__(
        self,
        key: Hashable,
        run: Callable[["Job"], None],
        refused: Callable[[types.FsError], None],
        due: float,
        manner: Manner,
    ) -> None:
        self.key = key
        self.run = run
        self.refused = refused
        self.due = due
        self.manner = manner
        self.moved_at = 0.0
        self._claim = threading.Lock()

    def progress(self) -> None:
        """Record progress."""
        self.moved_at = time.monotonic()

    def claim(self) -> bool:
        """Return whether the caller is the first to take on the job."""
        return self._claim.acquire(blocking=False)


class Schedule:
    """Runs jobs when they are due. Thread-safe. Nothing runs on the thread that submits it.

    Raises:
        Failed: if its own thread cannot be started.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards everything below; notified when it changes
        self._heaps: dict[Manner, Heap] = {manner: [] for manner in Manner}
        self._calm_at = 0.0  # the monotonic time
        self._waiting: dict[Hashable, Job] = {}
        self._running: dict[Job, None] = {}
        self._count = itertools.count()
        self._stopping = False
        self._pool = ThreadPoolExecutor(_THREADS, "upload")
        try:
            threading.Thread(target=self._keep_time, name="schedule", daemon=True).start()
        except RuntimeError as error:
            raise types.NoThread(error) from error

    def submit(
        self,
        key: Hashable,
        delay: float,
        run: Callable[[Job], None],
        refused: Callable[[types.FsError], None],
        manner: Manner = Manner.USUAL,
    ) -> None:
        """Run a job after ``delay`` seconds. It replaces a waiting job with the same key."""
        now = time.monotonic()
        job = Job(key, run, refused, now + delay, manner)
        with self._changed:
            if self._stopping:
                return
            if manner is Manner.PATIENT:
                self._calm_at = now + _CALM
            self._waiting[key] = job
            self._push(job)
            started = self._start_due()
            if self._is_next(
                job
            ):  # otherwise the timer's thread wakes up early enough, and need not be woken for each job
                self._changed.notify_all()
        self._launch(started)

    def cancel(self, key: Hashable) -> None:
        """Forget a waiting job."""
        with self._changed:
            self._waiting.pop(key, None)

    def expedite(self, wanted: Callable[[Hashable], bool]) -> None:
        """Run all waiting jobs now."""
        with self._changed:
            for key, job in list(self._waiting.items()):
                if wanted(key):
                    job.due = 0.0
                    self._push(job)
            started = self._start_due()
            self._changed.notify_all()  # if no slot is free, one will be when a job is known to hang
        self._launch(started)

    def keys(self) -> set[Hashable]:
        """Return the keys of the jobs that wait or run."""
        with self._changed:
            return set(self._waiting) | {job.key for job in self._running}

    def next_due(self, key: Hashable) -> float | None:
        """Return the monotonic time when the job of a key runs; None if none waits."""
        with self._changed:
            job = self._waiting.get(key)
            return None if job is None else job.due

    def close(self) -> None:
        """Start no more jobs."""
        with self._changed:
            self._stopping = True
            self._waiting.clear()
            for heap in self._heaps.values():
                heap.clear()
            self._changed.notify_all()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _push(self, job: Job) -> None:
        heapq.heappush(self._heaps[job.manner], (job.due, next(self._count), job))

    def _is_next(self, job: Job) -> bool:
        """Tell whether a job is the next of those that wait for their time. ``_changed`` must be held."""
        heap = self._heaps[job.manner]
        return bool(heap) and heap[0][2] is job

    def _start_due(self) -> list[Job]:
        """Return the jobs that begin now. ``_changed`` must be held."""
        return [job for manner in (Manner.BRIEF, Manner.USUAL, Manner.PATIENT) for job in self._start_from(manner)]

    def _start_from(self, manner: Manner) -> Iterator[Job]:
        heap = self._heaps[manner]
        while heap and not self._stopping:
            due, _, job = heap[0]
            if self._waiting.get(job.key) is not job or due > job.due:
                heapq.heappop(heap)  # replaced, cancelled, or submitted for an earlier time
            elif self._begins_at(manner) > time.monotonic() or not self._has_room(job):
                break
            else:
                heapq.heappop(heap)
                del self._waiting[job.key]
                job.progress()
                self._running[job] = None
                yield job

    def _begins_at(self, manner: Manner) -> float:
        """Return the monotonic time when the first job of a manner begins, if there is a slot."""
        due = self._heaps[manner][0][0]
        return min(due, self._calm_at) if manner is Manner.PATIENT else due

    def _has_room(self, job: Job) -> bool:
        if job.manner is Manner.BRIEF or len(self._running) < _SLOTS:
            return True
        since = time.monotonic() - _STALLED
        return len(self._running) < _THREADS and sum(job.moved_at > since for job in self._running) < _SLOTS

    def _launch(self, jobs: list[Job]) -> None:
        for job in jobs:
            try:
                self._pool.submit(self._work, job)
            except RuntimeError as error:
                self._refuse(job, error)

    def _refuse(self, job: Job, error: RuntimeError) -> None:
        """Handle a thread that could not be started. The pool may still get to the job; whoever claims it first runs
        it."""
        if job.claim():
            with self._changed:
                self._running.pop(job, None)
                if self._stopping:
                    return
            try:
                job.refused(types.NoThread(error))
            except Exception:  # which does not concern the thread that launches it, for example the timer's
                log.exception("%r failed", job.key)

    def _work(self, job: Job) -> None:
        if not job.claim():
            return
        try:
            job.run(job)
        except Exception:
            if not self._stopping:  # otherwise what it needs is already closed
                log.exception("%r failed", job.key)
        finally:
            with self._changed:
                self._running.pop(job, None)
                started = self._start_due()
            self._launch(started)

    def _keep_time(self) -> None:
        while True:
            with self._changed:
                if self._stopping:
                    return
                started = self._start_due()
                if not started:
                    self._changed.wait(self._until_next())
            self._launch(started)

    def _until_next(self) -> float | None:
        """Return the seconds until something changes by itself. ``_changed`` must be held."""
        now = time.monotonic()
        begin = {manner: self._begins_at(manner) - now for manner, heap in self._heaps.items() if heap}
        # Jobs that could begin, and have not, wait until a slot is free, or its job is known to hang.
        return min((wait if wait > 0 else _STALLED / 4 for wait in begin.values()), default=None)
