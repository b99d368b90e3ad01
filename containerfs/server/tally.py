"""Counters in memory that the processes of a server share.

Each process adds to its own part, so that none waits for another, and a reader adds up the parts. A process that
replaces a dead one continues with its part, so that no sum ever decreases.
"""

import json
import mmap
from collections import defaultdict

Key = tuple[str, ...]

_VALUES_SIZE = 1 << 15
_NAMES_SIZE = 1 << 19
_PART_SIZE = _VALUES_SIZE + _NAMES_SIZE
"""Bytes of address space; memory is only taken as it is used. There are about a hundred keys of about a hundred bytes.
"""


class Tally:
    """Sums by key."""

    def __init__(self, parts: int = 1) -> None:
        """Create the shared memory. Call this before forking.

        Args:
            parts: the largest number of processes.
        """
        memory = memoryview(mmap.mmap(-1, parts * _PART_SIZE))
        self._parts = [_Part(memory[start : start + _PART_SIZE]) for start in range(0, len(memory), _PART_SIZE)]
        self.take(0)

    def take(self, part: int) -> None:
        """Make this process add to a part that no other process adds to.

        Args:
            part: its number, from 0.
        """
        self._mine = self._parts[part]
        self._mine.resume()

    def add(self, amount: float, *key: str) -> None:
        """Add an amount to the sum of a key."""
        self._mine.add(amount, key)

    def sums(self) -> dict[Key, float]:
        """Return the sums over all processes."""
        sums: defaultdict[Key, float] = defaultdict(float)
        for part in self._parts:
            for key, value in part.read().items():
                sums[key] += value
        return sums


class _Part:
    """Values, and their keys in the same order, as one line of JSON each."""

    def __init__(self, memory: memoryview) -> None:
        self._values = memory[:_VALUES_SIZE].cast("d")
        self._names = memory[_VALUES_SIZE:]
        self._places: dict[Key, int] = {}
        self._end = 0

    def resume(self) -> None:
        keys = self._keys()
        self._places = {key: place for place, key in enumerate(keys)}
        self._end = sum(map(len, map(_line, keys)))

    def add(self, amount: float, key: Key) -> None:
        place = self._places.get(key)
        if place is None:
            place = self._append(key)
        self._values[place] += amount

    def read(self) -> dict[Key, float]:
        return dict(zip(self._keys(), self._values, strict=False))

    def _append(self, key: Key) -> int:
        """Add a key and return its index. Keys for which there is no space share the last index, under the last key."""
        line = _line(key)
        if len(self._places) == len(self._values) or self._end + len(line) > len(self._names):
            return len(self._places) - 1
        self._names[self._end : self._end + len(line)] = line
        self._end += len(line)
        self._places[key] = place = len(self._places)
        return place

    def _keys(self) -> list[Key]:
        lines = bytes(self._names[: self._end or None]).partition(b"\0")[0].split(b"\n")[:-1]
        return [tuple(json.loads(line)) for line in lines]


def _line(key: Key) -> bytes:
    return json.dumps(key).encode() + b"\n"
