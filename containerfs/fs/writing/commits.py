"""Commits: what a program wrote and closed, or synced, becomes due, and is recorded in the journal.

From ``close`` on, the content does not change; a later write goes to a copy. Its name and the mode of the mount decide
when it reaches the disk and the service: at once, or soon. If the journal has no space, it is due all the same: closing
fails, the file is listed as failed, and it is recorded and uploaded once there is space.
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

_TEMPORARY_DELAY = 10.0  # seconds that a temporary name has to become another one before it is uploaded
_HASHED_AT_CLOSE = 256 << 10  # bytes; computing it takes less time than the rest of closing a file


class Commits:
    """Makes due what was written. Thread-safe. Every method raises ``FsError``."""

    def __init__(
        self, tree: Tree, journal: Journal, durability: Durability, uploader: Uploader, names: NamePolicy
    ) -> None:
        self._tree = tree
        self._journal = journal
        self._durability = durability
        self._uploader = uploader
        self._names = names

    def commit(self, node: FileNode, *, lazily: bool) -> None:
        """Make what a program wrote to a file safe, when it closes the file.

        Args:
            lazily: whether it is enough that this machine has it now, and the service soon. Otherwise the service has
                it when this returns.

        Raises:
            FsError: if it is not safe there. It stays staged, and is tried again unless that is pointless.
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
        """Seal what was written, and record it. Returns what the service is to get; None if nothing is due.

        Raises:
            NoSpace: if the disk has no space for the journal.
            Failed: if the journal cannot be written.
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
        """Handle the last close of a file: what was written is due, or, after a failed write, dropped.

        Raises:
            FsError: if the journal cannot be written; the file is listed as failed.
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
        """Drop what was written, after a failed write. A file that was never closed is gone then."""
        with self._tree.lock:
            if not isinstance(node.state, Torn):
                return
            data = node.state.data
            if self._tree.change(node, transitions.reverted) == state.NEW:
                self._tree.detach(node)
                self._tree.change(node, transitions.unlinked)
        self._journal.discard(data)

    def record(self, node: FileNode, *, durable: bool) -> None:
        """Record what is being written, and will be continued, so that a crash of the mount does not lose it.

        Args:
            durable: whether a crash of the machine must not lose it either.
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
        """Record attributes of a file that the service cannot hold, if the journal has the file, so that they survive a
        crash."""
        with self._tree.lock:
            entries = state.entries(node.state)
            if entries:
                with self._journal.transaction() as tx:
                    for entry in entries:
                        tx.note_attributes(entry, node.attributes())

    def make_durable(self, node: FileNode) -> None:
        """Make sure that what is due of a file is on this machine's disk when this returns."""
        self._have_on_disk(node, self._durability.now)

    def _have_on_disk(self, node: FileNode, have: Callable[[dict[int, StagedFile]], None]) -> None:
        layer = state.due(node.state)
        if layer is None or not isinstance(layer.version.content, StagedFile) or layer.version.entry is None:
            return  # it was uploaded in the meantime, or soon will be
        try:
            have({layer.version.entry: layer.version.content})
        except types.FsError:
            still_due = state.due(node.state)
            if still_due is not None and still_due.version == layer.version:
                raise  # otherwise it was uploaded in the meantime

    def _try_to_note(
        self, node: FileNode, written: Staged | Torn, overtaken: state.Due | None
    ) -> tuple[int | None, types.FsError | None]:
        """Return the row of what was closed, or the reason why the journal could not be written."""
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
