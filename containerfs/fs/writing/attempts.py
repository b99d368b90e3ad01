"""Attempts to upload: how one begins, and what is true once it has failed.

The journal records an attempt before it is sent. So it is known after a crash what may have reached the service.
"""

import logging
import uuid
from collections.abc import Set
from contextlib import suppress
from dataclasses import dataclass

from containerfs.fs import state, transitions, types
from containerfs.fs.disk import boot_id
from containerfs.fs.namespace.nodes import FileNode
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.remote import Remote
from containerfs.fs.staged import StagedFile
from containerfs.fs.state import Due, Failure, Version
from containerfs.fs.types import RemoteFile
from containerfs.fs.writing.delivery import Delivery
from containerfs.fs.writing.digests import Digests
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.records import Attempt, Entry
from containerfs.fs.writing.settlement import Settlement
from containerfs.fs.writing.streaming import StreamingUpload, StreamingUploads
from containerfs.fs.writing.transaction import Transaction

log = logging.getLogger(__name__)


def entry_of(
    node: FileNode,
    content: StagedFile | RemoteFile,
    sequence: int | None = None,
    *,
    digest: str | None = None,
    on_disk: bool = False,
) -> Entry:
    """Return the journal's entry for content that is due. The tree's lock must be held.

    Args:
        sequence: of the row that it replaces.
        digest: of closed content; None if it was not computed.
        on_disk: whether the content survives a crash of the machine.
    """
    container = node.container.remote
    data, source = (content.path.name, None) if isinstance(content, StagedFile) else (None, content)
    replaces = state.remote_ids(node.state)
    return Entry(
        container.id,
        container.name,
        node.stored_path,
        data,
        source,
        replaces,
        node.attributes(),
        digest=digest,
        boot=None if data is None or on_disk else boot_id(),
        sequence=sequence,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Sending:
    """A version of a file that is being sent, and its row in the journal."""

    node: FileNode
    version: Version
    entry: int
    delivery: Delivery

    @property
    def is_wanted(self) -> bool:
        """Tell whether the file still waits for it. The tree's lock must be held."""
        under_way = state.uploading(self.node.state)
        return under_way is not None and under_way.version == self.version and self.node.parent is not None


class MustWait(types.Unreachable):
    """Something else must be stored first: another upload to the same path, or a copy of what the service has there.

    Attributes:
        for_long: whether that has failed, and waits for a later attempt.
    """

    def __init__(self, message: str, *, for_long: bool = False) -> None:
        super().__init__(message)
        self.for_long = for_long


class Overtaken(Exception):
    """Another mount has stored later content than this version."""

    def __init__(self, version: Version) -> None:
        super().__init__("another mount has stored a later content")
        self.version = version


class Attempts:
    """Begins attempts, and records why they failed. Thread-safe."""

    def __init__(
        self,
        remote: Remote,
        tree: Tree,
        journal: Journal,
        digests: Digests,
        settlement: Settlement,
        streaming: StreamingUploads,
    ) -> None:
        self._remote = remote
        self._tree = tree
        self._journal = journal
        self._digests = digests
        self._settlement = settlement
        self._streaming = streaming

    def begin(self, node: FileNode, busy: Set[tuple[str, str]]) -> Sending | None:
        """Record an attempt in the journal, and begin it; None if there is nothing to do now.

        Args:
            busy: container ids and paths to which something else is being uploaded.

        Raises:
            MustWait: if another file must be stored first.
            Overtaken: if the version must not be stored any more.
            NoSpace: if the disk has no space for the journal.
            Failed: if the journal cannot be written.
        """
        with self._tree.lock:
            layer = state.due(node.state)
            if layer is None or node.parent is None or isinstance(layer.over, state.Uploading):
                return None
            version = layer.version
            with self._journal.transaction() as tx:  # in which looking is cheaper, too
                self._check_path(node, busy)
                if self._is_overtaken(layer):
                    raise Overtaken(version)
                entry = tx.put(entry_of(node, version.content)) if version.entry is None else version.entry
                earlier = self._earlier(entry, version.content)
                streaming = None if earlier is not None else self._streamed(node, version.content)
                attempt = earlier or _new_attempt(node, version.content, entry, streaming, self._remote.now())
                if earlier is None:
                    tx.begin(attempt)
                digest = self._journal.noted_digest(entry)
            self._tree.change(node, transitions.begun, entry)
            begun = state.uploading(node.state)
            assert begun is not None
            self._settlement.begun(attempt.key)
            attributes = node.attributes().carried()
        delivery = Delivery(attempt, version.content, digest, earlier is not None, attributes, streaming)
        return Sending(node, begun.version, entry, delivery)

    def _is_overtaken(self, layer: Due) -> bool:
        """Tell whether another mount has stored later content. A part of a rename is stored in any case."""
        entry, moves = layer.version.entry, layer.version.keeps_old or isinstance(layer.version.content, RemoteFile)
        return entry is not None and not moves and self._journal.is_outdated(entry)

    def _check_path(self, node: FileNode, busy: Set[tuple[str, str]]) -> None:
        container_id = node.container.remote.id
        if (container_id, node.stored_path) in busy:
            raise MustWait("another upload to the same path is under way")
        first = self._journal.copy_due(container_id, node.stored_path)
        if first is not None:
            path, failed = first
            raise MustWait(f"{path!r} must be stored first: its content is still at this path", for_long=failed)

    def _earlier(self, entry: int, content: StagedFile | RemoteFile) -> Attempt | None:
        """Return an earlier request for the same content whose answer was lost."""
        return next((attempt for attempt in self._journal.attempts(entry) if _sends(attempt, content)), None)

    def _streamed(self, node: FileNode, content: StagedFile | RemoteFile) -> StreamingUpload | None:
        """The upload that began while the content was written; the attempt continues it, under its key."""
        if not isinstance(content, StagedFile):
            return None
        return self._streaming.of(content, node.container.remote.id, node.stored_path)

    def end(self, sending: Sending) -> None:
        """Record that an attempt has ended, whatever its result."""
        if sending.delivery.fetched is not None:
            with suppress(types.FsError):  # the mount has ended; the next one looks for what the request has left
                self._journal.discard(sending.delivery.fetched)
        self._settlement.ended(sending.delivery.attempt.key)

    def put_off(self, node: FileNode, failure: Failure) -> Version | None:
        """Record that an attempt could not begin. Returns the version that waits; None if nothing is due any more."""
        with self._tree.lock:
            layer = state.due(node.state)
            if layer is not None:
                self._tree.change(node, transitions.put_off, failure)
            return None if layer is None else layer.version

    def renew(self, sending: Sending) -> None:
        """Handle content under this key that was cut short on its way: the next attempt gets another key."""
        delivery = sending.delivery
        with self._tree.lock:
            with self._journal.transaction() as tx:
                tx.abandon(delivery.attempt.key, delivery.digest)
                self.yield_to_later(tx, sending, frozenset())
            if sending.is_wanted:
                self._tree.change(sending.node, transitions.moved_on, frozenset())
        self._settlement.take_up()
        self.discard(sending)

    def yield_to_later(self, tx: Transaction, sending: Sending, stored: Set[str]) -> None:
        """Record that a version must be sent again. A version that was closed since replaces it in the journal too.

        Args:
            stored: ids of files that were stored for it, and are to be replaced.
        """
        later = state.due(sending.node.state)
        if later is None or later.version.entry is None:
            tx.replace_also(sending.entry, stored)
        else:
            tx.overtake(sending.entry, by=later.version.entry)
            tx.replace_also(later.version.entry, stored)

    def fail(self, sending: Sending, error: Exception) -> Failure | None:
        """Record why an attempt failed, and return that; None if the file no longer waits for it."""
        delivery = sending.delivery
        delivery.lost = delivery.lost or isinstance(error, types.Cancelled)  # some services store incomplete uploads
        digest = self._digest_for_journal(sending)
        failure = Failure.of(error)
        with self._tree.lock:
            wanted = sending.is_wanted
            overtaken = wanted and state.due(sending.node.state) is not None
            self._note_failure(sending, failure, digest, wanted=wanted, overtaken=overtaken)
            if wanted:
                self._tree.change(sending.node, transitions.failed, failure)
        if not wanted or overtaken:
            self._settlement.take_up()
            self.discard(sending)
        return failure if wanted else None

    def set_aside_if_hopeless(self, sending: Sending, error: Exception) -> bool:
        """Set a version aside if no further attempt can succeed; somebody has to decide what to do with it."""
        container_gone = self._is_container_gone(sending.delivery.attempt, error)
        if not (container_gone or isinstance(error, types.Damaged)):
            return False
        node = sending.node
        try:
            with self._tree.lock:
                with self._journal.transaction() as tx:
                    tx.set_aside(sending.entry, str(error))
                if sending.is_wanted:
                    self._tree.change(node, transitions.given_up)
                    self._show_replaced(sending)
                if container_gone and node.parent is not None:
                    self._tree.expire(node.container)
                self._tree.apply_pending(node)
        except types.FsError:  # the journal has no space; tried again later
            return False
        log.error("%r is set aside (%s): 'containerfs recover' lists it", node.name, error)
        return True

    def _show_replaced(self, sending: Sending) -> None:
        """Show what a version was to replace again, at the next look. The tree's lock must be held."""
        container = sending.node.container
        doomed = self._journal.doomed(container.remote.id, sending.entry)
        self._tree.show_ids(container.remote.id, state.remote_ids(sending.node.state) - doomed)
        container.listed_at = 0.0

    def _note_failure(
        self, sending: Sending, failure: Failure, digest: str | None, *, wanted: bool, overtaken: bool
    ) -> None:
        key = sending.delivery.attempt.key
        with (
            suppress(types.FsError),
            self._journal.transaction() as tx,
        ):  # the disk is full; the earlier record still applies
            if not sending.delivery.lost:
                tx.end(key)
            elif not wanted or overtaken:
                tx.abandon(key, digest)
            else:
                tx.note_digest(key, digest)
            if overtaken:
                tx.drop(sending.entry)
            elif wanted:
                tx.note_failure(sending.entry, failure, digest)

    def _is_container_gone(self, attempt: Attempt, error: Exception) -> bool:
        if not isinstance(error, types.NotFound):
            return False
        try:
            self._remote.container(attempt.container_id)
        except types.NotFound:
            return True
        except types.FsError:
            return False
        return False

    def _digest_for_journal(self, sending: Sending) -> str | None:
        """Return the digest that reveals damage, and by which sent content is recognised; None if it follows, or the
        content cannot be read."""
        delivery = sending.delivery
        if delivery.digest is None and delivery.expected is None and isinstance(delivery.content, StagedFile):
            with suppress(types.FsError):
                delivery.digest = self._digests.at_hand(sending.entry, delivery.content)
        return delivery.digest or delivery.expected

    def discard(self, sending: Sending) -> None:
        """Delete the content of a version that nobody wants, unless a program still reads it."""
        node, content = sending.node, sending.delivery.content
        deleted = isinstance(node.state, state.Unlinked) and not node.held
        if isinstance(content, StagedFile) and (deleted or content not in state.owned_data(node.state)):
            self._journal.discard(content)


def _sends(attempt: Attempt, content: StagedFile | RemoteFile) -> bool:
    """Tell whether a request sends a content."""
    if isinstance(content, RemoteFile):
        return attempt.source_id == content.id
    return attempt.source_id is None and attempt.data == content.path.name


def _new_attempt(
    node: FileNode, content: StagedFile | RemoteFile, entry: int, streaming: StreamingUpload | None, now: float
) -> Attempt:
    staged = content if isinstance(content, StagedFile) else None
    return Attempt(
        key=f"containerfs-{uuid.uuid4()}" if streaming is None else streaming.key,
        container_id=node.container.remote.id,
        path=node.stored_path,
        size=content.size,
        started=int(now),
        entry=entry,
        data=staged.path.name if staged is not None else None,
        source_id=None if isinstance(content, StagedFile) else content.id,
        known=state.remote_ids(node.state),
    )
