"""From a name in a directory to a node, with as few requests as possible.

A container is known from the listing of containers. Once that has expired, a listing of the container's own files
proves that it exists as well. A program that looks inside needs that listing next anyway, unless it looks at many
containers. So ``ls`` of a container costs one request for each hundred files, and ``cat`` at most one listing. Files
that are open or being written are known without a request.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from containerfs.api.paths import DATA_ROOT, NAME_MAX_BYTES
from containerfs.fs import types
from containerfs.fs.namespace.flights import Arrival
from containerfs.fs.namespace.links import SUFFIX
from containerfs.fs.namespace.listings import MetadataCache
from containerfs.fs.namespace.names import NamePolicy
from containerfs.fs.namespace.nodes import EXPIRED, ContainerDirectory, Directory, FileNode, Node, Presence
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.types import RemoteFile

_PATH_MAX_BYTES = 4095 - len(DATA_ROOT)  # so that programs at the service can open it there. Source: limits.h, PATH_MAX
_SHORTEST_ID = 16  # a name that may be the id of an unlisted container


def check_length(name: str) -> None:
    """Raise NameTooLong if a name is longer than Linux allows. The kernel accepts up to 1,024 bytes from FUSE."""
    size = len(name.encode(errors="surrogateescape"))
    if size > NAME_MAX_BYTES:
        raise types.NameTooLong(f"{name[:40]!r}...: {size} bytes, {NAME_MAX_BYTES} at most")


def check_new(parent: Directory, name: str) -> None:
    """Check that a directory can get a new entry with a name.

    Raises:
        InvalidName: if no file can have it.
        NameTooLong: if it is too long.
    """
    check_length(name)
    try:
        name.encode()
    except UnicodeEncodeError:
        raise types.InvalidName(f"{name!r} is not UTF-8") from None
    check_path(f"{parent.path}/{name}")


def check_new_file(parent: Directory, name: str, kind: type[FileNode] = FileNode) -> None:
    """Check that a directory can get a new file or link with a name.

    Raises:
        InvalidName: if no file can have it.
        NameTooLong: if it is too long.
        NotPermitted: if a file would have the name that a link is stored under.
    """
    if kind is FileNode and name.endswith(SUFFIX):
        raise types.NotPermitted(f"{name!r} stands for a symbolic link; 'ln -s' makes one")
    check_new(parent, kind.stored_name(name))


def check_path(path: str) -> None:
    """Raise NameTooLong if a path below a container is longer than a service accepts."""
    size = len(path.encode(errors="surrogateescape"))
    if size > _PATH_MAX_BYTES:
        raise types.NameTooLong(f"{size} bytes below the container, {_PATH_MAX_BYTES} at most")


class Lookup:
    """Finds nodes by name. Every method raises ``FsError``."""

    def __init__(self, tree: Tree, metadata: MetadataCache, names: NamePolicy) -> None:
        self._tree = tree
        self._metadata = metadata
        self._names = names

    def child(self, parent: Directory, name: str) -> Node:
        """Return the node with a name in a directory. Containers are found by their id too.

        Raises:
            NotFound: if there is none.
            Gone: if the directory itself is gone.
        """
        check_length(name)
        known = self._known(parent, name)
        if isinstance(known, FileNode) and known.local:
            return known
        if parent is self._tree.root:
            return self._expired() if name == EXPIRED else self._container(name)
        if parent is self._tree.root.expired:
            return self._ended(name)
        if known is None and self._names.is_scratch(name):
            raise types.NotFound(name)
        container = self.container_of(parent)
        if not self._metadata.fresh(container):
            self.refresh(container)
            self.container_of(parent)
        found = self._known(parent, name)
        if found is None:
            raise types.NotFound(name)
        return found

    def find(self, parent: Directory, name: str) -> Node | None:
        """Return the node with a name in a directory; None if there is none. Raises NotFound if the directory was
        removed."""
        try:
            return self.child(parent, name)
        except types.NotFound:
            if parent.removed:
                raise
            return None

    def file(self, parent: Directory, name: str) -> FileNode:
        """Return the file with a name in a directory. Raises as ``child`` does, and IsADirectory."""
        node = self.child(parent, name)
        if not isinstance(node, FileNode):
            raise types.IsADirectory(name)
        return node

    def directory(self, parent: Directory, name: str) -> Directory:
        """Return the directory with a name in a directory. Raises as ``child`` does, and NotADirectory."""
        node = self.child(parent, name)
        if not isinstance(node, Directory):
            raise types.NotADirectory(name)
        return node

    def check(self, node: Node) -> None:
        """Check that a node still exists, with a request if necessary, or was removed by a program here.

        Raises:
            Gone: if it does not.
            NotFound: if its container does not.
        """
        if isinstance(node, Directory) and node.removed:
            return
        if isinstance(node, ContainerDirectory) and not node.gone:
            if self._container(node.name) is not node:
                raise types.Gone(f"{node.name!r} is now another container")
        elif isinstance(node, ContainerDirectory):
            self._metadata.refresh_containers()
            self.container_of(node)
        elif node not in (self._tree.root, self._tree.root.expired):
            container = self.container_of(node)
            if not self._metadata.fresh(container):
                self.refresh(container)
                self.container_of(node)

    def container_of(self, node: Node) -> ContainerDirectory:
        """Return the container that a node is in.

        Raises:
            NotFound: if it is a directory that a program here removed.
            Gone: if it is in none any more, or the container is gone.
        """
        with self._tree.lock:
            if isinstance(node, Directory) and node.removed:
                raise types.NotFound(f"{node.name!r} was removed")
            try:
                container = node.container
            except types.NotFound as error:
                raise types.Gone(str(error)) from error
            there = self._tree.container(container.remote.id)
        if there is None:  # the service may have said so by mistake
            there = self._metadata.find_unlisted(container.remote.id)
        if there is not container:
            raise types.Gone(f"{container.name!r} no longer exists")
        return container

    def _expired(self) -> Directory:
        """Return the directory of containers that have ended. Raises NotFound if there are none to show."""
        self._metadata.refresh_containers()
        with self._tree.lock:
            if not self._tree.root.expired.visible():
                raise types.NotFound(EXPIRED)
            return self._tree.root.expired

    def _ended(self, name: str) -> ContainerDirectory:
        """Return the container with a name among those that have ended. Raises NotFound."""
        self._metadata.refresh_containers()
        with self._tree.lock:
            found = self._tree.root.expired.children.get(name)
            if not isinstance(found, ContainerDirectory) or found.concealed:
                raise types.NotFound(name)
            return found

    def _container(self, name: str) -> ContainerDirectory:
        """Return the container with a name or id in the root. Raises NotFound."""
        known = self._listed(name)
        if known is not None and (self._metadata.root_fresh or self._metadata.vouches(known)):
            return known
        if known is not None and self._metadata.may_vouch(known):
            try:
                self.look_into(known)
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
        """List a container's files if that is due. If the container turns out to be gone, it leaves the root.

        For a container that has ended, the files that this machine holds are listed, unless the service has it after
        all.
        """
        if not self._is_over(container):
            with self._noticing_the_end(container):
                self._metadata.refresh_files(container)

    def look_into(self, container: ContainerDirectory) -> Arrival | None:
        """Refresh as ``refresh`` does, but wait only for the first files. Returns what to pass to ``arrived``, if more
        follows."""
        if self._is_over(container):
            return None
        with self._noticing_the_end(container):
            return self._metadata.look_into(container)

    def arrived(self, arrival: Arrival) -> list[RemoteFile]:
        """Wait for the next files of a listing and return them; none if it is complete."""
        with self._noticing_the_end(arrival.container):
            return arrival.next()

    def ask(self, container: ContainerDirectory) -> None:
        """List a container's files now.

        Raises:
            FsError: if that fails, even if there is an older listing.
        """
        with self._noticing_the_end(container):
            self._metadata.ask(container)

    def _is_over(self, container: ContainerDirectory) -> bool:
        """Tell whether a container has ended, the service really does not have it, and this machine holds nothing of
        it."""
        if container.presence is Presence.OPEN:
            self._metadata.find_unlisted(container.remote.id)
        return container.presence is Presence.OPEN

    @contextmanager
    def _noticing_the_end(self, container: ContainerDirectory) -> Iterator[None]:
        try:
            yield
        except types.NotFound:
            self._metadata.drop(container)
            raise

    def _known(self, parent: Directory, name: str) -> Node | None:
        with self._tree.lock:
            return parent.children.get(name)

    def _listed(self, name: str) -> ContainerDirectory | None:
        with self._tree.lock:
            found = self._tree.root.children.get(name)
            return found if isinstance(found, ContainerDirectory) else None

    def _by_id(self, name: str) -> ContainerDirectory | None:
        with self._tree.lock:
            known = self._tree.container(name)
            if known is not None and known.presence is not Presence.HELD:
                return known
        might_be_an_id = len(name) >= _SHORTEST_ID and not name.startswith(".") and not any(map(str.isspace, name))
        return self._metadata.find_unlisted(name) if might_be_an_id else None
