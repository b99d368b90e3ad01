"""Whether a directory is being read through, in which order, and which files come next. Decisions only.

Programs read directories in one of three orders: as listed, by name, or by inode number (cp). Three files opened in a
row of one of these orders begin a scan. What follows in it is named ever further ahead, so that copying many small
files does not cost a round trip each. Files that are opened here and there begin nothing.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from containerfs.fs.types import RemoteFile

_FIRST_WINDOW, _WIDEST_WINDOW = 8, 64  # files
_GAP = 4  # files of the order that a scan may leave out: they are cached already, or of no interest to it
_IN_A_ROW = 3  # files that begin a scan
_LOOK = 256  # files; for each so many that were looked at in vain, one opened file goes without a look


@dataclass(frozen=True, slots=True)
class Sibling:
    """A file of a directory.

    Attributes:
        ino: tells it from the others.
        file: what could be fetched of it; None for nothing, such as for one that is being written.
    """

    name: str
    ino: int
    file: RemoteFile | None


Siblings = Callable[[], Iterable[Sibling]]
"""The files of a directory, in the order of its listing."""

_ORDERS: tuple[Callable[[Sibling], str | int] | None, ...] = (None, lambda file: file.name, lambda file: file.ino)


class Scan:
    """How one directory is being read: which files were opened last, and, once that is known, in which order."""

    def __init__(self) -> None:
        self._recent: deque[int] = deque(maxlen=_IN_A_ROW)
        self._order: list[Sibling] = []
        self._position: dict[int, int] = {}  # of a file in the order, by its inode number
        self._named = 0  # up to which position of the order
        self._window = _FIRST_WINDOW
        self._without_look = 0  # opened files

    def opened(self, ino: int, siblings: Siblings) -> list[Sibling]:
        """A file was opened; returns the files that are to be fetched now.

        Args:
            siblings: is asked when an order has to be found.
        """
        follows = self._follows(ino)
        self._recent.append(ino)
        if not follows and not self._look(siblings):
            return []
        here = self._position[ino] + 1
        if self._named - here > self._window // 2:
            return []
        start, self._named = max(here, self._named), here + self._window
        self._window = min(self._window * 2, _WIDEST_WINDOW)
        return self._order[start : self._named]

    def _follows(self, ino: int) -> bool:
        """Whether a file is one of the next in the order that was found, and not of a new pass through it."""
        if not self._recent or ino not in self._position or self._recent[-1] not in self._position:
            return False
        place = self._position[ino]
        return 0 <= place - self._position[self._recent[-1]] <= _GAP and self._named - place <= _WIDEST_WINDOW

    def _look(self, siblings: Siblings) -> bool:
        """Whether a scan begins here. In ten thousand files a look takes some 25 ms, and the directory is locked."""
        if len(self._recent) < _IN_A_ROW:
            return False
        if self._without_look:
            self._without_look -= 1
            return False
        files = list(siblings())
        found = self._find_order(files)
        self._without_look = 0 if found else len(files) // _LOOK
        return found

    def _find_order(self, siblings: list[Sibling]) -> bool:
        """Look for an order in which the last files follow each other."""
        for key in _ORDERS:
            order = siblings if key is None else sorted(siblings, key=key)
            position = {sibling.ino: index for index, sibling in enumerate(order)}
            places = [position.get(ino, -1) for ino in self._recent]
            if places[0] >= 0 and all(0 < after - before <= _GAP for before, after in pairwise(places)):
                self._order, self._position = order, position
                self._named, self._window = places[-1] + 1, _FIRST_WINDOW
                return True
        return False
