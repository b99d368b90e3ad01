"""Removals: files that are deleted by name, and files that are deleted, or replaced, while a program has them open.

libfuse gives an open file that is deleted or replaced another name, ``.fuse_hidden…``, and deletes that once the file
is closed. Which of the two is meant shows in what follows: a rename to the old name, or nothing. Until then the file
can have its name back. Once it is known to be deleted, the journal has its deletion, which a crash does not undo; it is
carried out when no program reads what the service has.

A file that was closed a moment ago is open to libfuse until the kernel has released it, which it does in its own time.
That is waited for, and the kernel is made to ask again, which says what it wants.

Where the mount writes back, the journal has a deletion when ``unlink`` returns, and the service carries it out soon.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cachetools import TTLCache

from containerfs.fs import deadline, state, transitions, types
from containerfs.fs.namespace.nodes import Directory, FileNode
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.staged import StagedFile
from containerfs.fs.state import Hidden, Unlinked
from containerfs.fs.types import RemoteFile
from containerfs.fs.writing.deletions import Deletions
from containerfs.fs.writing.durability import Durability
from containerfs.fs.writing.journal import Journal, Transaction
from containerfs.fs.writing.schedule import Job, Schedule
from containerfs.fs.writing.settlement import Settlement
from containerfs.fs.writing.staging import Staging
from containerfs.fs.writing.uploads import Uploader

_FETCHED_TO_HIDE = 64 << 20  # an open file up to this size is fetched whole before it is deleted on the service
_FOUND_BEFORE = 1.0  # seconds for which a file that was replaced can still be opened by who has found it before
_UNDECIDED = 0.2  # seconds after which a file that was hidden and not replaced is taken for deleted
_RELEASED = 1.0  # seconds within which the kernel releases what programs have closed
_AFTER_OTHERS = 0.5  # seconds until the service is asked to delete what nobody waits for
_MANY = 10_000


class Removals:
    """Deletes and hides files. Thread-safe; every method raises ``FsError``.

    Args:
        lazily: whether ``unlink`` returns once the journal has the deletion, rather than once the service has deleted.
    """

    def __init__(
        self,
        tree: Tree,
        journal: Journal,
        durability: Durability,
        uploader: Uploader,
        deletions: Deletions,
        settlement: Settlement,
        staging: Staging,
        schedule: Schedule,
        *,
        lazily: bool,
    ) -> None:
        self._tree = tree
        self._journal = journal
        self._durability = durability
        self._uploader = uploader
        self._deletions = deletions
        self._settlement = settlement
        self._staging = staging
        self._schedule = schedule
        self._lazily = lazily
        # Guarded by the tree's lock, as are the next.
        self._asked_again: TTLCache[FileNode, bool] = TTLCache(_MANY, 2 * _RELEASED)
        self._hidden: dict[tuple[Directory, str], FileNode] = {}
        self._being_replaced: set[FileNode] = set()
        self._just_replaced: dict[str, FileNode] = {}  # by the name that libfuse gave them

    def unlink(self, node: FileNode) -> None:
        """Delete a file, on the service too. Source: unlink(2)."""
        if isinstance(node.state, Hidden | Unlinked):
            self._unlink_hidden(node)
        elif self._lazily:
            self._unlink_lazily(node)
        else:
            self._unlink_at_once(node)

    def _unlink_lazily(self, node: FileNode) -> None:
        container_id = node.container.remote.id
        with self._tree.lock:
            doomed = state.remote_ids(node.state)
            node.touch(modified=False)
            self._take_away(node, container_id, doomed)
        self._settlement.take_up()
        self._deletions.carry_out_later(container_id, doomed, _AFTER_OTHERS)
        self._durability.soon()
        if not node.opens:
            self.discard(node)

    def _unlink_at_once(self, node: FileNode) -> None:
        container_id = node.container.remote.id
        deleted: set[str] = set()
        while doomed := self._delete_or_detach(node, container_id, deleted):
            deleted |= doomed
        self._settlement.take_up()
        if not node.opens:
            self.discard(node)

    def _delete_or_detach(self, node: FileNode, container_id: str, deleted: set[str]) -> frozenset[str]:
        """Delete what the service has of a file; once it has nothing, take its name away, and return an empty set."""
        with self._tree.lock:
            doomed = state.remote_ids(node.state) - deleted
            node.touch(modified=False)
            self._tree.hide_ids(container_id, doomed)
            if not doomed:
                self._take_away(node, container_id, doomed)
                return doomed
        try:
            self._deletions.delete(container_id, doomed)
        except types.FsError:
            with self._tree.lock:
                self._tree.show_ids(container_id, doomed)
            raise
        return doomed

    def _take_away(self, node: FileNode, container_id: str, doomed: frozenset[str]) -> None:
        """A file loses its name, and what the service has of it is to be deleted. Wants the tree's lock held."""
        with self._journal.transaction() as tx:
            self._drop_entries(tx, node)
            tx.delete_later(container_id, doomed)
        self._tree.hide_ids(container_id, doomed)
        self._uploader.forget(node)
        self._tree.detach(node)
        self._tree.change(node, transitions.unlinked)

    def hide(self, node: FileNode, parent: Directory, name: str) -> None:
        """Take an open file's name away. Its content is fetched now, if that is bearable, for a service may drop it
        when its replacement comes. What is known to be deleted has nothing to fetch or to undo.

        Raises:
            NotFound: it was deleted meanwhile.
            Gone: it is not open any more; the kernel asks again.
        """
        if self._is_released(node):
            raise types.Gone(f"{node.name!r} has been closed meanwhile")
        while True:
            content = state.content(node.state)
            fetched = None if node.concealed else self._fetched(content)
            try:
                with self._tree.lock, node.lock:
                    if state.content(node.state) == content:
                        self._hide(node, parent, name, fetched)
                        fetched = None
                        break
            finally:
                if fetched is not None:  # it was written to meanwhile
                    fetched.remove()
        if isinstance(node.state, Hidden):
            self._decide_later(node)

    def _is_released(self, node: FileNode) -> bool:
        """Whether all programs have closed a file that was open, once the kernel has said so.

        The kernel asks again once, and no more: a file that others open and close meanwhile is open the second time.
        """
        with self._tree.lock:
            if node in self._asked_again:
                return False
            self._asked_again[node] = True
            ends = time.monotonic() + _RELEASED
            deadline.wait_for(
                self._tree.released,
                lambda: not node.known or node.known != node.closing,
                ends,
                moved_at=time.monotonic,
            )
            return not node.known

    def _fetched(self, content: StagedFile | RemoteFile | None) -> StagedFile | None:
        """A copy of what only the service has, if fetching it is bearable."""
        if not isinstance(content, RemoteFile) or (content.size or 0) > _FETCHED_TO_HIDE:
            return None
        fetched = self._staging.fetched(content)
        fetched.sealed = True  # a write goes to a copy, which is kept if the file gets its name back
        return fetched

    def _hide(self, node: FileNode, parent: Directory, name: str, fetched: StagedFile | None) -> None:
        if node.parent is None:
            raise types.NotFound(node.name)
        place = (node.parent, node.name)
        if not isinstance(node.state, Hidden | Unlinked):
            self._tree.change(node, transitions.hidden, fetched)
            self._hidden[place] = node
        self._tree.move(node, parent, name)

    def unlink_concealed(self, directory: Directory) -> None:
        """Files that were deleted from a directory, and are open, go with it."""
        with self._tree.lock:
            deleted = [node for node in directory.children.values() if isinstance(node, FileNode) and node.concealed]
        for node in deleted:
            self.unlink(node)

    @contextmanager
    def replacing(self, parent: Directory, name: str) -> Iterator[FileNode | None]:
        """Around a rename to a name: the open file that was hidden to make room for it. If the rename fails, the file
        has its name back."""
        with self._tree.lock:
            node = self._hidden.get((parent, name))
            if node is not None:
                self._being_replaced.add(node)
        try:
            yield node
        except types.FsError:
            if node is not None:
                self._unhide(node, parent, name)
            raise
        finally:
            if node is not None:
                self._replaced(node)

    def just_replaced(self, name: str) -> FileNode | None:
        """The file that libfuse has given this name, for who has found it before it was replaced, and opens it now."""
        with self._tree.lock:
            return self._just_replaced.get(name)

    def _replaced(self, node: FileNode) -> None:
        """A rename to the name of a hidden file has ended. If the file was closed meanwhile, it goes now."""
        with self._tree.lock:
            self._being_replaced.discard(node)
            if isinstance(node.state, Unlinked) and node.state.data is not None:
                self._just_replaced[node.name] = node
                self._forget_later(node)
            closed = isinstance(node.state, Unlinked) and not node.opens and node.parent is not None
        if closed:
            self._unlink_hidden(node)

    def bury(self, tx: Transaction, node: FileNode) -> None:
        """A hidden file is known to be deleted: nothing of it is due. Wants the tree's lock held."""
        doomed = state.remote_ids(node.state)
        container_id = node.container.remote.id
        self._drop_entries(tx, node)
        tx.delete_later(container_id, doomed)
        self._tree.hide_ids(container_id, doomed)
        self._tree.change(node, transitions.unlinked, doomed)
        self._uploader.forget(node)

    def discard(self, node: FileNode) -> None:
        """No program holds a deleted file any more: what was staged of it goes."""
        with self._tree.lock:
            if self._just_replaced.get(node.name) is node:
                return  # it is discarded when that is over
        for data in state.owned_data(node.state):
            data.rest()
            self._journal.discard(data)

    def _unlink_hidden(self, node: FileNode) -> None:
        """libfuse deletes a hidden file, since it is closed. Programs believe that it is gone: nothing fails or waits.

        One that is being replaced stays until that is done: if it fails, the file has its name back.
        """
        with self._tree.lock:
            if node in self._being_replaced:
                return
            self._forget_hidden(node)
            container_id = node.container.remote.id
            if isinstance(node.state, Hidden):
                with self._journal.transaction() as tx:
                    self.bury(tx, node)
            assert isinstance(node.state, Unlinked)
            doomed = node.state.doomed
            self._tree.detach(node)
        self._settlement.take_up()
        self._deletions.carry_out_later(container_id, doomed)
        if not node.opens:
            self.discard(node)

    def decide(self, node: FileNode) -> bool:
        """A file that was hidden, and is not being replaced, was deleted; returns whether that is decided."""
        if not isinstance(node.state, Hidden):
            return True
        unread: frozenset[str] = frozenset()
        with self._tree.lock:
            if node in self._being_replaced:
                return False
            container_id = node.container.remote.id
            if isinstance(node.state, Hidden) and node.parent is not None:
                with self._journal.transaction() as tx:
                    self.bury(tx, node)
                unread = _unread(node)
            self._forget_hidden(node)
        self._settlement.take_up()
        self._deletions.carry_out_later(container_id, unread)
        return True

    def _forget_later(self, node: FileNode) -> None:
        def forget(_: Job) -> None:
            with self._tree.lock:
                del self._just_replaced[node.name]
                closed = not node.opens
            if closed:
                self.discard(node)

        def refused(_: types.FsError) -> None:
            self._forget_later(node)

        for data in state.owned_data(node.state):
            with suppress(FileNotFoundError):
                data.release()  # should the mount end before, nothing of it is anybody's
        self._schedule.submit(("replaced", node), _FOUND_BEFORE, forget, refused, brief=True)

    def _decide_later(self, node: FileNode) -> None:
        def decide(_: Job) -> None:
            if not self.decide(node):
                self._decide_later(node)

        def refused(_: types.FsError) -> None:
            self._decide_later(node)

        self._schedule.submit(("hidden", node), _UNDECIDED, decide, refused, brief=True)

    def _unhide(self, node: FileNode, parent: Directory, name: str) -> None:
        with self._tree.lock:
            self._forget_hidden(node)
            if not isinstance(node.state, Hidden) or name in parent.children:
                return
            fetched = node.state.data
            self._tree.change(node, transitions.unhidden)
            self._tree.move(node, parent, name)
            if fetched is not None and fetched not in state.owned_data(node.state):
                self._journal.discard(fetched)
        if state.due(node.state) is not None:
            self._uploader.submit(node)

    def _forget_hidden(self, node: FileNode) -> None:
        for place in [place for place, hidden in self._hidden.items() if hidden is node]:
            del self._hidden[place]

    @staticmethod
    def _drop_entries(tx: Transaction, node: FileNode) -> None:
        for entry in state.entries(node.state):
            tx.drop(entry)


def _unread(node: FileNode) -> frozenset[str]:
    """What the service has of a deleted file, if programs that hold the file read it here."""
    return node.state.doomed if isinstance(node.state, Unlinked) and node.state.data is not None else frozenset()
