"""The interfaces of the two stores, and the records that pass through them.

A store is a pair. Rows say what exists; blobs hold the bytes and say nothing. The rows decide: a blob belongs to the
rows that name it, several of which may name the same one, and a blob that no row names is garbage. So every change is
*blob durable first, then the row* when something comes, and *row first, then the blob* when something goes. A crash
between the two leaves garbage, never a row without its bytes; ``BlobStore.sweep`` collects it.

Rules of the service are functions over a ``Transaction``, handed to ``MetadataStore.read`` or ``write``. They are plain
synchronous code, so that one text of them runs on any database, in whatever way the store runs it.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from containerfs.api.models import Order

T = TypeVar("T")


class StoreError(Exception):
    """The store cannot be opened or used as it is; the message is one line that says what to do."""


class OutOfSpaceError(Exception):
    """There is no room left for what was to be stored; nothing of it was."""


class BlobNotFoundError(Exception):
    """There is no such blob (any more)."""


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """A container as stored. Times are Unix seconds; ``lifetime`` is in seconds, None for a container that stays.

    ``anchor``, ``span`` and ``unit`` are the expiry rule as it was given: ``span`` times ``unit`` (``days`` or
    ``minutes``) after ``anchor``.
    """

    id: str
    namespace: str
    name: str
    created_at: int
    last_active_at: int
    expires_at: int | None = None
    anchor: str | None = None
    span: int | None = None
    unit: str | None = None
    memory_limit: str | None = None
    network_policy: Mapping[str, object] | None = None
    file_count: int = 0


@dataclass(frozen=True, slots=True)
class ContainerFileRecord:
    """A file in a container as stored; ``file_id`` is the id of the file that it was copied from."""

    id: str
    container_id: str
    path: str
    bytes: int
    created_at: int
    blob: str
    file_id: str | None = None


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file of ``/v1/files`` as stored."""

    id: str
    namespace: str
    filename: str
    purpose: str
    bytes: int
    created_at: int
    blob: str
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """What a request with an ``Idempotency-Key`` was answered: ``digest`` names the request, ``body`` is JSON."""

    digest: str
    body: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What is in a namespace.

    Attributes:
        containers: those that have not expired.
        files: in these, and of ``/files``.
        bytes: of these files; copies, which share their bytes, count each.
        expired_bytes: of what has expired or was deleted, and is still to be removed.
    """

    namespace: str
    containers: int
    files: int
    bytes: int
    expired_bytes: int


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Which part of a listing: at most ``limit`` items after the item ``after``, by creation in ``order``."""

    limit: int
    order: Order = "desc"
    after: str | None = None


class UnknownCursorError(Exception):
    """``PageQuery.after`` names nothing that is, or lately was, in the listing."""


@dataclass(frozen=True, slots=True)
class Removal:
    """What a step of removing things did: how many rows it deleted, and the blobs that no row names any more."""

    rows: int
    garbage: Sequence[str] = ()


class Transaction(Protocol):
    """The rows, as one transaction sees them.

    Listings are in order of creation, total and stable: by ``created_at``, then by order of insertion. Each returns up
    to one item more than ``limit``, which tells that there are more, and raises ``UnknownCursorError``. An item that
    was deleted stays good as a cursor until ``forget`` is called for a later time.

    ``now`` is in Unix seconds everywhere. What has expired at ``now`` is not found.

    No method does more work than its ``limit`` says, or than one row takes: other writers wait for a transaction.
    """

    def insert_container(self, record: ContainerRecord) -> None: ...

    def container(self, namespace: str, id: str, now: int) -> ContainerRecord | None: ...

    def containers(self, namespace: str, query: PageQuery, now: int, name: str | None) -> list[ContainerRecord]: ...

    def touch_container(self, id: str, last_active_at: int, expires_at: int | None, added: int) -> None:
        """Record activity; ``added`` is how many files came (or, negative, went). What has expired stays so."""
        ...

    def end_container(self, id: str) -> None:
        """Let a container have expired, for ever."""
        ...

    def remove_container(self, id: str, now: int, limit: int) -> Removal:
        """Delete up to ``limit`` rows of an expired container: its files, what is kept of deleted ones, then itself."""
        ...

    def expired_containers(self, now: int, limit: int) -> list[str]: ...

    def insert_container_file(self, record: ContainerFileRecord) -> None: ...

    def container_file(self, container_id: str, id: str) -> ContainerFileRecord | None:
        """The file with this id or, failing that, the newest copied from the file with this id."""
        ...

    def container_file_at(self, container_id: str, path: str) -> ContainerFileRecord | None: ...

    def container_files(self, container_id: str, query: PageQuery) -> list[ContainerFileRecord]: ...

    def source(self, namespace: str, id: str, now: int) -> FileRecord | ContainerFileRecord | None:
        """What can be copied by this id: a file, or a file of any container, of the namespace."""
        ...

    def delete_container_file(self, id: str, now: int) -> list[str]:
        """Delete a row; returns its blob if no row names it any more."""
        ...

    def insert_file(self, record: FileRecord) -> None: ...

    def file(self, namespace: str, id: str, now: int) -> FileRecord | None: ...

    def files(self, namespace: str, query: PageQuery, now: int, purpose: str | None) -> list[FileRecord]: ...

    def delete_file(self, id: str, now: int) -> list[str]:
        """Delete a row; returns its blob if no row names it any more."""
        ...

    def expired_files(self, now: int, limit: int) -> list[str]: ...

    def answer(self, namespace: str, key: str, since: int) -> RecordedAnswer | None:
        """The answer recorded for an idempotency key at or after ``since``."""
        ...

    def record_answer(self, namespace: str, key: str, answer: RecordedAnswer, now: int) -> None: ...

    def usage(self, now: int) -> list[Usage]:
        """What is in each namespace that has anything, by name. Looks at every row: only for ``survey``."""
        ...

    def named_blobs(self, blobs: Collection[str]) -> set[str]:
        """Those of the blobs that some row names."""
        ...

    def forget(self, cursors_before: int, answers_before: int, limit: int) -> Removal:
        """Drop up to ``limit`` deleted cursors, and as many recorded answers, that are older."""
        ...


class MetadataStore(Protocol):
    """Where the rows are. Safe for use by several servers at once."""

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` on one consistent snapshot."""
        ...

    async def write(self, work: Callable[[Transaction], T], *, frees: bool = False) -> T:
        """Run ``work`` alone, then make it durable: it has happened when this returns, or not at all when it raises.

        With ``frees``, for what deletes or adds nothing, it happens on a full disk, too; without, that raises
        OutOfSpaceError.

        ``work`` may be run more than once (after a conflict with another writer) and must have no effects but on its
        transaction. A task cancelled meanwhile learns of it once the outcome is settled.
        """
        ...

    async def survey(self, work: Callable[[Transaction], T]) -> T:
        """The same as ``read``, for what may take long: no one else waits for it."""
        ...

    async def close(self) -> None: ...


class BlobWriter(Protocol):
    """One blob in the making."""

    @property
    def name(self) -> str | None:
        """What it is called, once it is committed."""
        ...

    @property
    def size(self) -> int:
        """Bytes written so far."""
        ...

    async def write(self, data: bytes | memoryview) -> None:
        """Append. May return before the bytes are written; errors then come with a later call.

        Raises:
            OutOfSpaceError: if there is no room.
        """
        ...

    async def commit(self) -> str:
        """Make the bytes durable and return the blob's name; ``open`` finds it from now on.

        Raises:
            OutOfSpaceError: if there is no room.
        """
        ...


class BlobReader(Protocol):
    """An open blob; it stays readable when the blob is deleted meanwhile."""

    @property
    def size(self) -> int: ...

    async def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes at ``offset``, at least one unless ``offset`` is at or after the end."""
        ...

    async def close(self) -> None: ...


class BlobStore(Protocol):
    """Where the bytes are. Blobs never change. Safe for use by several servers at once."""

    def writer(self) -> AbstractAsyncContextManager[BlobWriter]:
        """A new blob. Until the context ends ``sweep`` leaves it alone; a blob not committed by then is gone;
        one that is committed stays, and is the caller's to delete if no row comes to name it."""
        ...

    async def open(self, blob: str) -> BlobReader:
        """Raises BlobNotFoundError if there is no such blob."""
        ...

    async def delete(self, blobs: Collection[str]) -> None:
        """Delete blobs that no row names; those that are gone already are fine."""
        ...

    async def sweep(self, named: Callable[[Collection[str]], Awaitable[set[str]]]) -> int:
        """Delete what no one will ever read, and return how many: unfinished blobs of dead writers, and blobs that
        ``named`` does not return. ``named`` is asked about a blob when no writer holds it any more, so that one whose
        row is about to be written is safe.
        """
        ...
