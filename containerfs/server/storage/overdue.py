"""Gives up transactions that take too long, because a database that hangs ends them itself as little as it answers.

A connection is hung up under the transaction's thread, which then finds that the database is gone.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator

import psycopg

_LOOKS = 10
"""How often transactions are looked at while one takes as long as it may."""


class Overdue:
    """Watches the transactions of one process."""

    def __init__(self, limit_s: float) -> None:
        """Begin to watch.

        Args:
            limit_s: how long a transaction may take, in seconds.
        """
        self._limit_s = limit_s
        self._begun: dict[psycopg.Connection, float] = {}
        self._lock = threading.Lock()  # guards the above, and so keeps the connections in it from being closed
        self._closing = threading.Event()
        threading.Thread(target=self._watch, name="overdue", daemon=True).start()

    @contextlib.contextmanager
    def watched(self, connection: psycopg.Connection) -> Iterator[None]:
        """Watch the transaction that is done on a connection within this context."""
        with self._lock:
            self._begun[connection] = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                del self._begun[connection]

    def close(self) -> None:
        """Watch no longer."""
        self._closing.set()

    def _watch(self) -> None:
        while not self._closing.wait(self._limit_s / _LOOKS):
            with self._lock:
                for connection, begun in self._begun.items():
                    if time.monotonic() >= begun + self._limit_s:
                        _hang_up(connection)


def _hang_up(connection: psycopg.Connection) -> None:
    with (
        contextlib.suppress(OSError, psycopg.Error),  # it has broken already
        socket.socket(fileno=os.dup(connection.fileno())) as stream,
    ):
        stream.shutdown(socket.SHUT_RDWR)
