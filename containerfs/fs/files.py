"""Open files: what a program may do with one, from open() to the last close()."""

import logging
import os
import secrets
import threading
import time
from typing import TypeVar

from cachetools import TTLCache

from containerfs.fs import deadline, state, types
from containerfs.fs.descriptors import Headroom
from containerfs.fs.handles import HandleTable, ReadHandle, WriteHandle
from containerfs.fs.namespace.kernel import KernelMemory
from containerfs.fs.namespace.links import TARGET_MAX
from containerfs.fs.namespace.names import NamePolicy
from containerfs.fs.namespace.nodes import Directory, FileNode, Link
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.process import is_other_live_process
from containerfs.fs.reading.fetch import Fetcher
from containerfs.fs.reading.prefetch import Prefetcher
from containerfs.fs.staged import StagedFile
from containerfs.fs.state import Due, Local, Outdated, Staged, Torn
from containerfs.fs.thumbnails import LARGE, is_thumbnailer
from containerfs.fs.writing.commits import Commits
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.removals import Removals
from containerfs.fs.writing.staging import Staging

log = logging.getLogger(__name__)

_PATIENCE = 1.0  # seconds that opening a file waits for the kernel, or for others that have it open
_MANY, _LATELY = 10_000, 30.0  # files; seconds

N = TypeVar("N", bound=FileNode)
Owner = tuple[int, int]
"""User id and group id."""


class OpenFiles:
    """Files that programs have open. Thread-safe. Every method raises ``FsError``.

    Args:
        prefetcher: told which files are opened; None if nothing is to be fetched ahead.
        lazily: whether close() returns once a file is safe on this machine, rather than on the service.
        read_only: whether nothing changes, not even access times.
        all_thumbnails: whether thumbnailers may download large files.
    """

    def __init__(
        self,
        tree: Tree,
        names: NamePolicy,
        fetcher: Fetcher,
        prefetcher: Prefetcher | None,
        staging: Staging,
        journal: Journal,
        commits: Commits,
        removals: Removals,
        kernel: KernelMemory,
        *,
        lazily: bool,
        read_only: bool,
        all_thumbnails: bool,
    ) -> None:
        self._tree = tree
        self._names = names
        self._fetcher = fetcher
        self._prefetcher = prefetcher
        self._staging = staging
        self._journal = journal
        self._commits = commits
        self._removals = removals
        self._lazily = lazily
        self._read_only = read_only
        self._all_thumbnails = all_thumbnails
        self._kernel = kernel
        # Held while the kernel is told: it would wait for anybody who reads a file that it is to forget.
        self._telling = threading.Lock()
        self._headroom = Headroom()
        self._handles: HandleTable[ReadHandle] = HandleTable()
        # Files of which somebody was recently seen to keep older content open. Guarded by the tree's lock.
        self._kept_open: TTLCache[FileNode, bool] = TTLCache(_MANY, _LATELY)

    def handle(self, fh: int) -> ReadHandle:
        """Return the handle with this number. Raises BadHandle."""
        handle = self._handles[fh]
        if handle.closing:
            self._set_closing(handle, closing=False)
        return handle

    def open(self, node: FileNode, flags: int, pid: int) -> tuple[int, bool]:
        """Open an existing file. Returns the handle, and whether the kernel's pages of the file are still valid.

        Raises:
            Gone: if it was deleted or replaced and nothing is left of it; the kernel looks it up again.
            NotPermitted: if a thumbnailer opens a large file that would have to be downloaded.
        """
        self._wait_for_newer(node)
        self._headroom.check()
        fh = self._open(node, flags, pid)
        try:
            if node.parent is None and not self._removals.is_kept(node):
                raise types.Gone(f"{node.name!r} was deleted or replaced meanwhile")
            keep_pages = self._update_kernel(node)
            if flags & os.O_TRUNC:
                self._staging.truncate(node, 0)
        except BaseException:
            self.release(fh)
            raise
        return fh, keep_pages

    def create(
        self, parent: Directory, name: str, flags: int, mode: int, pid: int, owner: Owner | None
    ) -> tuple[FileNode, int] | None:
        """Create a file on this machine, and open it. Returns it and the handle; None if the name is taken."""
        self._headroom.check()
        data = self._journal.stage()
        node = self._new(FileNode, parent, name, data, owner)
        node.mode = mode & 0o7777
        with self._tree.lock:
            if self._add(node, parent):
                return node, self._open(node, flags, pid)
        data.remove()
        return None

    def link(self, parent: Directory, name: str, target: bytes, owner: Owner | None) -> Link:
        """Create a symbolic link and make it safe. Returns it, looked up. Raises AlreadyExists."""
        data = self._journal.stage()
        try:
            data.write(memoryview(target), 0)
            node = self._new(Link, parent, name, data, owner)
            with self._tree.lock:
                if not self._add(node, parent):
                    raise types.AlreadyExists(name)
        except BaseException:
            data.remove()
            raise
        try:
            self._commit(node)
        except BaseException:
            with self._tree.lock:
                node.known -= 1
            raise
        finally:
            self._let_go(node)
        return node

    def target(self, node: Link) -> bytes:
        """Return the target of a symbolic link."""
        handle = ReadHandle(node, self._fetcher)
        try:
            target = handle.read(0, TARGET_MAX + 1)
        finally:
            handle.close()
        self._prefetch_after(node)
        if len(target) > TARGET_MAX or b"\0" in target:
            raise types.Failed(f"the target of {node.name!r} is not one that a symbolic link can have")
        return target

    def _new(self, kind: type[N], parent: Directory, name: str, data: StagedFile, owner: Owner | None) -> N:
        initial: state.State = Local(data) if self._names.is_scratch(name) else Staged(data, state.NEW)
        node = kind(name, secrets.randbits(63), time.time_ns(), initial)
        node.uid, node.gid = owner or (node.uid, node.gid)
        node.inherit(parent)
        return node

    def _add(self, node: FileNode, parent: Directory) -> bool:
        """Show a new file, and return whether its name was free. The tree's lock must be held."""
        if node.name in parent.children:
            return False
        parent.add(node, node.name)
        parent.touch()
        node.touch()
        node.known += 1
        return True

    def truncate(self, node: FileNode, size: int) -> None:
        """Set the size of a file in bytes. Unless a program has it open for writing, the service has it when this
        returns."""
        self._staging.truncate(node, size)
        if not node.writers:
            self._commit(node)

    def ftruncate(self, fh: int, size: int) -> None:
        """Set the size of an open file in bytes, on this machine."""
        handle = self._handles[fh]
        if not isinstance(handle, WriteHandle):
            raise types.BadHandle("opened for reading only")
        self._staging.truncate(handle.node, size)

    def fallocate(self, fh: int, mode: int, offset: int, size: int) -> None:
        """Allocate, punch out or zero a range of an open file, on this machine."""
        handle = self._handles[fh]
        if not isinstance(handle, WriteHandle):
            raise types.BadHandle("opened for reading only")
        self._staging.fallocate(handle.node, mode, offset, size)

    def flush(self, fh: int, pid: int) -> None:
        """Make what was written safe when a program closes the file. Errors become those of close().

        If the program inherited the file from another process that still runs, only that one's close counts.
        """
        handle = self._handles[fh]
        try:
            self._flush(handle, pid)
        finally:
            self._set_closing(handle, closing=True)

    def _flush(self, handle: ReadHandle, pid: int) -> None:
        node = handle.node
        if not isinstance(handle, WriteHandle) or node.parent is None:
            return
        if isinstance(node.state, Torn):
            self._close_torn(node)
        elif is_other_live_process(handle.opener, pid):
            self._commits.record(node, durable=False)
        else:
            self._commit(node)

    def fsync(self, fh: int) -> None:
        """Make what was written safe on this machine, even if the machine crashes."""
        node = self._handles[fh].node
        with node.lock:
            data = state.writable(node.state)
            if isinstance(node.state, Torn):
                raise _did_not_fit(node)
            if data is not None and (not isinstance(node.state, Staged) or node.parent is None):
                data.sync()
                return
        if isinstance(node.state, Staged):
            self._commits.record(node, durable=True)
        elif isinstance(node.state, Due):
            self._commits.make_durable(node)

    def release(self, fh: int) -> None:
        """Handle the close of a handle's last descriptor. What no close() waited for is uploaded in the background."""
        handle = self._handles.pop(fh)
        node = handle.node
        handle.close()
        with self._tree.released:
            node.opens -= 1
            node.closing -= handle.closing
            node.writers -= isinstance(handle, WriteHandle)
            last = node.opens == 0
            self._tree.released.notify_all()
        if last:
            self._let_go(node)

    def _set_closing(self, handle: ReadHandle, *, closing: bool) -> None:
        with self._tree.lock:
            handle.node.closing += closing - handle.closing
            handle.closing = closing

    def _wait_for_newer(self, node: FileNode) -> None:
        """Wait for a moment until nobody has older content of a file open that the service has replaced.

        Otherwise programs that take turns in opening it would never see the newer content.
        """
        with self._tree.lock:
            if not isinstance(node.state, Outdated) or node in self._kept_open:
                return
            ends = time.monotonic() + _PATIENCE
            deadline.wait_for(
                self._tree.released, lambda: not isinstance(node.state, Outdated), ends, moved_at=time.monotonic
            )
            if isinstance(node.state, Outdated):
                self._kept_open[node] = True

    def _update_kernel(self, node: FileNode) -> bool:
        """Make the kernel forget other content of a file that was just opened.

        Returns:
            Whether the pages that the kernel has are valid.
        """
        with self._telling:
            with self._tree.lock:
                shown = state.identity(node.state)
                told, good = node.told == shown, node.pages == shown
                alone = node.opens == 1
            if not told:
                good = self._kernel.forget(node) if alone else self._kernel.forget_read(node, _PATIENCE)
            with self._tree.lock:
                if state.identity(node.state) == shown:
                    node.told = node.pages = shown
        return good

    def _let_go(self, node: FileNode) -> None:
        """Called when no program holds the file any more."""
        if node.parent is None:
            self._removals.discard_unless_held(node)
        else:
            self._commits.let_go(node)

    def _open(self, node: FileNode, flags: int, pid: int) -> int:
        access = flags & os.O_ACCMODE
        notes_access = not flags & os.O_NOATIME and not self._read_only
        handle: ReadHandle
        if access == os.O_RDONLY:
            handle = ReadHandle(node, self._fetcher, notes_access=notes_access)
            handle.prepare()
            self._refuse_thumbnailer(handle, pid)
            self._prefetch_after(node)
        else:
            append = bool(flags & os.O_APPEND)
            handle = WriteHandle(
                node, self._fetcher, self._staging, append=append, opener=pid, notes_access=notes_access
            )
        with self._tree.lock:
            node.opens += 1
            node.writers += isinstance(handle, WriteHandle)
        return self._handles.add(handle)

    def _refuse_thumbnailer(self, handle: ReadHandle, pid: int) -> None:
        if not self._all_thumbnails and handle.is_to_be_fetched(LARGE) and is_thumbnailer(pid):
            handle.close()
            log.info("%r is not downloaded for a thumbnail; '--thumbnails all' allows it", handle.node.name)
            raise types.NotPermitted(f"{handle.node.name!r} is not downloaded for a thumbnail")

    def _prefetch_after(self, node: FileNode) -> None:
        if self._prefetcher is None:
            return
        with self._tree.lock:
            directory = node.parent
            if directory is not None and node.remote is not None:
                self._prefetcher.opened(node.remote, directory, node.name, directory.children)

    def _commit(self, node: FileNode) -> None:
        if node.dirty and node.parent is not None:
            self._commits.commit(node, lazily=self._lazily)

    def _close_torn(self, node: FileNode) -> None:
        """Restore a file after a failed write, unless some of what was written was promised to be safe."""
        if isinstance(node.state, Torn) and node.state.entry is not None:
            self._commit(node)
        else:
            self._commits.revert(node)
        raise _did_not_fit(node)


def _did_not_fit(node: FileNode) -> types.NoSpace:
    return types.NoSpace(f"{node.name!r} did not fit on this machine's disk, and is as it was before")
