"""Replay: resumes what earlier mounts left, in the order in which it was written.

Until it is on the service, it is shown as it was. If there are several contents for one path, the last one counts.
"""

import logging
import secrets
import time

from containerfs.fs import state, transitions
from containerfs.fs.disk import boot_id
from containerfs.fs.namespace.links import link_path, may_be_link
from containerfs.fs.namespace.nodes import ContainerDirectory, Directory, FileNode, Link
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.staged import StagedFile
from containerfs.fs.state import Failure, Version
from containerfs.fs.types import RemoteContainer
from containerfs.fs.writing.deletions import Deletions
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.records import Entry
from containerfs.fs.writing.settlement import Settlement
from containerfs.fs.writing.uploads import Uploader

log = logging.getLogger(__name__)


class Replay:
    """Resumes what a journal holds."""

    def __init__(
        self, tree: Tree, journal: Journal, uploader: Uploader, deletions: Deletions, settlement: Settlement
    ) -> None:
        self._tree = tree
        self._journal = journal
        self._uploader = uploader
        self._deletions = deletions
        self._settlement = settlement

    def run(self) -> None:
        """Resume everything."""
        due = []
        for entry in self._journal.entries():
            if entry.stored is not None:
                self._finish(entry)
            else:
                due.append((entry, self._take_up(entry)))
        self._begin(
            due
        )  # after everything is known, because earlier content must not be on its way when later content turns up
        self._deletions.replay()
        self._settlement.take_up()

    def run_returned(self) -> None:
        """Resume what was set aside and should be tried again."""
        returned = self._journal.take_returned()
        self._begin([(entry, self._take_up(entry)) for entry in returned])

    def _begin(self, due: list[tuple[Entry, FileNode | None]]) -> None:
        for entry, node in due:
            if node is not None and entry.held:
                self._uploader.hold(node)
            elif node is not None:
                self._uploader.submit(node)

    def _finish(self, entry: Entry) -> None:
        """Finish a rename that was interrupted after the content was stored: remove what it replaces."""
        assert entry.sequence is not None
        assert entry.stored is not None
        with self._journal.transaction() as tx:
            tx.drop(entry.sequence)
            tx.delete_later(entry.container_id, entry.replaces - {entry.stored.id})

    def _take_up(self, entry: Entry) -> FileNode | None:
        """Show what an entry holds. Returns its node; None if it had to be set aside."""
        assert entry.sequence is not None
        log.info("An earlier mount left %s/%s", entry.container_name, entry.path)
        content = self._journal.staged(entry.data) if entry.data is not None else entry.source
        with self._tree.lock:
            if content is None or (isinstance(content, StagedFile) and not content.path.exists()):
                self._set_aside(entry.sequence, "its staged data is missing")
                return None
            if entry.boot not in (None, boot_id()) and entry.digest is None:
                reason = "this machine went down while it was being closed; what its disk has may not be all"
                self._set_aside(entry.sequence, reason)
                return None
            node = self._node(entry, content.size)
            if node is None or node.opens or not isinstance(node.state, state.Stored | state.Due):
                reason = "something else has its name" if node is None else "its file has been written to since"
                self._set_aside(entry.sequence, reason)
                return None
            stale = entry.replaces | self._overtake(entry.sequence, node)
            failure = Failure(entry.error, entry.held) if entry.error is not None else None
            version = Version(content, entry.sequence)
            node.apply(entry.attributes)
            self._tree.change(node, lambda _: transitions.replayed(version, stale, failure))
            self._tree.hide_ids(entry.container_id, stale)
        return node

    def _node(self, entry: Entry, size: int | None) -> FileNode | None:
        """Return the node for an entry, created if necessary; None if something else is in the way."""
        container = self._container(entry)
        is_link = may_be_link(entry.path, size)
        kind, path = (Link, link_path(entry.path)) if is_link else (FileNode, entry.path)
        parent_path, _, name = path.rpartition("/")
        parent: Directory = self._tree.make_directory(container, parent_path)
        there = parent.children.get(name)
        if there is None:
            there = kind(name, secrets.randbits(63), time.time_ns())
            parent.add(there, name)
        return there if isinstance(there, FileNode) and type(there) is kind else None

    def _container(self, entry: Entry) -> ContainerDirectory:
        known = self._tree.container(entry.container_id)
        if known is not None:
            return known
        remote = RemoteContainer(entry.container_id, entry.container_name, int(time.time()))
        return self._tree.add_container(remote, listed=False)

    def _overtake(self, sequence: int, node: FileNode) -> frozenset[str]:
        """Give up earlier content for the path, and return what it would have replaced."""
        earlier = state.due(node.state)
        if earlier is None:
            return state.remote_ids(node.state)
        assert earlier.version.entry is not None
        with self._journal.transaction() as tx:
            tx.overtake(earlier.version.entry, by=sequence)
            tx.replace_also(sequence, state.remote_ids(node.state))
        if isinstance(earlier.version.content, StagedFile):
            self._journal.discard(earlier.version.content)
        return state.remote_ids(node.state)

    def _set_aside(self, sequence: int, reason: str) -> None:
        with self._journal.transaction() as tx:
            tx.set_aside(sequence, reason)
