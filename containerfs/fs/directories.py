"""Directories: containers at the root, and below them the directories that paths imply or that this machine keeps."""

import math
import secrets
import time
from collections.abc import Sequence

from containerfs.api.paths import decode_name
from containerfs.fs import types
from containerfs.fs.handles import DirectoryHandle, HandleTable
from containerfs.fs.listing_ahead import ListingAhead
from containerfs.fs.namespace.attributes import AttributeStore, directory_key
from containerfs.fs.namespace.flights import Arrival
from containerfs.fs.namespace.foreseen import foreseen
from containerfs.fs.namespace.listings import MetadataCache
from containerfs.fs.namespace.lookup import Lookup
from containerfs.fs.namespace.names import NamePolicy
from containerfs.fs.namespace.nodes import EXPIRED, ContainerDirectory, Directory, Entry, FileNode
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.remote import Remote
from containerfs.fs.state import Local
from containerfs.fs.writing.attribute_updates import AttributeUpdates
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.removals import Removals


class Directories:
    """Creates, removes and lists directories. Thread-safe. Every method raises ``FsError``.

    Args:
        listing_ahead: told which containers programs look into; None if nothing is to be listed ahead.
    """

    def __init__(
        self,
        remote: Remote,
        tree: Tree,
        lookup: Lookup,
        metadata: MetadataCache,
        attributes: AttributeStore,
        names: NamePolicy,
        journal: Journal,
        removals: Removals,
        updates: AttributeUpdates,
        listing_ahead: ListingAhead | None,
    ) -> None:
        self._remote = remote
        self._tree = tree
        self._lookup = lookup
        self._metadata = metadata
        self._attributes = attributes
        self._names = names
        self._journal = journal
        self._removals = removals
        self._updates = updates
        self._listing_ahead = listing_ahead
        self._handles: HandleTable[DirectoryHandle] = HandleTable()

    def open(self, directory: Directory) -> int:
        """Open a directory."""
        if self._listing_ahead is not None and not directory.removed and not self._holds_containers(directory):
            self._listing_ahead.looked_into(self._lookup.container_of(directory))
        handle = DirectoryHandle(directory)
        self._look_into(handle)
        return self._handles.add(handle)

    def directory(self, fh: int) -> Directory:
        """Return the directory that a handle is open for."""
        return self._handles[fh].directory

    def rewind(self, fh: int) -> None:
        """Read an open directory from its beginning, with its current entries."""
        handle = self._handles[fh]
        if handle.unread:
            return
        try:
            self._look_into(handle)
        except (types.NotFound, types.Gone):  # removed, and so empty
            handle.rewind()

    def entries(self, fh: int) -> Sequence[Entry]:
        """Wait for the next entries of an open directory and return them; none at its end."""
        handle = self._handles[fh]
        handle.unread = False
        while handle.arrival is not None:
            found = self._foreseen(handle, handle.arrival)
            if found:
                return found
        if handle.ended:
            return []
        handle.ended = True
        with self._tree.lock:
            there, shown = handle.directory.visible(), handle.shown
        return [entry for entry in there if entry[0] not in shown] if shown else there

    def _foreseen(self, handle: DirectoryHandle, arrival: Arrival) -> list[Entry]:
        """Return the names that an incomplete listing has brought since. A complete one is dropped from the handle."""
        files = self._lookup.arrived(arrival)
        if not files:
            handle.arrival = None
            return []
        with self._tree.lock:
            try:
                return handle.show(foreseen(self._tree, handle.directory, files, handle.replaced, arrival.started))
            except types.NotFound:  # the directory was removed, and so is empty
                handle.arrival = None
                return []

    def _look_into(self, handle: DirectoryHandle) -> None:
        """Begin to read a directory, and list its entries if that is due."""
        if handle.directory.removed:
            return handle.rewind()
        if self._holds_containers(handle.directory):
            self._metadata.refresh_containers()
            return handle.rewind()
        container = self._lookup.container_of(handle.directory)
        arrival = self._lookup.look_into(container)
        if arrival is None:
            return handle.rewind()
        with self._tree.lock:
            return handle.rewind(arrival, self._tree.replaced(container))

    def _holds_containers(self, directory: Directory) -> bool:
        return directory in (self._tree.root, self._tree.root.expired)

    def release(self, fh: int) -> None:
        """Close a directory."""
        self._handles.pop(fh)

    def make(self, parent: Directory, name: str) -> Directory:
        """Create a container in the root, or a directory elsewhere. Returns it, looked up."""
        if parent is self._tree.root:
            container = self._make_container(name)
            with self._tree.lock:
                container.known += 1
            return container
        directory = Directory(name, secrets.randbits(63), time.time_ns())
        directory.changed_at = math.inf  # until it is recorded as kept, listings say nothing about it
        with self._tree.lock:
            if name in parent.children:
                raise types.AlreadyExists(name)
            parent.add(directory, name)
            directory.known += 1
        return directory

    def rename_container(self, container: ContainerDirectory, name: str) -> None:
        """Rename a container. If the service cannot do that, an empty container is created again under the new name.

        Raises:
            AlreadyExists: if another container has the name.
            CrossDevice: if the service cannot do it and the container is not empty; programs copy instead.
        """
        self.check_at_top(name)
        _check_free(name)
        self._metadata.ask(None)
        if self._listed(name) is not None:
            raise types.AlreadyExists(name)
        if self._remote.dialect.renames:
            remote = self._remote.rename_container(container.remote.id, decode_name(name))
            with self._tree.lock:
                self._tree.rename_container(container, remote, name)
            return
        self._lookup.ask(container)
        with self._tree.lock:
            if container.children:
                raise types.CrossDevice("the service cannot rename containers, and this one is not empty")
        remote, old_id = self._remote.create_container(decode_name(name)), container.remote.id
        self._remote.delete_container(old_id)
        with self._journal.transaction() as tx:
            tx.forget_container(old_id)
        with self._tree.lock:
            self._tree.rename_container(container, remote, name)
        self._attributes.forget_container(old_id)
        self._attributes.save(remote.id, directory_key(""), container.attributes())

    def check_at_top(self, name: str) -> None:
        """Raise NotPermitted for a name that directories at the top of a mount must not have."""
        if self._names.is_refused_at_top(name):
            raise types.NotPermitted(
                f"{name!r} is a name that desktops and editors use; it cannot be created at the top of a mount"
            )

    def remove(self, directory: Directory) -> None:
        """Delete an empty container, or remove an empty directory.

        Raises:
            DirectoryNotEmpty: if it is not empty.
        """
        container = directory.container
        if directory is container:
            self._lookup.ask(container)  # others may have stored something there a moment ago
        else:
            self._lookup.refresh(container)
        with self._tree.lock:
            children = list(directory.children.values())
        local = [c for c in children if isinstance(c, FileNode) and isinstance(c.state, Local)]
        if len(local) < len(children):
            raise types.DirectoryNotEmpty(directory.name)
        for node in local:
            self._removals.unlink(node)
        if isinstance(directory, ContainerDirectory):
            self._delete_container(directory)
        else:
            self._remove(directory, container)

    def _remove(self, directory: Directory, container: ContainerDirectory) -> None:
        with self._tree.lock:
            path = directory.path
            key = directory_key(path)
            container.kept_attributes.pop(key, None)
            self._tree.remove_directory(directory)
        self._attributes.forget(container.remote.id, [key])
        self._updates.removed(container, path)

    def _make_container(self, name: str) -> ContainerDirectory:
        _check_free(name)
        self._metadata.ask(None)
        if self._listed(name) is not None:
            raise types.AlreadyExists(name)
        try:
            remote = self._remote.create_container(decode_name(name))
        except types.AnswerLost:
            self._metadata.ask(None)
            made = self._listed(name)
            if made is None:
                raise
            return made
        with self._tree.lock:
            container = self._tree.add_container(remote)
            container.touch()
            container.asked_at = container.listed_at = time.monotonic()  # a new container is known to be empty
            return container

    def _listed(self, name: str) -> ContainerDirectory | None:
        with self._tree.lock:
            found = self._tree.root.children.get(name)
            return found if isinstance(found, ContainerDirectory) else None

    def _delete_container(self, container: ContainerDirectory) -> None:
        self._remote.delete_container(container.remote.id)
        with self._journal.transaction() as tx:
            tx.forget_container(container.remote.id)
        with self._tree.lock:
            self._tree.remove_directory(container)
            self._tree.root.touch()
        self._attributes.forget_container(container.remote.id)


def _check_free(name: str) -> None:
    """Raise NotPermitted for the name of the directory of containers that have ended."""
    if name == EXPIRED:
        raise types.NotPermitted(f"{name!r} is reserved for containers that have ended")
