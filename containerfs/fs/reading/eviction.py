"""Which content to evict, in the order of its last use. Decisions only.

What earlier mounts left is learned while the cache is already in use. It is older than everything used since.
"""

from collections import OrderedDict
from collections.abc import Iterable


class Evictable:
    """Keys and their sizes, within a budget. Not thread-safe.

    Attributes:
        budget: in bytes.
        total: the size of all of them in bytes.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.total = 0
        self._sizes: OrderedDict[str, int] = OrderedDict()  # in the order of their last use, oldest first
        self._used: set[str] | None = set()  # used since the start; None once everything older is known

    def __len__(self) -> int:
        return len(self._sizes)

    def keep(self, key: str, size: int) -> None:
        """Add a key that was used just now."""
        self.forget(key)
        self._sizes[key] = size
        self.total += size

    def forget(self, key: str) -> None:
        """Remove a key that is in use or gone."""
        self.total -= self._sizes.pop(key, 0)
        if self._used is not None:
            self._used.add(key)

    def learn(self, older: Iterable[tuple[str, int]]) -> None:
        """Add keys from before the start. Each is older than the one before it, and than all that are known."""
        for key, size in older:
            if key not in self._sizes and key not in (self._used or ()):
                self._sizes[key] = size
                self._sizes.move_to_end(key, last=False)
                self.total += size

    def all_learnt(self) -> None:
        """Called when everything from before the start is known."""
        self._used = None

    def take_excess(self, most: int, budget: int | None = None) -> list[str]:
        """Remove and return up to ``most`` keys that exceed the budget, oldest first."""
        budget = self.budget if budget is None else budget
        taken: list[str] = []
        while self._sizes and self.total > budget and len(taken) < most:
            key, size = self._sizes.popitem(last=False)
            self.total -= size
            taken.append(key)
        return taken
