"""What ``stat`` shows of nodes, and the modes, owners and times that programs set."""

import time
from dataclasses import replace

from containerfs.fs import transitions, types
from containerfs.fs.namespace.attributes import NOTHING, Attributes, AttributeStore, directory_key, file_key
from containerfs.fs.namespace.listings import MetadataCache
from containerfs.fs.namespace.lookup import Lookup
from containerfs.fs.namespace.nodes import Directory, FileNode, Node
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.reading.fetch import Fetcher
from containerfs.fs.remote import Remote
from containerfs.fs.staged import StagedFile
from containerfs.fs.state import Outdated, Stored, Unlinked
from containerfs.fs.types import Attr, RemoteFile
from containerfs.fs.writing.attribute_updates import AttributeUpdates
from containerfs.fs.writing.commits import Commits


class Inodes:
    """Reads and sets the attributes of nodes. Thread-safe. Every method raises ``FsError``."""

    def __init__(
        self,
        remote: Remote,
        tree: Tree,
        lookup: Lookup,
        metadata: MetadataCache,
        attributes: AttributeStore,
        fetcher: Fetcher,
        commits: Commits,
        updates: AttributeUpdates,
    ) -> None:
        self._remote = remote
        self._tree = tree
        self._lookup = lookup
        self._metadata = metadata
        self._attributes = attributes
        self._fetcher = fetcher
        self._commits = commits
        self._updates = updates

    def attr(self, node: Node) -> Attr:
        """Return what ``stat`` shows."""
        if not isinstance(node, FileNode):
            return node.attr()
        content = node.tell()
        if isinstance(content, StagedFile):
            with node.lock:  # otherwise it may be replaced in the meantime, and be gone from the disk
                content = node.tell()
                if isinstance(content, StagedFile):
                    return node.attr(content.size, content.blocks)
        if content is None:
            return node.attr()
        return node.attr(self._learn_size(node, content) if content.size is None else content.size, content.blocks)

    def attr_at_hand(self, node: Node) -> Attr | None:
        """Return what ``stat`` shows if that takes no request. Otherwise, and for nodes no longer shown, return
        None."""
        if not isinstance(node, FileNode):
            return node.attr()
        if isinstance(node.state, Unlinked):
            return None
        content = node.tell()
        if isinstance(content, RemoteFile):
            return None if content.size is None else node.attr(content.size, content.blocks)
        return self.attr(node)

    def set_made(self, directory: Directory, mode: int, owner: tuple[int, int] | None) -> None:
        """Set the mode and owner of a new directory."""
        with self._tree.lock:
            if directory.parent is not None:
                directory.parent.touch()
            directory.mode, directory.kept = mode & 0o7777, True
            directory.uid, directory.gid = owner or (directory.uid, directory.gid)
            if directory.parent is not None:
                directory.inherit(directory.parent)
        self.keep(directory)
        directory.changed_at = time.monotonic()

    def set(self, node: Node, **values: int) -> None:
        """Set mode, owner or times, by the names that nodes have for them."""
        if node is self._tree.root:
            return
        with self._tree.lock:
            for name, value in values.items():
                setattr(node, name, value)
            node.touch(modified=False)
        self.keep(node)

    def keep(self, node: Node) -> None:
        """Keep a node's attributes across mounts: in the journal until the service has the file, and then by its id.

        If the node has no name any more, they disappear with its last handle.
        """
        if node.parent is None:
            return
        if isinstance(node, FileNode) and (node.remote is None or not isinstance(node.state, Stored | Outdated)):
            self._commits.keep_attributes(node)
            return
        with self._tree.lock:
            container, kept = node.container, node.attributes()
            key = file_key(node.remote.id) if isinstance(node, FileNode) and node.remote else directory_key(node.path)
            known = container.kept_attributes.get(key, Attributes())
            kept = container.kept_attributes[key] = replace(kept, path=known.path, size=known.size)
            self._attributes.save(container.remote.id, key, kept)  # in the order of the changes
            self._updates.set(container.remote.id, key, kept)

    def keep_access(self, node: Node) -> None:
        """Keep a file's access time, which no service stores."""
        if not isinstance(node, FileNode) or node.remote is None or not isinstance(node.state, Stored | Outdated):
            return
        with self._tree.lock:
            container, key = node.container, file_key(node.remote.id)
            known = container.kept_attributes.get(key, NOTHING)
            kept = container.kept_attributes[key] = replace(known, atime=node.atime)
            self._attributes.save_soon(container.remote.id, key, kept)

    def vanished(self, node: FileNode, error: types.NotFound) -> types.FsError:
        """Return the error for missing content of a listed file: it was deleted elsewhere, or never existed."""
        try:
            container = node.container
            self._metadata.expire(container)
            self._lookup.refresh(container)
        except types.FsError:
            return types.Gone(str(error))
        if isinstance(node.state, Stored) and node.remote is not None:
            return types.Failed(f"listed, but without content: {error}")
        return types.Gone(str(error))

    def _learn_size(self, node: FileNode, remote: RemoteFile) -> int:
        """Ask for a size that the listing left out. If the service does not tell it, the file is downloaded; it is
        never guessed."""
        size = self._remote.size(remote)
        if size is None:
            reader = self._fetcher.open(remote)
            try:
                size = reader.ensure_all()
            finally:
                reader.close()
        key = file_key(remote.id)
        with self._tree.lock:
            self._tree.change(node, transitions.sized, remote.id, size)
            container = self._tree.container(remote.container_id)
            attributes = {} if container is None else container.kept_attributes
            kept = attributes[key] = replace(attributes.get(key, Attributes()), size=size)
            self._attributes.save(remote.container_id, key, kept)
        return size
