"""By which numbers the kernel knows nodes.

A number is given to a node when the kernel first hears of it, and is never another's. A container and what is below it
can be reached by its name and by its id; as the kernel has one place for each directory, directories have a number for
each of the two ways.
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
        self._by_name: dict[Node, int] = {root: ROOT}
        self._by_id: dict[Node, int] = {}  # directories that were reached by the id of their container
        self._next = itertools.count(ROOT + 1)

    def __getitem__(self, number: int) -> Known:
        """What a number stands for. Raises Gone: nothing any more."""
        try:
            return self._known[number]
        except KeyError:
            raise Gone(f"no node {number}") from None

    def remember(self, node: Node, *, by_id: bool) -> int:
        """The kernel is about to be told of a node, once more; returns its number."""
        numbers = self._numbers(node, by_id=by_id)
        with self._lock:
            number = numbers.get(node)
            if number is None:
                number = numbers[node] = next(self._next)
                self._known[number] = Known(node, by_id, 0)
            self._known[number].times += 1
            return number

    def forget(self, number: int, times: int) -> Node:
        """The kernel forgets that it was told of a node so many times; returns the node."""
        with self._lock:
            known = self[number]
            known.times -= times
            if known.times <= 0 and number != ROOT:
                del self._known[number]
                del self._numbers(known.node, by_id=known.by_id)[known.node]
            return known.node

    def number_of(self, node: FileNode) -> int | None:
        """The number of a file; None if the kernel does not know it."""
        return self._by_name.get(node)

    def _numbers(self, node: Node, *, by_id: bool) -> dict[Node, int]:
        """The numbers of nodes that were reached as this one was; files have one number for both ways."""
        return self._by_id if by_id and isinstance(node, Directory) else self._by_name
