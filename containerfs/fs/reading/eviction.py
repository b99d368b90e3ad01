"""Which content may be evicted, in the order of its last use. Decisions only.

What an earlier mount left is read in while the cache is already in use: it is older than anything that was used since.
"""

from collections import OrderedDict
from collections.abc import Iterable


class Evictable:
    """Keys and their sizes, within a budget. Not thread-safe.

    Attributes:
        budget, total: bytes.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.total = 0
        self._sizes: OrderedDict[str, int] = OrderedDict()  # oldest use first
        self._used: set[str] | None = set()  # since the start; None once all is learnt that was there before

    def __len__(self) -> int:
        return len(self._sizes)

    def keep(self, key: str, size: int) -> None:
        """It was used just now."""
        self.forget(key)
        self._sizes[key] = size
        self.total += size

    def forget(self, key: str) -> None:
        """It is in use, or gone."""
        self.total -= self._sizes.pop(key, 0)
        if self._used is not None:
            self._used.add(key)

    def learn(self, older: Iterable[tuple[str, int]]) -> None:
        """Take in what was there before, each older than the one before it, and than what is known."""
        for key, size in older:
            if key not in self._sizes and key not in (self._used or ()):
                self._sizes[key] = size
                self._sizes.move_to_end(key, last=False)
                self.total += size

    def all_learnt(self) -> None:
        """All that was there before is known."""
        self._used = None

    def take_excess(self, most: int, budget: int | None = None) -> list[str]:
        """Up to ``most`` keys that have to go to keep within the budget, oldest first; they are forgotten."""
        budget = self.budget if budget is None else budget
        taken: list[str] = []
        while self._sizes and self.total > budget and len(taken) < most:
            key, size = self._sizes.popitem(last=False)
            self.total -= size
            taken.append(key)
        return taken
