"""The rules of the service: what each operation does, free of HTTP and of SQL.

- A namespace sees its own containers and files; all else does not exist for it.
- A file id's content never changes. A file of the same path is replaced by one with a new id, in one transaction.
- Copies share a blob; it is dead when the last row that names it went.
- Creating, uploading, copying, deleting and reading a file's content are activity of the container; looking at it is
  not. Activity moves the expiry of a container anchored at ``last_active_at``.
- What has expired does not exist; the sweeper removes it. A container that is deleted has expired, for ever: what is
  left of it after some 100 files goes the same way.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from containerfs.api.models import ApiModel, Container, ContainerFile, Deletion, File, Item, ListPage
from containerfs.server.errors import InvalidRequest, NotFound
from containerfs.server.names import checked_container_name, checked_name, container_path, file_name, is_directory
from containerfs.server.objects import (
    attributes_record,
    container_file_object,
    container_object,
    container_record,
    file_object,
    page_of,
)
from containerfs.server.refusals import (
    ambiguous_name,
    late_upload,
    no_container,
    no_container_file,
    no_file,
    same_request,
)
from containerfs.server.requests import (
    SECONDS,
    Attributes,
    CopyFile,
    CreateContainer,
    ExpiryRule,
    RenameContainer,
    UpdateFile,
)
from containerfs.server.storage.base import (
    BlobNotFoundError,
    BlobReader,
    BlobWriter,
    ContainerFileRecord,
    ContainerRecord,
    FileRecord,
    PageQuery,
    Quota,
    QuotaExceededError,
    StoreUnavailableError,
    Transaction,
    UnknownCursorError,
)
from containerfs.server.storage.open import Stores

T = TypeVar("T")
Model = TypeVar("Model", bound=ApiModel)

ANSWERS_KEPT_S = 24 * 3600
"""How long an idempotency key is remembered."""

_READ_GRANULARITY_S = 10
"""Reads this close to the last activity are not recorded: a write for each read would make reading slow."""

_LISTED_AT_ONCE = 250
"""Files that are listed without a break: some 4 ms."""

_ROWS_AT_ONCE = 100
"""Deleted with a container before its deletion is answered; to remove the bytes of 1,000 files takes up to 0.5 s."""


@dataclass(frozen=True, slots=True)
class Once:
    """An idempotency key, and a digest of the request that it came with."""

    key: str
    digest: str


@dataclass(frozen=True, slots=True)
class Content:
    """A file's content, open for reading; close ``blob`` after use."""

    id: str
    name: str
    blob: BlobReader


@dataclass(frozen=True, slots=True)
class _Change(Generic[T]):
    """What a transaction brought about: its result, the blobs that are dead now, and whether it left work."""

    result: T
    garbage: Sequence[str] = field(default=())
    unfinished: bool = False


class Service:
    """All operations. ``namespace`` is whose containers and files they are about."""

    def __init__(
        self,
        stores: Stores,
        *,
        default_expiry: ExpiryRule | None = None,
        clock: Callable[[], float] = time.time,
        left_work: Callable[[], None] = lambda: None,
    ) -> None:
        """``default_expiry`` is for containers without a rule; ``left_work`` is called when a sweep is due."""
        self._metadata, self._blobs = stores.metadata, stores.blobs
        self._default_expiry = default_expiry
        self._clock = clock
        self._left_work = left_work

    # Containers

    async def create_container(self, namespace: str, request: CreateContainer, once: Once | None = None) -> Container:
        """Raises NotFound for an unknown id in ``file_ids``."""

        def work(tx: Transaction) -> _Change[Container]:
            now = self._now()
            id = _container_id()
            files = self._copies(tx, namespace, id, request.file_ids or (), now)
            record = container_record(id, namespace, request, self._default_expiry, now, len(files))
            tx.insert_container(record)
            try:
                tx.insert_container_files(files)
            except BlobNotFoundError as error:  # it was deleted a moment ago
                raise NotFound("One of the files was deleted.", param="file_ids") from error
            return _Change(container_object(record))

        return await self._write(namespace, once, Container, work)

    async def container(self, namespace: str, id: str) -> Container:
        return await self._metadata.read(lambda tx: container_object(self._live(tx, namespace, id)))

    async def containers(self, namespace: str, query: PageQuery, name: str | None = None) -> ListPage[Container]:
        found = await self._metadata.read(
            _with_cursor(query, lambda tx: tx.containers(namespace, query, self._now(), name))
        )
        return _page([container_object(record) for record in found], query)

    async def rename_container(
        self, namespace: str, id: str, request: RenameContainer, once: Once | None = None
    ) -> Container:
        def work(tx: Transaction) -> _Change[Container]:
            now = self._now()
            container = self._live(tx, namespace, id, lock=True)
            tx.rename_container(container.id, request.name)
            _touch(tx, container, now)
            return _Change(container_object(self._live(tx, namespace, id)))

        return await self._write(namespace, once, Container, work)

    async def delete_container(self, namespace: str, id: str) -> Deletion:
        def work(tx: Transaction) -> _Change[Deletion]:
            self._live(tx, namespace, id, lock=True)
            tx.end_container(id)
            removal = tx.remove_container(id, self._now(), _ROWS_AT_ONCE)
            deletion = Deletion(id=id, object="container.deleted")
            return _Change(deletion, removal.garbage, unfinished=removal.rows == _ROWS_AT_ONCE)

        return await self._delete(work)

    # Files of a container

    @contextlib.asynccontextmanager
    async def upload(self) -> AsyncIterator[BlobWriter]:
        """Where to write an upload's bytes, before ``add_file`` or ``create_file`` takes it.

        If neither did when the context ends, they are gone.
        """
        async with self._blobs.writer() as blob:
            try:
                yield blob
            except BaseException:
                # Whether a row names it is for the rows to say: a cancelled request may have been carried out.
                if name := blob.name:
                    await self._abandon(name)
                raise

    async def expect_container_file(
        self, namespace: str, container_id: str, name: str | None, size: int, key: str | None
    ) -> None:
        """Check whether there is room for a file before it is sent.

        Raises QuotaExceededError, as ``add_file`` does, which still decides.

        Args:
            name: its relative path; None as long as that is not known, and it may take the place of any file.
            size: in bytes.
            key: the request's idempotency key, if it has one: what was done before is not done again.
        """
        path = None if name is None else container_path(checked_container_name(name))

        def work(tx: Transaction) -> None:
            container = self._live(tx, namespace, container_id)
            quota = _quota_for(tx, namespace, key)
            if quota is None:
                return
            if path is None:
                quota = replace(quota, bytes=0, files=0)
            elif replaced := tx.container_file_at(container.id, path):
                quota = replace(quota, bytes=quota.bytes - replaced.bytes, files=quota.files - 1)
            _check_room(quota, size)

        await self._metadata.read(work)

    async def expect_file(self, namespace: str, size: int, key: str | None) -> None:
        """The same for a file of ``/files``, which takes no other's place."""

        def work(tx: Transaction) -> None:
            if quota := _quota_for(tx, namespace, key):
                _check_room(quota, size)

        await self._metadata.read(work)

    async def add_file(
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
        """Take an upload under a relative path; a file that is there already is replaced, or, if not, a Conflict."""
        path = container_path(checked_container_name(name))
        if is_directory(name) and upload.size:
            raise InvalidRequest("A directory, whose name ends in '/', has no content.", param="file")
        blob = await upload.commit()

        def work(tx: Transaction) -> _Change[ContainerFile]:
            container, now = self._live(tx, namespace, container_id, lock=True), self._now()
            if not may_replace and tx.container_file_at(container.id, path):
                raise ambiguous_name(name)
            file = ContainerFileRecord(
                _container_file_id(),
                container.id,
                path,
                upload.size,
                now,
                blob,
                attributes=attributes_record(attributes),
            )
            return self._put(tx, container, file, now)

        return await self._write(namespace, once, ContainerFile, work, upload=blob)

    async def copy_file(
        self, namespace: str, container_id: str, request: CopyFile, once: Once | None = None
    ) -> ContainerFile:
        """Copy a file, or a file of a container, into a container; the bytes are shared."""
        name = None if request.path is None else checked_container_name(request.path, param="path")

        def work(tx: Transaction) -> _Change[ContainerFile]:
            container = self._live(tx, namespace, container_id, lock=True)
            return self._copy(
                tx, container, request.file_id, name, self._now(), param="file_id", attributes=request.attributes
            )

        return await self._write(namespace, once, ContainerFile, work)

    async def update_container_file(
        self, namespace: str, container_id: str, id: str, request: UpdateFile, once: Once | None = None
    ) -> ContainerFile:
        """Have a file keep these attributes, and no others."""

        def work(tx: Transaction) -> _Change[ContainerFile]:
            container = self._live(tx, namespace, container_id, lock=True)
            file = replace(_file_of(tx, container, id), attributes=attributes_record(request.attributes))
            tx.set_attributes(file.id, file.attributes)
            _touch(tx, container, self._now())
            return _Change(container_file_object(file))

        return await self._write(namespace, once, ContainerFile, work)

    async def container_file(self, namespace: str, container_id: str, id: str) -> ContainerFile:
        return await self._metadata.read(
            lambda tx: container_file_object(_file_of(tx, self._live(tx, namespace, container_id), id))
        )

    async def container_files(self, namespace: str, container_id: str, query: PageQuery) -> ListPage[ContainerFile]:
        def work(tx: Transaction) -> list[ContainerFileRecord]:
            return tx.container_files(self._live(tx, namespace, container_id).id, query)

        found = await self._metadata.read(_with_cursor(query, work))
        return _page([container_file_object(record) for record in found], query)

    async def delete_container_file(self, namespace: str, container_id: str, id: str) -> Deletion:
        def work(tx: Transaction) -> _Change[Deletion]:
            container, now = self._live(tx, namespace, container_id, lock=True), self._now()
            file = _file_of(tx, container, id)
            garbage = tx.delete_container_file(file.id, now)
            _touch(tx, container, now, added=-1)
            return _Change(Deletion(id=id, object="container.file.deleted"), garbage)

        return await self._delete(work)

    async def container_file_content(self, namespace: str, container_id: str, id: str) -> Content:
        def work(tx: Transaction) -> tuple[ContainerRecord, ContainerFileRecord]:
            container = self._live(tx, namespace, container_id)
            return container, _file_of(tx, container, id)

        container, file = await self._metadata.read(work)
        await self._record_read(container)
        try:
            return Content(file.id, file_name(file.path), await self._open(file))
        except BlobNotFoundError as error:
            raise no_container_file(container_id, id) from error

    # Files

    async def create_file(
        self,
        namespace: str,
        filename: str,
        purpose: str,
        upload: BlobWriter,
        lifetime: int | None = None,
        once: Once | None = None,
    ) -> File:
        """Take an upload; ``lifetime`` is in seconds."""
        checked_name(filename)
        blob = await upload.commit()

        def work(tx: Transaction) -> _Change[File]:
            now = self._now()
            expires_at = None if lifetime is None else now + lifetime
            record = FileRecord(_file_id(), namespace, filename, purpose, upload.size, now, blob, expires_at)
            tx.insert_file(record)
            return _Change(file_object(record))

        return await self._write(namespace, once, File, work, upload=blob)

    async def file(self, namespace: str, id: str) -> File:
        return await self._metadata.read(lambda tx: file_object(self._live_file(tx, namespace, id)))

    async def files(self, namespace: str, query: PageQuery, purpose: str | None = None) -> ListPage[File]:
        """A page of up to 10,000 is read in parts, between which others are served."""
        listed: list[File] = []
        part = query
        while True:
            part = replace(part, limit=min(query.limit - len(listed), _LISTED_AT_ONCE))
            found = await self._files(namespace, part, purpose)
            listed += [file_object(record) for record in found[: part.limit]]
            has_more = len(found) > part.limit
            if not has_more or len(listed) >= query.limit:
                return page_of(listed, has_more=has_more)
            part = replace(part, after=listed[-1].id)
            await asyncio.sleep(0)

    async def delete_file(self, namespace: str, id: str) -> Deletion:
        def work(tx: Transaction) -> _Change[Deletion]:
            self._live_file(tx, namespace, id, lock=True)
            return _Change(Deletion(id=id, object="file"), tx.delete_file(id, self._now()))

        return await self._delete(work)

    async def file_content(self, namespace: str, id: str) -> Content:
        file = await self._metadata.read(lambda tx: self._live_file(tx, namespace, id))
        try:
            return Content(file.id, file.filename, await self._open(file))
        except BlobNotFoundError as error:
            raise no_file(id) from error

    # How it is done

    async def _files(self, namespace: str, query: PageQuery, purpose: str | None) -> list[FileRecord]:
        return await self._metadata.read(
            _with_cursor(query, lambda tx: tx.files(namespace, query, self._now(), purpose))
        )

    async def _open(self, file: FileRecord | ContainerFileRecord) -> BlobReader:
        """Raises BlobNotFoundError if the file was deleted meanwhile."""
        return await self._blobs.open(file.blob, file.bytes)

    async def _abandon(self, blob: str) -> None:
        """Have an upload removed that no row names; where the rows cannot be had, its lease will end."""
        with contextlib.suppress(StoreUnavailableError):
            now = self._now()
            await self._blobs.discard(await self._metadata.write(lambda tx: tx.abandon_blob(blob, now), frees=True))

    async def _record_read(self, container: ContainerRecord) -> None:
        """Reading is activity, worth a write only where a container expires by it."""
        now = self._now()
        if container.anchor == "last_active_at" and now >= container.last_active_at + _READ_GRANULARITY_S:
            await self._metadata.write(lambda tx: _touch(tx, container, now), frees=True)

    async def _write(
        self,
        namespace: str,
        once: Once | None,
        kind: type[Model],
        work: Callable[[Transaction], _Change[Model]],
        upload: str | None = None,
    ) -> Model:
        """Carry out ``work``, or, for an idempotency key that was used before, give the answer of that time.

        ``upload`` is the blob that ``work`` names, and that is not needed then.

        The answer is recorded in the transaction that brings it about, so that of two equal requests, even at the same
        moment or at two servers, one is carried out and both get its answer.
        """

        def transaction(tx: Transaction) -> _Change[Model]:
            if once is None:
                return work(tx)
            now = self._now()
            if answer := tx.claim_key(namespace, once.key, once.digest, now - ANSWERS_KEPT_S, now):
                given = kind.model_validate_json(same_request(answer, once.digest).body)
                return _Change(given, tx.abandon_blob(upload, now) if upload else ())
            change = work(tx)
            tx.record_answer(namespace, once.key, change.result.model_dump_json())
            return change

        try:
            return await self._done(await self._metadata.write(transaction))
        except BlobNotFoundError as error:
            raise late_upload() from error

    async def _delete(self, work: Callable[[Transaction], _Change[Deletion]]) -> Deletion:
        return await self._done(await self._metadata.write(work, frees=True))

    async def _done(self, change: _Change[T]) -> T:
        """See to what a change left behind."""
        if change.unfinished:
            self._left_work()
        await self._blobs.discard(change.garbage)
        return change.result

    def _copy(
        self,
        tx: Transaction,
        container: ContainerRecord,
        source_id: str,
        name: str | None,
        now: int,
        *,
        param: str,
        attributes: Attributes | None = None,
    ) -> _Change[ContainerFile]:
        source = tx.source(container.namespace, source_id, now)
        if source is None:
            raise no_file(source_id, param=param)
        copy = _copy_of(source, container.id, now)
        if name is not None:
            if is_directory(name) != is_directory(copy.path):
                raise InvalidRequest(
                    "A directory can only be copied to a name that ends in '/', and a file only to another name.",
                    param="path",
                )
            copy = replace(copy, path=container_path(name))
        if attributes is not None:
            copy = replace(copy, attributes=attributes_record(attributes))
        try:
            return self._put(tx, container, copy, now)
        except BlobNotFoundError as error:  # it was deleted a moment ago
            raise no_file(source_id, param=param) from error

    def _copies(
        self, tx: Transaction, namespace: str, container_id: str, source_ids: Sequence[str], now: int
    ) -> list[ContainerFileRecord]:
        """Of the files for a new container; of those of one name, the last."""
        sources = tx.sources(namespace, source_ids, now)
        copies: dict[str, ContainerFileRecord] = {}
        for id in source_ids:
            if id not in sources:
                raise no_file(id, param="file_ids")
            copy = _copy_of(sources[id], container_id, now)
            copies.pop(copy.path, None)
            copies[copy.path] = copy
        return list(copies.values())

    def _put(
        self, tx: Transaction, container: ContainerRecord, file: ContainerFileRecord, now: int
    ) -> _Change[ContainerFile]:
        """Insert a file, replacing the one at its path."""
        replaced = tx.container_file_at(container.id, file.path)
        garbage = tx.insert_container_file(file, replaced.id if replaced else None, now)
        _touch(tx, container, now, added=0 if replaced else 1)
        answer = container_file_object(file).model_copy(update={"replaced_id": replaced.id if replaced else None})
        return _Change(answer, garbage)

    def _live(self, tx: Transaction, namespace: str, id: str, *, lock: bool = False) -> ContainerRecord:
        container = tx.container(namespace, id, self._now(), lock=lock)
        if container is None:
            raise no_container(id)
        return container

    def _live_file(self, tx: Transaction, namespace: str, id: str, *, lock: bool = False) -> FileRecord:
        file = tx.file(namespace, id, self._now(), lock=lock)
        if file is None:
            raise no_file(id)
        return file

    def _now(self) -> int:
        return int(self._clock())


def _touch(tx: Transaction, container: ContainerRecord, now: int, *, added: int = 0) -> None:
    """Record activity, and what came of it for the expiry."""
    expires_at = container.expires_at
    if container.anchor == "last_active_at" and container.span and container.unit:
        expires_at = now + container.span * SECONDS[container.unit]
    tx.touch_container(container.id, now, expires_at, added)


def _copy_of(source: FileRecord | ContainerFileRecord, container_id: str, now: int) -> ContainerFileRecord:
    if isinstance(source, FileRecord):
        file_id: str | None = source.id
        path, kept = container_path(source.filename), None
    else:
        file_id, path, kept = source.file_id, source.path, source.attributes
    return ContainerFileRecord(_container_file_id(), container_id, path, source.bytes, now, source.blob, file_id, kept)


def _file_of(tx: Transaction, container: ContainerRecord, id: str) -> ContainerFileRecord:
    file = tx.container_file(container.id, id)
    if file is None:
        raise no_container_file(container.id, id)
    return file


def _quota_for(tx: Transaction, namespace: str, key: str | None) -> Quota | None:
    """What bounds a request; nothing does if it was carried out before, and is only answered again."""
    quota = tx.quota(namespace)
    return None if quota and key and tx.is_claimed(namespace, key) else quota


def _check_room(quota: Quota, size: int) -> None:
    with_it = replace(quota, bytes=quota.bytes + size, files=quota.files + 1)
    if with_it.is_exceeded:
        raise QuotaExceededError(with_it, size)


def _page(found: list[Item], query: PageQuery) -> ListPage[Item]:
    return page_of(found[: query.limit], has_more=len(found) > query.limit)


def _with_cursor(query: PageQuery, work: Callable[[Transaction], T]) -> Callable[[Transaction], T]:
    def checked(tx: Transaction) -> T:
        try:
            return work(tx)
        except UnknownCursorError as error:
            raise InvalidRequest(f"No item with id '{query.after}' in this list.", param="after") from error

    return checked


def _container_id() -> str:
    return f"cntr_{secrets.token_hex(24)}"


def _container_file_id() -> str:
    return f"cfile_{secrets.token_hex(16)}"


def _file_id() -> str:
    return f"file-{secrets.token_hex(16)}"
