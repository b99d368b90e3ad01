"""Lists ahead of programs that look into one container after another, as ``find`` does.

Each container takes its own request, so a walk over a hundred of them would cost a hundred round trips. Which
containers come next is decided in the same way as for files that are read one after another.
"""

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from containerfs.fs import types
from containerfs.fs.namespace.listings import MetadataCache
from containerfs.fs.namespace.lookup import Lookup
from containerfs.fs.namespace.nodes import ContainerDirectory, Node
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.reading.scans import Scan

_AT_ONCE = 16  # listings at a time


class ListingAhead:
    """Detects walks, and lists ahead of them. Thread-safe."""

    def __init__(self, tree: Tree, lookup: Lookup, metadata: MetadataCache) -> None:
        self._tree = tree
        self._lookup = lookup
        self._metadata = metadata
        self._scan: Scan[ContainerDirectory] = Scan()  # guarded by the tree's lock
        self._looked_into: ContainerDirectory | None = None  # likewise
        self._pool = ThreadPoolExecutor(_AT_ONCE, "listing")
        self._closing = threading.Event()

    def looked_into(self, container: ContainerDirectory) -> None:
        """Called when a program is about to list the files of a container. Never waits for the service, and never
        fails."""
        with self._tree.lock:
            if self._looked_into is container or container.gone:
                return  # its directories are being read, or no request is needed
            self._looked_into = container
            following = self._scan.opened(container.name, _Unlisted(self._tree.root.children, self._metadata))
        for each in following:
            with suppress(RuntimeError):  # closed, or no more threads can be started; nobody waits for it
                self._pool.submit(self._list, each)

    def close(self) -> None:
        """Start no more listings."""
        self._closing.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _list(self, container: ContainerDirectory) -> None:
        with suppress(types.FsError):  # whoever looks into it will request it again, and get the error
            if not self._closing.is_set():
                self._lookup.refresh(container)


class _Unlisted(Mapping[str, "_Unlisted.Container"]):
    """The containers of the root as a scan sees them: it fetches those listings that are due."""

    class Container:
        def __init__(self, node: Node, metadata: MetadataCache) -> None:
            self._node = node
            self._metadata = metadata

        @property
        def ino(self) -> int:
            return self._node.ino

        @property
        def fetchable(self) -> ContainerDirectory | None:
            node = self._node
            return node if isinstance(node, ContainerDirectory) and not self._metadata.fresh(node) else None

    def __init__(self, children: Mapping[str, Node], metadata: MetadataCache) -> None:
        self._children = children
        self._metadata = metadata

    def __getitem__(self, name: str) -> Container:
        return self.Container(self._children[name], self._metadata)

    def __iter__(self) -> Iterator[str]:
        return iter(self._children)

    def __len__(self) -> int:
        return len(self._children)
