"""The numbers by which the kernel knows nodes.

A node gets a number when the kernel first hears of it, and numbers are never reused. A container and everything below
it can be reached by its name and by its id. The kernel has one place for each directory, so directories have a number
for each of the two ways.
"""

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from containerfs.fs.namespace.nodes import Directory, FileNode, Node
from containerfs.fs.types import Gone, NotADirectory

ROOT = 1
"""The number of the root. Source: FUSE_ROOT_ID, fuse_lowlevel.h"""


@dataclass(slots=True)
class Place:
    """A directory that the kernel knows.

    Attributes:
        by_id: whether it was reached by the id of its container.
        times: how often the kernel was told of it.
    """

    node: Directory
    by_id: bool
    times: int


class NodeTable:
    """The nodes that the kernel knows. Thread-safe.

    How often the kernel was told of a file is stored in the file itself, because a million files need no second count.
    """

    def __init__(self, root: Directory) -> None:
        self._lock = threading.Lock()  # guards what follows
        self._known: dict[int, FileNode | Place] = {ROOT: Place(root, by_id=False, times=1)}
        self._by_name: dict[Directory, int] = {root: ROOT}  # places of directories, by how they were reached
        self._by_id: dict[Directory, int] = {}
        self._next = itertools.count(ROOT + 1)

    def __getitem__(self, number: int) -> Node:
        """Return the node with this number. Raises Gone if there is none any more."""
        known = self._found(number)
        return known.node if isinstance(known, Place) else known

    def place(self, number: int) -> Place:
        """Return the directory with this number, and how it was reached. Raises Gone, NotADirectory."""
        known = self._found(number)
        if not isinstance(known, Place):
            raise NotADirectory(known.name)
        return known

    def remember(self, node: Node, *, by_id: bool) -> int:
        """Record that the kernel is told about a node, and return the node's number."""
        with self._lock:
            if isinstance(node, FileNode):
                return self._remember_file(node)
            assert isinstance(node, Directory)
            return self._remember_directory(node, by_id=by_id)

    def remember_files(self, files: Sequence[FileNode]) -> list[int]:
        """Record that the kernel is told about files, and give them numbers."""
        with self._lock:
            return [self._remember_file(file) if file.number is None else file.number for file in files]

    def forget(self, number: int, times: int) -> None:
        """Record that the kernel has forgotten a node so many times. For files, call this after the file was told."""
        with self._lock:
            known = self._known.get(number)
            if isinstance(known, FileNode):
                if known.known <= 0:
                    known.number = None
                    del self._known[number]
            elif known is not None and number != ROOT:
                known.times -= times
                if known.times <= 0:
                    del self._known[number], self._of_directories(by_id=known.by_id)[known.node]

    def number_of(self, node: FileNode) -> int | None:
        """Return the number of a file; None if the kernel does not know it."""
        return node.number

    def _found(self, number: int) -> FileNode | Place:
        try:
            return self._known[number]
        except KeyError:
            raise Gone(f"no node {number}") from None

    def _remember_file(self, file: FileNode) -> int:
        """Return one number for both ways. The lock must be held."""
        if file.number is None:
            file.number = next(self._next)
            self._known[file.number] = file
        return file.number

    def _remember_directory(self, directory: Directory, *, by_id: bool) -> int:
        """The lock must be held."""
        numbers = self._of_directories(by_id=by_id)
        number = numbers.get(directory)
        known = None if number is None else self._known[number]
        if number is None or not isinstance(known, Place):
            number = numbers[directory] = next(self._next)
            known = self._known[number] = Place(directory, by_id, 0)
        known.times += 1
        return number

    def _of_directories(self, *, by_id: bool) -> dict[Directory, int]:
        return self._by_id if by_id else self._by_name
