"""From a path to a node, asking the service no more than it must.

A container is known by the listing of containers; once that has expired, a listing of the container's own files
vouches for it as well, and is what whoever looks inside needs next, unless many containers are looked at. So ``ls`` of
a container costs one request for each hundred files, and ``cat`` one listing at most. Files that are open or being
written are known without asking.
"""

from collections.abc import Callable

from containerfs.api.paths import DATA_ROOT, NAME_MAX_BYTES
from containerfs.fs import types
from containerfs.fs.namespace.links import SUFFIX
from containerfs.fs.namespace.listings import MetadataCache
from containerfs.fs.namespace.names import NamePolicy
from containerfs.fs.namespace.nodes import ContainerDirectory, Directory, FileNode, Link, Node
from containerfs.fs.namespace.tree import Tree

_PATH_MAX_BYTES = 4095 - len(DATA_ROOT)  # the service's own programs open it below that. Source: limits.h, PATH_MAX
_SHORTEST_ID = 16  # a name that might be the id of a container that no listing has


def check_length(name: str) -> None:
    """Raises NameTooLong for a name that Linux does not take. (The kernel lets FUSE have up to 1,024 bytes.)"""
    size = len(name.encode(errors="surrogateescape"))
    if size > NAME_MAX_BYTES:
        raise types.NameTooLong(f"{name[:40]!r}...: {size} bytes, {NAME_MAX_BYTES} at most")


def check_new(parent: Directory, name: str) -> None:
    """Raises InvalidName, NameTooLong for a name that cannot be given in a directory."""
    check_length(name)
    try:
        name.encode()
    except UnicodeEncodeError:
        raise types.InvalidName(f"{name!r} is not UTF-8") from None
    check_path(f"{parent.path}/{name}")


def check_new_file(parent: Directory, name: str, kind: type[FileNode] = FileNode) -> None:
    """The same for a file, or a link. Raises NotPermitted for a file whose name stands for a link."""
    if kind is FileNode and name.endswith(SUFFIX):
        raise types.NotPermitted(f"{name!r} stands for a symbolic link; 'ln -s' makes one")
    check_new(parent, kind.stored_name(name))


def check_path(path: str) -> None:
    """Raises NameTooLong for a path below a container that a service does not take."""
    size = len(path.encode(errors="surrogateescape"))
    if size > _PATH_MAX_BYTES:
        raise types.NameTooLong(f"{size} bytes below the container, {_PATH_MAX_BYTES} at most")


class Lookup:
    """Finds nodes by their path from the root. Every method raises ``FsError``."""

    def __init__(self, tree: Tree, metadata: MetadataCache, names: NamePolicy) -> None:
        self._tree = tree
        self._metadata = metadata
        self._names = names

    def node(self, path: str) -> Node:
        """The node at a path. Raises NotFound, NameTooLong."""
        name, _, inner = path.strip("/").partition("/")
        check_length(path.rpartition("/")[2])
        if not name:
            return self._tree.root
        known = self._known(path)
        if isinstance(known, FileNode) and known.local:
            return known
        container = self.container(name)
        if not inner:
            if container.gone and name != container.remote.id:
                raise types.NotFound(path)
            return container
        if known is None and self._names.is_scratch(path.rpartition("/")[2]):
            raise types.NotFound(path)
        self.refresh(container)
        found = self._inside(container, inner)
        if found is None:
            raise types.NotFound(path)
        return found

    def known(self, path: str) -> Node:
        """The node at a path, as it was listed last; the service is asked where none is known. Raises NotFound."""
        return self._known(path) or self.node(path)

    def exists(self, path: str) -> bool:
        """Whether there is something at a path."""
        try:
            self.node(path)
        except types.NotFound:
            return False
        return True

    def directory(self, path: str) -> Directory:
        """The directory at a path. Raises NotFound, NotADirectory."""
        node = self.node(path)
        if not isinstance(node, Directory):
            raise types.NotADirectory(path)
        return node

    def file(self, path: str) -> FileNode:
        """The file at a path. Raises NotFound, IsADirectory."""
        node = self.node(path)
        if not isinstance(node, FileNode):
            raise types.IsADirectory(path)
        return node

    def link(self, path: str) -> Link:
        """The link at a path. Raises NotFound; Gone: it is something else by now, and the kernel looks again."""
        node = self.node(path)
        if not isinstance(node, Link):
            raise types.Gone(path)
        return node

    def parent(self, path: str) -> tuple[Directory, str]:
        """The directory that a path's last name is in, and that name. Raises NotFound, NotADirectory."""
        directory, _, name = path.rpartition("/")
        return self.directory(directory), name

    def known_parent(self, path: str) -> tuple[Directory, str]:
        """The same for a name that was just looked up: what is known of the directory is not asked for again."""
        directory, _, name = path.rpartition("/")
        known = self._known(directory)
        if isinstance(known, Directory) and known is not self._tree.root:
            container = known.container
            if container.listed_at and not container.gone:
                return known, name
        return self.parent(path)

    def container(self, name: str) -> ContainerDirectory:
        """The container that a name of the root, or an id, stands for. Raises NotFound."""
        known = self._listed(name)
        if known is not None and known.gone:
            known = None  # another may have the name by now
        if known is not None and (self._metadata.root_fresh or self._metadata.vouches(known)):
            return known
        if known is not None and self._metadata.may_vouch(known):
            try:
                self.refresh(known)
            except types.NotFound:
                pass
            else:
                return known
        self._metadata.refresh_containers()
        found = self._listed(name) or self._by_id(name)
        if found is None:
            raise types.NotFound(name)
        return found

    def refresh(self, container: ContainerDirectory) -> None:
        """List a container's files, if that is due. A container that turns out to be gone leaves the tree."""
        if not container.gone:
            self._list(container, self._metadata.refresh_files)

    def ask(self, container: ContainerDirectory) -> None:
        """List a container's files now, likewise. Raises FsError: nothing older will do."""
        self._list(container, self._metadata.ask)

    def _list(self, container: ContainerDirectory, list_: Callable[[ContainerDirectory], None]) -> None:
        try:
            list_(container)
        except types.NotFound:
            self._metadata.expire(None)
            with self._tree.lock:
                self._tree.expire(container)
            raise

    def _known(self, path: str) -> Node | None:
        with self._tree.lock:
            return self._tree.find(path)

    def _listed(self, name: str) -> ContainerDirectory | None:
        with self._tree.lock:
            found = self._tree.root.children.get(name)
            return found if isinstance(found, ContainerDirectory) else None

    def _inside(self, container: ContainerDirectory, inner: str) -> Node | None:
        with self._tree.lock:
            return self._tree.find_in(container, inner)

    def _by_id(self, name: str) -> ContainerDirectory | None:
        with self._tree.lock:
            known = self._tree.container(name)
        if known is not None:
            return known
        might_be_an_id = len(name) >= _SHORTEST_ID and not name.startswith(".") and not any(map(str.isspace, name))
        return self._metadata.find_unlisted(name) if might_be_an_id else None
