"""Uploads: what was closed here becomes a file of the service, once, and takes the place of what it replaces.

New before old: the new content is stored and verified before what it replaces is deleted, so that a failure at any
point leaves one of the two whole. An upload that fails in passing is tried again, ever more rarely; one that is refused
waits until the file changes or somebody asks.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from containerfs.fs import state, types
from containerfs.fs.namespace.attributes import AttributeStore, file_key
from containerfs.fs.namespace.nodes import FileNode
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.reading.cache import ContentCache
from containerfs.fs.remote import Remote
from containerfs.fs.staged import StagedFile
from containerfs.fs.state import Failure, Version
from containerfs.fs.types import RemoteFile
from containerfs.fs.writing.backoff import pause
from containerfs.fs.writing.deletions import Deletions
from containerfs.fs.writing.delivery import Courier, Delivery
from containerfs.fs.writing.journal import Journal, Transaction
from containerfs.fs.writing.records import Attempt, Entry
from containerfs.fs.writing.schedule import Job, Schedule
from containerfs.fs.writing.settlement import Settlement

log = logging.getLogger(__name__)


def entry_of(node: FileNode, content: StagedFile | RemoteFile, sequence: int | None = None) -> Entry:
    """What the journal is to know of a content that is due for a node. Wants the tree's lock held.

    Args:
        sequence: of the row that it takes the place of.
    """
    container = node.container.remote
    data, source = (content.path.name, None) if isinstance(content, StagedFile) else (None, content)
    replaces = state.remote_ids(node.state)
    return Entry(container.id, container.name, node.path, data, source, replaces, node.attributes(), sequence=sequence)


@dataclass(frozen=True, slots=True)
class _Sending:
    """A delivery, and what it is of."""

    node: FileNode
    version: Version
    entry: int
    delivery: Delivery


class Uploader:
    """Uploads what is due, in parallel, in the background. Thread-safe."""

    def __init__(
        self,
        remote: Remote,
        tree: Tree,
        journal: Journal,
        cache: ContentCache,
        attributes: AttributeStore,
        deletions: Deletions,
        settlement: Settlement,
        courier: Courier,
        schedule: Schedule,
    ) -> None:
        self._remote = remote
        self._tree = tree
        self._journal = journal
        self._cache = cache
        self._attributes = attributes
        self._deletions = deletions
        self._settlement = settlement
        self._courier = courier
        self._schedule = schedule
        self._due: dict[FileNode, int] = {}  # files that are due, and how often their upload has failed in a row
        self._sending: dict[FileNode, Delivery] = {}
        self._lock = threading.Lock()  # guards the two above

    def submit(self, node: FileNode, delay: float = 0.0) -> None:
        """Upload what is due of a file, after ``delay`` seconds."""
        self.hold(node)
        self._schedule.submit(node, delay, lambda job: self._run(node, job), lambda error: self._refused(node, error))

    def hold(self, node: FileNode) -> None:
        """List a file as due; it waits until somebody asks for it."""
        with self._lock:
            self._due.setdefault(node, 0)

    def forget(self, node: FileNode) -> None:
        """Nothing of a file is due any more. An upload that is under way breaks off; nobody waits for one any more."""
        self._schedule.cancel(node)
        layer = state.due(node.state)
        if layer is not None:
            _resolve(layer.version)
        with self._lock:
            self._due.pop(node, None)
            delivery = self._sending.get(node)
        if delivery is not None:
            delivery.cancel()

    def due(self) -> list[FileNode]:
        """The files that are due, failed ones included."""
        with self._lock:
            return list(self._due)

    def is_waiting(self, node: FileNode) -> bool:
        """Whether a file waits for a later attempt, or for somebody to ask, rather than being tried now."""
        with self._lock:
            if node in self._sending:
                return False
        layer = state.due(node.state)
        if layer is None or layer.failure is None:
            return False
        due_at = self._schedule.next_due(node)
        return due_at is None or due_at > time.monotonic()

    def ask(self, nodes: list[FileNode]) -> None:
        """Try again now what has failed, whatever the reason."""
        for node in nodes:
            with self._tree.lock:
                layer = state.due(node.state)
                if layer is None:
                    continue
                if layer.failure is not None:
                    self._tree.change(node, state.asked)
            self.submit(node)

    def close(self) -> None:
        """Nobody is to wait for what will not be tried any more; it stays in the journal."""
        for node in self.due():
            layer = state.due(node.state)
            if layer is not None:
                _reject(layer.version, types.Failed("the mount ends; the file is uploaded by the next one"))

    # One attempt

    def _run(self, node: FileNode, job: Job) -> None:
        try:
            sending = self._begin(node)
        except types.FsError as error:  # the journal has no room
            self._failed_to_begin(node, error)
            return
        if sending is None:
            return
        with self._lock:
            self._sending[node] = sending.delivery
        try:
            stored = self._courier.deliver(sending.delivery, job)
        except types.KeyConflict:
            self._end(node)
            self._renew(sending)
        except Exception as error:
            self._end(node)
            self._failed(sending, error)
        else:
            self._end(node)
            self._stored(sending, stored)

    def _end(self, node: FileNode) -> None:
        with self._lock:
            self._sending.pop(node, None)

    def _begin(self, node: FileNode) -> _Sending | None:
        """Note the attempt in the journal, and begin; None if nothing is to be done now."""
        with self._tree.lock:
            layer = state.due(node.state)
            if layer is None or node.parent is None or isinstance(layer.over, state.Uploading):
                return None
            version = layer.version
            with self._journal.transaction() as tx:
                entry = tx.put(entry_of(node, version.content)) if version.entry is None else version.entry
                earlier = self._earlier(entry, version.content)
                attempt = earlier or _new_attempt(node, version.content, entry)
                if earlier is None:
                    tx.begin(attempt)
            self._tree.change(node, state.begun, entry)
            begun = state.uploading(node.state)
            assert begun is not None
        delivery = Delivery(attempt, version.content, self._journal.noted_digest(entry), lost=earlier is not None)
        return _Sending(node, begun.version, entry, delivery)

    def _earlier(self, entry: int, content: StagedFile | RemoteFile) -> Attempt | None:
        """An earlier request for the same content, whose answer was lost."""
        name = content.path.name if isinstance(content, StagedFile) else None
        return next((attempt for attempt in self._journal.attempts(entry) if attempt.data == name), None)

    # Success

    def _stored(self, sending: _Sending, stored: RemoteFile) -> None:
        try:
            finish = self._note_stored(sending, stored)
        except types.FsError as error:  # it is there, and the journal has no room for that: it is found there later
            sending.delivery.lost = True
            self._failed(sending, error)
        else:
            finish()

    def _note_stored(self, sending: _Sending, stored: RemoteFile) -> Callable[[], None]:
        """Have journal and tree agree on what was stored; returns what remains to be done without their locks."""
        node, attempt = sending.node, sending.delivery.attempt
        with self._tree.lock:
            under_way = state.uploading(node.state)
            if under_way is None or under_way.version != sending.version or node.parent is None:
                return self._unwanted(sending, stored)
            if node.path != attempt.path:
                return self._misplaced(sending, stored)
            return self._accept(sending, under_way.version, stored)

    def _unwanted(self, sending: _Sending, stored: RemoteFile) -> Callable[[], None]:
        """The file was deleted meanwhile: what was stored is to go."""
        with self._journal.transaction() as tx:
            tx.end(sending.delivery.attempt.key)
            tx.delete_later(stored.container_id, [stored.id])
        self._tree.hide_ids(stored.container_id, [stored.id])
        under_way = state.uploading(sending.node.state)
        if under_way is not None and under_way.version == sending.version:
            self._tree.change(sending.node, state.moved_on, frozenset())  # its name may come back

        def finish() -> None:
            self._discard(sending)
            self._deletions.carry_out(stored.container_id, [stored.id])
            _resolve(sending.version)

        return finish

    def _misplaced(self, sending: _Sending, stored: RemoteFile) -> Callable[[], None]:
        """The file was renamed meanwhile: it is uploaded once more, in place of what was stored."""
        with self._journal.transaction() as tx:
            tx.end(sending.delivery.attempt.key)
            tx.replace_also(sending.entry, [stored.id])
        self._tree.hide_ids(stored.container_id, [stored.id])
        self._tree.change(sending.node, state.moved_on, frozenset([stored.id]))
        return lambda: self.submit(sending.node)

    def _accept(self, sending: _Sending, version: Version, stored: RemoteFile) -> Callable[[], None]:
        """The file is what was stored; what it replaces is to go. Wants the tree's lock held."""
        node, container_id = sending.node, stored.container_id
        replaced = state.remote_ids(state.base(node.state)) - {stored.id}
        gone = replaced & {stored.replaced_id}
        with self._journal.transaction() as tx:
            abandoned = self._end_attempts(tx, sending)
            tx.note_known(stored)
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
            self._tree.change(node, state.uploaded, stored, replaced - gone, sending.entry)
        else:
            self._tree.change(node, state.uploaded, stored)
        self._show_stored(node, stored)

        def finish() -> None:
            try:
                self._adopt(version.content, stored)
                self._keep_attributes(node, stored)
                self._deletions.note_gone(container_id, gone)
                if abandoned:
                    self._settlement.take_up()
                if not version.keeps_old:
                    self._deletions.carry_out(container_id, replaced - gone)
                self._settled(node)
            finally:
                _resolve(version)  # whatever this machine could not do: it is on the service

        return finish

    def _end_attempts(self, tx: Transaction, sending: _Sending) -> bool:
        """End what was tried. Returns whether an earlier request may have left something, or may still arrive."""
        delivery, abandoned = sending.delivery, False
        for attempt in self._journal.attempts(sending.entry):
            this = attempt.key == delivery.attempt.key
            if this and not (delivery.lost and self._courier.may_double):
                tx.end(attempt.key)
            else:
                tx.abandon(attempt.key, delivery.digest if this else None)
                abandoned = True
        return abandoned

    def _show_stored(self, node: FileNode, stored: RemoteFile) -> None:
        node.pages = stored.id
        node.changed_at = time.monotonic()
        kept = node.attributes()
        if stored.path != node.path:
            kept = replace(kept, path=node.path)
        node.container.kept_attributes[file_key(stored.id)] = kept

    def _keep_attributes(self, node: FileNode, stored: RemoteFile) -> None:
        container = self._tree.container(stored.container_id)
        kept = container.kept_attributes.get(file_key(stored.id)) if container is not None else None
        if kept is not None:
            self._attributes.save(stored.container_id, file_key(stored.id), kept)

    def _adopt(self, content: StagedFile | RemoteFile, stored: RemoteFile) -> None:
        """What was uploaded is what would be read back: it costs no request."""
        if isinstance(content, RemoteFile):
            return
        content.rest()
        if self._journal.is_needed(content):
            return
        try:
            self._cache.adopt(stored, content.path)
        except (OSError, types.FsError) as error:  # it is on the service, and can be read from there
            log.warning("What was uploaded of %r is not cached: %s", stored.path, error)
            content.remove()

    def _settled(self, node: FileNode) -> None:
        """Go on with a version that was closed meanwhile, or be done with the file."""
        with self._tree.lock:
            again = state.due(node.state) is not None
            self._tree.settle(node)
        with self._lock:
            if not again:
                self._due.pop(node, None)
            elif node in self._due:
                self._due[node] = 0
        if again:
            self.submit(node)

    # Failure

    def _renew(self, sending: _Sending) -> None:
        """Something else was stored under the key, which was cut on its way: try once more, with another key."""
        node, delivery = sending.node, sending.delivery
        with self._tree.lock:
            with self._journal.transaction() as tx:
                tx.abandon(delivery.attempt.key, delivery.digest)
            under_way = state.uploading(node.state)
            if under_way is not None and under_way.version is sending.version:
                self._tree.change(node, state.moved_on, frozenset())
        self._settlement.take_up()
        self.submit(node)

    def _failed(self, sending: _Sending, error: Exception) -> None:
        """Note why, and try again later unless that is pointless."""
        node, delivery = sending.node, sending.delivery
        if not isinstance(error, types.FsError):
            log.error("Upload of %r failed", node.name, exc_info=error)
        container_gone = self._is_container_gone(delivery.attempt, error)
        if isinstance(error, types.Damaged) or container_gone:
            with suppress(types.FsError):  # the journal has no room: it is tried again
                self._set_aside(sending, error, container_gone=container_gone)
                return
        delivery.lost = delivery.lost or isinstance(error, types.Cancelled)  # some services store what was cut short
        digest = self._digest_for_journal(delivery)
        failure = Failure(str(error), isinstance(error, types.FsError) and error.lasting)
        with self._tree.lock:
            under_way = state.uploading(node.state)
            wanted = under_way is not None and under_way.version == sending.version and node.parent is not None
            overtaken = wanted and state.due(node.state) is not None
            self._note_failure(sending, failure, digest, wanted=wanted, overtaken=overtaken)
            if wanted:
                self._tree.change(node, state.failed, failure)
        if wanted:
            self.try_later(node, failure)
        _reject(sending.version, error)
        if not wanted or overtaken:
            self._settlement.take_up()
            self._discard(sending)

    def _note_failure(
        self, sending: _Sending, failure: Failure, digest: str | None, *, wanted: bool, overtaken: bool
    ) -> None:
        key = sending.delivery.attempt.key
        with suppress(types.FsError), self._journal.transaction() as tx:  # a full disk: what was noted still stands
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

    def try_later(self, node: FileNode, failure: Failure) -> None:
        """An attempt failed: try again, unless that is pointless until the file changes or somebody asks."""
        with self._lock:
            failures = self._due[node] = self._due.get(node, 0) + 1
        log.error("Upload of %r failed, attempt %d: %s", node.name, failures, failure.reason)
        layer = state.due(node.state)
        if layer is not None and layer.failure is None:
            self.submit(node)  # a later version
        elif not failure.lasting:
            self.submit(node, pause(failures))

    def _failed_to_begin(self, node: FileNode, error: types.FsError) -> None:
        with self._tree.lock:
            layer = state.due(node.state)
            if layer is None:
                return
            outcome = layer.version
            self._tree.change(node, state.put_off, Failure(str(error)))
        self.try_later(node, Failure(str(error)))
        _reject(outcome, error)

    def _refused(self, node: FileNode, error: types.FsError) -> None:
        """No thread could be started for it."""
        self._failed_to_begin(node, error)

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

    def _set_aside(self, sending: _Sending, error: Exception, *, container_gone: bool) -> None:
        """It cannot be sent, and trying again would not help: somebody has to decide what becomes of it."""
        node = sending.node
        log.error("%r is set aside (%s): 'containerfs recover' lists it", node.name, error)
        with self._tree.lock:
            with self._journal.transaction() as tx:
                tx.set_aside(sending.entry, str(error))
            under_way = state.uploading(node.state)
            if under_way is not None and under_way.version == sending.version:
                self._tree.change(node, state.given_up)
            if container_gone and node.parent is not None:
                node.container.gone = True
            self._tree.settle(node)
        with self._lock:
            if state.due(node.state) is None:
                self._due.pop(node, None)
        _reject(sending.version, error)

    def _digest_for_journal(self, delivery: Delivery) -> str | None:
        """The digest by which damage is noticed, and by which what was sent is recognized."""
        if delivery.digest is None and delivery.expected is None and isinstance(delivery.content, StagedFile):
            with suppress(types.FsError):
                delivery.digest = delivery.content.digest()
        return delivery.digest or delivery.expected

    def _discard(self, sending: _Sending) -> None:
        """Delete the content of a version that nobody wants, unless a program still reads it."""
        node, content = sending.node, sending.delivery.content
        deleted = isinstance(node.state, state.Unlinked) and not node.opens
        if isinstance(content, StagedFile) and (deleted or content not in state.owned_data(node.state)):
            self._journal.discard(content)


def _new_attempt(node: FileNode, content: StagedFile | RemoteFile, entry: int) -> Attempt:
    staged = content if isinstance(content, StagedFile) else None
    return Attempt(
        key=f"containerfs-{uuid.uuid4()}",
        container_id=node.container.remote.id,
        path=node.path,
        size=content.size,
        started=int(time.time()),
        entry=entry,
        data=staged.path.name if staged is not None else None,
        source_id=None if isinstance(content, StagedFile) else content.id,
        known=state.remote_ids(node.state),
    )


def _resolve(version: Version) -> None:
    if not version.outcome.done():
        version.outcome.set_result(None)


def _reject(version: Version, error: Exception) -> None:
    if not version.outcome.done():
        version.outcome.set_exception(error)
