"""The interfaces of the two stores, and the records that pass through them.

A store is a pair. Rows say what exists; blobs hold the bytes and say nothing. A blob belongs to the rows that name it,
several of which may name the same one, and the rows account for every blob: it is recorded as new before it is there,
live from the moment on in which a row names it, dead from that in which none does any more, and forgotten when it is
deleted. A crash leaves a blob that is new until its lease ends, or dead: never a row without its bytes, nor bytes that
no one knows of. ``schema.py`` has the states.

Rules of the service are functions over a ``Transaction``, handed to ``MetadataStore.read`` or ``write``. They are plain
synchronous code, so that one text of them runs on any database, in whatever way the store runs it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from containerfs.api.models import Order

T = TypeVar("T")


class StoreError(Exception):
    """The store cannot be opened or used as it is; the message is one line that says what to do."""


class OutOfSpaceError(Exception):
    """There is no room left for what was to be stored; nothing of it was."""


class StoreUnavailableError(Exception):
    """The store does not answer. What was to be changed may have been, if its outcome was lost."""


class BlobNotFoundError(Exception):
    """There is no such blob (any more)."""


LEASE_S = 3600
"""How long a new blob is kept for a row to name it, in seconds."""

LINGER_S = 3600
"""How long a dead blob is kept for those who read it, where the store does not keep it for them."""


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
    """A file in a container as stored; ``file_id`` is the id of the file that it was copied from.

    ``attributes`` are what its client keeps with it, as it was given. A path that ends in ``/`` is a directory's, which
    has no bytes.
    """

    id: str
    container_id: str
    path: str
    bytes: int
    created_at: int
    blob: str
    file_id: str | None = None
    attributes: Mapping[str, int] | None = None


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
class KeyRecord:
    """An API key as stored, by its SHA-256. ``expires_at`` is None for one that stays."""

    id: str
    name: str
    sha256: str
    namespace: str
    read_only: bool
    created_at: int
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """What a namespace may have, None for any number, and what it has, all that is not removed yet included."""

    namespace: str
    max_bytes: int | None
    max_files: int | None
    bytes: int
    files: int

    @property
    def is_exceeded(self) -> bool:
        return (self.max_bytes is not None and self.bytes > self.max_bytes) or (
            self.max_files is not None and self.files > self.max_files
        )


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Which part of a listing: at most ``limit`` items after the item ``after``, by creation in ``order``."""

    limit: int
    order: Order = "desc"
    after: str | None = None


class QuotaExceededError(Exception):
    """A namespace would have more than its ``quota`` allows.

    Attributes:
        quota: with the numbers as they would be.
        size: of the file that does not fit, in bytes, at least.
    """

    def __init__(self, quota: Quota, size: int) -> None:
        super().__init__(quota.namespace)
        self.quota, self.size = quota, size


class UnknownCursorError(Exception):
    """``PageQuery.after`` names nothing that is, or lately was, in the listing."""


@dataclass(frozen=True, slots=True)
class Removal:
    """What a step of removing things did: how many rows it deleted, and the blobs that are dead now."""

    rows: int
    garbage: Sequence[str] = ()


class Transaction(Protocol):
    """The rows, as one transaction sees them.

    Listings are in order of creation, total and stable: by ``created_at``, then by order of insertion. Each returns up
    to one item more than ``limit``, which tells that there are more, and raises ``UnknownCursorError``. An item that
    was deleted stays good as a cursor until ``forget`` is called for a later time.

    ``now`` is in Unix seconds everywhere. What has expired at ``now`` is not found.

    No method does more work than its ``limit`` says, or than one row takes: other writers wait for a transaction.

    Transactions may run side by side. What is read with ``lock``, for writing only, stays as it is until the end.
    """

    def insert_container(self, record: ContainerRecord) -> None: ...

    def container(self, namespace: str, id: str, now: int, *, lock: bool = False) -> ContainerRecord | None: ...

    def containers(self, namespace: str, query: PageQuery, now: int, name: str | None) -> list[ContainerRecord]: ...

    def touch_container(self, id: str, last_active_at: int, expires_at: int | None, added: int) -> None:
        """Record activity; ``added`` is how many files came (or, negative, went). What has expired stays so."""
        ...

    def rename_container(self, id: str, name: str) -> None: ...

    def end_container(self, id: str) -> None:
        """Let a container have expired, for ever."""
        ...

    def remove_container(self, id: str, now: int, limit: int) -> Removal:
        """Delete up to ``limit`` rows of an expired container: its files, what is kept of deleted ones, then itself."""
        ...

    def expired_containers(self, now: int, limit: int) -> list[str]:
        """Those that no other transaction has asked for."""
        ...

    def insert_container_file(self, record: ContainerFileRecord, replaced_id: str | None, now: int) -> list[str]:
        """Insert a row, in place of another of its container; returns the other's blob if that is dead now.

        The container must be locked, or new. Raises BlobNotFoundError if the new row's blob is dead or unknown, and
        QuotaExceededError.
        """
        ...

    def insert_container_files(self, records: Sequence[ContainerFileRecord]) -> None:
        """Insert the files of a container that is new. Raises as ``insert_container_file`` does."""
        ...

    def set_attributes(self, id: str, attributes: Mapping[str, int] | None) -> None:
        """Have a file of a container keep these, and no others."""
        ...

    def container_file(self, container_id: str, id: str) -> ContainerFileRecord | None:
        """The file with this id or, failing that, the newest copied from the file with this id."""
        ...

    def container_file_at(self, container_id: str, path: str) -> ContainerFileRecord | None: ...

    def container_files(self, container_id: str, query: PageQuery) -> list[ContainerFileRecord]: ...

    def source(self, namespace: str, id: str, now: int) -> FileRecord | ContainerFileRecord | None:
        """What can be copied by this id: a file, or a file of any container, of the namespace."""
        ...

    def sources(self, namespace: str, ids: Collection[str], now: int) -> Mapping[str, FileRecord | ContainerFileRecord]:
        """The same for many ids; those that cannot be copied are left out."""
        ...

    def delete_container_file(self, id: str, now: int) -> list[str]:
        """Delete a row; returns its blob if that is dead now."""
        ...

    def insert_file(self, record: FileRecord) -> None:
        """Raises BlobNotFoundError if its blob is dead or unknown, and QuotaExceededError."""
        ...

    def file(self, namespace: str, id: str, now: int, *, lock: bool = False) -> FileRecord | None: ...

    def files(self, namespace: str, query: PageQuery, now: int, purpose: str | None) -> list[FileRecord]: ...

    def delete_file(self, id: str, now: int) -> list[str]:
        """Delete a row; returns its blob if that is dead now."""
        ...

    def expired_files(self, now: int, limit: int) -> list[str]:
        """Those that no other transaction has asked for."""
        ...

    def claim_key(self, namespace: str, key: str, digest: str, since: int, now: int) -> RecordedAnswer | None:
        """Claim an idempotency key, so that ``record_answer`` may follow; waits for others that have claimed it.

        Returns the answer if one was recorded for the key at or after ``since``: then it is not claimed.
        """
        ...

    def is_claimed(self, namespace: str, key: str) -> bool:
        """Whether an answer was recorded for a key."""
        ...

    def record_answer(self, namespace: str, key: str, body: str) -> None:
        """Record the answer to the request that has claimed a key, in the same transaction."""
        ...

    def lease_blobs(self, blobs: Collection[str], until: int) -> None:
        """Record new blobs, under names that are used for the first time."""
        ...

    def abandon_blob(self, blob: str, now: int) -> list[str]:
        """Let a blob be dead if it is new; returns it if it was."""
        ...

    def due_blobs(self, now: int, limit: int) -> list[str]:
        """Some of the blobs that are to be deleted, dead ones and those whose lease has ended, which are dead then.

        Nobody else is given these, until they are so late that whoever was has died.
        """
        ...

    def forget_blobs(self, blobs: Collection[str]) -> None:
        """Drop what is known of dead blobs, once they are deleted."""
        ...

    def usage(self, now: int) -> list[Usage]:
        """What is in each namespace that has anything, by name. Looks at every row: only for ``survey``."""
        ...

    def keys(self) -> list[KeyRecord]:
        """All API keys, oldest first."""
        ...

    def insert_key(self, key: KeyRecord) -> bool:
        """Whether it was inserted, which it is not if another key has its name."""
        ...

    def delete_key(self, id: str) -> bool:
        """Whether there was one."""
        ...

    def quotas(self) -> list[Quota]:
        """Those of all namespaces that have one, by name."""
        ...

    def quota(self, namespace: str) -> Quota | None: ...

    def set_quota(self, namespace: str, max_bytes: int | None, max_files: int | None) -> None:
        """Bound what a namespace may have, counting what it has; without either bound it has no quota any more.

        Others who write wait meanwhile.
        """
        ...

    def forget(self, cursors_before: int, answers_before: int, limit: int) -> Removal:
        """Drop up to ``limit`` deleted cursors, and as many recorded answers, that are older."""
        ...


def nothing() -> None:
    """There is nothing to be done first."""


class MetadataStore(Protocol):
    """Where the rows are, for several servers at once. Raises StoreUnavailableError if they cannot be had."""

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` on one consistent snapshot."""
        ...

    async def write(
        self, work: Callable[[Transaction], T], *, frees: bool = False, first: Callable[[], None] = nothing
    ) -> T:
        """Run ``work``, then make it durable: it has happened when this returns, or not at all when it raises.

        ``first`` is called once before, in the thread that goes on to run ``work``, and may take long; where it raises,
        nothing else is done. What has to be stored before a row names it needs no hop to another thread by this.

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
        """What it is called, once it is stored."""
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
        """End the blob and return its name. It is stored once ``publish`` has returned, too.

        Raises:
            OutOfSpaceError: if there is no room.
        """
        ...

    def publish(self) -> None:
        """Make the bytes of a committed blob durable, in any thread; ``open`` finds it from now on. May take long.

        Raises:
            OutOfSpaceError: if there is no room.
        """
        ...


class BlobReader(Protocol):
    """An open blob; it stays readable for as long as a dead blob is kept, at least."""

    @property
    def size(self) -> int: ...

    async def seek(self, start: int, stop: int) -> None:
        """Say which bytes are going to be read, in order. Raises BlobNotFoundError if the blob is not there."""
        ...

    async def address(self, seconds: float) -> str | None:
        """A URL from which anyone can get the blob for so long; None if the store has no such."""
        ...

    async def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes at ``offset``, at least one unless ``offset`` is at or after the end."""
        ...

    async def close(self) -> None: ...


class BlobStore(Protocol):
    """Where the bytes are. Blobs never change. Safe for use by several servers at once."""

    def writer(self) -> AbstractAsyncContextManager[BlobWriter]:
        """A new blob. One that is not committed when the context ends is gone; one that is committed is new, as the
        rows have it, until a row names it."""
        ...

    async def open(self, blob: str, size: int) -> BlobReader:
        """Open a blob, which has so many bytes.

        Raises:
            BlobNotFoundError: if there is no such blob; ``BlobReader.seek`` may find that out, too.
            OSError: if it has another number of bytes; the same holds.
        """
        ...

    async def discard(self, blobs: Collection[str]) -> None:
        """Free the room of dead blobs now, if those who read them can go on."""
        ...

    async def delete(self, blobs: Collection[str]) -> bool:
        """Delete dead blobs, those too that were never there; whether they are gone, and not to be asked for again."""
        ...

    async def sweep_unfinished(self) -> None:
        """Remove what writers that died have left of blobs that were not committed, if the store has such."""
        ...

    async def close(self) -> None: ...
