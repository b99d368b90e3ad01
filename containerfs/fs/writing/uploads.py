"""Uploads: what was closed here becomes a file on the service, once, and replaces the previous one.

New before old: the new content is stored and verified before the old one is deleted, so a failure at any point leaves
one of the two intact. An upload that fails for a temporary reason is retried at growing intervals. One that is refused
waits until the file changes or somebody asks.
"""

import logging
import math
import threading
import time

from containerfs.fs import deadline, state, transitions, types
from containerfs.fs.namespace.nodes import FileNode
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.state import Failure, Version
from containerfs.fs.types import RemoteFile
from containerfs.fs.writing.acceptance import Acceptance
from containerfs.fs.writing.attempts import Attempts, MustWait, Overtaken, Sending
from containerfs.fs.writing.backoff import pause
from containerfs.fs.writing.delivery import Courier, Delivery
from containerfs.fs.writing.schedule import PATIENCE, Job, Manner, Schedule

log = logging.getLogger(__name__)

_SOON = 0.1  # seconds until the next check for uploads that have to come first, and will begin soon


class Uploader:
    """Uploads what is due, in parallel, in the background. Thread-safe."""

    def __init__(
        self, tree: Tree, schedule: Schedule, courier: Courier, attempts: Attempts, acceptance: Acceptance
    ) -> None:
        self._tree = tree
        self._schedule = schedule
        self._courier = courier
        self._attempts = attempts
        self._acceptance = acceptance
        self._due: dict[FileNode, int] = {}  # due files, and how often their upload has failed in a row
        self._sending: dict[FileNode, Delivery] = {}
        self._blocked: set[FileNode] = set()  # files that wait for others to be stored
        self._under_way: set[Sending] = set()  # uploads that have begun, and whose end is not recorded yet
        self._stored_at = deadline.NEVER  # the monotonic time
        self._lock = threading.Lock()  # guards everything above
        self._ended = threading.Condition(self._lock)  # notified when an upload has ended
        self._beginning = threading.Lock()  # held while an upload begins, so that no two to the same path do

    def submit(self, node: FileNode, delay: float = 0.0, manner: Manner = Manner.USUAL) -> None:
        """Upload what is due of a file, after ``delay`` seconds."""
        self.hold(node)
        run, refused = (lambda job: self._run(node, job)), (lambda error: self._put_off(node, error))
        self._schedule.submit(node, delay, run, refused, manner)

    def submit_patiently(self, node: FileNode) -> None:
        """Upload what is due of a file when programs pause, or when it was due earlier. Nobody waits for it."""
        waits_until = self._schedule.next_due(node)
        delay = PATIENCE if waits_until is None else min(PATIENCE, waits_until - time.monotonic())
        self.submit(node, delay, Manner.PATIENT)

    def hold(self, node: FileNode) -> None:
        """List a file as due, but wait with it until somebody asks."""
        with self._lock:
            self._due.setdefault(node, 0)

    def forget(self, node: FileNode) -> None:
        """Handle a file of which nothing is due any more. A running upload stops, and nobody waits for one any more."""
        self._schedule.cancel(node)
        layer = state.due(node.state)
        if layer is not None:
            _resolve(layer.version)
        with self._lock:
            self._due.pop(node, None)
            delivery = self._sending.get(node)
        if delivery is not None:
            delivery.cancel()

    def under_way(self) -> dict[FileNode, Delivery]:
        """Return what is being sent, or has arrived without its end being recorded yet."""
        with self._lock:
            return {sending.node: sending.delivery for sending in self._under_way}

    def retry_in(self, node: FileNode) -> float | None:
        """Return the seconds until a waiting file is tried; None if that waits until somebody asks."""
        due_at = self._schedule.next_due(node)
        return None if due_at is None else max(0.0, due_at - time.monotonic())

    def wait_for_deleted(self, until: float) -> None:
        """Wait until uploads of files that were deleted since they began have ended, and what they stored is recorded
        as to be deleted.

        Waits until ``until``, a monotonic time, at most. Raises what the deadline raises.
        """
        with self._lock:
            under_way = set(self._under_way)
        deleted = {sending for sending in under_way if isinstance(sending.node.state, state.Unlinked)}
        with self._ended:
            deadline.wait_for(self._ended, lambda: not deleted & self._under_way, until)

    def ask(self, nodes: list[FileNode]) -> None:
        """Retry everything that has failed now, whatever the reason."""
        for node in nodes:
            with self._tree.lock:
                layer = state.due(node.state)
                if layer is None:
                    continue
                if layer.failure is not None:
                    self._tree.change(node, transitions.asked)
            self.submit(node)

    def wait(self, node: FileNode, version: Version, until: float = math.inf) -> None:
        """Wait for the outcome of a version of a file, as long as its upload makes progress.

        Args:
            until: monotonic time.

        Raises:
            Interrupted: if nobody waits for it any more; the upload goes on.
            TimeoutError: if ``until`` has passed.
            FsError: if the attempt has failed; or if nothing has moved for too long, when it goes on too.
        """
        deadline.result(version.outcome, lambda: self._moved_at(node), until)

    def _moved_at(self, node: FileNode) -> float:
        """Return when a file's upload last made progress; while it waits for its turn, when any upload did."""
        with self._lock:
            delivery = self._sending.get(node)
            under_way = [delivery] if delivery is not None else list(self._sending.values())
        moved_at = max((each.moved_at for each in under_way), default=deadline.NEVER)
        return moved_at if delivery is not None else max(moved_at, self._stored_at)

    def close(self) -> None:
        """Let nobody wait for what will not be tried any more. It stays in the journal."""
        with self._lock:
            due = list(self._due)
        for node in due:
            layer = state.due(node.state)
            if layer is not None:
                _reject(layer.version, types.Failed("the mount ends; the file is uploaded by the next one"))

    def try_later(self, node: FileNode, failure: Failure) -> None:
        """Handle a failed attempt: try again, unless that is pointless until the file changes or somebody asks."""
        with self._lock:
            failures = self._due[node] = self._due.get(node, 0) + 1
        log.error("Upload of %r failed, attempt %d: %s", node.name, failures, failure.reason)
        layer = state.due(node.state)
        if layer is not None and layer.failure is None:
            self.submit(node)  # a later version
        elif not failure.lasting:
            self.submit(node, pause(failures))

    # One attempt

    def _run(self, node: FileNode, job: Job) -> None:
        try:
            sending = self._begin(node)
        except MustWait as error:
            self._wait_for_others(node, error)
            return
        except Overtaken as overtaken:
            self._give_way(node, overtaken.version)
            return
        except types.FsError as error:  # the journal has no space
            self._put_off(node, error)
            return
        if sending is not None:
            try:
                self._send(sending, job)
            except BaseException as error:  # report to whoever waits whatever this machine could not do
                _reject(sending.version, error)
                raise
            finally:
                self._end(sending)

    def _send(self, sending: Sending, job: Job) -> None:
        try:
            stored = self._deliver(sending, job)
        except types.KeyConflict as error:
            self._renew(sending, error)
        except Exception as error:
            self._failed(sending, error)
        else:
            self._stored_at = time.monotonic()
            self._stored(sending, stored)

    def _begin(self, node: FileNode) -> Sending | None:
        """Begin, unless another upload to the same path is running, because the later one to arrive would win."""
        with self._beginning:
            with self._lock:
                busy = {(each.attempt.container_id, each.attempt.path) for each in self._sending.values()}
            sending = self._attempts.begin(node, busy)
            if sending is not None:
                with self._lock:
                    self._sending[node] = sending.delivery
                    self._under_way.add(sending)
            return sending

    def _deliver(self, sending: Sending, job: Job) -> RemoteFile:
        try:
            return self._courier.deliver(sending.delivery, job)
        finally:
            with self._lock:
                del self._sending[sending.node]

    def _renew(self, sending: Sending, error: types.KeyConflict) -> None:
        """Try again with another key: at once, unless the service has refused that too."""
        try:
            self._attempts.renew(sending)
        except types.FsError:  # the journal has no space
            self._failed(sending, error)
            return
        with self._lock:
            again = self._due.get(sending.node, 0) > 0
            self._due[sending.node] = self._due.get(sending.node, 0) + 1
        if again:
            self._put_off(sending.node, error)
        else:
            self.submit(sending.node)

    def _stored(self, sending: Sending, stored: RemoteFile) -> None:
        try:
            self._acceptance.accept(sending, stored)
        except (
            types.FsError
        ) as error:  # it is stored, but the journal has no space for that; it will be found there later
            sending.delivery.lost = True
            self._failed(sending, error)
        else:
            later = self._go_on(sending.node)
            if later != sending.version:
                _resolve(sending.version)

    def _give_way(self, node: FileNode, version: Version) -> None:
        try:
            has_given_way = self._acceptance.give_way(node, version)
        except types.FsError as error:  # the journal has no space
            self._put_off(node, error)
            return
        self._go_on(node)
        if has_given_way:
            _resolve(version)

    def _wait_for_others(self, node: FileNode, error: MustWait) -> None:
        """Begin once others have been stored. Fail if what has to come first waits for a later attempt itself."""
        with self._lock:
            others = bool(self._under_way)
            if others:
                self._blocked.add(node)
        if others:
            return
        if error.for_long:
            self._put_off(node, error)
        else:
            self.submit(node, _SOON)

    def _end(self, sending: Sending) -> None:
        self._attempts.end(sending)
        with self._ended:
            self._under_way.discard(sending)
            self._ended.notify_all()
            blocked, self._blocked = self._blocked, set()
        for node in blocked:
            self.submit(node)

    def _go_on(self, node: FileNode) -> Version | None:
        """Upload what is still due, such as a version that was closed in the meantime, or finish with the file."""
        layer = state.due(node.state)
        with self._lock:
            if layer is None:
                self._due.pop(node, None)
            elif node in self._due:
                self._due[node] = 0
        if layer is None:
            return None
        self.submit(node)
        return layer.version

    def _failed(self, sending: Sending, error: Exception) -> None:
        """Retry later, unless that is pointless, and report the failure to whoever waits."""
        if not isinstance(error, types.FsError):
            log.error("Upload of %r failed", sending.node.name, exc_info=error)
        if self._attempts.set_aside_if_hopeless(sending, error):
            self._go_on(sending.node)
        else:
            failure = self._attempts.fail(sending, error)
            if failure is not None:
                self.try_later(sending.node, failure)
        _reject(sending.version, error)

    def _put_off(self, node: FileNode, error: types.FsError) -> None:
        """Handle an attempt that could not begin, because the journal has no space, or no thread can be started."""
        failure = Failure.of(error)
        version = self._attempts.put_off(node, failure)
        if version is not None:
            self.try_later(node, failure)
            _reject(version, error)


def _resolve(version: Version) -> None:
    if not version.outcome.done():
        version.outcome.set_result(None)


def _reject(version: Version, error: BaseException) -> None:
    if not version.outcome.done():
        version.outcome.set_exception(error)
