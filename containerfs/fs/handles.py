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
    """A file open for reading. Thread-safe.

    Attributes:
        moved: whether reading it has moved the file's access time.
        closing: whether a program has closed it and nobody has used it since; another may still hold it.
    """

    def __init__(self, node: FileNode, fetcher: Fetcher, *, notes_access: bool = False) -> None:
        self.node = node
        self.moved = self.closing = False
        self._notes_access = notes_access
        self._fetcher = fetcher
        # An older content stays open until the handle closes, since another thread may be reading it.
        self._readers: dict[RemoteFile, Reader] = {}  # guarded by the node's lock

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Read at ``offset`` into ``buffer``; returns how many bytes, fewer than it holds only at the end of the file.

        Raises:
            NotFound: the service has dropped the content.
            Unreachable: it does not answer.
        """
        read = self._read_into(buffer, offset)
        if read and self._notes_access and self.node.accessed():
            self.moved = True
        return read

    def _read_into(self, buffer: memoryview, offset: int) -> int:
        with self.node.lock:
            content = state.content(self.node.state)
            if isinstance(content, StagedFile):
                return content.read_into(buffer, offset)
            reader = self._reader(content)
        return reader.read_into(buffer, offset) if reader else 0

    def write(self, data: memoryview, offset: int) -> int:
        """Refuse to write. Raises BadHandle."""
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
            NoSpace: the disk is full.
            TooManyOpenFiles: no descriptor is left.
        """
        with self.node.lock:
            content = state.content(self.node.state)
            if not isinstance(content, StagedFile):
                self._reader(content)

    def is_to_be_fetched(self, size: int) -> bool:
        """Whether reading all of it would download ``size`` bytes or more, or an unknown number."""
        with self.node.lock:
            content = state.content(self.node.state)
            if isinstance(content, StagedFile) or content is None:
                return False
            reader = self._reader(content)
            is_here = reader is not None and reader.is_whole
            return not is_here and (content.size is None or content.size >= size)

    def _reader(self, remote: RemoteFile | None) -> Reader | None:
        """A reader of what the service has; None for a file that was never there."""
        if remote is None:
            return None
        if remote not in self._readers:
            self._readers[remote] = self._fetcher.open(remote)
        return self._readers[remote]


class WriteHandle(ReadHandle):
    """A file open for writing, perhaps for reading too.

    Args:
        append: each write goes to the end, wherever that is by then.
        notes_access: whether reading moves the access time.
        opener: the process (its thread group's id) that opened it.
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
        """Write all of ``data``; on this machine only. Raises NoSpace, and what reading raises."""
        return self._staging.write(self.node, data, None if self._append else offset)


class DirectoryHandle:
    """A directory open for listing, and how far a program has read it.

    Attributes:
        arrival: the listing under way of which more is to come; None if everything is known.
        replaced: ids of files that something else stands for here.
        unread: whether nothing was read yet, so that what opening it has found is still to be shown.
        ended: whether everything was read.
        shown: the names that were read before everything was known; with the directories, which are thus held.
    """

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.rewind()

    def rewind(self, arrival: Arrival | None = None, replaced: Container[str] = ()) -> None:
        """Begin to read it, anew."""
        self.arrival, self.replaced = arrival, replaced
        self.unread, self.ended = True, False
        self.shown: dict[str, Directory | None] = {}

    def show(self, foreseen: Iterable[tuple[str, Foreseen, Directory | None]]) -> list[Entry]:
        """Note what is shown; returns what was not shown before."""
        new: list[Entry] = []
        for name, known, held in foreseen:
            if name not in self.shown:
                self.shown[name] = held
                new.append((name, known))
        return new


class HandleTable(Generic[H]):
    """Handles by number, as the kernel knows them. Thread-safe; a number is not used twice."""

    def __init__(self) -> None:
        self._handles: dict[int, H] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # guards the dict against iteration

    def add(self, handle: H) -> int:
        """Add a handle; returns its number."""
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
        """Remove a handle; returns it."""
        with self._lock:
            if fh not in self._handles:
                raise types.BadHandle(f"no handle {fh}")
            return self._handles.pop(fh)
