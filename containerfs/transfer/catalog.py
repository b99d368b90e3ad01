"""What the service has, under the names that a mount shows.

The names are the same because the code is: a catalog is a tree of nodes that nobody writes to. It lists each directory
once, when it is first needed.
"""

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from fnmatch import translate
from itertools import islice

from containerfs.fs import types
from containerfs.fs.namespace.application import FileListing, apply_containers, apply_files
from containerfs.fs.namespace.nodes import ContainerDirectory, Directory, FileNode, Node
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.remote import Remote
from containerfs.fs.types import RemoteContainer, RemoteFile
from containerfs.transfer.kept import Names

_COMPARED = 2000  # names to compare with a missing one
_PATTERN = re.compile(r"[*?\[]")


class Catalog:
    """Containers, directories and files by name.

    A name is ``CONTAINER`` or ``CONTAINER/PATH``, as below the mountpoint. Ids of containers, and of files in their
    container, can be used as well. Thread-safe. Every method raises ``FsError``.

    Args:
        names: those that this machine remembers.
    """

    def __init__(self, remote: Remote, names: Names) -> None:
        self._remote = remote
        self._names = names
        self._lock = threading.Lock()  # guards what follows
        self._tree = Tree()
        self._is_listed = False

    def containers(self) -> list[ContainerDirectory]:
        """Return all containers, sorted by name."""
        with self._lock:
            return [node for node in _children(self._root()) if isinstance(node, ContainerDirectory)]

    def children(self, directory: Directory) -> list[Node]:
        """Return the entries of a directory, sorted by name."""
        with self._lock:
            return _children(self._listed(directory))

    def files(self, directory: Directory) -> list[FileNode]:
        """Return all files below a directory, sorted by path."""
        with self._lock:
            return sorted(self._listed(directory).files(), key=lambda node: node.path)

    def directories(self, directory: Directory) -> list[RemoteFile]:
        """Return the directories at and below one that the service stores without files, deepest first."""
        with self._lock:
            container, top = self._listed(directory).container, directory.path
            kept = [path for path in container.directories if not top or f"{path}/".startswith(f"{top}/")]
            return [container.directories[path] for path in sorted(kept, reverse=True)]

    def find(self, name: str) -> Node:
        """Return the node with a name. Raises NotFound."""
        with self._lock:
            return self._find(name)

    def container(self, name: str) -> ContainerDirectory:
        """Return the container with a name or id. Raises NotFound."""
        with self._lock:
            return self._container(name)

    def inside(self, container: ContainerDirectory, path: str) -> Node | None:
        """Return the node at a path in a container; None if there is none."""
        with self._lock:
            return self._tree.find_in(self._listed(container), path)

    def match(self, pattern: str) -> list[Node]:
        """Return the nodes that a name or pattern means, sorted by name. ``*``, ``?`` and ``[...]`` match within a
        segment.

        A node whose name contains such characters is found by that name.

        Raises:
            NotFound: if nothing matches.
        """
        with self._lock:
            try:
                return [self._find(pattern)]
            except types.NotFound:
                if not _PATTERN.search(pattern):
                    raise
            matching = self._matching(pattern.strip("/").split("/"))
        if not matching:
            raise types.NotFound(f"nothing matches {pattern}")
        return matching

    # The lock must be held for everything below.

    def _root(self) -> Directory:
        if not self._is_listed:
            apply_containers(self._tree, self._remote.containers(), time.monotonic())
            self._is_listed = True
        return self._tree.root

    def _listed(self, directory: Directory) -> Directory:
        """Return a directory after listing everything in it."""
        if directory is self._tree.root:
            return self._root()
        container = directory.container
        if not container.listed_at:
            started, container_id = time.monotonic(), container.remote.id
            files = self._remote.files(container_id)
            apply_files(self._tree, container, FileListing(started, files, self._names.load(container_id)))
            container.listed_at = time.monotonic()
        return directory

    def _find(self, name: str) -> Node:
        first, _, path = name.strip("/").partition("/")
        container = self._container(first)
        if not path:
            return container
        found = self._tree.find_in(self._listed(container), path) or container.by_id.get(path)
        if found is None:
            hint = _similar(path, (file.path for file in islice(container.files(), _COMPARED)))
            raise types.NotFound(f"there is no {path} in {container.name}{hint}")
        return found

    def _container(self, name: str) -> ContainerDirectory:
        if not name:
            raise types.NotFound("a name is missing: give CONTAINER or CONTAINER/PATH")
        found = self._root().children.get(name) or self._tree.container(name) or self._unlisted(name)
        if not isinstance(found, ContainerDirectory):
            hint = _similar(name, islice(self._tree.root.children, _COMPARED))
            raise types.NotFound(f"there is no container {name}{hint}")
        return found

    def _unlisted(self, name: str) -> ContainerDirectory | None:
        try:
            remote: RemoteContainer = self._remote.container(name)
        except (types.NotFound, types.Refused, types.Failed, ValueError):  # no service has such an id
            return None
        return self._tree.add_container(remote, listed=False)

    def _matching(self, segments: list[str]) -> list[Node]:
        found: list[Node] = [self._root()]
        for segment in segments:
            is_match = _matcher(segment)
            directories = (node for node in found if isinstance(node, Directory))
            found = [child for node in directories for child in _children(self._listed(node)) if is_match(child.name)]
        return found


def _similar(name: str, names: Iterable[str]) -> str:
    """Return suggestions for a misspelt name."""
    similar = get_close_matches(name, names, 3)
    return f"; did you mean {' or '.join(similar)}?" if similar else ""


def _children(directory: Directory) -> list[Node]:
    return [node for _, node in sorted(directory.visible())]


def _matcher(pattern: str) -> Callable[[str], object]:
    """Return a matcher like a shell's: a leading dot must be matched explicitly."""
    match = re.compile(translate(pattern)).match
    return lambda name: match(name) if pattern.startswith(".") or not name.startswith(".") else None


def full_name(node: Node) -> str:
    """Return ``CONTAINER/PATH``, the name by which a catalog finds a node."""
    container = node.container
    return container.name if node is container else f"{container.name}/{node.path}"


def remote_file(node: FileNode) -> RemoteFile:
    """Return the file of the service that a node of a catalog shows."""
    assert node.remote is not None, "a catalog has no files of its own"
    return node.remote


def below(node: Directory, files: list[FileNode]) -> Iterator[tuple[str, FileNode]]:
    """Return files of a directory with their paths below it."""
    prefix = 0 if node is node.container else len(node.path) + 1
    return ((file.path[prefix:], file) for file in files)
