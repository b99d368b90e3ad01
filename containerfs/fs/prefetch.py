"""What to fetch before it is asked for: the next files of a directory that is being read through.

Programs read directories in one of three orders: as listed, by name, or by inode number (cp). Three files opened in a
row of one of these orders begin a scan, and the small files that follow in it are fetched in parallel, ever further
ahead, so that copying many of them does not cost a round trip each. Whoever opens files here and there causes no
request but his own.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from cachetools import LRUCache

from containerfs.fs import types
from containerfs.fs.content import ContentCache
from containerfs.fs.fetch import Fetcher
from containerfs.fs.tree import Directory, FileNode, Tree

_WORKERS = 16
_LARGEST = 4 << 20  # bytes; the time for larger files goes into their content, not into asking for them
_FIRST_WINDOW, _WIDEST_WINDOW = 8, 64  # files
_GAP = 4  # files of the order that a scan may leave out: they are cached already, or of no interest to it
_SCANS = 64  # directories remembered

_ORDERS: tuple[Callable[[FileNode], object] | None, ...] = (None, lambda node: node.name, lambda node: node.ino)


class Prefetcher:
    """Notices scans, and fetches ahead of them. Thread-safe."""

    def __init__(self, tree: Tree, fetcher: Fetcher, cache: ContentCache) -> None:
        self._tree = tree
        self._fetcher = fetcher
        self._cache = cache
        self._scans: LRUCache[Directory, _Scan] = LRUCache(_SCANS)
        self._lock = threading.Lock()  # guards the scans
        self._pool = ThreadPoolExecutor(_WORKERS, "prefetch")

    def opened(self, node: FileNode) -> None:
        """A file was opened to be read. Never waits, and never fails."""
        directory = node.parent
        if directory is None or node.remote is None:
            return
        with self._tree.lock, self._lock:
            scan = self._scans.get(directory)
            if scan is None:
                scan = self._scans[directory] = _Scan(directory)
            following = scan.opened(node)
        for next_node in following:
            self._pool.submit(self._fetch, next_node)

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, node: FileNode) -> None:
        remote = node.remote
        if remote is None or node.staged is not None or remote.size is None or remote.size > _LARGEST:
            return
        if self._cache.has(remote):
            return
        try:
            entry = self._fetcher.open(remote)
            try:
                self._fetcher.ensure_all(entry)
            finally:
                self._fetcher.close(entry)
        except types.FsError:
            pass  # whoever wants the file asks again, and is told


class _Scan:
    """How one directory is being read: which files were opened last, and, once that is known, in which order."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._recent: deque[FileNode] = deque(maxlen=3)
        self._order: list[FileNode] = []
        self._position: dict[FileNode, int] = {}
        self._fetched = 0  # up to which position of the order
        self._window = _FIRST_WINDOW

    def opened(self, node: FileNode) -> list[FileNode]:
        """The files that are to be fetched now."""
        follows = self._follows(node)
        self._recent.append(node)
        if not follows and (len(self._recent) < 3 or not self._find_order()):
            return []
        here = self._position[node] + 1
        if self._fetched - here > self._window // 2:
            return []
        start, self._fetched = max(here, self._fetched), here + self._window
        self._window = min(self._window * 2, _WIDEST_WINDOW)
        return self._order[start : self._fetched]

    def _follows(self, node: FileNode) -> bool:
        """Whether a file is one of the next in the order that was found."""
        if not self._recent or node not in self._position or self._recent[-1] not in self._position:
            return False
        return 0 <= self._position[node] - self._position[self._recent[-1]] <= _GAP

    def _find_order(self) -> bool:
        """Look for an order in which the last three files follow each other."""
        files = [child for child in self._directory.children.values() if isinstance(child, FileNode)]
        for key in _ORDERS:
            order = files if key is None else sorted(files, key=key)  # type: ignore[arg-type]
            position = {node: index for index, node in enumerate(order)}
            places = [position.get(node, -1) for node in self._recent]
            if places[0] >= 0 and all(0 < b - a <= _GAP for a, b in pairwise(places)):
                self._order, self._position = order, position
                self._fetched, self._window = places[-1] + 1, _FIRST_WINDOW
                return True
        return False
