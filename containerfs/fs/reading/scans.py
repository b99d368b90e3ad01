"""Whether a directory is being read through, in which order, and which files come next. Decisions only.

Programs read directories in one of three orders: as listed, by name, or by inode number (cp). The first two files of
one of these orders start a scan, and so do any three in a row. The files after them are fetched further and further
ahead, so that copying many small files does not cost a round trip for each. Opening single files here and there starts
nothing.
"""

from collections import deque
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_FIRST_WINDOW, _WIDEST_WINDOW = 16, 64  # files
_GAP = 4  # files that a scan may skip, because they are cached, or the program does not want them
_AT_FIRST, _IN_A_ROW = 2, 3  # files that start a scan, at the beginning of a directory and elsewhere
_LOOK = 256  # files; after looking at so many in vain, one opened file is ignored
_SAMPLE = 1000  # files in a sample that tells whether sorting is worthwhile; with fewer files it always is


class Sibling(Protocol[T_co]):
    """An entry of a directory."""

    @property
    def ino(self) -> int: ...
    @property
    def fetchable(self) -> T_co | None:
        """The file to fetch; None for a directory, and for a file of which the service has nothing, such as one being
        written."""


Siblings = Mapping[str, Sibling[T]]
"""The entries of a directory by name, in the order of its listing."""

Key = Callable[[str], str | int]


class Scan(Generic[T]):
    """How one directory is being read: the files that were opened last, and the order once it is known."""

    def __init__(self) -> None:
        self._recent: deque[str] = deque(maxlen=_IN_A_ROW)
        self._order: list[str] = []
        self._position: dict[str, int] = {}  # position of each name in the order
        self._named = 0  # position in the order up to which files were fetched
        self._window = _FIRST_WINDOW
        self._without_look = 0  # number of opened files

    def opened(self, name: str, siblings: Siblings[T]) -> list[T]:
        """Called when a file is opened. Returns the files to fetch now.

        Args:
            siblings: read if an order has to be found.
        """
        follows = self._follows(name)
        self._recent.append(name)
        if not follows and not self._look(siblings):
            return []
        here = self._position[name] + 1
        if self._named - here > self._window // 2:
            return []
        start, self._named = max(here, self._named), here + self._window
        self._window = min(self._window * 2, _WIDEST_WINDOW)
        there = [siblings[name] for name in self._order[start : self._named] if name in siblings]
        return [sibling.fetchable for sibling in there if sibling.fetchable is not None]

    def _follows(self, name: str) -> bool:
        """Tell whether a file is one of the next in the known order, and not the start of a new pass."""
        if not self._recent or name not in self._position or self._recent[-1] not in self._position:
            return False
        place = self._position[name]
        return 0 <= place - self._position[self._recent[-1]] <= _GAP and self._named - place <= _WIDEST_WINDOW

    def _look(self, siblings: Siblings[T]) -> bool:
        """Decide whether a scan starts here. Among a hundred thousand files, this takes about two milliseconds."""
        if len(self._recent) < _IN_A_ROW:
            return len(self._recent) == _AT_FIRST and len(siblings) <= _SAMPLE and self._find_order(siblings)
        if self._without_look:
            self._without_look -= 1
            return False
        found = self._find_order(siblings)
        self._without_look = 0 if found else len(siblings) // _LOOK
        return found

    def _find_order(self, siblings: Siblings[T]) -> bool:
        """Find an order in which the last files follow each other: as listed, by name, or by inode number."""
        if not all(name in siblings for name in self._recent):
            return False
        names = list(siblings)
        return (
            self._try_order(names)
            or self._try_sorted(names, lambda name: name)
            or self._try_sorted(names, lambda name: siblings[name].ino)
        )

    def _try_sorted(self, names: list[str], key: Key) -> bool:
        """Sort, unless a sample shows that the last files are not next to each other."""
        places = [key(name) for name in self._recent]
        if not all(before < after for before, after in pairwise(places)):  # type: ignore[operator]
            return False
        sample = map(key, names[:: max(1, len(names) // _SAMPLE)])
        between = sum(places[0] < place < places[-1] for place in sample)  # type: ignore[operator]
        return between < (_IN_A_ROW - 1) * _GAP and self._try_order(sorted(names, key=key))

    def _try_order(self, order: list[str]) -> bool:
        begins = order[:_AT_FIRST] == list(self._recent)
        if not begins and not self._are_in_a_row(order):
            return False
        self._order, self._position = order, {name: index for index, name in enumerate(order)}
        self._named, self._window = self._position[self._recent[-1]] + 1, _FIRST_WINDOW
        return True

    def _are_in_a_row(self, order: list[str]) -> bool:
        if len(self._recent) < _IN_A_ROW:
            return False
        start = order.index(self._recent[0])
        places = {name: start + index for index, name in enumerate(order[start : start + _IN_A_ROW * _GAP])}
        steps = pairwise(places.get(name, -1) for name in self._recent)
        return all(0 < after - before <= _GAP for before, after in steps)
