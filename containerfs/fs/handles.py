"""What programs have open: files to read, files to write, directories.

A handle refers to a node, and the node's state decides what its content is. So all handles of a file see the same
content, and the next reader reads what a writer wrote.
"""

import itertools
import threading
from collections.abc import Container, Iterable
from typing import Generic, TypeVar

from containerfs.fs import state, types
from containerfs.fs.namespace.flights import Arrival
from containerfs.fs.namespace.nodes import Directory, Entry, FileNode, Foreseen
from containerfs.fs.reading.fetch import Fetcher, Reader
from containerfs.fs.staged import StagedFile
from containerfs.fs.types import RemoteFile
from containerfs.fs.writing.staging import Staging

H = TypeVar("H")


class ReadHandle:
    """A file that is open for reading. Thread-safe.

    Attributes:
        moved: whether reading it has changed the file's access time.
        closing: whether a program has closed it and nobody has used it since; another may still hold it.
    """

    def __init__(self, node: FileNode, fetcher: Fetcher, *, notes_access: bool = False) -> None:
        self.node = node
        self.moved = self.closing = False
        self._notes_access = notes_access
        self._fetcher = fetcher
        # Older content stays open until the handle is closed, because another thread may be reading it.
        self._readers: dict[RemoteFile, Reader] = {}  # guarded by the node's lock

    def read(self, offset: int, size: int) -> bytes:
        """Read the bytes at ``offset``, fewer than ``size`` only at the end of the file.

        Raises:
            NotFound: if the service no longer has the content.
            Unreachable: if the service does not answer.
        """
        data = self._read(offset, size)
        if data and self._notes_access and self.node.accessed():
            self.moved = True
        return data

    def _read(self, offset: int, size: int) -> bytes:
        with self.node.lock:
            content = state.content(self.node.state)
            if isinstance(content, StagedFile):
                return content.read(offset, size)
            reader = self._reader(content)
        return reader.read(offset, size) if reader else b""

    def write(self, data: memoryview, offset: int) -> int:
        """Raise BadHandle."""
        raise types.BadHandle("opened for reading only")

    def close(self) -> None:
        """Release the content."""
        with self.node.lock:
            readers, self._readers = self._readers, {}
        for reader in readers.values():
            reader.close()

    def prepare(self) -> None:
        """Open the content now, so that open() fails, rather than read(), if no descriptor is left.

        Raises:
            NoSpace: if the disk is full.
            TooManyOpenFiles: if no descriptor is left.
        """
        with self.node.lock:
            content = state.content(self.node.state)
            if not isinstance(content, StagedFile):
                self._reader(content)

    def is_to_be_fetched(self, size: int) -> bool:
        """Tell whether reading all of it would download at least ``size`` bytes, or an unknown number."""
        with self.node.lock:
            content = state.content(self.node.state)
            if isinstance(content, StagedFile) or content is None:
                return False
            reader = self._reader(content)
            is_here = reader is not None and reader.is_whole
            return not is_here and (content.size is None or content.size >= size)

    def _reader(self, remote: RemoteFile | None) -> Reader | None:
        """Return a reader of the service's file; None if the service never had one."""
        if remote is None:
            return None
        if remote not in self._readers:
            self._readers[remote] = self._fetcher.open(remote)
        return self._readers[remote]


class WriteHandle(ReadHandle):
    """A file that is open for writing, and perhaps for reading.

    Args:
        append: whether each write goes to the current end.
        notes_access: whether reading changes the access time.
        opener: the process (thread group id) that opened it.
    """

    def __init__(
        self,
        node: FileNode,
        fetcher: Fetcher,
        staging: Staging,
        *,
        append: bool,
        opener: int,
        notes_access: bool = False,
    ) -> None:
        super().__init__(node, fetcher, notes_access=notes_access)
        self._staging = staging
        self._append = append
        self.opener = opener

    def write(self, data: memoryview, offset: int) -> int:
        """Write all of ``data`` on this machine. Raises NoSpace, and what reading raises."""
        return self._staging.write(self.node, data, None if self._append else offset)


class DirectoryHandle:
    """A directory that is open for listing, and how far a program has read it.

    Attributes:
        arrival: the listing of which more will arrive; None if everything is known.
        replaced: the ids of files whose names stand for something else here.
        unread: whether nothing was read yet, so that what opening has found is still to be shown.
        ended: whether everything was read.
        shown: the names that were read before everything was known, and the directories, which are held by this.
    """

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.rewind()

    def rewind(self, arrival: Arrival | None = None, replaced: Container[str] = ()) -> None:
        """Begin to read it from the start."""
        self.arrival, self.replaced = arrival, replaced
        self.unread, self.ended = True, False
        self.shown: dict[str, Directory | None] = {}

    def show(self, foreseen: Iterable[tuple[str, Foreseen, Directory | None]]) -> list[Entry]:
        """Record what is shown, and return what was not shown before."""
        new: list[Entry] = []
        for name, known, held in foreseen:
            if name not in self.shown:
                self.shown[name] = held
                new.append((name, known))
        return new


class HandleTable(Generic[H]):
    """Handles by number, as the kernel knows them. Thread-safe. No number is used twice."""

    def __init__(self) -> None:
        self._handles: dict[int, H] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # guards the dict during iteration

    def add(self, handle: H) -> int:
        """Add a handle, and return its number."""
        with self._lock:
            fh = next(self._numbers)
            self._handles[fh] = handle
            return fh

    def __getitem__(self, fh: int) -> H:
        try:
            return self._handles[fh]
        except KeyError:
            raise types.BadHandle(f"no handle {fh}") from None

    def pop(self, fh: int) -> H:
        """Remove and return a handle."""
        with self._lock:
            if fh not in self._handles:
                raise types.BadHandle(f"no handle {fh}")
            return self._handles.pop(fh)
