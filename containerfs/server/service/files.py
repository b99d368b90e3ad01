"""Operations on the files of ``/files``."""

import asyncio
from dataclasses import replace

from containerfs.api.models import Deletion, File, ListPage
from containerfs.server.service import ids
from containerfs.server.service.contents import Content, Contents
from containerfs.server.service.names import checked_name
from containerfs.server.service.objects import file_object
from containerfs.server.service.pages import from_cursor, page_of
from containerfs.server.service.quotas import check_room, quota_for
from containerfs.server.service.refusals import no_file
from containerfs.server.service.transactions import Change, Once, Transactions
from containerfs.server.storage.blob_store import BlobReader, BlobWriter
from containerfs.server.storage.metadata_store import Transaction
from containerfs.server.storage.records import FileRecord, PageQuery

_LISTED_AT_ONCE = 250
"""Files that are listed without a break: some 4 ms."""


class Files:
    """Operations on the files of a namespace.

    All raise NotFound for a file that does not exist, has expired, or belongs to another namespace.
    """

    def __init__(self, transactions: Transactions, contents: Contents) -> None:
        self._transactions, self._contents = transactions, contents

    async def expect(self, namespace: str, size: int, key: str | None) -> None:
        """Check whether there is room for a file before it is sent. ``create`` checks again, and decides.

        Args:
            size: in bytes.
            key: the idempotency key of the request, if it has one. A repeated request needs no room.

        Raises:
            QuotaExceededError: if there is not enough room.
        """

        def work(tx: Transaction, now: int) -> None:
            if quota := quota_for(tx, namespace, key):
                check_room(quota, size)

        await self._transactions.read(work)

    async def create(
        self,
        namespace: str,
        filename: str,
        purpose: str,
        upload: BlobWriter,
        lifetime: int | None = None,
        once: Once | None = None,
    ) -> File:
        """Store an upload.

        Args:
            lifetime: in seconds; None keeps the file until it is deleted.

        Raises:
            InvalidRequest: if the name is not allowed.
            QuotaExceededError: if the namespace has no room for it.
        """
        checked_name(filename)
        blob = await upload.commit()

        def work(tx: Transaction, now: int) -> Change[File]:
            expires_at = None if lifetime is None else now + lifetime
            record = FileRecord(ids.file_id(), namespace, filename, purpose, upload.size, now, blob, expires_at)
            tx.insert_file(record)
            return Change(file_object(record))

        return await self._transactions.write(namespace, once, File, work, upload)

    async def retrieve(self, namespace: str, id: str) -> File:
        return await self._transactions.read(lambda tx, now: file_object(_live_file(tx, namespace, id, now)))

    async def page(self, namespace: str, query: PageQuery, purpose: str | None = None) -> ListPage[File]:
        """List files. A page of up to 10,000 is read in parts, between which other requests are served.

        Args:
            purpose: lists only files with this purpose, if given.

        Raises:
            InvalidRequest: if the cursor of ``query`` is not in the list.
        """
        files: list[File] = []
        part = query
        while True:
            part = replace(part, limit=min(query.limit - len(files), _LISTED_AT_ONCE))
            records = await self._records(namespace, part, purpose)
            files += [file_object(record) for record in records]
            if len(records) <= part.limit or len(files) > query.limit:
                return page_of(files, query.limit)
            files.pop()  # the first of the next part
            part = replace(part, after=files[-1].id)
            await asyncio.sleep(0)

    async def delete(self, namespace: str, id: str) -> Deletion:
        def work(tx: Transaction, now: int) -> Change[Deletion]:
            _live_file(tx, namespace, id, now, lock=True)
            return Change(Deletion(id=id, object="file"), tx.delete_file(id, now))

        return await self._transactions.free(work)

    async def content(self, namespace: str, id: str) -> Content:
        """Open the content of a file. Raises as ``ContainerFiles.content`` does."""

        def work(tx: Transaction, now: int) -> tuple[FileRecord, BlobReader | None]:
            file = _live_file(tx, namespace, id, now)
            return file, self._contents.recorded(tx, file)

        file, recorded = await self._transactions.read(work)
        return await self._contents.open(file, file.filename, recorded)

    async def _records(self, namespace: str, query: PageQuery, purpose: str | None) -> list[FileRecord]:
        return await self._transactions.read(
            from_cursor(query, lambda tx, now: tx.files(namespace, query, now, purpose))
        )


def _live_file(tx: Transaction, namespace: str, id: str, now: int, *, lock: bool = False) -> FileRecord:
    file = tx.file(namespace, id, now, lock=lock)
    if file is None:
        raise no_file(id)
    return file
