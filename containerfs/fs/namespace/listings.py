"""When the tree asks the service: listings with an expiry, each requested once however many wait for it.

Listings are requested because somebody looks, never by a clock: on hosted services, any request may keep a container
alive, and cost money. A name that is not in a listing is known to be absent until the listing expires, so looking it up
costs no request. While the service does not answer, the last listing is shown.

The expiry is counted from when a listing arrived, so that a listing is useful even if it took longer than that. Changes
that are made here are compared with the time of its request.
"""

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from cachetools import LRUCache, TTLCache

from containerfs.fs import types
from containerfs.fs.namespace.application import FileListing, apply_containers, apply_files
from containerfs.fs.namespace.attributes import AttributeStore, file_key
from containerfs.fs.namespace.flights import Arrival, Flight
from containerfs.fs.namespace.nodes import ContainerDirectory, Presence
from containerfs.fs.namespace.shown import set_here
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.remote import Remote
from containerfs.fs.tasks import Workers, own_work
from containerfs.fs.types import RemoteContainer, RemoteFile

log = logging.getLogger(__name__)

_MOST_FILES = 1_000_000  # listed at a time; those that were looked at longest ago are forgotten first
_ABSENT_IDS = 10_000
_PAGE = 100  # containers that one request lists
_REQUESTS = 10  # for looking at containers whose listing has expired, up to a thousand of them

Take = Callable[[Flight], None]
"""Requests a listing and applies it, to be believed unless a later flight has started by then."""


class Holdings(Protocol):
    """What this machine holds of containers that have ended."""

    def ended(self, listed: Sequence[RemoteContainer]) -> list[RemoteContainer]:
        """Return the containers of which content is held, and which are not in ``listed``, a complete listing."""

    def whole_files(self, container_id: str) -> list[RemoteFile]:
        """Return the files of a container whose complete content is held, newest first."""


class NoHoldings:
    """Holds nothing, so that containers that have ended are not shown."""

    def ended(self, listed: Sequence[RemoteContainer]) -> list[RemoteContainer]:
        return []

    def whole_files(self, container_id: str) -> list[RemoteFile]:
        return []


class MetadataCache:
    """Keeps the tree as fresh as its expiry demands.

    Args:
        expiry: how long a listing is believed, in seconds.
        holdings: finds what to show of containers that have ended.
    """

    def __init__(
        self,
        remote: Remote,
        tree: Tree,
        attributes: AttributeStore,
        expiry: float,
        workers: Workers,
        holdings: Holdings,
    ) -> None:
        self._remote = remote
        self._holdings = holdings
        self._tree = tree
        self._attributes = attributes
        self._expiry = expiry
        self._root_listed_at = 0.0
        self._root_pages = 1
        self._vouched = 0  # number of requests since the containers were listed. Guarded by _flights_lock
        self._root_asked_at = 0.0  # guarded by the tree's lock
        self._root_expired_at = 0.0  # when it was last invalidated; guarded by the tree's lock
        self._workers = workers
        # Listings under way that will be believed, by container id, "" for the containers. Guarded by _flights_lock.
        self._flights: dict[str, Flight] = {}
        self._flights_lock = threading.Lock()
        self._absent: TTLCache[str, bool] = TTLCache(
            _ABSENT_IDS, max(expiry, 0.001), time.monotonic
        )  # guarded by the tree's lock
        self._listed = _ListedContainers(tree)  # guarded by the tree's lock

    def fresh(self, container: ContainerDirectory) -> bool:
        """Tell whether the container's files were listed within the expiry."""
        return self._is_fresh(container.listed_at)

    def vouches(self, container: ContainerDirectory) -> bool:
        """Tell whether a listing of its files shows that the container exists, and was not invalidated since."""
        if self.fresh(container):
            return container.asked_at >= self._root_expired_at
        with self._flights_lock:
            flight = self._flights.get(container.remote.id)
        return flight is not None and flight.has_begun_to_arrive and flight.started >= self._root_expired_at

    @property
    def root_fresh(self) -> bool:
        """Tell whether the containers were listed within the expiry."""
        return self._is_fresh(self._root_listed_at)

    def expire(self, container: ContainerDirectory | None) -> None:
        """Make the next look request a new listing: of a container's files, or, with None, of the containers.

        A listing that is being requested now will not be believed, because it may be older.
        """
        with self._tree.lock:
            with self._flights_lock:
                self._flights.pop("" if container is None else container.remote.id, None)
            if container is None:
                self._root_listed_at = 0.0
                self._root_expired_at = time.monotonic()
            else:
                container.listed_at = 0.0
            self._absent.clear()

    def begin(self, containers: list[RemoteContainer] | None) -> None:
        """Show the containers of a listing that has just arrived, or, with None, begin to request one.

        Raises:
            Failed: if no thread can be started.
        """
        flight = self._flight("", lambda flight: self._take_containers(flight, containers))
        with self._flights_lock:
            self._flights[""] = flight
        if containers is None:
            self._workers.begin_elsewhere(flight)
        else:
            flight.run()
            flight.result()

    def ask(self, container: ContainerDirectory | None) -> None:
        """List a container's files now, or, with None, the containers.

        Raises:
            FsError: if that fails, even if there is an older listing.
        """
        self.expire(container)
        if container is None:
            self._list_containers(has_older=False)
        else:
            self._list_files(container, has_older=False)

    def refresh_containers(self) -> None:
        """List the containers if the last listing has expired.

        Raises:
            FsError: if that fails and there is no older listing.
        """
        self._list_containers(has_older=self._root_asked_at > 0)

    def refresh_files(self, container: ContainerDirectory) -> None:
        """List a container's files if the last listing has expired.

        Raises:
            NotFound: if the container is gone.
            FsError: if that fails and there is no older listing.
        """
        self._list_files(container, has_older=_is_known(container))

    def look_into(self, container: ContainerDirectory) -> Arrival | None:
        """Refresh a container's files as ``refresh_files`` does, but wait only until some of them have arrived.

        Returns:
            The listing, if more of it will follow; None if it is complete.
        """
        key, has_older = container.remote.id, _is_known(container)
        flight = self._begin(key, lambda: self.fresh(container), lambda flight: self._take_files(container, flight))
        if flight is None:
            return None
        arrival = Arrival(container, flight, lambda: self._or_older(key, flight, has_older=has_older))
        return arrival if arrival.has_begun() else None

    def may_vouch(self, container: ContainerDirectory) -> bool:
        """Decide whether to list a container's files to check that it exists, rather than list the containers.

        A few containers are cheaper to check one by one, and their files are probably looked at next. If there are
        many, the containers are listed: both together take at most ten requests, or as many as listing the containers
        takes. Files whose listing is still believed are not listed again.
        """
        if self.fresh(container):
            return False
        with self._flights_lock:
            vouched = self._vouched + container.pages
            if vouched > abs(_REQUESTS - self._root_pages):
                return False
            self._vouched = vouched
            return True

    def drop(self, container: ContainerDirectory) -> None:
        """Remove a container that the service no longer has from the root, and list the containers again."""
        self.expire(None)
        held = bool(self._holdings.whole_files(container.remote.id))
        with self._tree.lock:
            self._tree.expire(container, held=held)

    def find_unlisted(self, container_id: str) -> ContainerDirectory | None:
        """Find a container by its id even if no listing has it; None if the service has none."""
        with self._tree.lock:
            known = self._tree.container(container_id)
            if known is not None and not known.gone:
                return known
            if container_id in self._absent:
                return None
        try:
            remote = self._remote.container(container_id)
        except (types.NotFound, types.Refused, types.Failed):
            with self._tree.lock:
                self._absent[container_id] = True
            return None
        kept = self._attributes.load_containers()
        with self._tree.lock:
            found = self._tree.add_container(remote, listed=False)
            if container_id in kept:
                found.apply(kept[container_id])
            return found

    def _is_fresh(self, listed_at: float) -> bool:
        return listed_at > 0 and time.monotonic() < listed_at + self._expiry

    def _list_containers(self, *, has_older: bool) -> None:
        self._refresh("", lambda: self.root_fresh, self._take_containers, has_older=has_older)

    def _list_files(self, container: ContainerDirectory, *, has_older: bool) -> None:
        self._refresh(
            container.remote.id,
            lambda: self.fresh(container),
            lambda flight: self._take_files(container, flight),
            has_older=has_older,
        )

    def _take_containers(self, flight: Flight, listed: list[RemoteContainer] | None = None) -> None:
        started = flight.started
        if listed is None:
            listed = self._remote.containers()
        with own_work():
            kept = self._attributes.load_containers()
            held = self._holdings.ended(listed)
            with self._tree.lock:
                if started < self._root_asked_at:  # a listing that was requested later has arrived first
                    return
                apply_containers(self._tree, listed, started, kept, held)
                self._root_asked_at = started
                self._root_listed_at = time.monotonic() if self._is_latest("", flight) else 0.0
        with self._flights_lock:
            self._root_pages, self._vouched = max(1, -(-len(listed) // _PAGE)), 0

    def _take_files(self, container: ContainerDirectory, flight: Flight) -> None:
        started, presence = flight.started, container.presence
        kept_before = functools.cache(lambda: self._attributes.load(container.remote.id))

        def arriving(files: list[RemoteFile]) -> None:
            flight.add([set_here(file, kept_before()) for file in files])

        if presence is Presence.HELD:
            files, keeps_directories = self._holdings.whole_files(container.remote.id), False
        else:
            files = self._remote.files(container.remote.id, arriving)
            keeps_directories = self._remote.dialect.directories
        with own_work():
            kept = self._attributes.load(container.remote.id)
            if presence is Presence.HELD:  # what was set here was set after the service told of the file
                files = [replace(file, attributes=None) if file_key(file.id) in kept else file for file in files]
            with self._tree.lock:
                if started < container.asked_at:  # a listing that was requested later has arrived first
                    return
                if container.presence is not presence:  # it has ended meanwhile, or has not after all
                    return
                apply_files(self._tree, container, FileListing(started, files, kept, keeps_directories))
                container.asked_at = started
                is_believed = self._is_latest(container.remote.id, flight)
                container.listed_at = time.monotonic() if is_believed else 0.0
                self._listed.pop(container.remote.id, None)
                self._listed[container.remote.id] = len(files)

    def _refresh(self, key: str, fresh: Callable[[], bool], take: Take, *, has_older: bool) -> None:
        """Run one listing for everybody who wants it now."""
        flight = self._begin(key, fresh, take)
        if flight is not None:
            with self._or_older(key, flight, has_older=has_older):
                flight.result()

    def _begin(self, key: str, fresh: Callable[[], bool], take: Take) -> Flight | None:
        """The listing for everybody who wants it now; None if none is due."""
        with self._flights_lock:
            if fresh():
                return None
            flight = self._flights.get(key)
            leads = flight is None
            if flight is None:
                flight = self._flights[key] = self._flight(key, take)
        if leads:
            try:
                self._workers.begin(flight)
            except types.Failed:
                self._end(key, flight)
                raise
        return flight

    @contextmanager
    def _or_older(self, key: str, flight: Flight, *, has_older: bool) -> Iterator[None]:
        """A block that waits for a listing: where the service does not answer, an older one has to do."""
        try:
            yield
        except (types.Unreachable, types.Failed) as error:
            self._end(key, flight)  # if it is still under way, the next look starts another
            if not has_older or isinstance(error, types.Failed):
                raise
            log.warning("Showing the last listing: %s", error)

    def _flight(self, key: str, take: Take) -> Flight:
        def list_(flight: Flight) -> None:
            try:
                take(flight)
            finally:
                self._end(key, flight)

        return Flight(list_)

    def _is_latest(self, key: str, flight: Flight) -> bool:
        with self._flights_lock:
            return self._flights.get(key) is flight

    def _end(self, key: str, flight: Flight) -> None:
        with self._flights_lock:
            if self._flights.get(key) is flight:
                del self._flights[key]


def _is_known(container: ContainerDirectory) -> bool:
    """Tell whether there is something to show of a container that cannot be listed."""
    return container.asked_at > 0 or bool(container.by_id)


class _ListedContainers(LRUCache[str, int]):
    """How many files each listed container has, for a limited number of containers. Others are listed again when
    needed."""

    def __init__(self, tree: Tree) -> None:
        super().__init__(_MOST_FILES, getsizeof=lambda files: min(max(files, 1), _MOST_FILES))
        self._tree = tree

    def popitem(self) -> tuple[str, int]:
        container_id, files = super().popitem()
        container = self._tree.container(container_id)
        if container is not None and not any(node.local for node in container.files()):
            self._tree.forget_files(container)
            container.listed_at = container.asked_at = 0.0
        return container_id, files
