"""Names: which containers, directories and files the mount shows, and under which names.

The tree holds what the service listed, and on top of it what only this mount knows: files that are being written,
names that are scratch, directories that were made here and are empty. A listing never takes the latter away.
Invariants: a name is unique in its directory and legal; a container keeps its name while it lives; a file that is open
or dirty is left as it is by listings, so that who reads it never sees a mixture of two contents.

All fields of nodes are guarded by ``Tree.lock``, but for the content fields of ``FileNode``, which its own lock guards.
"""

import hashlib
import math
import os
import secrets
import stat
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from containerfs.api.paths import NAME_MAX_BYTES, encode_name
from containerfs.fs import types
from containerfs.fs.attributes import Attributes, directory_key, file_key
from containerfs.fs.journal import StagedFile
from containerfs.fs.types import Attr, RemoteContainer, RemoteFile

_FILE_MODE, _DIRECTORY_MODE = 0o644, 0o755


class Node:
    """Something that has a name.

    Attributes:
        parent: the directory that it is in; None for the root, and once it is gone.
        ino: constant while the mount shows it, across renames and overwrites.
        changed_at: monotonic time of the last change made here; listings begun before say nothing about it.
    """

    kind = 0
    default_mode = 0

    def __init__(self, name: str, ino: int, created: int) -> None:
        self.name = name
        self.ino = ino
        self.parent: Directory | None = None
        self.mode = self.default_mode
        self.uid, self.gid = os.getuid(), os.getgid()
        self.atime = self.mtime = self.ctime = created
        self.changed_at = 0.0

    def touch(self, *, modified: bool = True) -> None:
        """Note a change made here, now."""
        self.ctime = time.time_ns()
        self.changed_at = time.monotonic()
        if modified:
            self.mtime = self.ctime

    def apply(self, kept: Attributes) -> None:
        """Take over what was set for this node earlier."""
        self.mode = self.default_mode if kept.mode is None else kept.mode
        self.uid = self.uid if kept.uid is None else kept.uid
        self.gid = self.gid if kept.gid is None else kept.gid
        self.mtime = self.mtime if kept.mtime is None else kept.mtime
        self.atime = self.mtime if kept.atime is None else kept.atime

    def attr(self, size: int = 0) -> Attr:
        return Attr(self.ino, self.kind | self.mode, size, self.uid, self.gid, self.atime, self.mtime, self.ctime)

    def attributes(self) -> Attributes:
        """What of a node the service cannot hold."""
        return Attributes(
            None if self.mode == self.default_mode else self.mode,
            None if self.uid == os.getuid() else self.uid,
            None if self.gid == os.getgid() else self.gid,
            self.atime,
            self.mtime,
        )

    @property
    def path(self) -> str:
        """Below the container (or the root, for a container); "" for the container itself once it is asked for."""
        names: list[str] = []
        node: Node = self
        while node.parent is not None and not isinstance(node, ContainerDirectory):
            names.append(node.name)
            node = node.parent
        return "/".join(reversed(names))

    @property
    def container(self) -> "ContainerDirectory":
        node: Node | None = self
        while node is not None and not isinstance(node, ContainerDirectory):
            node = node.parent
        if node is None:
            raise types.NotFound(f"{self.name!r} is in no container any more")
        return node


class Directory(Node):
    """A directory: the root, a container, or a part of the paths of a container's files.

    Attributes:
        kept: made or emptied here; it stays while it holds no file, which the service knows nothing of.
    """

    kind = stat.S_IFDIR
    default_mode = _DIRECTORY_MODE

    def __init__(self, name: str, ino: int, created: int) -> None:
        super().__init__(name, ino, created)
        self.children: dict[str, Node] = {}
        self.kept = False

    def add(self, node: Node, name: str) -> None:
        node.name, node.parent = name, self
        self.children[name] = node

    def remove(self, node: Node) -> None:
        if self.children.get(node.name) is node:
            del self.children[node.name]
        node.parent = None

    def files(self) -> Iterator["FileNode"]:
        """All files below."""
        for child in list(self.children.values()):
            if isinstance(child, Directory):
                yield from child.files()
            elif isinstance(child, FileNode):
                yield child


class ContainerDirectory(Directory):
    """A container, as a directory of the root.

    Attributes:
        remote: what the service says of it.
        listed_at: monotonic time at which the listing that is shown was asked for; 0 if none was.
        pages: how many requests that listing took.
        by_id: its files by their id on the service.
        gone: the service has dropped it; it is shown to those only who have files of it open.
        removed: file ids deleted here, and when: a listing begun before may still have them. Endless while they are
            being deleted.
        kept_attributes: what was set here for its files and directories, by key.
    """

    def __init__(self, remote: RemoteContainer, name: str) -> None:
        super().__init__(name, inode(remote.id), remote.created_at * 1_000_000_000)
        self.remote = remote
        self.listed_at = 0.0
        self.pages = 1
        self.gone = False
        self.by_id: dict[str, FileNode] = {}
        self.removed: dict[str, float] = {}
        self.kept_attributes: dict[str, Attributes] = {}

    def withhold(self, file_ids: Iterable[str]) -> None:
        """Show these files no more, whatever listings say: something else takes their place."""
        for file_id in file_ids:
            self.removed[file_id] = math.inf
            self.by_id.pop(file_id, None)


class FileNode(Node):
    """A file: the state of one name.

    Attributes:
        remote: what the service has under it; None while it was never uploaded.
        staged: what was written here and is not yet on the service, or not yet adopted by the cache.
        uploaded_version: the version of ``staged`` that is on the service; None if none is.
        replaces: further file ids whose place it takes.
        opens, writers: how many handles are open, and how many of them to write.
        pages: the file id whose content the kernel's page cache may hold; None if it holds none.
        newer: what a listing said while it was open; taken over when it is closed.
        gone: a listing left it out while it was open.
        scratch: lives on this machine only.
        hidden_from: the name that it had, if it is open and was deleted or replaced.
        error: why its last upload failed.
        lock: guards ``staged``, ``uploaded_version`` and the bytes in ``staged``. Never held across the network.
    """

    kind = stat.S_IFREG
    default_mode = _FILE_MODE

    def __init__(self, name: str, ino: int, created: int, remote: RemoteFile | None = None) -> None:
        super().__init__(name, ino, created)
        self.remote = remote
        self.staged: StagedFile | None = None
        self.uploaded_version: int | None = None
        self.replaces: set[str] = set()
        self.opens = self.writers = 0
        self.pages: str | None = None
        self.newer: RemoteFile | None = None
        self.gone = False
        self.scratch = False
        self.hidden_from: str | None = None
        self.error: str | None = None
        self.lock = threading.RLock()

    @property
    def dirty(self) -> bool:
        """Whether there is something here that the service does not have."""
        return self.staged is not None and self.staged.version != self.uploaded_version

    @property
    def local(self) -> bool:
        """Whether this mount knows better than any listing."""
        return self.staged is not None or self.opens > 0 or self.scratch

    @property
    def known_size(self) -> int | None:
        """In bytes; None where the service has not said it yet."""
        if self.staged is not None:
            return self.staged.size
        return self.remote.size if self.remote else 0


@dataclass
class FileListing:
    """One listing of a container's files, and what is kept for them here.

    Attributes:
        started: monotonic time at which it was asked for.
        files: newest first.
    """

    started: float
    files: list[RemoteFile]
    kept: dict[str, Attributes] = field(default_factory=dict)


class Tree:
    """All nodes. Every method wants ``lock`` held by its caller, who needs it for longer than one call."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.root = Directory("", 1, time.time_ns())
        self._by_container: dict[str, ContainerDirectory] = {}

    def find(self, path: str) -> Node | None:
        """The node at a path from the root, as far as the tree knows."""
        return self.find_in(self.root, path)

    def find_in(self, directory: Directory, path: str) -> Node | None:
        """The node at a path from a directory, likewise."""
        node: Node | None = directory
        for name in path.split("/"):
            if name:
                node = node.children.get(name) if isinstance(node, Directory) else None
        return node

    def containers(self) -> list[ContainerDirectory]:
        return list(self._by_container.values())

    def container(self, container_id: str) -> ContainerDirectory | None:
        return self._by_container.get(container_id)

    def add_container(self, remote: RemoteContainer, *, listed: bool = True) -> ContainerDirectory:
        """Show a container: under its name; where that is taken, with its id. Unlisted ones are found by id only."""
        directory = self._by_container.get(remote.id)
        if directory is None:
            directory = ContainerDirectory(remote, remote.id)
            directory.parent = self.root
            self._by_container[remote.id] = directory
        if listed and self.root.children.get(directory.name) is not directory:
            self.root.add(directory, _free_name(self.root, encode_name(remote.name or remote.id), remote.id))
        return directory

    def remove_container(self, directory: ContainerDirectory) -> None:
        self._by_container.pop(directory.remote.id, None)
        self.root.remove(directory)

    def apply_containers(self, listed: Sequence[RemoteContainer], started: float) -> None:
        """Take over a listing of containers, newest first, that was asked for at ``started``."""
        oldest_first = list(reversed(listed))
        oldest_first.sort(key=lambda remote: remote.created_at)  # stable: many are of one second
        seen = {remote.id for remote in oldest_first}
        for directory in self.containers():
            if directory.remote.id not in seen and directory.changed_at < started:
                self.expire(directory)
        for remote in oldest_first:
            directory = self.add_container(remote)
            directory.remote, directory.gone = remote, False

    def expire(self, directory: ContainerDirectory) -> None:
        """The service dropped a container: whoever has files of it open reads on, from the cache."""
        directory.gone = any(node.local for node in directory.files())
        if not directory.gone:
            self.remove_container(directory)

    def apply_files(self, container: ContainerDirectory, listing: FileListing) -> None:
        """Take over a listing of a container's files, but for what this mount knows better."""
        container.kept_attributes = listing.kept
        shown = self._shown_paths(container, listing)
        paths = {path for path, _ in shown.values()}
        for file_id in container.by_id.keys() - shown.keys():
            if container.by_id[file_id].path not in paths:  # else its node goes on with what replaced it
                self._drop(container, file_id, listing.started)
        for file_id, (path, _) in shown.items():
            node = container.by_id.get(file_id)
            if node is not None and not node.local and node.path != path:
                self._remove_with_empty_parents(node)  # its place may be another's before it gets the new one
        for file_id, (path, remote) in shown.items():
            self._show(container, path, remote)
            self._apply_kept(container, file_id)
        self._apply_directories(container)
        container.listed_at = listing.started
        container.pages = max(1, -(-len(listing.files) // 100))
        container.removed = {key: at for key, at in container.removed.items() if at > listing.started}

    def make_directory(self, container: ContainerDirectory, path: str) -> Directory:
        """The directory at a path below a container, with its parents; files in the way step aside."""
        directory: Directory = container
        for name in path.split("/") if path else ():
            child = directory.children.get(name)
            if not isinstance(child, Directory):
                made = Directory(name, secrets.randbits(63), container.ctime)
                if child is not None:
                    identity = child.remote.id if isinstance(child, FileNode) and child.remote else str(child.ino)
                    directory.add(child, _free_name(directory, name, identity))
                directory.add(made, name)
                child = made
            directory = child
        return directory

    def detach(self, node: Node) -> None:
        """Take a file out of its directory. The directory stays, empty or not, until it is removed by name."""
        parent = node.parent
        if isinstance(node, FileNode) and node.remote is not None:
            node.container.by_id.pop(node.remote.id, None)
        if parent is not None:
            parent.remove(node)

    def set_remote(self, node: FileNode, remote: RemoteFile | None) -> None:
        """Note which file of the service a node stands for."""
        by_id = node.container.by_id
        if node.remote is not None and by_id.get(node.remote.id) is node:
            del by_id[node.remote.id]
        node.remote = remote
        if remote is not None:
            by_id[remote.id] = node

    def _shown_paths(self, container: ContainerDirectory, listing: FileListing) -> dict[str, tuple[str, RemoteFile]]:
        """Where each listed file is shown, by id.

        Of several with one path, the newest has it, the others add an id; so do files where there are directories.
        """
        wanted: dict[str, tuple[str, RemoteFile]] = {}
        for remote in listing.files:
            if container.removed.get(remote.id, 0.0) > listing.started:
                continue
            kept = listing.kept.get(file_key(remote.id), Attributes())
            if remote.size is None:
                remote = replace(remote, size=kept.size)
            wanted[remote.id] = (_fit(kept.path or remote.path, remote.id), remote)
        taken = _directories(path for path, _ in wanted.values())
        taken |= {key.removeprefix(directory_key("")) for key in listing.kept if key.startswith(directory_key(""))}
        shown: dict[str, tuple[str, RemoteFile]] = {}
        for file_id, (path, remote) in wanted.items():
            while path in taken:
                path = _distinct(path, file_id)
            taken.add(path)
            shown[file_id] = (path, remote)
        return shown

    def _show(self, container: ContainerDirectory, path: str, remote: RemoteFile) -> None:
        """Make the node at ``path`` stand for ``remote``, unless this mount knows better."""
        parent_path, _, name = path.rpartition("/")
        node = container.by_id.get(remote.id)
        if node is not None:
            if node.remote is not None and node.remote.size is None:
                node.remote = remote
            node.newer, node.gone = None, False
            if node.local or node.path == path:
                return
        parent = self.make_directory(container, parent_path)
        there = parent.children.get(name)
        if isinstance(there, FileNode) and there is not node:
            if there.local:
                there.newer, there.gone = remote, False
                return
            if there.remote is not None:
                container.by_id.pop(there.remote.id, None)
            node = there
            node.remote, node.error = remote, None
            node.atime = node.mtime = node.ctime = remote.created_at * 1_000_000_000
        elif isinstance(there, Directory):
            name = _free_name(parent, name, remote.id)
        if node is None:
            node = FileNode(name, inode(remote.id), remote.created_at * 1_000_000_000, remote)
        container.by_id[remote.id] = node
        parent.add(node, name)

    def _drop(self, container: ContainerDirectory, file_id: str, started: float) -> None:
        """A listing has no such file: it is gone, unless it came after the listing was begun."""
        node = container.by_id[file_id]
        if node.changed_at > started:
            return
        if node.local:
            node.gone, node.newer = True, None
            return
        del container.by_id[file_id]
        self._remove_with_empty_parents(node)

    def settle(self, node: FileNode) -> None:
        """Take over, once a file is neither open nor dirty, what listings said of it meanwhile."""
        if node.local or node.parent is None:
            return
        container = node.container
        if container.gone:
            self.expire(container)
            return
        if node.newer is not None:
            self.set_remote(node, node.newer)
            node.atime = node.mtime = node.ctime = node.newer.created_at * 1_000_000_000
            self._apply_kept(container, node.newer.id)
            node.newer = None
        elif node.gone:
            if node.remote is not None:
                container.by_id.pop(node.remote.id, None)
            self._remove_with_empty_parents(node)

    def _remove_with_empty_parents(self, node: Node) -> None:
        directory = node.parent
        if directory is not None:
            directory.remove(node)
            self._prune(directory)

    def _prune(self, directory: Directory) -> None:
        """Remove a directory that the service has no more since it holds no file, and its parents likewise."""
        if not directory.children and not directory.kept and not isinstance(directory, ContainerDirectory):
            self._remove_with_empty_parents(directory)

    def _apply_kept(self, container: ContainerDirectory, file_id: str) -> None:
        kept = container.kept_attributes.get(file_key(file_id))
        node = container.by_id.get(file_id)
        if kept is not None and node is not None and not node.local:
            node.apply(kept)

    def _apply_directories(self, container: ContainerDirectory) -> None:
        """Show the directories that are kept here, and what was set for others."""
        prefix = directory_key("")
        for key, kept in container.kept_attributes.items():
            if key.startswith(prefix):
                directory = self.make_directory(container, key.removeprefix(prefix))
                directory.kept = True
                directory.apply(kept)


def inode(identity: str) -> int:
    """An inode number that is the same for one id across mounts."""
    digest = hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1 | 1 << 32


def _free_name(directory: Directory, name: str, identity: str) -> str:
    """``name``, fitted to what Linux takes; with the id where it is taken."""
    name = _fit(name, identity)
    while name in directory.children:
        name = _distinct(name, identity)
    return name


def _directories(paths: Iterable[str]) -> set[str]:
    """All directories that paths lead through."""
    found: set[str] = set()
    for path in paths:
        directory = path.rpartition("/")[0]
        while directory and directory not in found:
            found.add(directory)
            directory = directory.rpartition("/")[0]
    return found


def _distinct(path: str, identity: str) -> str:
    """A name that only this id has: ``NAME (ID)``."""
    return _fit(f"{path} ({encode_name(identity)})", identity)


def _fit(path: str, identity: str) -> str:
    """The path with each segment short enough for Linux; one that is cut ends in a hash, so that it stays distinct."""
    if len(path) * 4 <= NAME_MAX_BYTES:  # the most that UTF-8 makes of it
        return path
    return "/".join(_fit_segment(segment, identity) for segment in path.split("/"))


def _fit_segment(segment: str, identity: str) -> str:
    encoded = segment.encode()
    if len(encoded) <= NAME_MAX_BYTES:
        return segment
    suffix = f"… ({inode(segment + identity):016x})"
    return encoded[: NAME_MAX_BYTES - len(suffix.encode())].decode(errors="ignore") + suffix
