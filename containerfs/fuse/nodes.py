"""The numbers by which the kernel knows nodes.

A node gets a number when the kernel first hears of it, and the number is never reused. A container and everything below
it can be reached by its name and by its id. Since the kernel has one place for each directory, directories have a
number for each of the two ways.
"""

import itertools
import threading
from dataclasses import dataclass

from containerfs.fs.namespace.nodes import Directory, FileNode, Node
from containerfs.fs.types import Gone

ROOT = 1
"""The number of the root. Source: FUSE_ROOT_ID, fuse_lowlevel.h"""


@dataclass(slots=True)
class Known:
    """A node that the kernel knows.

    Attributes:
        by_id: whether it was reached by the id of its container.
        times: how often the kernel was told of it.
    """

    node: Node
    by_id: bool
    times: int


class NodeTable:
    """The nodes that the kernel knows. Thread-safe."""

    def __init__(self, root: Directory) -> None:
        self._lock = threading.Lock()  # guards what follows
        self._known = {ROOT: Known(root, by_id=False, times=1)}
        self._by_name: dict[Directory, int] = {root: ROOT}  # of directories, by how they were reached
        self._by_id: dict[Directory, int] = {}
        self._next = itertools.count(ROOT + 1)

    def __getitem__(self, number: int) -> Known:
        """The node with this number. Raises Gone if there is none any more."""
        try:
            return self._known[number]
        except KeyError:
            raise Gone(f"no node {number}") from None

    def remember(self, node: Node, *, by_id: bool) -> int:
        """Count that the kernel is told about a node; returns its number."""
        with self._lock:
            number = self._number(node, by_id=by_id)
            if number is None:
                number = next(self._next)
                self._known[number] = Known(node, by_id, 0)
                self._set_number(node, number, by_id=by_id)
            self._known[number].times += 1
            return number

    def forget(self, number: int, times: int) -> Node:
        """Count that the kernel forgets a node this many times; returns the node."""
        with self._lock:
            known = self[number]
            known.times -= times
            if known.times <= 0 and number != ROOT:
                del self._known[number]
                self._set_number(known.node, None, by_id=known.by_id)
            return known.node

    def number_of(self, node: FileNode) -> int | None:
        """The number of a file; None if the kernel does not know it."""
        return node.number

    def _number(self, node: Node, *, by_id: bool) -> int | None:
        if isinstance(node, FileNode):
            return node.number
        assert isinstance(node, Directory)
        return self._of_directories(by_id=by_id).get(node)

    def _set_number(self, node: Node, number: int | None, *, by_id: bool) -> None:
        if isinstance(node, FileNode):
            node.number = number  # one for both ways
            return
        assert isinstance(node, Directory)
        if number is None:
            del self._of_directories(by_id=by_id)[node]
        else:
            self._of_directories(by_id=by_id)[node] = number

    def _of_directories(self, *, by_id: bool) -> dict[Directory, int]:
        return self._by_id if by_id else self._by_name
