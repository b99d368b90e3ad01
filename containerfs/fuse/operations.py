"""The kernel's operations, translated to those of the file system, which makes the decisions.

The methods have the names of libfuse's low-level operations, and return the answer for the kernel; None means success
without a result. Errors are raised as ``OSError`` with the number from the table in ``errno.py``.
"""

import errno
import os
import stat
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, Protocol, TypeVar

from containerfs.fs import types
from containerfs.fs.filesystem import FileSystem
from containerfs.fs.namespace.nodes import ContainerDirectory, Directory, Entry, FileNode, Foreseen, Link, Node
from containerfs.fuse import answers
from containerfs.fuse.answers import Answer, Validity
from containerfs.fuse.errno import errno_of
from containerfs.fuse.nodes import NodeTable, Place

C = TypeVar("C", bound=type)

RENAME_NOREPLACE = 1  # Source: renameat2(2)
_UNKNOWN_INO = 1  # for entries that the kernel is not told about; 0 would hide them
_ITSELF = [(name, Foreseen(_UNKNOWN_INO, stat.S_IFDIR)) for name in (".", "..")]


class Caller(Protocol):
    """The program that requests an operation."""

    @property
    def owner(self) -> tuple[int, int]:
        """Its user id and group id."""

    @property
    def pid(self) -> int:
        """The id of its thread."""

    def interrupted(self) -> bool:
        """Tell whether nobody waits for the operation any more."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Attributes to set; None keeps a value. Times are in nanoseconds. Source: setattr, fuse_lowlevel.h."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime: int | None = None
    mtime: int | None = None


def translating(cls: C) -> C:
    """Turn every public method into an operation that raises ``OSError`` instead of the file system's errors."""
    for name, method in list(vars(cls).items()):
        if callable(method) and not name.startswith("_"):
            setattr(cls, name, _translating(method))
    return cls


def _translating(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def translated(self: "ContainerOperations", caller: Caller, *args: Any, **kwargs: Any) -> Any:
        try:
            with self._fs.operation(caller.interrupted):
                return method(self, caller, *args, **kwargs)
        except Exception as error:
            number = errno_of(error, method.__name__)
            raise OSError(number, os.strerror(number)) from error

    return translated


@translating
class ContainerOperations:
    """Translates, and makes no decisions. Nodes are given by their numbers, names as bytes.

    Args:
        nodes: the numbers by which the kernel knows nodes.
        validity: how long the kernel may cache what it is told.
        inode32: whether inode numbers have 32 bits, for programs that do not accept longer ones.
    """

    def __init__(self, filesystem: FileSystem, nodes: NodeTable, validity: Validity, *, inode32: bool = False) -> None:
        self._fs = filesystem
        self._nodes = nodes
        self._validity = validity
        self._ino: Callable[[int], int] = _folded if inode32 else int
        self._listed: dict[
            int, list[Entry]
        ] = {}  # by handle: the entries that were read; offsets are positions in this list

    # Nodes

    def lookup(self, caller: Caller, parent: int, name: bytes) -> Answer:
        place, text = self._nodes.place(parent), _text(name)
        return self._found(place, text, self._fs.lookup(place.node, text))

    def forget(self, caller: Caller, node: int, times: int) -> None:
        self._fs.forget(self._nodes[node], times)
        self._nodes.forget(node, times)

    def getattr(self, caller: Caller, node: int) -> Answer:
        return self._attributes(self._fs.getattr(self._nodes[node]))

    def setattr(self, caller: Caller, node: int, changes: Changes, fh: int | None = None) -> Answer:
        target = self._nodes[node]
        if changes.size is not None:
            self._truncate(target, changes.size, fh)
        if changes.mode is not None:
            self._fs.chmod(target, changes.mode)
        if changes.uid is not None or changes.gid is not None:
            self._fs.chown(target, *(-1 if each is None else each for each in (changes.uid, changes.gid)))
        if changes.atime is not None or changes.mtime is not None:
            self._fs.utimens(target, changes.atime, changes.mtime)
        return self._attributes(self._fs.attr(target))

    def mkdir(self, caller: Caller, parent: int, name: bytes, mode: int) -> Answer:
        place, text = self._nodes.place(parent), _text(name)
        return self._found(place, text, self._fs.mkdir(place.node, text, mode, caller.owner))

    def rmdir(self, caller: Caller, parent: int, name: bytes) -> None:
        self._fs.rmdir(self._directory(parent), _text(name))

    def unlink(self, caller: Caller, parent: int, name: bytes) -> None:
        self._fs.unlink(self._directory(parent), _text(name))

    def rename(self, caller: Caller, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int) -> None:
        if flags & ~RENAME_NOREPLACE:
            raise OSError(errno.EINVAL, "two names cannot be exchanged")
        old, new = self._directory(parent), self._directory(new_parent)
        self._fs.rename(old, _text(name), new, _text(new_name), replace=not flags)

    def symlink(self, caller: Caller, target: bytes, parent: int, name: bytes) -> Answer:
        place, text = self._nodes.place(parent), _text(name)
        return self._found(place, text, self._fs.symlink(place.node, text, target, caller.owner))

    def readlink(self, caller: Caller, node: int) -> Answer:
        link = self._nodes[node]
        if not isinstance(link, Link):
            raise OSError(errno.EINVAL, f"{link.name!r} is no symbolic link")
        return Answer(self._fs.readlink(link))

    def link(self, caller: Caller, node: int, parent: int, name: bytes) -> None:
        self._fs.refuse("the API has no hard links")

    def mknod(self, caller: Caller, parent: int, name: bytes, mode: int, device: int) -> None:
        self._fs.refuse("the API has no special files")

    # Directories

    def opendir(self, caller: Caller, node: int) -> Answer:
        fh = self._fs.opendir(self._directory(node))
        return Answer(answers.opened(fh), partial(self._fs.releasedir, fh))

    def readdir(self, caller: Caller, node: int, fh: int, size: int, offset: int) -> Answer:
        part = self._part(fh, offset, size, answers.ENTRY)
        return Answer(
            b"".join(
                answers.directory_entry(name, self._ino(child.ino), child.kind, following)
                for following, (name, child) in enumerate(part, offset + 1)
            )
        )

    def readdirplus(self, caller: Caller, node: int, fh: int, size: int, offset: int) -> Answer:
        part = self._part(fh, offset, size, answers.FULL_ENTRY)
        found = self._fs.lookup_listed(fh, [child for _, child in part if isinstance(child, Node)])
        numbers, validity = self._tell_all(self._nodes.place(node), found), self._validity
        entries: list[bytes] = []
        for following, (name, child) in enumerate(part, offset + 1):
            ino = self._ino(child.ino)
            if isinstance(child, Foreseen) or child not in found:
                entries.append(answers.unknown_entry(name, ino, child.kind, following))
            else:
                entries.append(answers.full_entry(name, numbers[child], found[child], ino, following, validity))

        def undelivered() -> None:
            for number in numbers.values():
                self._untell(number)

        return Answer(b"".join(entries), undelivered)

    def releasedir(self, caller: Caller, fh: int) -> None:
        self._listed.pop(fh, None)
        self._fs.releasedir(fh)

    def fsyncdir(self, caller: Caller, fh: int) -> None:
        self._fs.fsyncdir(fh)

    # Files

    def create(self, caller: Caller, parent: int, name: bytes, mode: int, flags: int) -> Answer:
        place, text = self._nodes.place(parent), _text(name)
        node, fh = self._fs.create(place.node, text, flags, mode, caller.pid, caller.owner)
        try:
            found = self._found(place, text, node)
        except BaseException:
            self._fs.release(fh)
            raise

        def undelivered() -> None:
            self._fs.release(fh)
            found.undelivered()

        return Answer(found.payload + answers.opened(fh), undelivered)

    def open(self, caller: Caller, node: int, flags: int) -> Answer:
        fh, keep_pages = self._fs.open(self._file(node), flags, caller.pid)
        return Answer(answers.opened(fh, keep_pages=keep_pages), partial(self._fs.release, fh))

    def read(self, caller: Caller, fh: int, size: int, offset: int) -> Answer:
        return Answer(self._fs.read(fh, offset, size))

    def write(self, caller: Caller, fh: int, data: memoryview, offset: int) -> Answer:
        return Answer(answers.size(self._fs.write(fh, data, offset)))

    def fallocate(self, caller: Caller, fh: int, mode: int, offset: int, size: int) -> None:
        self._fs.fallocate(fh, mode, offset, size)

    def flush(self, caller: Caller, fh: int) -> None:
        self._fs.flush(fh, caller.pid)

    def fsync(self, caller: Caller, fh: int) -> None:
        self._fs.fsync(fh)

    def release(self, caller: Caller, fh: int) -> None:
        self._fs.release(fh)

    # Extended attributes, and the whole

    def getxattr(self, caller: Caller, node: int, name: bytes, size: int) -> Answer:
        value = self._fs.getxattr(self._nodes[node], _text(name))
        if size and len(value) > size:
            raise OSError(errno.ERANGE, "the value has grown")
        return Answer(value if size else answers.size(len(value)))

    def listxattr(self, caller: Caller, node: int, size: int) -> Answer:
        names = "".join(f"{name}\0" for name in self._fs.listxattr(self._nodes[node])).encode()
        return Answer(names if size else answers.size(len(names)))

    def setxattr(self, caller: Caller, node: int, name: bytes, value: bytes) -> None:
        self._fs.setxattr(self._nodes[node], _text(name), value)

    def removexattr(self, caller: Caller, node: int, name: bytes) -> None:
        self._fs.removexattr(self._nodes[node], _text(name))

    def statfs(self, caller: Caller) -> Answer:
        return Answer(answers.statfs(self._fs.statfs()))

    # Shared

    def _found(self, parent: Place, name: str, node: Node) -> Answer:
        """Tell the kernel about a node that was looked up by a name in a directory."""
        try:
            attr = self._fs.attr(node)
        except BaseException:
            self._fs.forget(node)
            if isinstance(node, FileNode) and node.number is not None:
                self._nodes.forget(node.number, 0)  # the count is in the file, which the kernel may just have forgotten
            raise
        number = self._tell(parent, name, node)
        return Answer(answers.entry(number, attr, self._ino(attr.ino), self._validity), partial(self._untell, number))

    def _tell(self, parent: Place, name: str, node: Node) -> int:
        by_id = parent.by_id or (isinstance(node, ContainerDirectory) and name == node.remote.id)
        return self._nodes.remember(node, by_id=by_id)

    def _tell_all(self, parent: Place, nodes: Collection[Node]) -> dict[Node, int]:
        """Tell the kernel about nodes that were listed in a directory, and return their numbers."""
        files = [node for node in nodes if isinstance(node, FileNode)]
        numbers: dict[Node, int] = dict(zip(files, self._nodes.remember_files(files), strict=True))
        others = [node for node in nodes if not isinstance(node, FileNode)]
        return numbers | {node: self._tell(parent, node.name, node) for node in others}

    def _untell(self, number: int) -> None:
        self._fs.forget(self._nodes[number])
        self._nodes.forget(number, 1)

    def _attributes(self, attr: types.Attr) -> Answer:
        return Answer(answers.attributes(attr, self._ino(attr.ino), self._validity))

    def _part(self, fh: int, offset: int, size: int, fixed: int) -> list[tuple[bytes, Node | Foreseen]]:
        """Return the entries of a directory that fit into an answer, from an offset on.

        Args:
            size: of the answer, in bytes.
            fixed: the size of an entry without its name, in bytes.
        """
        part: list[tuple[bytes, Node | Foreseen]] = []
        for name, child in self._entries(fh, offset)[offset : offset + size // fixed]:
            encoded = name.encode(errors="surrogateescape")
            size -= fixed + answers.filled(encoded)
            if size < 0:
                break
            part.append((encoded, child))
        return part

    def _entries(self, fh: int, offset: int) -> list[Entry]:
        """Return what was read of a directory, including something at the offset unless that is its end."""
        if not offset:
            self._fs.rewinddir(fh)
            self._listed[fh] = [*_ITSELF, *self._fs.readdir(fh)]
        entries = self._listed[fh]
        if offset >= len(entries):
            entries += self._fs.readdir(fh)
        return entries

    def _truncate(self, node: Node, size: int, fh: int | None) -> None:
        if fh is not None:
            self._fs.ftruncate(fh, size)
        elif isinstance(node, FileNode):
            self._fs.truncate(node, size)
        else:
            raise types.IsADirectory(node.name)

    def _directory(self, number: int) -> Directory:
        return self._nodes.place(number).node

    def _file(self, number: int) -> FileNode:
        node = self._nodes[number]
        if not isinstance(node, FileNode):
            raise types.IsADirectory(node.name)
        return node


def changes(to_set: int, attributes: Any) -> Changes:
    """Convert libfuse's form of the changes in a setattr. Source: FUSE_SET_ATTR_*, fuse_lowlevel.h."""
    now = time.time_ns()

    def of(bit: int, value: int) -> int | None:
        return value if to_set & 1 << bit else None

    def moment(bit: int, bit_now: int, given: Any) -> int | None:
        return now if to_set & 1 << bit_now else of(bit, given.seconds * 1_000_000_000 + given.nanoseconds)

    return Changes(
        mode=of(0, attributes.mode),
        uid=of(1, attributes.uid),
        gid=of(2, attributes.gid),
        size=of(3, attributes.size),
        atime=moment(4, 7, attributes.atime),
        mtime=moment(5, 8, attributes.mtime),
    )


def _text(name: bytes) -> str:
    """Decode a file name. Names that are not UTF-8 must survive on their way to the file system, which refuses them."""
    return name.decode(errors="surrogateescape")


def _folded(ino: int) -> int:
    """Fold an inode number to 32 bits. Never 0, which is invalid, and 1 only for the root."""
    folded = (ino ^ ino >> 32) & 0xFFFF_FFFF
    return folded if folded > 1 or ino == 1 else 2
