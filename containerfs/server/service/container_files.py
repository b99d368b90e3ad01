"""Operations on the files of containers."""

from dataclasses import replace

from containerfs.api.models import ContainerFile, Deletion, ListPage
from containerfs.server.errors import InvalidRequest
from containerfs.server.requests import Attributes, CopyFile, UpdateFile
from containerfs.server.service import ids
from containerfs.server.service.containers import live_container, record_activity
from containerfs.server.service.contents import Content, Contents
from containerfs.server.service.copies import copy_of
from containerfs.server.service.names import checked_container_name, container_path, file_name, is_directory
from containerfs.server.service.objects import attributes_record, container_file_object
from containerfs.server.service.pages import from_cursor, page_of
from containerfs.server.service.quotas import check_room, quota_for
from containerfs.server.service.refusals import ambiguous_name, no_container_file, no_file
from containerfs.server.service.transactions import Change, Once, Transactions
from containerfs.server.storage.blob_store import BlobReader, BlobWriter
from containerfs.server.storage.failures import BlobNotFoundError
from containerfs.server.storage.metadata_store import Transaction
from containerfs.server.storage.records import ContainerFileRecord, ContainerRecord, PageQuery

_READ_GRANULARITY_S = 10
"""Reads this soon after the last activity are not recorded: a write for each read would make reading slow."""


class ContainerFiles:
    """Operations on the files of a container.

    All raise NotFound for a container or file that does not exist, has expired, or belongs to another namespace.
    """

    def __init__(self, transactions: Transactions, contents: Contents) -> None:
        self._transactions, self._contents = transactions, contents

    async def expect(self, namespace: str, container_id: str, name: str | None, size: int, key: str | None) -> None:
        """Check whether there is room for a file before it is sent. ``add`` checks again, and decides.

        Args:
            name: its relative path; None while that is not known, when it might replace any file.
            size: in bytes.
            key: the idempotency key of the request, if it has one. A repeated request needs no room.

        Raises:
            QuotaExceededError: if there is not enough room.
            InvalidRequest: if the name is not allowed.
        """
        path = None if name is None else container_path(checked_container_name(name))

        def work(tx: Transaction, now: int) -> None:
            container = live_container(tx, namespace, container_id, now)
            quota = quota_for(tx, namespace, key)
            if quota is None:
                return
            if path is None:
                quota = replace(quota, bytes=0, files=0)
            elif replaced := tx.container_file_at(container.id, path):
                quota = replace(quota, bytes=quota.bytes - replaced.bytes, files=quota.files - 1)
            check_room(quota, size)

        await self._transactions.read(work)

    async def add(
        self,
        namespace: str,
        container_id: str,
        name: str,
        upload: BlobWriter,
        once: Once | None = None,
        *,
        attributes: Attributes | None = None,
        may_replace: bool = True,
    ) -> ContainerFile:
        """Store an upload under a relative path.

        Args:
            may_replace: whether a file that has the path already is replaced.

        Raises:
            InvalidRequest: if the name is not allowed, or is a directory's and the upload has bytes.
            Conflict: if there is such a file and it may not be replaced.
            QuotaExceededError: if the namespace has no room for it.
        """
        path = container_path(checked_container_name(name))
        if is_directory(name) and upload.size:
            raise InvalidRequest("A directory, whose name ends in '/', has no content.", param="file")
        blob = await upload.commit()

        def work(tx: Transaction, now: int) -> Change[ContainerFile]:
            container = live_container(tx, namespace, container_id, now, lock=True)
            if not may_replace and tx.container_file_at(container.id, path):
                raise ambiguous_name(name)
            kept = attributes_record(attributes)
            id = ids.container_file_id()
            file = ContainerFileRecord(id, container.id, path, upload.size, now, blob, attributes=kept)
            return _put(tx, container, file, now)

        return await self._transactions.write(namespace, once, ContainerFile, work, upload)

    async def copy(
        self, namespace: str, container_id: str, request: CopyFile, once: Once | None = None
    ) -> ContainerFile:
        """Copy a file of ``/files``, or a file of a container, into a container.

        Raises:
            InvalidRequest: if the name of the copy is not allowed.
            QuotaExceededError: if the namespace has no room for it.
        """
        name = None if request.path is None else checked_container_name(request.path, param="path")

        def work(tx: Transaction, now: int) -> Change[ContainerFile]:
            container = live_container(tx, namespace, container_id, now, lock=True)
            copy = copy_of(tx, container, request, name, now)
            try:
                return _put(tx, container, copy, now)
            except BlobNotFoundError as error:  # deleted since it was looked up
                raise no_file(request.file_id, param="file_id") from error

        return await self._transactions.write(namespace, once, ContainerFile, work)

    async def update(
        self, namespace: str, container_id: str, id: str, request: UpdateFile, once: Once | None = None
    ) -> ContainerFile:
        """Replace all attributes of a file."""

        def work(tx: Transaction, now: int) -> Change[ContainerFile]:
            container = live_container(tx, namespace, container_id, now, lock=True)
            file = replace(_file(tx, container, id), attributes=attributes_record(request.attributes))
            tx.set_attributes(file.id, file.attributes)
            record_activity(tx, container, now)
            return Change(container_file_object(file))

        return await self._transactions.write(namespace, once, ContainerFile, work)

    async def retrieve(self, namespace: str, container_id: str, id: str) -> ContainerFile:
        return await self._transactions.read(
            lambda tx, now: container_file_object(_file(tx, live_container(tx, namespace, container_id, now), id))
        )

    async def page(self, namespace: str, container_id: str, query: PageQuery) -> ListPage[ContainerFile]:
        """List the files of a container.

        Raises:
            InvalidRequest: if the cursor of ``query`` is not in the list.
        """

        def work(tx: Transaction, now: int) -> list[ContainerFileRecord]:
            return tx.container_files(live_container(tx, namespace, container_id, now).id, query)

        records = await self._transactions.read(from_cursor(query, work))
        return page_of([container_file_object(record) for record in records], query.limit)

    async def delete(self, namespace: str, container_id: str, id: str) -> Deletion:
        def work(tx: Transaction, now: int) -> Change[Deletion]:
            container = live_container(tx, namespace, container_id, now, lock=True)
            file = _file(tx, container, id)
            garbage = tx.delete_container_file(file.id, now)
            record_activity(tx, container, now, added=-1)
            return Change(Deletion(id=id, object="container.file.deleted"), garbage)

        return await self._transactions.free(work)

    async def content(self, namespace: str, container_id: str, id: str) -> Content:
        """Open the content of a file, and record that as activity of its container.

        Raises:
            BlobNotFoundError: if the file was deleted in the meantime, or the store has lost its content.
        """

        def work(tx: Transaction, now: int) -> tuple[ContainerRecord, ContainerFileRecord, BlobReader | None]:
            container = live_container(tx, namespace, container_id, now)
            file = _file(tx, container, id)
            return container, file, self._contents.recorded(tx, file)

        container, file, recorded = await self._transactions.read(work)
        await self._record_read(container)
        return await self._contents.open(file, file_name(file.path), recorded)

    async def _record_read(self, container: ContainerRecord) -> None:
        """Record a read, which is worth a write only if it extends the container's expiry."""
        due = container.last_active_at + _READ_GRANULARITY_S
        if container.anchor == "last_active_at" and self._transactions.now() >= due:

            def work(tx: Transaction, now: int) -> Change[None]:
                record_activity(tx, container, now)
                return Change(None)

            await self._transactions.free(work)


def _put(tx: Transaction, container: ContainerRecord, file: ContainerFileRecord, now: int) -> Change[ContainerFile]:
    """Insert a file, replacing the one at its path."""
    replaced = tx.container_file_at(container.id, file.path)
    replaced_id = replaced.id if replaced else None
    garbage = tx.insert_container_file(file, replaced_id, now)
    record_activity(tx, container, now, added=0 if replaced else 1)
    return Change(container_file_object(file).model_copy(update={"replaced_id": replaced_id}), garbage)


def _file(tx: Transaction, container: ContainerRecord, id: str) -> ContainerFileRecord:
    file = tx.container_file(container.id, id)
    if file is None:
        raise no_container_file(container.id, id)
    return file
