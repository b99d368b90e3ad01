"""Checkpoints: a thread copies the write-ahead log into its database, so that transactions do not have to.

With SQLite's own checkpoints, the transaction that finds the log full waits for two fsyncs. Here a thread with its own
connection does that while others commit. The log starts over once all of it was copied while nobody was committing. If
that does not happen by itself and the log gets very long, further transactions wait for it. Source:
https://www.sqlite.org/wal.html
"""

import logging
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

log = logging.getLogger(__name__)

_EVERY = 128  # transactions between two checkpoints: about three megabytes, for which the log has space
_LONG = 4096  # pages of the log above which transactions wait until it starts over
_BUSY = 10.0  # seconds to wait for other connections


class Checkpoints:
    """Keeps the log of a database short. Thread-safe.

    Args:
        path: of the database, which exists and is in WAL mode.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._transactions = 0
        self._is_long = False
        self._is_closed = False
        self._changed = threading.Condition()  # guards everything above; notified when any of it changes
        self._thread: threading.Thread | None = None

    def committed(self) -> None:
        """Called after a commit, with no other transaction open on this thread."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_long)
            self._transactions += 1
            if self._transactions < _EVERY or self._is_closed:
                return
            if self._thread is None:
                self._start()
            self._changed.notify_all()

    def close(self) -> None:
        """Wait for a running checkpoint, and start no other."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _start(self) -> None:
        """The condition must be held."""
        thread = threading.Thread(target=self._keep, name="checkpoints", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no thread can be started; tried again after the next transactions
            log.warning("The journal's log grows: no thread can be started (%s)", error)
            self._transactions = 0
        else:
            self._thread = thread

    def _keep(self) -> None:
        while self._is_due():
            try:
                self._checkpoint()
            except sqlite3.DatabaseError as error:  # for example on a full disk; what was committed is in the log
                log.warning("The journal's log could not be written into its database: %s", error)

    def _is_due(self) -> bool:
        """Wait until a checkpoint is due. Returns False if there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._transactions >= _EVERY)
            self._transactions = 0
            return not self._is_closed

    def _checkpoint(self) -> None:
        with closing(sqlite3.connect(self._path, timeout=_BUSY, isolation_level=None)) as db:
            _, pages, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if pages < _LONG:
                return
            # SQLite's locks are not fair: a thread that commits all the time would keep this one waiting.
            self._set_long(is_long=True)
            try:
                db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
            finally:
                self._set_long(is_long=False)

    def _set_long(self, *, is_long: bool) -> None:
        with self._changed:
            self._is_long = is_long
            self._changed.notify_all()
