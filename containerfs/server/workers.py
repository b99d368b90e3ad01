"""Several processes that do the same work until their parent is told to stop.

The parent has no threads, event loop or store: it forks workers, waits, and replaces those that die. All workers hold
the reading end of a pipe, the lifeline. Only the parent has its writing end, so no worker outlives the parent, however
it ends.
"""

import contextlib
import logging
import os
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from containerfs.server.storage.failures import StoreError

logger = logging.getLogger("containerfs.server")

_PAUSE_S = 1.0
"""The pause before replacing a worker that ended before it was ready, in seconds."""

_READY = b"\n"

_STOPPING = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Tie:
    """What connects a worker to its parent.

    Attributes:
        number: from 0; a worker that replaces another has its number.
        lifeline: a descriptor that ends when the parent does.
        ready: called by the worker once it does its work.
    """

    number: int
    lifeline: int
    ready: Callable[[], None]


Work = Callable[[Tie], None]
"""The work of a worker. It returns after SIGTERM or at the end of the lifeline, and raises StoreError if it cannot
start."""


@dataclass(slots=True)
class _Worker:
    number: int
    word: int
    """The reading end of a pipe on which the worker reports that it is ready, or why it cannot start."""
    is_ready: bool = False


def supervise(count: int, work: Work, started: Callable[[], None], stop_accepting: Callable[[], None]) -> None:
    """Keep workers running until SIGTERM or SIGINT, and return when all of them have ended.

    Args:
        count: the number of workers, at least 1.
        work: what each of them does.
        started: called once all are ready.
        stop_accepting: called before they are told to stop.

    Raises:
        StoreError: if the first worker cannot start.
    """
    with _signals() as noticed:
        parent = _Parent(count, work, started, stop_accepting, noticed)
        try:
            parent.run()
        finally:
            parent.close()


class _Parent:
    def __init__(
        self,
        count: int,
        work: Work,
        started: Callable[[], None],
        stop_accepting: Callable[[], None],
        noticed: int,
    ) -> None:
        self._count, self._work = count, work
        self._started, self._stop_accepting = started, stop_accepting
        self._noticed = noticed
        self._workers: dict[int, _Worker] = {}
        self._lifeline = os.pipe()
        self._announced = self._stopping = False
        self._not_before = 0.0

    def run(self) -> None:
        self._start(0)
        while self._workers or not self._stopping:
            pause = self._start_missing()
            words = [worker.word for worker in self._workers.values() if not worker.is_ready]
            readable, _, _ = select.select([self._noticed, *words], [], [], pause)
            for worker in list(self._workers.values()):
                if worker.word in readable and not worker.is_ready:
                    self._hear(worker)
            if self._noticed in readable:
                self._notice()

    def close(self) -> None:
        """Close the lifeline, which ends the workers that are left after an error."""
        for fd in self._lifeline:
            os.close(fd)

    def _start_missing(self) -> float | None:
        """Start workers until there are enough; or return after how many seconds to try again."""
        store_is_open = self._announced or any(worker.is_ready for worker in self._workers.values())
        if self._stopping or not store_is_open:
            return None  # the first worker may have to migrate the store, and may fail
        pause = self._not_before - time.monotonic()
        if pause > 0:
            return pause
        for number in sorted(set(range(self._count)) - {worker.number for worker in self._workers.values()}):
            self._start(number)
        return None

    def _start(self, number: int) -> None:
        word, say = os.pipe()
        with _blocked():
            pid = os.fork()
            if not pid:
                self._become_worker(number, say)
        os.close(say)
        self._workers[pid] = _Worker(number, word)

    def _become_worker(self, number: int, say: int) -> None:
        """Do the work in the child. Never returns."""
        status = 1
        try:
            os.setpgid(0, 0)  # Ctrl-C only concerns the parent
            _restore_signals()
            os.close(self._lifeline[1])
            self._work(Tie(number, self._lifeline[0], lambda: _say(say, _READY)))
            status = 0
        except StoreError as error:
            _say(say, str(error).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def _hear(self, worker: _Worker) -> None:
        word = os.read(worker.word, select.PIPE_BUF)
        if word == _READY:
            worker.is_ready = True
            if not self._announced and sum(worker.is_ready for worker in self._workers.values()) == self._count:
                self._announced = True
                self._started()
        elif word and not self._announced:
            raise StoreError(word.decode())
        elif word:
            logger.error("a process could not start: %s", word.decode())

    def _notice(self) -> None:
        """Act on the signals that have arrived."""
        numbers = os.read(self._noticed, select.PIPE_BUF)
        if set(numbers) & set(_STOPPING):
            self._stop()
        while self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            self._bury(pid, os.waitstatus_to_exitcode(status))

    def _stop(self) -> None:
        """Ask all workers to stop; when called again, they stop at once."""
        if not self._stopping:
            self._stopping = True
            self._stop_accepting()
        for pid in self._workers:
            os.kill(pid, signal.SIGTERM)

    def _bury(self, pid: int, status: int) -> None:
        worker = self._workers.pop(pid)
        if not worker.is_ready:
            self._hear(worker)
            self._not_before = time.monotonic() + _PAUSE_S
        os.close(worker.word)
        if self._stopping:
            return
        if not self._announced and not self._workers:
            raise StoreError(f"the first process ended with status {status} before it was ready")
        logger.error("process %d ended with status %d and is replaced", pid, status)


def _say(word: int, text: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(word, text[: select.PIPE_BUF])


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """Yield a descriptor from which the numbers of arriving signals are read."""
    noticed, notice = os.pipe()
    os.set_blocking(notice, False)
    before = signal.set_wakeup_fd(notice, warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, lambda *_: None) for number in (*_STOPPING, signal.SIGCHLD)}
    try:
        yield noticed
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        os.close(noticed)
        os.close(notice)


@contextlib.contextmanager
def _blocked() -> Iterator[None]:
    """Block signals, so that a new child does not act on its parent's signals."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*_STOPPING, signal.SIGCHLD))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _restore_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (*_STOPPING, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*_STOPPING, signal.SIGCHLD))
