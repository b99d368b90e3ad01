"""When containers end: warns about those that somebody looked into, and keeps some of them alive.

All of this relies on what the service has said, and on when it was last used from here. No request is sent to find out,
because on hosted services any request may keep a container alive, and cost money. Only named containers are kept alive.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from containerfs.fs import types
from containerfs.fs.namespace.nodes import ContainerDirectory
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.remote import Remote
from containerfs.fs.types import RemoteContainer
from containerfs.fs.writing.momentary import MomentaryFiles

log = logging.getLogger(__name__)

_LOOKS = 5.0  # seconds between checks
_LONGEST_NOTICE = 3600.0  # seconds before the end of a long life
_NOTICE = 0.1, 0.25  # parts of a lifetime, and of an idle limit
_RENEWED = 0.5  # part of that time that is left when a container is used
_UNKNOWN = 300.0  # seconds between uses of a container whose end is not known
_NAME = ".containerfs-keep-alive"


def notice(container: RemoteContainer, ends_at: float) -> float:
    """Return how many seconds before its end to warn about a container."""
    of_life, of_idleness = _NOTICE
    if container.idle_limit is not None:
        return container.idle_limit * of_idleness
    return min(_LONGEST_NOTICE, (ends_at - container.created_at) * of_life)


@dataclass(frozen=True, slots=True)
class Ending:
    """When a container ends, in Unix seconds. If that is ``avoidable``, using it earlier prevents it.

    Attributes:
        warn_at: when to begin to warn, in Unix seconds.
        looked_into: whether somebody has looked into it from here.
    """

    name: str
    ends_at: float
    avoidable: bool
    warn_at: float = 0.0
    looked_into: bool = True

    def is_soon(self, now: float) -> bool:
        """Tell whether it has not ended, but will soon."""
        return self.warn_at <= now < self.ends_at

    def __str__(self) -> str:
        when = time.strftime("%H:%M", time.localtime(self.ends_at))
        unless = ", unless it is used before" if self.avoidable else ""
        return f"The container {self.name!r} ends at {when}{unless}; 'containerfs get -r' saves what is in it"


class Endings:
    """Watches the ends of the containers of a tree, on a thread of its own. Thread-safe.

    Args:
        used_at: returns when this mount last used a container, by its id, in Unix seconds; 0 if it has not.
        keep_alive: names or ids of containers to keep alive as long as the mount runs.
        read_only: whether nothing may be stored for that.
    """

    def __init__(
        self,
        remote: Remote,
        tree: Tree,
        momentary: MomentaryFiles,
        used_at: Callable[[str], float],
        keep_alive: Sequence[str],
        *,
        read_only: bool,
    ) -> None:
        self._remote = remote
        self._tree = tree
        self._momentary = momentary
        self._used_at = used_at
        self._keep_alive = frozenset(keep_alive)
        self._read_only = read_only
        self._warned: dict[str, float] = {}  # the end that was warned about, by name
        self._closed = threading.Event()

    def start(self) -> None:
        """Start watching, until ``close``."""
        threading.Thread(target=self._run, name="endings", daemon=True).start()

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()

    def now(self) -> float:
        """Return the time of the clock by which containers end."""
        return self._remote.now()

    def ends_at(self, container: RemoteContainer) -> float | None:
        """Return when a container ends, in Unix seconds; None if it does not, or that is not known here."""
        if container.expires_at is None:
            return None
        used_at = self._used_at(container.id)
        if container.idle_limit is None or not used_at:
            return container.expires_at
        return max(container.expires_at, used_at + container.idle_limit)

    def known(self) -> list[Ending]:
        """Return the containers whose end is known here, the next one first."""
        with self._tree.lock:
            containers = [node for node in self._tree.containers() if not node.gone]
        found = []
        for node in containers:
            ends_at = self.ends_at(node.remote)
            if ends_at is not None:
                avoidable, warn_at = node.remote.idle_limit is not None, ends_at - notice(node.remote, ends_at)
                found.append(Ending(node.name, ends_at, avoidable, warn_at, looked_into=node.listed_at > 0))
        return sorted(found, key=lambda ending: ending.ends_at)

    def soon(self, now: float) -> list[Ending]:
        """Return the containers that somebody looked into and that end soon, the next one first."""
        return [ending for ending in self.known() if ending.looked_into and ending.is_soon(now)]

    def look(self, now: float) -> None:
        """Warn once about containers that end soon, and use those that are to be kept alive."""
        for node in self._named():
            self._keep(node, now)
        for ending in self.soon(now):
            if self._warned.get(ending.name) != ending.ends_at:
                self._warned[ending.name] = ending.ends_at
                log.warning("%s", ending)

    def _run(self) -> None:
        while not self._closed.wait(_LOOKS):
            self.look(self.now())

    def _named(self) -> list[ContainerDirectory]:
        with self._tree.lock:
            containers = [node for node in self._tree.containers() if not node.gone]
        return [node for node in containers if self._keep_alive & {node.name, node.remote.id}]

    def _keep(self, node: ContainerDirectory, now: float) -> None:
        """Use a container if it is time."""
        container, ends_at = node.remote, self.ends_at(node.remote)
        if ends_at is None:
            due = self._used_at(container.id) + _UNKNOWN
        elif container.idle_limit is None:
            return  # its end is fixed; there was a warning
        else:
            due = ends_at - container.idle_limit * _RENEWED
        if now >= due:
            try:
                self._use(container)
            except types.FsError as error:
                log.warning("The container %r could not be kept alive: %s", node.name, error)

    def _use(self, container: RemoteContainer) -> None:
        """Read the last byte of a file; if there is no file, store one and delete it."""
        files = [file for file in self._remote.files(container.id) if file.size]
        if files:
            file = min(files, key=lambda each: each.size or 0)
            with self._remote.content(file, (file.size or 1) - 1) as stream:
                next(iter(stream.chunks), None)
        elif not self._read_only:
            self._momentary.store(container.id, _NAME)
