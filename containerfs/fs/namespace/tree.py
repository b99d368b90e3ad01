"""The tree of names: which containers, directories and files the mount shows, and under which names.

The tree holds what the service listed, and what only this mount knows: files that are being written, scratch names, and
empty directories that were created here. Invariants: a name is unique in its directory, and legal. A container keeps
its name while it exists. A file of the service is shown by at most one node. A file that is being deleted on the
service is not shown, whatever listings say.
"""

import math
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Concatenate, ParamSpec
from weakref import WeakValueDictionary

from containerfs.api.paths import encode_name
from containerfs.fs import state, transitions
from containerfs.fs.namespace.attributes import file_key, shown_attributes
from containerfs.fs.namespace.kernel import KernelMemory
from containerfs.fs.namespace.nodes import (
    EXPIRED,
    ContainerDirectory,
    Directory,
    FileNode,
    Link,
    Node,
    Presence,
    Root,
    nanoseconds,
)
from containerfs.fs.namespace.shown import distinct, fitting, free_name
from containerfs.fs.state import State
from containerfs.fs.types import RemoteContainer, RemoteFile

P = ParamSpec("P")


@dataclass(slots=True)
class Suspect:
    """What an upload with an unknown result may have left on the service. It is not shown until that is known.

    Attributes:
        size: in bytes; None if it is not known.
        since: it cannot have been created before this time, in Unix seconds.
        known: the ids of files that are not it.
    """

    path: str
    size: int | None
    since: int
    known: frozenset[str] = frozenset()

    def may_be(self, remote: RemoteFile) -> bool:
        """Tell whether a listed file that no node stands for may be it."""
        return remote.path == self.path and self.fits(remote)

    def fits(self, remote: RemoteFile) -> bool:
        """Tell whether a file may be it, whatever its name is. Some services store uploads that were cut short."""
        recent = not remote.created_at or remote.created_at >= self.since
        small = remote.size is None or self.size is None or remote.size <= self.size
        return recent and small and remote.id not in self.known


class Tree:
    """All nodes. ``lock`` must be held for every method; callers hold it across several calls.

    Attributes:
        released: a condition of the lock, notified when no program has a certain file open any more.
        unfinished: the files that are due or being uploaded, in that order.
        suspects: by container id, and by the key of the attempt that may have left them.
    """

    def __init__(self, kernel: KernelMemory | None = None) -> None:
        self.lock = threading.RLock()
        self.released = threading.Condition(self.lock)
        self._kernel = kernel or KernelMemory()
        self.root = Root()
        self.unfinished: dict[FileNode, None] = {}
        self.suspects: dict[str, dict[str, Suspect]] = {}
        self._by_container: dict[str, ContainerDirectory] = {}
        # By container id: files that are being deleted (infinity), or the monotonic time when they were.
        self._deleted: dict[str, dict[str, float]] = {}
        # By container and path: directories that are not listed, or not yet, but that programs may know.
        self._vanished: WeakValueDictionary[tuple[ContainerDirectory, str], Directory] = WeakValueDictionary()
        self._removed: WeakValueDictionary[str, ContainerDirectory] = WeakValueDictionary()  # likewise, by id

    # States

    def change(
        self,
        node: FileNode,
        transition: Callable[Concatenate[State, P], State],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> State:
        """Apply a transition to a file's state, and return the new state. Nothing else assigns it."""
        with node.lock:
            before, read = node.remote, state.identity(node.state)
            node.state = transition(node.state, *args, **kwargs)
            after = node.remote
            self._follow(node, read, same_bytes=transition in transitions.KEEPS_BYTES)
        if state.due(node.state) is None and state.uploading(node.state) is None:
            self.unfinished.pop(node, None)
        else:
            self.unfinished.setdefault(node)
        if before is not after and node.parent is not None:
            by_id = node.container.by_id
            if before is not None and by_id.get(before.id) is node:
                del by_id[before.id]
            if after is not None:
                by_id[after.id] = node
        return node.state

    def _follow(self, node: FileNode, before: object, *, same_bytes: bool) -> None:
        """Update what the kernel remembers of a file whose content was ``before``."""
        now = state.identity(node.state)
        if now == before:
            return
        if same_bytes:
            node.told = now if node.told == before else node.told
            node.pages = now if node.pages == before else node.pages
        elif node.opens:  # otherwise it is told when the file is opened
            self._kernel.forget_read(node)

    # Finding nodes

    def find_in(self, directory: Directory, path: str) -> Node | None:
        """Return the node at a path below a directory, if the tree has one."""
        node: Node | None = directory
        for name in path.split("/"):
            if name:
                node = node.children.get(name) if isinstance(node, Directory) else None
        return node

    def containers(self) -> list[ContainerDirectory]:
        """Return all containers, listed or not."""
        return list(self._by_container.values())

    def describe(self, container_id: str) -> RemoteContainer | None:
        """Return what the service said about a container, if it is known. The only method that needs no lock."""
        known = self._by_container.get(container_id)
        return None if known is None else known.remote

    def container(self, container_id: str) -> ContainerDirectory | None:
        """Return the container with an id, if it is known."""
        return self._by_container.get(container_id)

    # Containers and directories

    def add_container(self, remote: RemoteContainer, *, listed: bool = True) -> ContainerDirectory:
        """Show a container under its name, or with its id if the name is taken. Unlisted ones are found by their id
        only.

        A container that seemed to have ended is shown in the root again.
        """
        directory = self._by_container.get(remote.id)
        if directory is None:
            directory = self._removed.pop(remote.id, None) or ContainerDirectory(remote, remote.id)
            self._by_container[remote.id] = directory
            directory.parent, directory.removed = self.root, False
        if directory.gone:
            self._place(directory, self.root, remote.id, Presence.THERE)
        if listed and self.root.children.get(directory.name) is not directory:
            name = fitting(encode_name(remote.name or remote.id), remote.id)
            name = distinct(name, remote.id) if name == EXPIRED else name
            self.root.add(directory, free_name(self.root, name, remote.id))
        return directory

    def _place(self, directory: ContainerDirectory, parent: Directory, name: str, presence: Presence) -> None:
        """Move a container into the root, or to those that have ended. Its files will be listed again from there."""
        if directory.parent is not None:
            directory.parent.remove(directory)
        directory.name, directory.parent, directory.presence = name, parent, presence
        directory.listed_at = directory.asked_at = 0.0

    def rename_container(self, directory: ContainerDirectory, remote: RemoteContainer, name: str) -> None:
        """Give a container another name, which is free, and another id if it was created again."""
        self._by_container.pop(directory.remote.id, None)
        self._by_container[remote.id] = directory
        directory.remote = remote
        self.root.remove(directory)
        directory.parent = self.root
        self.root.add(directory, name)
        directory.changed_at = time.monotonic()

    def remove_container(self, directory: ContainerDirectory) -> None:
        """Forget a container."""
        self._by_container.pop(directory.remote.id, None)
        self._deleted.pop(directory.remote.id, None)
        self.suspects.pop(directory.remote.id, None)
        self._place(directory, self.root, directory.remote.id, Presence.THERE)
        directory.parent = None
        self._removed[directory.remote.id] = directory

    def remove_directory(self, directory: Directory) -> None:
        """Remove a container, or an empty directory, as a program here asked for."""
        if isinstance(directory, ContainerDirectory):
            self.remove_container(directory)
        elif directory.parent is not None:
            directory.parent.remove(directory)
        directory.removed = True

    def expire(self, directory: ContainerDirectory, *, held: bool = False) -> None:
        """Handle a container that the service has dropped. Its name is free, and programs with open files read on.

        Args:
            held: whether the cache holds content of it, which is shown.
        """
        if not held and not any(node.local for node in directory.files()):
            self.remove_container(directory)
            return
        remote, presence = directory.remote, Presence.HELD if held else Presence.OPEN
        if directory.presence is presence:
            return
        if not held:
            self._place(directory, self.root, remote.id, presence)
            return
        self._place(directory, self.root.expired, remote.id, presence)
        name = fitting(encode_name(remote.name or remote.id), remote.id)
        self.root.expired.add(directory, free_name(self.root.expired, name, remote.id))

    def has_ended(self, node: Node) -> bool:
        """Tell whether a node is in a container that has ended, or is the directory of those."""
        place: Node | None = node
        while place is not None and not isinstance(place, ContainerDirectory):
            if place is self.root.expired:
                return True
            place = place.parent
        return place is not None and place.gone

    def make_directory(self, container: ContainerDirectory, path: str) -> Directory:
        """Return the directory at a path below a container. Creates it and its parents; files in the way get other
        names."""
        directory: Directory = container
        for name in path.split("/") if path else ():
            child = directory.children.get(name)
            if not isinstance(child, Directory):
                made = self._directory(container, directory, name)
                if child is not None:
                    identity = child.remote.id if isinstance(child, FileNode) and child.remote else str(child.ino)
                    directory.add(child, free_name(directory, name, identity))
                directory.add(made, name)
                child = made
            directory = child
        return directory

    def forget_files(self, container: ContainerDirectory) -> None:
        """Forget the listed files of a container, none of which is in use."""
        for node in list(container.below()):
            if isinstance(node, Directory):
                self._vanish(container, node)
            node.parent = None
        container.children.clear()
        container.by_id.clear()

    def foresee_directory(self, parent: Directory, name: str) -> Directory:
        """Return the directory that an incomplete listing leads through. It will be shown as the same node if somebody
        holds it."""
        child = parent.children.get(name)
        if isinstance(child, Directory):
            return child
        container = parent.container
        foreseen = self._directory(container, parent, name)
        self._vanished[container, _path_in(parent, name)] = foreseen
        return foreseen

    def _directory(self, container: ContainerDirectory, parent: Directory, name: str) -> Directory:
        """Return a directory to be shown: the previous node, if somebody still knows it."""
        known = self._vanished.pop((container, _path_in(parent, name)), None)
        return Directory(name, secrets.randbits(63), container.ctime) if known is None else known

    def _vanish(self, container: ContainerDirectory, directory: Directory) -> None:
        """Remember a directory that disappears, so that programs in it find themselves in the same one if it comes
        back."""
        self._vanished[container, directory.path] = directory

    # Files

    def move(self, node: Node, parent: Directory, name: str) -> None:
        """Move a node to another place."""
        old_parent = node.parent
        if old_parent is not None:
            old_parent.remove(node)
            old_parent.kept = old_parent.kept or not old_parent.children
            old_parent.touch()
        parent.add(node, name)
        parent.touch()
        node.touch(modified=False)

    def attach(self, node: FileNode, parent: Directory, name: str) -> None:
        """Put a detached file back."""
        parent.add(node, name)
        if node.remote is not None:
            node.container.by_id[node.remote.id] = node

    def detach(self, node: FileNode) -> None:
        """Take a file out of its directory. The directory stays, even if it is empty, until it is removed by name."""
        parent = node.parent
        if parent is None:
            return
        if node.remote is not None:
            node.container.by_id.pop(node.remote.id, None)
        parent.remove(node)

    def drop_link(self, link: Link) -> None:
        """Take away a link in whose place the service has another one, which gets a node of its own: the kernel relies
        on a link's target and size as long as it knows the node."""
        self.detach(link)
        self._kernel.forget_read(link)

    def remove_with_empty_parents(self, node: Node) -> None:
        """Remove a node, and those parents that the service no longer has because they have no files left."""
        directory = node.parent
        while directory is not None:
            if isinstance(node, Directory):
                self._vanish(directory.container, node)
            directory.remove(node)
            if directory.children or directory.kept or isinstance(directory, ContainerDirectory):
                return
            node, directory = directory, directory.parent

    def apply_pending(self, node: FileNode) -> None:
        """Apply what listings said in the meantime about a file that is no longer open or due."""
        if node.opens or node.parent is None or not isinstance(node.state, state.Stored | state.Outdated):
            return
        container = node.container
        if container.presence is Presence.OPEN:
            self.expire(container)
            return
        if isinstance(node.state, state.Outdated):
            self.change(node, transitions.let_go)
            if node.remote is not None:
                node.atime = node.mtime = node.ctime = nanoseconds(node.remote.created_at)
                self.apply_kept(container, node.remote.id)
        if node.remote is None:
            self.remove_with_empty_parents(node)

    def apply_kept(self, container: ContainerDirectory, file_id: str) -> None:
        """Apply the attributes that are kept for a file."""
        node = container.by_id.get(file_id)
        if node is None or node.local or node.remote is None:
            return
        kept = shown_attributes(container.kept_attributes.get(file_key(file_id)), node.remote.attributes)
        if kept is not None:
            node.apply(kept)

    # What is not shown

    def hide_ids(self, container_id: str, file_ids: Iterable[str]) -> None:
        """Stop showing files that are being deleted, whatever listings say."""
        self._deleted.setdefault(container_id, {}).update(dict.fromkeys(file_ids, math.inf))

    def show_ids(self, container_id: str, file_ids: Iterable[str]) -> None:
        """Show files again that were not deleted after all, unless they are gone by now."""
        for file_id in file_ids:
            if self.is_being_deleted(container_id, file_id):
                del self._deleted[container_id][file_id]

    def ids_deleted(self, container_id: str, file_ids: Iterable[str]) -> None:
        """Record that files are deleted. Only listings that were requested earlier can still have them."""
        deleted = self._deleted.setdefault(container_id, {})
        deleted.update(dict.fromkeys(file_ids, time.monotonic()))

    def forget_deleted(self, container_id: str, started: float) -> None:
        """Forget deletions before ``started``, the monotonic time of the request of a listing that was applied."""
        deleted = self._deleted.get(container_id, {})
        for file_id in [file_id for file_id, at in deleted.items() if at <= started]:
            del deleted[file_id]

    def is_being_deleted(self, container_id: str, file_id: str) -> bool:
        """Tell whether a file is being deleted here, which then decides about its node."""
        return self._deleted.get(container_id, {}).get(file_id) == math.inf

    def replaced(self, container: ContainerDirectory) -> set[str]:
        """Return the ids of the files whose names stand for newer content that is not stored yet."""
        return {file_id for node in container.files() for file_id in state.base(node.state).stale}

    def is_shown(self, container: ContainerDirectory, remote: RemoteFile, started: float) -> bool:
        """Tell whether to show a file of a listing that was requested at ``started``, a monotonic time."""
        container_id = container.remote.id
        if self._deleted.get(container_id, {}).get(remote.id, -math.inf) > started:
            return False
        suspects = self.suspects.get(container_id)
        if not suspects or remote.id in container.by_id:
            return True
        return not any(suspect.may_be(remote) for suspect in suspects.values())


def _path_in(parent: Directory, name: str) -> str:
    return "/".join(filter(None, [parent.path, name]))
