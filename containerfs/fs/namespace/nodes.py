"""Nodes: each is what the mount shows under one name.

The node of a file holds the state of its content. Only ``Tree.change`` changes that, with the functions of
``fs.transitions``. The tree's lock guards everything else in nodes. There may be a million nodes, so they have slots,
share what they can, and get a lock only when they need one.
"""

import functools
import hashlib
import os
import stat
import threading
import time
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple, TypeAlias

from containerfs.fs import state, types
from containerfs.fs.namespace.attributes import Attributes
from containerfs.fs.namespace.links import SUFFIX
from containerfs.fs.staged import StagedFile
from containerfs.fs.types import Attr, RemoteContainer, RemoteFile

_DAY = 24 * 3600 * 1_000_000_000  # in nanoseconds
_FILE_MODE, _DIRECTORY_MODE, _LINK_MODE = 0o644, 0o755, 0o777
EXPIRED = ".expired"
"""The directory in the root that shows containers that have ended."""
SEVERAL = object()
"""The kernel may remember the attributes of more than one content."""
_making_locks = threading.Lock()


class Node:
    """Something with a name.

    Attributes:
        parent: its directory; None for the root, and for nodes that are gone.
        name: its name in that directory.
        ino: its inode number, which stays the same while the mount shows it, through renames and overwrites.
        changed_at: monotonic time of the last change that was made here; listings requested earlier do not count for
            it.
        known: how many times the kernel was told of the node without forgetting it.
    """

    __slots__ = ("atime", "changed_at", "ctime", "gid", "ino", "known", "mode", "mtime", "name", "parent", "uid")
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
        self.known = 0

    @property
    def concealed(self) -> bool:
        """Whether it only exists for programs that have it open."""
        return False

    @property
    def links(self) -> int:
        """The number of its names."""
        return 1

    def accessed(self) -> bool:
        """Record that a program reads the node, but not every time. Returns whether the time of access changed.

        Source: mount(8), relatime.
        """
        now = time.time_ns()
        if self.atime > max(self.mtime, self.ctime) and now - self.atime < _DAY:
            return False
        self.atime = now
        return True

    def inherit(self, parent: "Directory") -> None:
        """Take over what a directory with the set-group-ID bit passes on to new entries. Source: inode(7)."""
        if parent.mode & stat.S_ISGID:
            self.gid = parent.gid
            self.mode |= stat.S_ISGID if isinstance(self, Directory) else 0

    def touch(self, *, modified: bool = True) -> None:
        """Record a change that was made here, now."""
        self.ctime = time.time_ns()
        self.changed_at = time.monotonic()
        if modified:
            self.mtime = self.ctime

    def apply(self, kept: Attributes) -> None:
        """Apply the attributes that were set for this node earlier."""
        self.mode = self.default_mode if kept.mode is None else kept.mode
        self.uid = self.uid if kept.uid is None else kept.uid
        self.gid = self.gid if kept.gid is None else kept.gid
        self.mtime = self.mtime if kept.mtime is None else kept.mtime
        self.atime = self.mtime if kept.atime is None else kept.atime

    def attr(self, size: int = 0, blocks: int | None = None) -> Attr:
        """Return what ``stat`` shows. Source: stat(2).

        Args:
            size: of a file, in bytes.
            blocks: of a file, in units of 512 bytes.
        """
        return Attr(
            self.ino,
            self.kind | self.mode,
            size,
            self.uid,
            self.gid,
            self.atime,
            self.mtime,
            self.ctime,
            self.links,
            blocks,
        )

    def attributes(self) -> Attributes:
        """Return the attributes that the API cannot hold."""
        return Attributes(
            None if self.mode == self.default_mode else self.mode,
            None if self.uid == os.getuid() else self.uid,
            None if self.gid == os.getgid() else self.gid,
            self.atime,
            self.mtime,
        )

    @property
    def fetchable(self) -> RemoteFile | None:
        """The file of the service that is its whole content; None if there is none."""
        return None

    @property
    def path(self) -> str:
        """Its path below the container; "" for the container itself. For a container, its path below the root."""
        names: list[str] = []
        node: Node = self
        while node.parent is not None and not isinstance(node, ContainerDirectory):
            names.append(node.name)
            node = node.parent
        return "/".join(reversed(names))

    @property
    def container(self) -> "ContainerDirectory":
        """The container that it is in.

        Raises:
            NotFound: if it is in none any more.
        """
        node: Node | None = self
        while node is not None and not isinstance(node, ContainerDirectory):
            node = node.parent
        if node is None:
            raise types.NotFound(f"{self.name!r} is in no container any more")
        return node


class Foreseen(NamedTuple):
    """A node that will have a name once a listing is complete.

    Attributes:
        ino: its inode number.
        kind: the bits of a mode that tell its type; 0 if that is not known yet.
    """

    ino: int
    kind: int


Entry: TypeAlias = tuple[str, Node | Foreseen]
"""An entry of a directory: a name, and what has it."""


class Directory(Node):
    """A directory: the root, a container, or a part of the paths of a container's files.

    Attributes:
        kept: whether it was created or emptied here. Then it stays without files, although the service does not have
            it.
        removed: whether a program here removed or replaced it. Then only those who have it open still reach it, and
            find it empty.
    """

    __slots__ = ("__weakref__", "children", "kept", "removed")
    kind = stat.S_IFDIR
    default_mode = _DIRECTORY_MODE

    def __init__(self, name: str, ino: int, created: int) -> None:
        super().__init__(name, ino, created)
        self.children: dict[str, Node] = {}
        self.kept = self.removed = False

    @property
    def links(self) -> int:
        return 0 if self.removed else 1

    def add(self, node: Node, name: str) -> None:
        """Put a node into the directory, in place of the one with that name."""
        node.name, node.parent = name, self
        self.children[name] = node
        if isinstance(node, Directory):
            node.removed = False

    def remove(self, node: Node) -> None:
        """Remove a node from the directory."""
        if self.children.get(node.name) is node:
            del self.children[node.name]
        node.parent = None

    def visible(self) -> list[tuple[str, Node]]:
        """Return the entries that programs see, which leaves out containers that are gone."""
        return [entry for entry in self.children.items() if not entry[1].concealed]

    def below(self) -> Iterator[Node]:
        """Yield everything below, each directory before its entries."""
        waiting = list(self.children.values())
        while waiting:
            node = waiting.pop()
            yield node
            if isinstance(node, Directory):
                waiting += node.children.values()

    def files(self) -> Iterator["FileNode"]:
        """Yield all files below."""
        return (node for node in self.below() if isinstance(node, FileNode))


class Root(Directory):
    """The root: the containers, and below ``.expired`` what this machine holds of containers that have ended.

    Attributes:
        expired: the directory of containers that have ended; shown only if it is not empty.
    """

    __slots__ = ("expired",)

    def __init__(self) -> None:
        super().__init__("", 1, time.time_ns())
        self.expired = Directory(EXPIRED, inode(EXPIRED), self.ctime)
        self.expired.parent = self

    def visible(self) -> list[tuple[str, Node]]:
        return [*super().visible(), (EXPIRED, self.expired)] if self.expired.visible() else super().visible()

    def below(self) -> Iterator[Node]:
        yield from super().below()
        yield from self.expired.below()


class Presence(Enum):
    """Whether the service has a container, and if not, why it is shown."""

    THERE = "on the service"
    HELD = "ended; what the cache holds of it is shown"
    OPEN = "ended; shown to those only who have files of it open"


class ContainerDirectory(Directory):
    """A container, as a directory of the root, or of ``.expired`` once it has ended.

    Attributes:
        remote: the container as the service describes it.
        listed_at: monotonic time when the current listing arrived; 0 if there is none.
        asked_at: monotonic time when that listing was requested.
        pages: the number of requests that it took.
        by_id: the container's files by their id on the service.
        presence: changed by ``Tree`` only.
        kept_attributes: what was set here for its files and directories, by key.
        directories: the directories that the service keeps, by path.
    """

    __slots__ = ("asked_at", "by_id", "directories", "kept_attributes", "listed_at", "pages", "presence", "remote")

    def __init__(self, remote: RemoteContainer, name: str) -> None:
        super().__init__(name, inode(remote.id), nanoseconds(remote.created_at))
        self.remote = remote
        self.asked_at = self.listed_at = 0.0
        self.pages = 1
        self.presence = Presence.THERE
        self.by_id: dict[str, FileNode] = {}
        self.kept_attributes: dict[str, Attributes] = {}
        self.directories: dict[str, RemoteFile] = {}

    @property
    def gone(self) -> bool:
        """Whether the service no longer has it."""
        return self.presence is not Presence.THERE

    @property
    def concealed(self) -> bool:
        return self.presence is Presence.OPEN


class FileNode(Node):
    """A file.

    Attributes:
        state: the state of its content, changed by ``Tree.change`` only.
        opens: the number of open handles.
        writers: the number of handles that are open for writing.
        closing: the number of writing programs that seem to have closed the file, so that their handles are released
            soon.
        told: the content whose attributes the kernel may remember, by ``state.identity``; ``SEVERAL``, or None if it is
            not known.
        pages: the content of which the kernel may remember pages, likewise.
        number: the kernel's number for the file; None while it has none.
    """

    __slots__ = ("_lock", "closing", "number", "opens", "pages", "state", "told", "writers")
    kind = stat.S_IFREG
    default_mode = _FILE_MODE

    def __init__(self, name: str, ino: int, created: int, initial: state.State = state.NEW) -> None:
        super().__init__(name, ino, created)
        self.state = initial
        self.opens = self.writers = self.closing = 0
        self.told: object = None
        self.pages: object = None
        self.number: int | None = None
        self._lock: threading.RLock | None = None

    @property
    def lock(self) -> "threading.RLock":
        """Guards replacing the state, and the bytes of its staged data. Never held across the network."""
        if self._lock is None:
            with _making_locks:
                self._lock = self._lock or threading.RLock()
        return self._lock

    @staticmethod
    def stored_name(name: str) -> str:
        """Return the name under which the service stores what is shown under this name."""
        return name

    @property
    def stored_path(self) -> str:
        """The path below its container under which the service stores it."""
        parent, slash, name = self.path.rpartition("/")
        return parent + slash + self.stored_name(name)

    def tell(self) -> StagedFile | RemoteFile | None:
        """Note that the kernel is told the attributes now, and return the content that they belong to.

        There is no lock, because that would cost each file of a long listing 100 bytes. If two contents are told at the
        same time, only the older one may be noted. Then opening the file makes the kernel forget both, as it should.
        """
        content = state.content(self.state)
        shown = content.id if isinstance(content, RemoteFile) else content
        self.told = shown if self.told in (None, shown) else SEVERAL
        return content

    @property
    def remote(self) -> RemoteFile | None:
        """The file that the service has under the name; None if there never was one."""
        return state.base(self.state).remote

    @property
    def fetchable(self) -> RemoteFile | None:
        return self.state.remote if isinstance(self.state, state.Stored) else None

    @property
    def local(self) -> bool:
        """Whether this mount knows better than any listing."""
        return self.opens > 0 or not isinstance(self.state, state.Stored)

    @property
    def concealed(self) -> bool:
        return isinstance(self.state, state.Unlinked)

    @property
    def links(self) -> int:
        return 0 if isinstance(self.state, state.Unlinked) else 1

    @property
    def held(self) -> bool:
        """Whether a program has it open, or may open it, because the kernel knows it."""
        return self.opens > 0 or self.known > 0

    @property
    def dirty(self) -> bool:
        """Whether there is content here that the service does not have yet."""
        return isinstance(self.state, state.Staged | state.Torn | state.Due | state.Uploading)

    @property
    def known_size(self) -> int | None:
        """The size in bytes; None if the service has not told it yet."""
        match state.content(self.state):
            case StagedFile() as data:
                return data.size
            case RemoteFile(size=size):
                return size
            case _:
                return 0


class Link(FileNode):
    """A symbolic link. Its target is its content, which never changes."""

    __slots__ = ()
    kind = stat.S_IFLNK
    default_mode = _LINK_MODE

    @staticmethod
    def stored_name(name: str) -> str:
        return name + SUFFIX

    @property
    def dropped(self) -> bool:
        """Whether the service no longer has it, or has something else in its place."""
        return self.parent is None and isinstance(self.state, state.Stored)


@functools.lru_cache(maxsize=1024)
def nanoseconds(seconds: int) -> int:
    """Convert a time of the service. Returns the same object for all files with the same second, to save memory."""
    return seconds * 1_000_000_000


def inode(identity: str) -> int:
    """Return the inode number for an id, which is the same in all mounts."""
    digest = hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1 | 1 << 32
