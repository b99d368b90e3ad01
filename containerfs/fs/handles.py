"""What programs hold open: files to read, files to write, directories.

A handle refers to a node, and the node decides what its content is: what is staged here, else what the service has. So
all handles of one file see one content, and a writer's bytes are what the next reader reads.
"""

import itertools
import threading
from typing import Generic, TypeVar

from containerfs.fs import types
from containerfs.fs.journal import Journal, StagedFile
from containerfs.fs.reading.fetch import Fetcher, Reader
from containerfs.fs.tree import FileNode
from containerfs.fs.types import Entry, RemoteFile

H = TypeVar("H")


class ReadHandle:
    """A file open for reading. Thread-safe."""

    def __init__(self, node: FileNode, fetcher: Fetcher) -> None:
        self.node = node
        self._fetcher = fetcher
        # An older content stays open until the handle closes, since another thread may be reading it.
        self._readers: dict[RemoteFile, Reader] = {}  # guarded by the node's lock

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Read at ``offset`` into ``buffer``; returns how many bytes, fewer than it holds only at the end of the file.

        Raises:
            NotFound: the service has dropped the content.
            Unreachable: it does not answer.
        """
        with self.node.lock:
            if self.node.staged is not None:
                return self.node.staged.read_into(buffer, offset)
            reader = self._reader()
        return reader.read_into(buffer, offset) if reader else 0

    def write(self, data: memoryview, offset: int) -> int:
        raise types.BadHandle("opened for reading only")

    def close(self) -> None:
        with self.node.lock:
            readers, self._readers = self._readers, {}
        for reader in readers.values():
            reader.close()

    def prepare(self) -> None:
        """Open the content now, so that open() fails, and not read(), where no descriptor is left.

        Raises:
            NoSpace: the disk is full.
            TooManyOpenFiles: no descriptor is left.
        """
        with self.node.lock:
            if self.node.staged is None:
                self._reader()

    def _reader(self) -> Reader | None:
        """A reader of what the service has; None for a file that was never there."""
        remote = self.node.remote
        if remote is None:
            return None
        if remote not in self._readers:
            self._readers[remote] = self._fetcher.open(remote)
        return self._readers[remote]


class WriteHandle(ReadHandle):
    """A file open for writing, perhaps for reading too.

    Args:
        append: each write goes to the end, wherever that is by then.
        opener: the process (its thread group's id) that opened it.
    """

    def __init__(self, node: FileNode, fetcher: Fetcher, staging: "Staging", *, append: bool, opener: int) -> None:
        super().__init__(node, fetcher)
        self._staging = staging
        self._append = append
        self.opener = opener

    def write(self, data: memoryview, offset: int) -> int:
        """Write all of ``data``; on this machine only. Raises NoSpace, and what reading raises."""
        try:
            return self._write(data, offset)
        except types.NoSpace:
            self._staging.make_room()
        try:
            return self._write(data, offset)
        except types.NoSpace:
            with self.node.lock:
                if self.node.staged is not None:
                    self.node.staged.torn = True
            raise

    def _write(self, data: memoryview, offset: int) -> int:
        while True:
            self._staging.stage(self.node)
            with self.node.lock:
                staged = self.node.staged
                if staged is not None:  # else an upload ended between the two lines
                    written = staged.append(data) if self._append else staged.write(data, offset)
                    self.node.touch()
                    return written


class DirectoryHandle:
    """A directory open for listing: what was in it when it was opened."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries


class Staging:
    """Gives files that are about to be written a staged file with their content."""

    def __init__(self, journal: Journal, fetcher: Fetcher) -> None:
        self._journal = journal
        self._fetcher = fetcher

    def stage(self, node: FileNode, keep: int | None = None) -> None:
        """Make sure that a node is staged.

        Args:
            keep: how many bytes of its content are wanted; None for all, 0 needs no download.

        Raises:
            NoSpace: the disk is full; the node is as before.
            NotFound, Unreachable: its content cannot be had.
        """
        if node.staged is not None:
            return
        staged = self._copy(node, keep)
        with node.lock:
            if node.staged is None:
                node.staged, node.uploaded_version = staged, (None if keep == 0 else staged.version)
                return
        self._journal.discard(staged)  # another thread was faster

    def make_room(self) -> None:
        """The disk is full: what is cached gives way to what is written."""
        self._fetcher.evict()

    def discard(self, node: FileNode) -> None:
        """Drop what is staged for a node, and what the journal has of it."""
        with node.lock:
            staged, node.staged = node.staged, None
            if staged is not None:
                self._journal.discard(staged)

    def _copy(self, node: FileNode, keep: int | None) -> StagedFile:
        staged = self._journal.stage()
        try:
            if node.remote is not None and keep != 0:
                reader = self._fetcher.open(node.remote)
                try:
                    size = reader.ensure_all()
                    staged.copy_from(reader.fd, size if keep is None else min(keep, size))
                finally:
                    reader.close()
        except BaseException:
            self._journal.discard(staged)
            raise
        return staged


class HandleTable(Generic[H]):
    """Handles by number, as the kernel knows them. Thread-safe; a number is not used twice."""

    def __init__(self) -> None:
        self._handles: dict[int, H] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # guards the dict against iteration

    def add(self, handle: H) -> int:
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
        with self._lock:
            if fh not in self._handles:
                raise types.BadHandle(f"no handle {fh}")
            return self._handles.pop(fh)

    def all(self) -> list[H]:
        with self._lock:
            return list(self._handles.values())
