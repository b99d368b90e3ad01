"""Staging: before the first write, a file gets a staged copy of its content, which takes the writes.

Closed content never changes, so content that is being uploaded, or waits for that, is copied too.
"""

from collections.abc import Callable

from containerfs.fs import state, transitions, types
from containerfs.fs.namespace.nodes import FileNode
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.reading.fetch import Fetcher
from containerfs.fs.staged import StagedFile
from containerfs.fs.types import RemoteFile
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.streaming import StreamingUploads


class Staging:
    """Makes files writable. Thread-safe."""

    def __init__(self, journal: Journal, fetcher: Fetcher, tree: Tree, streaming: StreamingUploads) -> None:
        self._journal = journal
        self._fetcher = fetcher
        self._tree = tree
        self._streaming = streaming

    def write(self, node: FileNode, data: memoryview, offset: int | None) -> int:
        """Write all of ``data`` on this machine, at ``offset``, or at the end if that is None.

        Raises:
            NoSpace: if the disk is full even without cached content. The file is torn.
            NotFound: if the service no longer has the content that is to be changed.
            Unreachable: if that content cannot be fetched.
        """
        try:
            return self._write(node, data, offset)
        except types.NoSpace:
            self._fetcher.evict()
        try:
            return self._write(node, data, offset)
        except types.NoSpace:
            with self._tree.lock:
                if state.writable(node.state) is not None:
                    self._tree.change(node, transitions.torn)
            raise

    def truncate(self, node: FileNode, size: int) -> None:
        """Set a file's size in bytes, on this machine. Raises as ``write`` does."""
        with node.lock:
            if state.writable(node.state) is None and node.known_size == size:
                return
        self._change(node, lambda staged: staged.truncate(size), keep=size)

    def fallocate(self, node: FileNode, mode: int, offset: int, size: int) -> None:
        """Allocate, punch out or zero a range, on this machine. Source: fallocate(2).

        Raises:
            NoSpace: if the disk is full even without cached content. The file is unchanged.
            NotSupported: if the disk's file system cannot do that.
            NotFound: if the service no longer has the content that is to be changed.
            Unreachable: if that content cannot be fetched.
        """

        def allocate(staged: StagedFile) -> None:
            staged.allocate(mode, offset, size)

        try:
            self._change(node, allocate)
        except types.NoSpace:
            self._fetcher.evict()
            self._change(node, allocate)

    def stage(self, node: FileNode, keep: int | None = None) -> None:
        """Make a file writable.

        Args:
            keep: how many bytes of its content are needed; None for all. With 0, nothing is fetched.

        Raises:
            NoSpace: if the disk is full. The file is unchanged.
            NotFound: if the service no longer has its content.
            Unreachable: if its content cannot be fetched.
        """
        while True:
            with node.lock:
                if state.writable(node.state) is not None:
                    return
                content = state.content(node.state)
            copy = self._copy(content, keep)
            with self._tree.lock, node.lock:
                before = node.state
                if state.writable(before) is None and state.content(before) == content:
                    self._tree.change(node, transitions.written, copy)
                    self._discard_sealed(before)
                    return
            copy.remove()  # another thread was faster

    def fetched(self, content: RemoteFile) -> StagedFile:
        """Return a staged copy of a file of the service. Raises NoSpace, NotFound, Unreachable."""
        return self._copy(content, None)

    def _change(self, node: FileNode, change: Callable[[StagedFile], None], keep: int | None = None) -> None:
        while True:
            self.stage(node, keep)
            with node.lock:
                staged = state.writable(node.state)
                if staged is not None:  # otherwise it was closed between the two lines
                    change(staged)
                    node.touch()
                    return

    def _write(self, node: FileNode, data: memoryview, offset: int | None) -> int:
        while True:
            with node.lock:
                staged = state.writable(node.state)
                if staged is not None:
                    written = staged.append(data) if offset is None else staged.write(data, offset)
                    node.touch()
                    break
            self.stage(node)
        self._streaming.follow(node, staged)
        return written

    def _copy(self, content: StagedFile | RemoteFile | None, keep: int | None) -> StagedFile:
        copy = self._journal.stage()
        try:
            match content:
                case StagedFile() if keep != 0:
                    with content.opened() as fd:
                        copy.copy_from(fd, _wanted(content.size, keep))
                case RemoteFile() if keep != 0:
                    reader = self._fetcher.open(content)
                    try:
                        copy.copy_from(reader.fd, _wanted(reader.ensure_sound(keep), keep))
                    finally:
                        reader.close()
        except BaseException:
            copy.remove()
            raise
        return copy

    def _discard_sealed(self, before: state.State) -> None:
        """Discard what a deleted file had before it was written to, which is of no more use."""
        if isinstance(before, state.Unlinked) and before.data is not None:
            self._journal.discard(before.data)


def _wanted(size: int, keep: int | None) -> int:
    return size if keep is None else min(keep, size)
