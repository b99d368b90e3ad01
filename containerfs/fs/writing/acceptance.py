"""Records what is true once the service has stored a version.

Journal and tree change together. What remains, such as deleting what was replaced, needs no locks and can be repeated.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from containerfs.fs import state, transitions, types
from containerfs.fs.namespace.attributes import AttributeStore, file_key
from containerfs.fs.namespace.nodes import FileNode
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.reading.cache import ContentCache
from containerfs.fs.staged import StagedFile
from containerfs.fs.state import Version
from containerfs.fs.types import RemoteFile
from containerfs.fs.writing.attempts import Attempts, Sending
from containerfs.fs.writing.attribute_updates import AttributeUpdates
from containerfs.fs.writing.deletions import Deletions
from containerfs.fs.writing.delivery import Courier, Delivery
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.settlement import Settlement
from containerfs.fs.writing.transaction import Transaction

log = logging.getLogger(__name__)

_COPIED = 64 << 20  # bytes up to which the cache copies content, rather than fetching it again


class Acceptance:
    """Records what the service has stored. Thread-safe."""

    def __init__(
        self,
        tree: Tree,
        journal: Journal,
        cache: ContentCache,
        attributes: AttributeStore,
        updates: AttributeUpdates,
        deletions: Deletions,
        settlement: Settlement,
        courier: Courier,
        attempts: Attempts,
    ) -> None:
        self._tree = tree
        self._journal = journal
        self._cache = cache
        self._attributes = attributes
        self._updates = updates
        self._deletions = deletions
        self._settlement = settlement
        self._courier = courier
        self._attempts = attempts

    def accept(self, sending: Sending, stored: RemoteFile) -> None:
        """Record in journal and tree what was stored, and do what follows from it.

        Raises:
            NoSpace: if the disk has no space for the journal; nothing has changed.
            Failed: if the journal cannot be written; nothing has changed.
        """
        with self._tree.lock:
            if not sending.is_wanted:
                finish = self._unwanted(sending, stored)
            elif sending.node.stored_path != sending.delivery.attempt.path:
                finish = self._misplaced(sending, stored)
            else:
                finish = self._replace(sending, stored)
        finish()

    def give_way(self, node: FileNode, version: Version) -> bool:
        """Drop a due version because another mount has stored later content, and return whether it was still due.

        Raises:
            NoSpace: if the disk has no space for the journal; nothing has changed.
            Failed: if the journal cannot be written; nothing has changed.
        """
        with self._tree.lock:
            layer = state.due(node.state)
            if layer is None or layer.version != version or version.entry is None or node.parent is None:
                return False
            container, stale = node.container, state.base(node.state).stale  # what was stored for it under other names
            with self._journal.transaction() as tx:
                tx.drop(version.entry)
                tx.delete_later(container.remote.id, stale)
            self._tree.hide_ids(container.remote.id, stale)
            self._tree.change(node, transitions.overtaken)
            container.listed_at = 0.0
            self._tree.apply_pending(node)
        log.warning("%r was replaced by later content of another mount", node.name)
        if isinstance(version.content, StagedFile):
            self._journal.discard(version.content)
        self._settlement.take_up()
        self._deletions.carry_out(container.remote.id, stale)
        return True

    def _unwanted(self, sending: Sending, stored: RemoteFile) -> Callable[[], None]:
        """Handle a file that was deleted in the meantime: what was stored is deleted."""
        with self._journal.transaction() as tx:
            abandoned = self._end_attempt(tx, sending)
            tx.note_known(stored)
            tx.delete_later(stored.container_id, [stored.id])
        self._tree.hide_ids(stored.container_id, [stored.id])
        under_way = state.uploading(sending.node.state)
        if under_way is not None and under_way.version == sending.version:
            self._tree.change(sending.node, transitions.moved_on, frozenset())  # it may get a name again

        def finish() -> None:
            self._attempts.discard(sending)
            if abandoned:
                self._settlement.take_up()
            self._deletions.carry_out(stored.container_id, [stored.id])

        return finish

    def _misplaced(self, sending: Sending, stored: RemoteFile) -> Callable[[], None]:
        """Handle a file that was renamed in the meantime: it is uploaded again, to replace what was stored."""
        with self._journal.transaction() as tx:
            abandoned = self._end_attempt(tx, sending)
            tx.note_known(stored)
            self._attempts.yield_to_later(tx, sending, {stored.id})
        self._tree.hide_ids(stored.container_id, [stored.id])
        self._tree.change(sending.node, transitions.moved_on, frozenset([stored.id]))

        def finish() -> None:
            self._attempts.discard(sending)
            if abandoned:
                self._settlement.take_up()

        return finish

    def _replace(self, sending: Sending, stored: RemoteFile) -> Callable[[], None]:
        """Record that the file is what was stored, and delete what it replaces."""
        node, container_id = sending.node, stored.container_id
        under_way = state.uploading(node.state)
        assert under_way is not None
        stored = _measured(stored, under_way.version.content)
        version = under_way.version  # whether to keep the replaced files may have been decided since it was sent
        newer = self._newer(node, sending.delivery)
        replaced = state.remote_ids(state.base(node.state)) - newer - {stored.id}
        if newer:
            node.container.listed_at = 0.0  # the next listing tells whether what was stored is still there
        gone = replaced & {stored.replaced_id}
        with self._journal.transaction() as tx:
            abandoned = self._end_attempts(tx, sending)
            tx.note_known(stored)
            tx.outdate_earlier(sending.entry)
            if version.keeps_old:
                tx.note_stored(sending.entry, stored)
            else:
                tx.drop(sending.entry)
                tx.delete_later(container_id, replaced - gone)
            for later in state.entries(node.state):
                if later != sending.entry:
                    tx.replace_also(later, [stored.id])
        self._tree.hide_ids(container_id, replaced)
        if version.keeps_old:
            self._tree.change(node, transitions.uploaded, stored, replaced - gone, sending.entry)
        else:
            self._tree.change(node, transitions.uploaded, stored)
        self._show_stored(node, stored)

        def finish() -> None:
            self._adopt(version.content, stored)
            if gone:
                self._deletions.note_gone(container_id, gone)
            if abandoned:
                self._settlement.take_up()
            if not version.keeps_old:
                self._deletions.carry_out(container_id, replaced - gone)
            with self._tree.lock:
                self._tree.apply_pending(node)

        return finish

    def _newer(self, node: FileNode, delivery: Delivery) -> frozenset[str]:
        """Return files that others may have stored after this version.

        If the request was repeated, its answer may belong to the first one, and others may have replaced the file
        since. Files that have to go in any case are older.
        """
        if not delivery.lost or self._courier.may_double:
            return frozenset()
        bottom = state.base(node.state)
        return state.remote_ids(bottom) - bottom.stale - delivery.attempt.known

    def _end_attempts(self, tx: Transaction, sending: Sending) -> bool:
        """End all attempts. Returns whether an earlier request may have left something, or may still arrive."""
        abandoned = self._end_attempt(tx, sending)
        for attempt in self._journal.attempts(sending.entry):  # of earlier versions
            tx.abandon(attempt.key, None)
            abandoned = True
        return abandoned

    def _end_attempt(self, tx: Transaction, sending: Sending) -> bool:
        """End this attempt. Returns whether it was sent before, so that the file may have been stored twice."""
        key, doubled = sending.delivery.attempt.key, sending.delivery.lost and self._courier.may_double
        if doubled:
            tx.abandon(key, sending.delivery.digest)
        else:
            tx.end(key)
        return doubled

    def _show_stored(self, node: FileNode, stored: RemoteFile) -> None:
        """Keep the attributes of what was stored, by its id: at once, since the journal no longer has them, and under
        the tree's lock, since later ones must not be overwritten."""
        node.changed_at = time.monotonic()
        kept = node.attributes()
        if stored.attributes == kept.carried():
            kept = replace(kept, sent=True)
        if stored.path != node.stored_path:
            kept = replace(kept, path=node.stored_path)
        node.container.kept_attributes[file_key(stored.id)] = kept
        is_there = kept.sent and kept.path is None  # so that losing it here loses no more than an access time
        save = self._attributes.save_soon if is_there else self._attributes.save
        save(stored.container_id, file_key(stored.id), kept)
        if kept.unsent:
            self._updates.set(stored.container_id, file_key(stored.id), kept)

    def _adopt(self, content: StagedFile | RemoteFile, stored: RemoteFile) -> None:
        """Move what was uploaded, or copied on the service, into the cache: reading it back costs no request."""
        if isinstance(content, RemoteFile):
            self._adopt_copy(content, stored)
            return
        content.rest()
        if self._journal.is_needed(content):
            return
        try:
            self._cache.adopt(stored, content.path)
        except (OSError, types.FsError) as error:  # it can be read from the service
            log.warning("The uploaded content of %r is not cached: %s", stored.path, error)
            content.remove()

    def _adopt_copy(self, source: RemoteFile, stored: RemoteFile) -> None:
        """Copy the cached content of a file, if it is complete, for the copy that the service has made."""
        if source.size is None or source.size > _COPIED or not self._cache.has(source):
            return
        with suppress(types.FsError):  # it can be fetched again
            entry = self._cache.pin(source)
            try:
                if not entry.complete or not entry.is_sound(0, source.size):
                    return
                copy = self._journal.stage()
                try:
                    copy.copy_from(entry.fd, source.size)
                    copy.rest()
                    self._cache.adopt(stored, copy.path)
                except BaseException:
                    copy.remove()
                    raise
            finally:
                self._cache.unpin(entry)


def _measured(stored: RemoteFile, content: StagedFile | RemoteFile) -> RemoteFile:
    """Return what was stored, with the blocks that it takes on this disk, so that a sparse file is still shown as
    sparse."""
    if isinstance(content, StagedFile):
        with suppress(types.FsError):
            return replace(stored, blocks=content.blocks)
    return stored
