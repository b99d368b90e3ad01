"""When uploads and deletions run: a heap of due times over a pool of threads.

At most ``_SLOTS`` jobs that make progress run at a time. A job that hangs holds a thread, and no slot: others go on. A
key has one job at most; asking for it again changes when it runs.
"""

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor

from containerfs.fs import types

log = logging.getLogger(__name__)

_SLOTS = 16
_THREADS = 256
_STALLED = 2.0  # seconds without progress after which a job's slot is another's


class Job:
    """Something to do once.

    Args:
        key: what it is about.
        run: does it; given the job, on which it notes progress.
        refused: called instead of ``run`` where no thread can be had, with the reason.
    """

    def __init__(
        self, key: Hashable, run: Callable[["Job"], None], refused: Callable[[types.FsError], None], due: float
    ) -> None:
        self.key = key
        self.run = run
        self.refused = refused
        self.due = due
        self.moved_at = 0.0
        self._claim = threading.Lock()

    def progress(self) -> None:
        """Note that the job goes on."""
        self.moved_at = time.monotonic()

    def claim(self) -> bool:
        """Whether the caller is the first to take the job on."""
        return self._claim.acquire(blocking=False)


class Schedule:
    """Runs jobs when they are due. Thread-safe; nothing is run on the thread that asks.

    Raises:
        Failed: if the thread that keeps the time cannot be started.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards all below; notified when it changes
        self._heap: list[tuple[float, int, Job]] = []
        self._waiting: dict[Hashable, Job] = {}
        self._running: dict[Job, None] = {}
        self._count = itertools.count()
        self._stopping = False
        self._pool = ThreadPoolExecutor(_THREADS, "upload")
        try:
            threading.Thread(target=self._keep_time, name="schedule", daemon=True).start()
        except RuntimeError as error:
            raise types.Failed(f"no thread can be started ({error}): raise the limit on processes") from error

    def submit(
        self,
        key: Hashable,
        delay: float,
        run: Callable[[Job], None],
        refused: Callable[[types.FsError], None],
    ) -> None:
        """Run a job after ``delay`` seconds. One of the same key that still waits is replaced."""
        job = Job(key, run, refused, time.monotonic() + delay)
        with self._changed:
            if self._stopping:
                return
            self._waiting[key] = job
            heapq.heappush(self._heap, (job.due, next(self._count), job))
            started = self._start_due()
            self._changed.notify_all()
        self._launch(started)

    def cancel(self, key: Hashable) -> None:
        """Forget a job that still waits."""
        with self._changed:
            self._waiting.pop(key, None)

    def expedite(self, wanted: Callable[[Hashable], bool]) -> None:
        """Run now what waits."""
        with self._changed:
            for key, job in list(self._waiting.items()):
                if wanted(key):
                    job.due = 0.0
                    heapq.heappush(self._heap, (0.0, next(self._count), job))
            started = self._start_due()
            self._changed.notify_all()  # where no slot is free, one is once a job is known to hang
        self._launch(started)

    def next_due(self, key: Hashable) -> float | None:
        """The monotonic time at which the job of a key runs; None if none waits."""
        with self._changed:
            job = self._waiting.get(key)
            return None if job is None else job.due

    def close(self) -> None:
        """Begin nothing more."""
        with self._changed:
            self._stopping = True
            self._waiting.clear()
            self._heap.clear()
            self._changed.notify_all()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start_due(self) -> list[Job]:
        """The jobs that begin now. Wants ``_changed`` held."""
        started: list[Job] = []
        while self._heap and not self._stopping:
            due, _, job = self._heap[0]
            if self._waiting.get(job.key) is not job or due > job.due:
                heapq.heappop(self._heap)  # replaced, cancelled, or asked for earlier
            elif due > time.monotonic() or not self._has_slot():
                break
            else:
                heapq.heappop(self._heap)
                del self._waiting[job.key]
                job.progress()
                self._running[job] = None
                started.append(job)
        return started

    def _has_slot(self) -> bool:
        if len(self._running) < _SLOTS:
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
        """No thread could be started. The pool may still come to the job; whoever claims it first has it."""
        if job.claim():
            with self._changed:
                self._running.pop(job, None)
                if self._stopping:
                    return
            job.refused(types.Failed(f"no thread can be started ({error}): raise the limit on processes"))

    def _work(self, job: Job) -> None:
        if not job.claim():
            return
        try:
            job.run(job)
        except Exception:
            if not self._stopping:  # else what it needs has been closed
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
        """Seconds until something changes by itself. Wants ``_changed`` held."""
        if not self._heap:
            return None
        wait = self._heap[0][0] - time.monotonic()
        return wait if wait > 0 else _STALLED / 4  # until a slot is free, or known to hang
