"""Nodes: what the mount shows under one name.

A file's node holds the state of its content, which the functions of ``fs.transitions`` change, through ``Tree.change``
only. All else that nodes hold is guarded by the tree's lock. There may be a million of them: they have slots, share
what they can, and get a lock when they need one.
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
"""What the root shows containers under that have ended."""
SEVERAL = object()
"""The kernel may remember attributes of more than one content."""
_making_locks = threading.Lock()


class Node:
    """Something that has a name.

    Attributes:
        parent: the directory that it is in; None for the root, and once it is gone.
        ino: constant while the mount shows it, across renames and overwrites.
        changed_at: monotonic time of the last change made here; listings begun before say nothing about it.
        known: how many times the kernel was told of it, and has not forgotten it.
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
        """Whether it is there for those only who have it open."""
        return False

    @property
    def links(self) -> int:
        """How many names it has."""
        return 1

    def accessed(self) -> bool:
        """Note that a program reads it, now and then only; returns whether that moved the time.

        Source: mount(8), relatime.
        """
        now = time.time_ns()
        if self.atime > max(self.mtime, self.ctime) and now - self.atime < _DAY:
            return False
        self.atime = now
        return True

    def inherit(self, parent: "Directory") -> None:
        """Take over what a directory with the set-group-ID bit gives to what is made in it. Source: inode(7)."""
        if parent.mode & stat.S_ISGID:
            self.gid = parent.gid
            self.mode |= stat.S_ISGID if isinstance(self, Directory) else 0

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

    def attr(self, size: int = 0, blocks: int | None = None) -> Attr:
        """What ``stat`` shows; ``size``, in bytes, and ``blocks``, of 512, of a file. Source: stat(2)."""
        mode, times = self.kind | self.mode, (self.atime, self.mtime, self.ctime)
        return Attr(self.ino, mode, size, self.uid, self.gid, *times, self.links, blocks)

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
    def fetchable(self) -> RemoteFile | None:
        """What of the service's is its content, and nothing else; None if there is no such file."""
        return None

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
        """The container that it is in. Raises NotFound once it is in none."""
        node: Node | None = self
        while node is not None and not isinstance(node, ContainerDirectory):
            node = node.parent
        if node is None:
            raise types.NotFound(f"{self.name!r} is in no container any more")
        return node


class Foreseen(NamedTuple):
    """What is known of a node that will have a name once a listing is complete.

    Attributes:
        ino: its inode number.
        kind: the bits of a mode that tell its type; 0 where that is not known yet.
    """

    ino: int
    kind: int


Entry: TypeAlias = tuple[str, Node | Foreseen]
"""What reading a directory tells: a name, and what has it."""


class Directory(Node):
    """A directory: the root, a container, or a part of the paths of a container's files.

    Attributes:
        kept: made or emptied here; it stays while it holds no file, which the service knows nothing of.
    """

    __slots__ = ("__weakref__", "children", "kept")
    kind = stat.S_IFDIR
    default_mode = _DIRECTORY_MODE

    def __init__(self, name: str, ino: int, created: int) -> None:
        super().__init__(name, ino, created)
        self.children: dict[str, Node] = {}
        self.kept = False

    def add(self, node: Node, name: str) -> None:
        """Put a node into the directory, in place of what has that name."""
        node.name, node.parent = name, self
        self.children[name] = node

    def remove(self, node: Node) -> None:
        """Take a node out of the directory."""
        if self.children.get(node.name) is node:
            del self.children[node.name]
        node.parent = None

    def visible(self) -> list[tuple[str, Node]]:
        """What programs see in it: without containers that have gone."""
        return [entry for entry in self.children.items() if not entry[1].concealed]

    def below(self) -> Iterator[Node]:
        """Everything below, each directory before what is in it."""
        waiting = list(self.children.values())
        while waiting:
            node = waiting.pop()
            yield node
            if isinstance(node, Directory):
                waiting += node.children.values()

    def files(self) -> Iterator["FileNode"]:
        """All files below."""
        return (node for node in self.below() if isinstance(node, FileNode))


class Root(Directory):
    """The root: the containers that there are, and below ``.expired`` what this machine holds of those that have ended.

    Attributes:
        expired: holds the latter; it is shown while it shows something.
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
    """Whether the service has a container, and if not, what it is here for."""

    THERE = "on the service"
    HELD = "ended; what the cache holds of it is shown"
    OPEN = "ended; shown to those only who have files of it open"


class ContainerDirectory(Directory):
    """A container, as a directory of the root, or of ``.expired`` once it has ended.

    Attributes:
        remote: what the service says of it.
        listed_at: monotonic time at which the listing that is shown arrived; 0 if none has.
        asked_at: when it was asked for.
        pages: how many requests that listing took.
        by_id: its files by their id on the service.
        presence: ``Tree`` alone assigns it.
        kept_attributes: what was set here for its files and directories, by key.
        directories: those that the service keeps, by path.
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
        """Whether the service has dropped it."""
        return self.presence is not Presence.THERE

    @property
    def concealed(self) -> bool:
        return self.presence is Presence.OPEN


class FileNode(Node):
    """A file.

    Attributes:
        state: what is true of its content. ``Tree.change`` alone assigns it.
        opens, writers: how many handles are open, and how many of them to write.
        closing: how many of these programs have closed, as it seems, so that they are released soon.
        told: the content whose attributes the kernel may remember, by ``state.identity``; ``SEVERAL``, or None where
            that is not known.
        pages: the content of which it may remember pages, likewise.
        number: by which the kernel knows the file; None while it does not.
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
        """Guards the state's replacement, and the bytes in its staged data. Never held across the network."""
        if self._lock is None:
            with _making_locks:
                self._lock = self._lock or threading.RLock()
        return self._lock

    @staticmethod
    def stored_name(name: str) -> str:
        """Under which name the service has what is shown under this one."""
        return name

    @property
    def stored_path(self) -> str:
        """Where below its container the service has it."""
        parent, slash, name = self.path.rpartition("/")
        return parent + slash + self.stored_name(name)

    def tell(self) -> StagedFile | RemoteFile | None:
        """The kernel is about to be told the attributes; returns the content that they are of.

        Without a lock, which would cost each file of a long listing 100 bytes: of two contents that are told of at one
        time the older one may be noted alone. Whoever opens the file has the kernel forget both then, as it should.
        """
        content = state.content(self.state)
        shown = content.id if isinstance(content, RemoteFile) else content
        self.told = shown if self.told in (None, shown) else SEVERAL
        return content

    @property
    def remote(self) -> RemoteFile | None:
        """What the service has under the name; None where it never had anything."""
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
        return 0 if self.concealed else 1

    @property
    def held(self) -> bool:
        """Whether a program has it open, or may open it, since the kernel has found it."""
        return self.opens > 0 or self.known > 0

    @property
    def dirty(self) -> bool:
        """Whether there is something here that the service is to get and does not have."""
        return isinstance(self.state, state.Staged | state.Torn | state.Due | state.Uploading)

    @property
    def known_size(self) -> int | None:
        """In bytes; None where the service has not said it yet."""
        match state.content(self.state):
            case StagedFile() as data:
                return data.size
            case RemoteFile(size=size):
                return size
            case _:
                return 0


class Link(FileNode):
    """A symbolic link; its target is its content."""

    __slots__ = ()
    kind = stat.S_IFLNK
    default_mode = _LINK_MODE

    @staticmethod
    def stored_name(name: str) -> str:
        return name + SUFFIX


@functools.lru_cache(maxsize=1024)
def nanoseconds(seconds: int) -> int:
    """A time of the service as nodes have it; for all files of one second the same object, to save memory."""
    return seconds * 1_000_000_000


def inode(identity: str) -> int:
    """An inode number that is the same for one id across mounts."""
    digest = hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1 | 1 << 32
