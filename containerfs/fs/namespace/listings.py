"""When the tree asks the service again: listings with an expiry, each asked for once however many wait for it.

A listing is asked for because somebody looks, never by a clock: on hosted services any request may keep a container
alive, and billed. What a listing leaves out is known to be absent until it expires, so that a name that is not there
costs no request either. While the service does not answer, what was listed last goes on being shown.
"""

import logging
import threading
import time
from collections.abc import Callable

from cachetools import LRUCache, TTLCache

from containerfs.fs import types
from containerfs.fs.namespace.application import FileListing, apply_containers, apply_files
from containerfs.fs.namespace.attributes import AttributeStore
from containerfs.fs.namespace.nodes import ContainerDirectory
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.remote import Remote
from containerfs.fs.tasks import Task, Workers

log = logging.getLogger(__name__)

_MOST_FILES = 1_000_000  # listed at a time; containers looked at longest ago are forgotten first
_ABSENT_IDS = 10_000


class MetadataCache:
    """Keeps the tree as fresh as ``expiry`` asks.

    Args:
        expiry: seconds for which a listing is believed.
    """

    def __init__(self, remote: Remote, tree: Tree, attributes: AttributeStore, expiry: float, workers: Workers) -> None:
        self._remote = remote
        self._tree = tree
        self._attributes = attributes
        self._expiry = expiry
        self._root_listed_at = 0.0
        self._workers = workers
        self._flights: dict[str, Task[None]] = {}  # guarded by _flights_lock
        self._flights_lock = threading.Lock()
        self._absent: TTLCache[str, bool] = TTLCache(_ABSENT_IDS, max(expiry, 0.001))  # guarded by the tree's lock
        self._listed = _ListedContainers(tree)  # guarded by the tree's lock

    def fresh(self, container: ContainerDirectory) -> bool:
        """Whether the container's files were listed within the expiry."""
        return self._is_fresh(container.listed_at)

    @property
    def root_fresh(self) -> bool:
        """Whether the containers were listed within the expiry."""
        return self._is_fresh(self._root_listed_at)

    def expire(self, container: ContainerDirectory | None) -> None:
        """Ask again at the next look: for a container's files, or, with None, for the containers."""
        if container is None:
            self._root_listed_at = 0.0
        else:
            container.listed_at = 0.0
        with self._tree.lock:
            self._absent.clear()

    def refresh_containers(self) -> None:
        """List the containers, if the last listing has expired. Raises FsError where there is none to fall back to."""
        self._refresh("", lambda: self.root_fresh, self._list_containers, self._root_listed_at > 0)

    def refresh_files(self, container: ContainerDirectory) -> None:
        """List a container's files, likewise. Raises NotFound if the container is gone."""
        self._refresh(
            container.remote.id,
            lambda: self.fresh(container),
            lambda: self._list_files(container),
            container.listed_at > 0 or bool(container.by_id),
        )

    def find_unlisted(self, container_id: str) -> ContainerDirectory | None:
        """The container with an id, also where no listing has it; None if the service knows none."""
        with self._tree.lock:
            known = self._tree.container(container_id)
            if known is not None or container_id in self._absent:
                return known
        try:
            remote = self._remote.container(container_id)
        except (types.NotFound, types.Refused, types.Failed):
            with self._tree.lock:
                self._absent[container_id] = True
            return None
        with self._tree.lock:
            return self._tree.add_container(remote, listed=False)

    def _is_fresh(self, listed_at: float) -> bool:
        return listed_at > 0 and time.monotonic() < listed_at + self._expiry

    def _list_containers(self) -> None:
        started = time.monotonic()
        listed = self._remote.containers()
        with self._tree.lock:
            if started >= self._root_listed_at:  # else one that was begun later has arrived before
                apply_containers(self._tree, listed, started)
                self._root_listed_at = started

    def _list_files(self, container: ContainerDirectory) -> None:
        started = time.monotonic()
        files = self._remote.files(container.remote.id)
        kept = self._attributes.load(container.remote.id)
        with self._tree.lock:
            if started < container.listed_at:  # one that was begun later has arrived before
                return
            apply_files(self._tree, container, FileListing(started, files, kept))
            self._listed.pop(container.remote.id, None)
            self._listed[container.remote.id] = len(files)

    def _refresh(self, key: str, fresh: Callable[[], bool], list_: Callable[[], None], has_older: bool) -> None:
        """Run one listing for all who want it now."""
        if fresh():
            return
        with self._flights_lock:
            flight = self._flights.get(key)
            leads = flight is None
            if flight is None:
                flight = self._flights[key] = Task(list_)
        try:
            if leads:
                self._workers.begin(flight)
            flight.result()
        except types.Unreachable as error:
            if not has_older:
                raise
            log.warning("Showing what was listed last: %s", error)
        finally:
            self._end(key, flight)

    def _end(self, key: str, flight: Task[None]) -> None:
        """A listing has arrived, or one of those who waited for it gives up: whoever looks next begins another."""
        with self._flights_lock:
            if self._flights.get(key) is flight:
                del self._flights[key]


class _ListedContainers(LRUCache[str, int]):
    """How many files each listed container has, within a bound; what is forgotten is listed again when looked at."""

    def __init__(self, tree: Tree) -> None:
        super().__init__(_MOST_FILES, getsizeof=lambda files: min(max(files, 1), _MOST_FILES))
        self._tree = tree

    def popitem(self) -> tuple[str, int]:
        container_id, files = super().popitem()
        container = self._tree.container(container_id)
        if container is not None and not any(node.local for node in container.files()):
            container.children.clear()
            container.by_id.clear()
            container.listed_at = 0.0
        return container_id, files
