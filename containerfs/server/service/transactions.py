"""Runs the transactions of operations.

Each gets one reading of the clock. A change with an idempotency key is carried out once. Blobs that a change left dead
are discarded after it is durable, and the sweeper is told of rows that are left to remove.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from containerfs.api.base import ApiModel
from containerfs.server.service.refusals import late_upload, same_request
from containerfs.server.storage.blob_store import BlobWriter
from containerfs.server.storage.failures import BlobNotFoundError
from containerfs.server.storage.metadata_store import Transaction, nothing
from containerfs.server.storage.open import Stores

T = TypeVar("T")
Model = TypeVar("Model", bound=ApiModel)

ANSWERS_KEPT_S = 24 * 3600
"""How long an idempotency key is remembered, in seconds."""


@dataclass(frozen=True, slots=True)
class Once:
    """An idempotency key, and a digest of the request that it came with."""

    key: str
    digest: str


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """The result of a change, the blobs that it left dead, and whether it left rows for the sweeper."""

    result: T
    garbage: Sequence[str] = field(default=())
    unfinished: bool = False


class Transactions:
    """Runs work on the stores.

    Work is a function of a transaction and the time in Unix seconds. It may run more than once, and has no effects
    outside its transaction.
    """

    def __init__(self, stores: Stores, clock: Callable[[], float], left_work: Callable[[], None]) -> None:
        self._metadata, self._blobs = stores.metadata, stores.blobs
        self._clock = clock
        self._left_work = left_work

    def now(self) -> int:
        return int(self._clock())

    async def read(self, work: Callable[[Transaction, int], T]) -> T:
        """Run ``work`` on one consistent snapshot."""
        return await self._metadata.read(lambda tx: work(tx, self.now()))

    async def write(
        self,
        namespace: str,
        once: Once | None,
        kind: type[Model],
        work: Callable[[Transaction, int], Change[Model]],
        upload: BlobWriter | None = None,
    ) -> Model:
        """Carry out a change, or return the recorded answer if its idempotency key was used before.

        The answer is recorded in the transaction of the change. So of two equal requests, even at the same moment or
        at two servers, one is carried out and both get its answer.

        Args:
            kind: the type of the result.
            upload: the committed blob that ``work`` would name in a row; abandoned if ``work`` does not run.

        Raises:
            Conflict: if the key was used with a different request.
            Overloaded: if the upload's lease ended before it was recorded.
        """

        def change(tx: Transaction, now: int) -> Change[Model]:
            if upload is not None:
                upload.record(tx)
            return work(tx, now)

        def transaction(tx: Transaction) -> Change[Model]:
            now = self.now()
            if once is None:
                return change(tx, now)
            if answer := tx.claim_key(namespace, once.key, once.digest, now - ANSWERS_KEPT_S, now):
                recorded = kind.model_validate_json(same_request(answer, once.digest).body)
                return Change(recorded, tx.abandon_blob(upload.name, now) if upload and upload.name else ())
            changed = change(tx, now)
            tx.record_answer(namespace, once.key, changed.result.model_dump_json())
            return changed

        try:
            first = nothing if upload is None else upload.publish
            return await self._finish(await self._metadata.write(transaction, first=first))
        except BlobNotFoundError as error:
            raise late_upload() from error

    async def free(self, work: Callable[[Transaction, int], Change[T]]) -> T:
        """Carry out a change that deletes or adds nothing; works on a full disk too."""
        return await self._finish(await self._metadata.write(lambda tx: work(tx, self.now()), frees=True))

    async def _finish(self, change: Change[T]) -> T:
        if change.unfinished:
            self._left_work()
        await self._blobs.discard(change.garbage)
        return change.result
