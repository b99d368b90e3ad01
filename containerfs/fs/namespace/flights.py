"""Listings of files that are under way: awaited by all who want them, and looked into before they are complete."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from containerfs.fs import deadline
from containerfs.fs.namespace.nodes import ContainerDirectory
from containerfs.fs.tasks import Task
from containerfs.fs.types import RemoteFile

_AT_ONCE = 0.1  # seconds; a listing that takes no longer is shown when it is complete, with types and attributes


class Flight(Task[None]):
    """One listing, once for all who wait for it.

    Args:
        list_: lists, and takes over what is listed; is given the flight.

    Attributes:
        started: the monotonic time at which it was asked for.
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
        """These have arrived, and more is to come."""
        with self._changed:
            self._arrived += files
            self._changed.notify_all()

    def beyond(self, count: int) -> list[RemoteFile]:
        """What has arrived after the first ``count`` files, once there is anything; nothing once it is complete.

        A listing that is fast is waited for.

        Raises:
            FsError: as ``result``.
        """
        with self._changed:
            deadline.wait_for(self._changed, lambda: self.done, self.started + _AT_ONCE, lambda: self.moved_at)
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
    """A listing under way, as somebody sees it who takes what arrives, part by part.

    Args:
        container: whose files are listed.
        or_older: a block in which errors of the listing are survived if there is an older one.
    """

    def __init__(
        self, container: ContainerDirectory, flight: Flight, or_older: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self.container = container
        self.started = flight.started
        self._flight = flight
        self._or_older = or_older
        self._count = 0  # files that were taken

    def has_begun(self) -> bool:
        """Wait until something has arrived, or all has; returns whether there is more to come. Raises FsError."""
        with self._or_older():
            return bool(self._flight.beyond(0))
        return False

    def next(self) -> list[RemoteFile]:
        """What has arrived since, once there is anything; nothing if there is nothing more to wait for.

        Raises:
            FsError: the listing failed, and there is no older one.
        """
        files: list[RemoteFile] = []
        with self._or_older():
            files = self._flight.beyond(self._count)
        self._count += len(files)
        return files
