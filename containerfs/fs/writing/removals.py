"""Removals: files that are deleted by name while programs may have them open.

A program that has a file open, or will open it because the kernel has just found it, keeps its content after the name
is gone. Content that only the service has is fetched before it is deleted there, if it is not too large. Otherwise its
deletion is recorded, and carried out once no program reads the file any more.

If the mount writes back, the deletion is in the journal when ``unlink`` returns, and the service carries it out soon.
"""

import time

from containerfs.fs import deadline, state, transitions, types
from containerfs.fs.namespace.nodes import FileNode
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.reading.fetch import Fetcher, Reader
from containerfs.fs.staged import StagedFile
from containerfs.fs.state import Unlinked
from containerfs.fs.types import RemoteFile
from containerfs.fs.writing.deletions import Deletions
from containerfs.fs.writing.durability import Durability
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.settlement import Settlement
from containerfs.fs.writing.transaction import Transaction
from containerfs.fs.writing.uploads import Uploader

_FETCHED = 64 << 20  # open files up to this size are fetched before they are deleted on the service
_RELEASED = 1.0  # seconds within which the kernel releases files that programs have closed


class Removals:
    """Deletes files. Thread-safe. Every method raises ``FsError``.

    Args:
        lazily: whether ``unlink`` returns once the journal has the deletion, rather than once the service has deleted
            the file.
    """

    def __init__(
        self,
        tree: Tree,
        journal: Journal,
        durability: Durability,
        uploader: Uploader,
        deletions: Deletions,
        settlement: Settlement,
        fetcher: Fetcher,
        *,
        lazily: bool,
    ) -> None:
        self._tree = tree
        self._journal = journal
        self._uploader = uploader
        self._deletions = deletions
        self._settlement = settlement
        self._fetcher = fetcher
        self._durability = durability
        self._lazily = lazily
        # For files that have lost their name, or will: what their holders read; None if that is staged. Guarded by
        # the tree's lock.
        self._kept: dict[FileNode, Reader | None] = {}

    def unlink(self, node: FileNode) -> None:
        """Delete a file, on the service too. Source: unlink(2)."""
        container_id = node.container.remote.id
        reads_on = node.opens > 0 and not self.keep_content(node)
        try:
            if reads_on or self._lazily:
                self._delete_later(node, container_id, reads_on=reads_on)
            elif node.opens:
                self._delete_once_noted(node, container_id)
            else:
                self._delete(node, container_id)
        except BaseException:
            self.let_go(node)
            raise
        self._settlement.take_up()
        self.discard_unless_held(node)

    def keep_content(self, node: FileNode) -> bool:
        """Keep the content of a file for those that hold it after it is gone. ``let_go`` ends that.

        Returns:
            Whether they need nothing from the service for that.

        Raises:
            NoSpace: if the content could not be fetched because the disk is full.
            NotFound: if the service no longer has the content.
            Unreachable: if the service does not answer.
        """
        self._wait_for_release(node)
        content = state.content(node.state)
        reader = None
        if isinstance(content, RemoteFile):
            if not node.opens and not self._fetcher.has(content):
                return True  # a program that has found it and comes to open it looks again
            reader = self._fetcher.open(content)
        try:
            is_whole = reader is None or self._is_whole(reader, node, content)
        except BaseException:
            if reader is not None:
                reader.close()
            raise
        with self._tree.lock:
            former = self._kept.pop(node, None)
            self._kept[node] = reader
        if former is not None:
            former.close()
        return is_whole or not node.opens

    @staticmethod
    def _is_whole(reader: Reader, node: FileNode, content: StagedFile | RemoteFile | None) -> bool:
        if node.opens and not reader.is_whole and content is not None and (content.size or 0) <= _FETCHED:
            reader.ensure_all()
        return reader.is_whole

    def let_go(self, node: FileNode) -> None:
        """Called when nobody needs the kept content of a file any more, or the file is back where it was."""
        with self._tree.lock:
            reader = self._kept.pop(node, None)
        if reader is not None:
            reader.close()

    def is_kept(self, node: FileNode) -> bool:
        """Tell whether a file that has lost its name can still be read by those that hold it."""
        with self._tree.lock:
            return node in self._kept or (isinstance(node.state, Unlinked) and node.state.data is not None)

    def bury(self, tx: Transaction, node: FileNode, container_id: str, *, reads_on: bool) -> None:
        """Drop what is due of a file that has lost its name. The tree's lock must be held.

        Args:
            reads_on: whether programs continue to read it from the service, which then deletes it once they have closed
                it.
        """
        doomed = state.remote_ids(node.state) if reads_on else frozenset[str]()
        self._note(tx, node, container_id, doomed)
        self._tree.hide_ids(container_id, doomed)
        self._uploader.forget(node)
        self._tree.change(node, transitions.unlinked, doomed)

    def _detach(self, node: FileNode, container_id: str, doomed: frozenset[str], *, reads_on: bool) -> None:
        """Take a file's name away, and delete what the service has of it. The tree's lock must be held."""
        with self._journal.transaction() as tx:
            self._note(tx, node, container_id, doomed)
        self._tree.hide_ids(container_id, doomed)
        self._uploader.forget(node)
        self._tree.detach(node)
        self._tree.change(node, transitions.unlinked, doomed if reads_on else frozenset())

    @staticmethod
    def _note(tx: Transaction, node: FileNode, container_id: str, doomed: frozenset[str]) -> None:
        for entry in state.entries(node.state):
            tx.drop(entry)
        tx.delete_later(container_id, doomed)

    def discard_unless_held(self, node: FileNode) -> None:
        """Remove what is left of a deleted file once nobody holds it."""
        with self._tree.lock:
            if node.held or not isinstance(node.state, Unlinked):
                return
            left, doomed = state.owned_data(node.state), node.state.doomed
            remote = node.state.remote
        self.let_go(node)
        for data in left:
            data.rest()
            self._journal.discard(data)
        if doomed and remote is not None:
            self._deletions.carry_out_later(remote.container_id, doomed)

    def _wait_for_release(self, node: FileNode) -> None:
        """Wait until the kernel has released a file that every program has closed."""
        with self._tree.released:
            deadline.wait_for(
                self._tree.released,
                lambda: not node.opens or node.opens != node.closing,
                time.monotonic() + _RELEASED,
                moved_at=time.monotonic,
            )

    def _delete_later(self, node: FileNode, container_id: str, *, reads_on: bool) -> None:
        with self._tree.lock:
            doomed = state.remote_ids(node.state)
            node.touch(modified=False)
            self._detach(node, container_id, doomed, reads_on=reads_on)
        if not reads_on:
            self._deletions.carry_out_patiently(container_id, doomed)
        if self._lazily:
            self._durability.soon()

    def _delete_once_noted(self, node: FileNode, container_id: str) -> None:
        """Delete a file that programs have open: its name goes in any case, and the service deletes it eventually."""
        with self._tree.lock:
            doomed = state.remote_ids(node.state)
            node.touch(modified=False)
            self._detach(node, container_id, doomed, reads_on=False)
        self._deletions.carry_out(container_id, doomed)

    def _delete(self, node: FileNode, container_id: str) -> None:
        deleted: set[str] = set()
        while doomed := self._delete_or_detach(node, container_id, deleted):
            deleted |= doomed

    def _delete_or_detach(self, node: FileNode, container_id: str, deleted: set[str]) -> frozenset[str]:
        """Delete what the service has of a file. Once it has nothing, take the name away, and return an empty set."""
        with self._tree.lock:
            doomed = state.remote_ids(node.state) - deleted
            node.touch(modified=False)
            self._tree.hide_ids(container_id, doomed)
            if not doomed:
                self._detach(node, container_id, doomed, reads_on=False)
                return doomed
        try:
            self._deletions.delete(container_id, doomed)
        except types.FsError:
            with self._tree.lock:
                self._tree.show_ids(container_id, doomed)
            raise
        return doomed
