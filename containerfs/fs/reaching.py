"""Reaches a service, on a thread of its own, while what will use it is put together."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from containerfs.fs import types
from containerfs.fs.remote import Remote
from containerfs.fs.types import RemoteContainer

_PAUSE = 0.5  # seconds between attempts


class Reaching:
    """Finds out whether a service answers and accepts the key, and what it can do. It begins at once.

    Args:
        patience: for how many seconds to try if it does not answer.
        ready: waits until the service has started; may raise.
    """

    def __init__(self, remote: Remote, patience: float, ready: Callable[[], object] = bool) -> None:
        self._remote = remote
        self._patience = patience
        self._ready = ready
        self._outcome: Future[list[RemoteContainer] | None] = Future()
        threading.Thread(target=self._run, name="reaching the service", daemon=True).start()

    def result(self) -> list[RemoteContainer] | None:
        """Wait, and return what ``Remote.check`` does. Raises FsError, and what ``ready`` raises."""
        return self._outcome.result()

    def _run(self) -> None:
        try:
            self._ready()
            self._outcome.set_result(self._check())
        except BaseException as error:
            self._outcome.set_exception(error)

    def _check(self) -> list[RemoteContainer] | None:
        last = time.monotonic() + self._patience - _PAUSE
        while True:
            try:
                return self._remote.check()
            except types.Unreachable:
                if time.monotonic() > last:
                    raise
                time.sleep(_PAUSE)
