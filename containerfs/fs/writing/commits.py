"""Commits: what a program wrote and closed, or synced, becomes due, and is recorded in the journal.

From ``close`` on, the content does not change; a later write goes to a copy. When it reaches the disk and the service
depends on its name, and on the mode of the mount: at once, or soon. What the journal has no room for is due all the
same: closing fails, the file is listed as failed, and it is recorded and uploaded once there is room.
"""

from collections.abc import Callable

from containerfs.fs import state, transitions, types
from containerfs.fs.namespace.names import NamePolicy
from containerfs.fs.namespace.nodes import FileNode
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.staged import StagedFile
from containerfs.fs.state import Failure, Staged, Torn, Version
from containerfs.fs.writing.attempts import entry_of
from containerfs.fs.writing.durability import Durability
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.uploads import Uploader

_TEMPORARY_DELAY = 10.0  # seconds for which a temporary name may become another one before it is uploaded
_HASHED_AT_CLOSE = 256 << 10  # bytes: that takes less than what else closing a file does


class Commits:
    """Makes due what was written. Thread-safe; every method raises ``FsError``."""

    def __init__(
        self, tree: Tree, journal: Journal, durability: Durability, uploader: Uploader, names: NamePolicy
    ) -> None:
        self._tree = tree
        self._journal = journal
        self._durability = durability
        self._uploader = uploader
        self._names = names

    def commit(self, node: FileNode, *, lazily: bool) -> None:
        """A program has closed a file: make what it wrote safe.

        Args:
            lazily: on this machine now, and on the service soon; else on the service before this returns.

        Raises:
            FsError: it is not safe there; it stays staged, and is tried again unless that is pointless.
        """
        version = self.close(node)
        if version is None:
            return
        if self._names.is_temporary(node.path):
            self._have_on_disk(node, self._durability.soon)
            self._uploader.submit(node, _TEMPORARY_DELAY)
        elif lazily:
            self._have_on_disk(node, self._durability.soon)
            self._uploader.submit_patiently(node)
        else:
            self._uploader.submit(node)
            self._uploader.wait(node, version)

    def close(self, node: FileNode) -> Version | None:
        """Seal what was written, and note it; returns what is to reach the service, None if nothing is due.

        Raises:
            NoSpace, Failed: the journal could not take it.
        """
        with self._tree.lock:
            if not isinstance(node.state, Staged | Torn):
                layer = state.due(node.state) or state.uploading(node.state)
                return None if layer is None else layer.version
            overtaken, written = state.due(node.state), node.state
            written.data.sealed = True
            entry, failure = self._try_to_note(node, written, overtaken)
            self._tree.change(node, transitions.closed, entry, None if failure is None else Failure.of(failure))
            layer = state.due(node.state)
            assert layer is not None
        if overtaken is not None and isinstance(overtaken.version.content, StagedFile):
            self._journal.discard(overtaken.version.content)
        if failure is not None:
            self._uploader.try_later(node, Failure.of(failure))
            raise failure
        return layer.version

    def let_go(self, node: FileNode) -> None:
        """No program has a file open any more: what was written to it is due, or, after a write that failed, dropped.

        Raises:
            FsError: the journal could not take it; it is listed as failed.
        """
        if isinstance(node.state, Torn):
            self.revert(node)
        elif isinstance(node.state, Staged):
            self.commit(node, lazily=True)
        with self._tree.lock, node.lock:
            for data in state.owned_data(node.state):
                data.rest()
            self._tree.apply_pending(node)

    def revert(self, node: FileNode) -> None:
        """After a write that failed, drop what was written. A file that was never closed is gone then."""
        with self._tree.lock:
            if not isinstance(node.state, Torn):
                return
            data = node.state.data
            if self._tree.change(node, transitions.reverted) == state.NEW:
                self._tree.detach(node)
                self._tree.change(node, transitions.unlinked)
        self._journal.discard(data)

    def record(self, node: FileNode, *, durable: bool) -> None:
        """Note what is being written, which goes on: a crash does not lose it.

        Args:
            durable: not one of the machine either.
        """
        written = node.state
        if durable and isinstance(written, Staged):
            self._journal.sync_data([written.data])
        with self._tree.lock:
            if isinstance(node.state, Staged):
                with self._journal.transaction() as tx:
                    entry = tx.put(entry_of(node, node.state.data, node.state.entry, on_disk=durable))
                node.state.data.promise()
                self._tree.change(node, transitions.recorded, entry)
        if durable:
            self._journal.sync()

    def keep_attributes(self, node: FileNode) -> None:
        """Have what was set for a file outlive a crash, where the journal has the file; the service cannot hold it."""
        with self._tree.lock:
            entries = state.entries(node.state)
            if entries:
                with self._journal.transaction() as tx:
                    for entry in entries:
                        tx.note_attributes(entry, node.attributes())

    def make_durable(self, node: FileNode) -> None:
        """Have what is due of a file on this machine's disk when this returns."""
        self._have_on_disk(node, self._durability.now)

    def _have_on_disk(self, node: FileNode, have: Callable[[dict[int, StagedFile]], None]) -> None:
        layer = state.due(node.state)
        if layer is None or not isinstance(layer.version.content, StagedFile) or layer.version.entry is None:
            return  # it has been uploaded meanwhile, or is about to be
        try:
            have({layer.version.entry: layer.version.content})
        except types.FsError:
            still_due = state.due(node.state)
            if still_due is not None and still_due.version == layer.version:
                raise  # else it was uploaded meanwhile

    def _try_to_note(
        self, node: FileNode, written: Staged | Torn, overtaken: state.Due | None
    ) -> tuple[int | None, types.FsError | None]:
        """The row of what was closed, or why the journal could not take it."""
        try:
            return self._note_closed(node, written, overtaken), None
        except types.FsError as error:
            return written.entry, error

    def _note_closed(self, node: FileNode, written: Staged | Torn, overtaken: state.Due | None) -> int:
        data = written.data
        digest = data.digest() if data.size <= _HASHED_AT_CLOSE else None
        with self._journal.transaction() as tx:
            entry = tx.put(entry_of(node, data, written.entry, digest=digest))
            if overtaken is not None and overtaken.version.entry is not None:
                tx.overtake(overtaken.version.entry, by=entry)
        data.promise()
        return entry
