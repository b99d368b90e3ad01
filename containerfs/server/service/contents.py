"""Contents on their way in and out: uploads before a row names them, and blobs opened for reading."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from containerfs.server.service.transactions import Change, Transactions
from containerfs.server.storage.blob_store import BlobReader, BlobStore, BlobWriter
from containerfs.server.storage.failures import StoreUnavailableError
from containerfs.server.storage.metadata_store import Transaction
from containerfs.server.storage.records import ContainerFileRecord, FileRecord


@dataclass(frozen=True, slots=True)
class Content:
    """A file's content, open for reading; close ``blob`` after use."""

    id: str
    name: str
    blob: BlobReader


class Contents:
    """Receives and opens contents."""

    def __init__(self, blobs: BlobStore, transactions: Transactions) -> None:
        self._blobs, self._transactions = blobs, transactions

    @contextlib.asynccontextmanager
    async def receive(self) -> AsyncIterator[BlobWriter]:
        """Give a writer for the bytes of an upload, to be passed to ``ContainerFiles.add`` or ``Files.create``.

        If neither took it when the context ends, its bytes are removed.
        """
        async with self._blobs.writer() as blob:
            try:
                yield blob
            except BaseException:
                # Only the rows tell whether one names the blob: a cancelled request may have been carried out.
                if name := blob.name:
                    await self._abandon(name)
                raise

    def recorded(self, tx: Transaction, file: FileRecord | ContainerFileRecord) -> BlobReader | None:
        """Open the content of a file if it is kept in the rows."""
        return self._blobs.recorded(tx, file.blob, file.bytes)

    async def open(self, file: FileRecord | ContainerFileRecord, name: str, recorded: BlobReader | None) -> Content:
        """Open the content of a file.

        Args:
            name: the name under which it is to be served.
            recorded: the content, if it is kept in the rows.

        Raises:
            BlobNotFoundError: if the file was deleted in the meantime, or the store has lost its content.
        """
        return Content(file.id, name, recorded or await self._blobs.open(file.blob, file.bytes))

    async def _abandon(self, blob: str) -> None:
        """Remove a blob unless a row names it. If the store is unavailable, it goes when its lease ends."""
        with contextlib.suppress(StoreUnavailableError):
            await self._transactions.free(lambda tx, now: Change(None, tx.abandon_blob(blob, now)))
