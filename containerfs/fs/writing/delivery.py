"""Delivery: sends one version of a file to the service, exactly once, as far as the service allows.

If an answer is lost, a service that supports idempotency keys gets the same request again. On other services, the file
is looked for first, and accepted only if its content is ours.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from containerfs.fs import types
from containerfs.fs.deadline import NEVER
from containerfs.fs.remote import Remote, UploadRequest
from containerfs.fs.staged import SealedSource, StagedFile
from containerfs.fs.types import FileAttributes, RemoteFile
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.records import Attempt
from containerfs.fs.writing.schedule import Job
from containerfs.fs.writing.settlement import Settlement
from containerfs.fs.writing.staging import Staging
from containerfs.fs.writing.streaming import GrowingSource, StreamingUpload

_NOT_OF_THE_ANSWER = (types.NotFound, types.Damaged, types.Cancelled, types.KeyConflict)
_TRIES = 3  # at least, in a row, if answers are lost
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 2.0  # seconds between tries
_STORED_PER_SECOND = 10 << 20  # bytes; the answer to a larger upload may take longer


@dataclass
class Delivery:
    """A version that is being delivered.

    Attributes:
        attempt: as recorded in the journal.
        content: staged data, or a file of the service whose content is stored under another name.
        expected: the digest that was recorded when the content was closed; None if there is none.
        attributes: those of the file when the delivery began.
        lost: whether a request was sent whose answer did not arrive.
        digest: of the content, once it was sent or looked for.
        fetched: the content, if it had to be fetched to be sent.
        cancelled: set once nobody wants the result.
    """

    attempt: Attempt
    content: StagedFile | RemoteFile
    expected: str | None
    lost: bool
    attributes: FileAttributes | None = None
    streaming: StreamingUpload | None = None
    digest: str | None = None
    source: SealedSource | GrowingSource | None = None
    fetched: StagedFile | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """Stop at the next piece of content."""
        self.cancelled.set()
        if self.source is not None:
            self.source.cancel()

    def read_from(self, source: SealedSource | GrowingSource) -> None:
        """Set the source of what is sent from now on."""
        self.source = source
        if self.cancelled.is_set():
            source.cancel()

    def note_digest(self) -> None:
        """Take over the digest if all of the content was read."""
        if self.digest is None and self.source is not None:
            self.digest = self.source.digest

    @property
    def sent(self) -> int:
        """The number of bytes sent."""
        return 0 if self.source is None else self.source.sent

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return 0.0 if self.source is None else self.source.rate.per_second()

    @property
    def moved_at(self) -> float:
        """The monotonic time of the last progress. If it is later than now, the answer is expected by then."""
        return NEVER if self.source is None else self.source.moved_at + (self.attempt.size or 0) / _STORED_PER_SECOND


class Courier:
    """Sends versions of files. Thread-safe.

    Args:
        patience: how many seconds to repeat a request while the service is away, without any progress.
    """

    def __init__(
        self, remote: Remote, journal: Journal, settlement: Settlement, staging: Staging, patience: float
    ) -> None:
        self._remote = remote
        self._journal = journal
        self._settlement = settlement
        self._staging = staging
        self._patience = patience

    @property
    def may_double(self) -> bool:
        """Tell whether a repeated request may be carried out twice."""
        return not self._remote.dialect.idempotency

    def deliver(self, delivery: Delivery, job: Job) -> RemoteFile:
        """Send a version, and return what the service stored.

        Raises:
            AnswerLost: if this or an earlier request may have stored it.
            FsError: any other error: it was not stored, or trying again is pointless.
        """
        try:
            return self._deliver(delivery, job)
        except types.FsError as error:
            if delivery.lost and not error.lasting and not isinstance(error, _NOT_OF_THE_ANSWER):
                raise types.AnswerLost(str(error)) from error
            raise

    def _deliver(self, delivery: Delivery, job: Job) -> RemoteFile:
        if isinstance(delivery.content, RemoteFile) and delivery.content.path == delivery.attempt.path:
            return delivery.content  # the file has its old name again, under which the service has it
        if isinstance(delivery.content, RemoteFile) and self._remote.dialect.copies_once:
            return self._copy(delivery, delivery.content)
        content = delivery.content
        staged = self._fetch(delivery, content) if isinstance(content, RemoteFile) else content
        with staged.opened() as fd:
            try:
                return self._upload(delivery, _Watched(fd, staged.size, delivery.expected, job), staged, job)
            finally:
                delivery.note_digest()

    def _copy(self, delivery: Delivery, source: RemoteFile) -> RemoteFile:
        tries = _Tries(delivery, self._patience, self._remote.unanswered)
        while True:
            try:
                return self._remote.copy(source, delivery.attempt.path, delivery.attempt.key)
            except types.Unreachable as error:
                if not tries.again_after(error):
                    raise

    def _upload(self, delivery: Delivery, source: SealedSource, staged: StagedFile, job: Job) -> RemoteFile:
        attempt = delivery.attempt
        request = UploadRequest(attempt.container_id, attempt.path, source, attempt.key, delivery.attributes)
        tries = _Tries(delivery, self._patience, self._remote.unanswered)
        while True:
            if delivery.lost and (found := self._find(delivery, staged)):
                return found
            try:
                stored = self._continued(delivery, job)
                if stored is None:
                    delivery.read_from(source)
                    stored = self._remote.upload(request)
                self._settlement.note_stored(attempt.path, stored.path)
                return stored
            except types.Unreachable as error:
                if tries.again_after(error):
                    continue
                if delivery.lost and (found := self._find(delivery, staged)):
                    return found
                raise

    def _continued(self, delivery: Delivery, job: Job) -> RemoteFile | None:
        """Return what the upload has stored that began while the content was written; None if there was none, or it
        broke off."""
        streaming, delivery.streaming = delivery.streaming, None
        if streaming is None:
            return None
        streaming.source.progress = job.progress
        delivery.read_from(streaming.source)
        return streaming.finish(delivery.attributes, delivery.expected)

    def _find(self, delivery: Delivery, staged: StagedFile) -> RemoteFile | None:
        """Find what an earlier request has stored. Not done if repeating the request tells that."""
        if not self.may_double:
            return None

        def digest() -> str:
            delivery.digest = delivery.digest or staged.digest()
            return delivery.digest

        return self._settlement.find(delivery.attempt, digest)

    def _fetch(self, delivery: Delivery, content: RemoteFile) -> StagedFile:
        """Fetch the content of a renamed file, to upload it.

        It is kept as long as the result of the request is unknown. Its source may be gone later, and then only this
        tells what the request has left, which may be a part of it.
        """
        attempt = delivery.attempt
        delivery.fetched = fetched = self._staging.fetched(content)
        digest = fetched.digest()
        with self._journal.transaction() as tx:
            tx.note_fetched(attempt.key, fetched.path.name, digest)
        if attempt.data is not None:
            self._journal.discard(self._journal.staged(attempt.data))
        return fetched


class _Tries:
    """Decides whether to repeat a request within one attempt to upload.

    Args:
        expired: called with the monotonic time of the last progress when the patience ends.
    """

    def __init__(self, delivery: Delivery, patience: float, expired: Callable[[float], object]) -> None:
        self._delivery = delivery
        self._patience = patience
        self._expired = expired
        self._begun = time.monotonic()
        self._made = 0

    def again_after(self, error: types.Unreachable) -> bool:
        """Wait for the pause after an error, and return whether to try again."""
        delivery = self._delivery
        pause = min(_FIRST_PAUSE * 2.0**self._made, _LONGEST_PAUSE)
        self._made += 1
        lost = isinstance(error, types.AnswerLost)
        delivery.lost = delivery.lost or lost
        if isinstance(error, types.Down):
            return False
        since = max(self._begun, delivery.moved_at)
        if time.monotonic() + pause < since + self._patience:
            delivery.cancelled.wait(pause)
            return True
        self._expired(since)
        return lost and self._made < _TRIES


class _Watched(SealedSource):
    """A source of bytes that records progress of its job."""

    def __init__(self, fd: int, size: int, expected: str | None, job: Job) -> None:
        super().__init__(fd, size, expected)
        self._job = job

    def read_at(self, offset: int, size: int) -> bytes:
        self._job.progress()
        return super().read_at(offset, size)
