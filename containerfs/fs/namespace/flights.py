"""Listings that are being requested: many can wait for one, and take what has arrived before it is complete."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

from containerfs.fs import deadline
from containerfs.fs.namespace.nodes import ContainerDirectory
from containerfs.fs.tasks import Task
from containerfs.fs.types import RemoteFile

_SOON = 0.25  # seconds; a faster listing is shown once it is complete, with types and attributes
_AT_A_TIME = 0.25  # seconds between the parts of a slower one: waking up for each page would cost more
_FIRST = 100  # names in the first part: a program that asks about each waits there, and gets attributes for the rest


class Flight(Task[None]):
    """A listing that is being requested, for all who wait for it.

    Args:
        list_: requests and applies the listing; it is passed the flight.

    Attributes:
        started: monotonic time of the request.
    """

    def __init__(self, list_: Callable[["Flight"], None]) -> None:
        super().__init__(lambda: list_(self))
        self.started = time.monotonic()
        self._changed = threading.Condition()
        self._arrived: list[RemoteFile] = []  # guarded by _changed
        self._outcome.add_done_callback(lambda _: self._wake())

    @property
    def has_begun_to_arrive(self) -> bool:
        return bool(self._arrived)

    def add(self, files: list[RemoteFile]) -> None:
        """Add files that have arrived; more will follow."""
        with self._changed:
            self._arrived += files
            self._changed.notify_all()

    def beyond(self, count: int, not_before: float) -> list[RemoteFile]:
        """Wait for files after the first ``count``, and return them; none if the listing is complete.

        Args:
            not_before: monotonic time until which this waits for the complete listing.

        Raises:
            FsError: as ``result``.
        """
        with suppress(TimeoutError):
            deadline.result(self._outcome, lambda: self.moved_at, not_before)
            return []
        with self._changed:
            while len(self._arrived) <= count and not self.done:
                deadline.wait(self._changed, self.moved_at)
            arrived = self._arrived[count:]
        if not self.done:
            return arrived
        self.result()
        return []

    def _wake(self) -> None:
        with self._changed:
            self._arrived = []
            self._changed.notify_all()


class Arrival:
    """A listing in progress, for a caller who takes its files as they arrive.

    Args:
        container: whose files are listed.
        or_older: a context in which errors of the listing are ignored if there is an older listing.
    """

    def __init__(
        self, container: ContainerDirectory, flight: Flight, or_older: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self.container = container
        self.started = flight.started
        self._flight = flight
        self._or_older = or_older
        self._count = 0  # number of files taken so far
        self._not_before = flight.started + _SOON

    def has_begun(self) -> bool:
        """Wait until some files or all have arrived, and return whether more will follow. Raises FsError."""
        with self._or_older():
            return bool(self._flight.beyond(0, self._not_before))
        return False

    def next(self) -> list[RemoteFile]:
        """Wait for further files, and return them; none if the listing is complete.

        Raises:
            FsError: if the listing failed, and there is no older one.
        """
        files: list[RemoteFile] = []
        with self._or_older():
            files = self._flight.beyond(self._count, self._not_before)[: None if self._count else _FIRST]
        self._count += len(files)
        self._not_before = time.monotonic() + _AT_A_TIME
        return files
