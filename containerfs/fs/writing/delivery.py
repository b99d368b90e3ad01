"""Delivery: one version of a file sent to the service, exactly once, as far as a service allows.

A service that honours idempotency keys is sent the same request again when an answer is lost. Elsewhere the file is
looked for first, and accepted only if its content is ours.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from containerfs.fs import types
from containerfs.fs.remote import Remote, UploadRequest
from containerfs.fs.staged import SealedSource, StagedFile
from containerfs.fs.types import RemoteFile
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.records import Attempt
from containerfs.fs.writing.schedule import Job
from containerfs.fs.writing.settlement import Settlement
from containerfs.fs.writing.staging import Staging

_NOT_OF_THE_ANSWER = (types.NotFound, types.Damaged, types.Cancelled, types.KeyConflict)
_TRIES = 3  # in a row, where answers are lost


@dataclass
class Delivery:
    """A version on its way.

    Attributes:
        attempt: as the journal has it.
        content: staged data, or a file of the service whose content is stored under another name.
        expected: the digest that was noted when the content was closed; None if none was.
        lost: whether a request was sent whose answer did not arrive.
        digest: of the content, once it was sent or looked for.
        cancelled: whether nobody wants the result any more.
    """

    attempt: Attempt
    content: StagedFile | RemoteFile
    expected: str | None
    lost: bool
    digest: str | None = None
    source: SealedSource | None = None
    cancelled: bool = False

    def cancel(self) -> None:
        """Break off at the next piece of content."""
        self.cancelled = True
        if self.source is not None:
            self.source.cancel()


class Courier:
    """Sends versions. Thread-safe."""

    def __init__(self, remote: Remote, journal: Journal, settlement: Settlement, staging: Staging) -> None:
        self._remote = remote
        self._journal = journal
        self._settlement = settlement
        self._staging = staging

    @property
    def may_double(self) -> bool:
        """Whether a request that is sent again may be carried out twice."""
        return not self._remote.dialect.idempotency

    def deliver(self, delivery: Delivery, job: Job) -> RemoteFile:
        """Send a version; returns what the service stored.

        Raises:
            AnswerLost: it may have been stored, by this or an earlier request.
            FsError: any other: it was not stored, or trying again is pointless.
        """
        try:
            return self._deliver(delivery, job)
        except types.FsError as error:
            if delivery.lost and not error.lasting and not isinstance(error, _NOT_OF_THE_ANSWER):
                raise types.AnswerLost(str(error)) from error
            raise

    def _deliver(self, delivery: Delivery, job: Job) -> RemoteFile:
        if isinstance(delivery.content, RemoteFile) and delivery.content.path == delivery.attempt.path:
            return delivery.content  # the file has got the name back under which the service has it
        if isinstance(delivery.content, RemoteFile) and self._remote.dialect.copies_once:
            return self._copy(delivery, delivery.content)
        with self._staged(delivery.content, delivery.attempt.key) as staged, staged.opened() as fd:
            delivery.source = _Watched(fd, staged.size, delivery.expected, job)
            if delivery.cancelled:
                delivery.source.cancel()
            try:
                return self._upload(delivery, delivery.source, staged)
            finally:
                delivery.digest = delivery.digest or delivery.source.digest

    def _copy(self, delivery: Delivery, source: RemoteFile) -> RemoteFile:
        for tries_left in reversed(range(_TRIES)):
            try:
                return self._remote.copy(source, delivery.attempt.path, delivery.attempt.key)
            except types.AnswerLost:
                delivery.lost = True
                if not tries_left:
                    raise
        raise AssertionError

    def _upload(self, delivery: Delivery, source: SealedSource, staged: StagedFile) -> RemoteFile:
        attempt = delivery.attempt
        request = UploadRequest(attempt.container_id, attempt.path, source, attempt.key)
        for tries_left in reversed(range(_TRIES)):
            if delivery.lost and (found := self._find(delivery, staged)):
                return found
            try:
                stored = self._remote.upload(request)
                self._settlement.note_stored(attempt.path, stored.path)
                return stored
            except types.AnswerLost:
                delivery.lost = True
                if tries_left:
                    continue
                if found := self._find(delivery, staged):
                    return found
                raise
        raise AssertionError

    def _find(self, delivery: Delivery, staged: StagedFile) -> RemoteFile | None:
        """What an earlier request has stored. Nothing is looked for where sending again tells it."""
        if not self.may_double:
            return None
        delivery.digest = delivery.digest or staged.digest()
        return self._settlement.find(delivery.attempt, delivery.digest)

    @contextmanager
    def _staged(self, content: StagedFile | RemoteFile, key: str) -> Iterator[StagedFile]:
        """The content on this machine's disk. What had to be fetched is removed."""
        if isinstance(content, StagedFile):
            yield content
            return
        fetched = self._staging.fetched(content)
        try:
            # By then its source may be gone: what a request has left can be recognized by this alone.
            digest = fetched.digest()
            with self._journal.transaction() as tx:
                tx.note_digest(key, digest)
            yield fetched
        finally:
            fetched.remove()


class _Watched(SealedSource):
    """A source that notes at its job that the upload goes on."""

    def __init__(self, fd: int, size: int, expected: str | None, job: Job) -> None:
        super().__init__(fd, size, expected)
        self._job = job

    def read_at(self, offset: int, size: int) -> bytes:
        self._job.progress()
        return super().read_at(offset, size)
