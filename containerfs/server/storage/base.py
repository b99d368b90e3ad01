"""The interfaces of the two stores, and the records that they exchange.

A store is a pair. Rows say what exists, and blobs hold the bytes. One or several rows name a blob. The rows account for
every blob: it is recorded as new before it is stored, is live while a row names it, dead when no row does any more, and
forgotten after it is deleted. So a crash leaves at most a blob that is new until its lease ends, or a dead one. It
never leaves a row without its bytes, or bytes that nothing accounts for. ``schema.py`` shows the states.

The rules of the service are functions of a ``Transaction``, passed to ``MetadataStore.read`` or ``write``. They are
synchronous, so that the same code works with every database, wherever the store runs it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from containerfs.api.models import Order

T = TypeVar("T")


class StoreError(Exception):
    """The store cannot be opened or used. The message is one line, and says what to do."""


class OutOfSpaceError(Exception):
    """There is no space for what was to be stored. Nothing of it was stored."""


class StoreUnavailableError(Exception):
    """The store does not answer. If the result of a change was lost, it may have happened."""


class BlobNotFoundError(Exception):
    """There is no such blob, or it was deleted."""


LEASE_S = 3600
"""How long a new blob is kept for a row to name it, in seconds."""

LINGER_S = 3600
"""How long a dead blob is kept for those that are reading it, in seconds, if the file system does not keep it for them.
"""


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """A container as stored. Times are in Unix seconds.

    Attributes:
        expires_at: None for a container that does not expire.
        anchor: where the expiry rule counts from: ``created_at`` or ``last_active_at``; None without a rule.
        span: the rule's length, in ``unit``.
        unit: ``days`` or ``minutes``.
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
    """A file of a container as stored.

    Attributes:
        path: absolute; one that ends in ``/`` is a directory's, which has no bytes.
        bytes: the size of its content.
        created_at: in Unix seconds.
        blob: the name of its content.
        file_id: the id of the file that it was copied from, if it is a copy.
        attributes: what its client keeps with it.
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
    """A file of ``/files`` as stored. Times are in Unix seconds; ``expires_at`` is None for a file that does not
    expire."""

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
    """The answer to a request with an idempotency key.

    Attributes:
        digest: of the request.
        body: of the answer, as JSON.
    """

    digest: str
    body: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What a namespace contains.

    Attributes:
        containers: the number of containers that have not expired.
        files: the number of files in these, and of ``/files``.
        bytes: of these files, where each copy counts.
        expired_bytes: of files that have expired or were deleted, and whose rows are still to be removed.
    """

    namespace: str
    containers: int
    files: int
    bytes: int
    expired_bytes: int


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An API key as stored.

    Attributes:
        sha256: of the secret, as hexadecimal digits.
        read_only: whether the key may only read.
        created_at: in Unix seconds.
        expires_at: in Unix seconds; None for a key that does not expire.
    """

    id: str
    name: str
    sha256: str
    namespace: str
    read_only: bool
    created_at: int
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """What a namespace may hold, and what it holds, including what is still to be removed.

    Attributes:
        max_bytes: None for no limit.
        max_files: None for no limit.
        bytes: the bytes that it holds.
        files: the number of files that it holds.
    """

    namespace: str
    max_bytes: int | None
    max_files: int | None
    bytes: int
    files: int

    @property
    def is_exceeded(self) -> bool:
        """Whether the namespace holds more than it may."""
        return (self.max_bytes is not None and self.bytes > self.max_bytes) or (
            self.max_files is not None and self.files > self.max_files
        )


@dataclass(frozen=True, slots=True)
class PageQuery:
    """A part of a listing.

    Attributes:
        limit: the largest number of items, at least 1.
        order: by time of creation, ``asc`` or ``desc``.
        after: the id of the item that the page follows; None for the first page.
    """

    limit: int
    order: Order = "desc"
    after: str | None = None


class QuotaExceededError(Exception):
    """A namespace would hold more than its quota allows.

    Attributes:
        quota: with the numbers as they would become.
        size: a lower bound for the size of the file that does not fit, in bytes.
    """

    def __init__(self, quota: Quota, size: int) -> None:
        super().__init__(quota.namespace)
        self.quota, self.size = quota, size


class UnknownCursorError(Exception):
    """``PageQuery.after`` names an item that is not in the listing, and was not recently."""


@dataclass(frozen=True, slots=True)
class Removal:
    """The result of removing rows: how many were removed, and the blobs that are dead now and not kept with them."""

    rows: int
    garbage: Sequence[str] = ()


class Transaction(Protocol):
    """The rows as one transaction sees them.

    Listings have a total, stable order: by ``created_at``, and then by insertion. Each returns up to one item more than
    ``limit``, which shows that there are more, and raises UnknownCursorError. A deleted item may be used as a cursor
    until ``forget`` is called for a later time.

    ``now`` is always in Unix seconds. Items that have expired at ``now`` are not found.

    Other writers wait for a transaction. So no method does more work than ``limit`` allows, or than one row takes.

    Transactions may run concurrently. Rows that are read with ``lock``, which only writing transactions may use, do not
    change until the transaction ends.
    """

    def insert_container(self, record: ContainerRecord) -> None: ...

    def container(self, namespace: str, id: str, now: int, *, lock: bool = False) -> ContainerRecord | None: ...

    def containers(self, namespace: str, query: PageQuery, now: int, name: str | None) -> list[ContainerRecord]: ...

    def touch_container(self, id: str, last_active_at: int, expires_at: int | None, added: int) -> None:
        """Record activity in a container, unless it has expired.

        Args:
            last_active_at: in Unix seconds.
            expires_at: the new time of expiry, in Unix seconds; None for none.
            added: how many files it has gained; negative for files that it has lost.
        """
        ...

    def rename_container(self, id: str, name: str) -> None: ...

    def end_container(self, id: str) -> None:
        """Make a container expire, for good."""
        ...

    def remove_container(self, id: str, now: int, limit: int) -> Removal:
        """Delete up to ``limit`` rows of an expired container: its files, the places of deleted files, and then the
        container."""
        ...

    def expired_containers(self, now: int, limit: int) -> list[str]:
        """Return the ids of expired containers, except those that another transaction is working on."""
        ...

    def insert_container_file(self, record: ContainerFileRecord, replaced_id: str | None, now: int) -> list[str]:
        """Insert a file into a container that is locked or new.

        Args:
            replaced_id: the file of the same container that it replaces, if there is one.

        Returns:
            The blob of the replaced file, if that is dead now and not kept with the rows.

        Raises:
            BlobNotFoundError: if the blob of the new file is dead or unknown.
            QuotaExceededError: if the namespace may not hold it.
        """
        ...

    def insert_container_files(self, records: Sequence[ContainerFileRecord]) -> None:
        """Insert the files of a new container. Raises as ``insert_container_file`` does."""
        ...

    def set_attributes(self, id: str, attributes: Mapping[str, int] | None) -> None:
        """Replace all attributes of a container's file."""
        ...

    def container_file(self, container_id: str, id: str) -> ContainerFileRecord | None:
        """Return the file with this id; if there is none, the newest copy of the file with this id."""
        ...

    def container_file_at(self, container_id: str, path: str) -> ContainerFileRecord | None: ...

    def container_files(self, container_id: str, query: PageQuery) -> list[ContainerFileRecord]: ...

    def source(self, namespace: str, id: str, now: int) -> FileRecord | ContainerFileRecord | None:
        """Return the file of ``/files``, or of any container of the namespace, that has this id."""
        ...

    def sources(self, namespace: str, ids: Collection[str], now: int) -> Mapping[str, FileRecord | ContainerFileRecord]:
        """Return the files with these ids, as ``source`` does. Unknown ids are left out."""
        ...

    def delete_container_file(self, id: str, now: int) -> list[str]:
        """Delete a row, and return its blob if that is dead now and not kept with the rows."""
        ...

    def insert_file(self, record: FileRecord) -> None:
        """Insert a file of ``/files``.

        Raises:
            BlobNotFoundError: if its blob is dead or unknown.
            QuotaExceededError: if the namespace may not hold it.
        """
        ...

    def file(self, namespace: str, id: str, now: int, *, lock: bool = False) -> FileRecord | None: ...

    def files(self, namespace: str, query: PageQuery, now: int, purpose: str | None) -> list[FileRecord]: ...

    def delete_file(self, id: str, now: int) -> list[str]:
        """Delete a row, and return its blob if that is dead now and not kept with the rows."""
        ...

    def expired_files(self, now: int, limit: int) -> list[str]:
        """Return the ids of expired files of ``/files``, except those that another transaction is working on."""
        ...

    def claim_key(self, namespace: str, key: str, digest: str, since: int, now: int) -> RecordedAnswer | None:
        """Claim an idempotency key, for ``record_answer`` to follow. Waits for other transactions that have claimed it.

        Args:
            digest: of the request.
            since: in Unix seconds; older answers do not count.

        Returns:
            The recorded answer, if there is one. The key is not claimed then.
        """
        ...

    def is_claimed(self, namespace: str, key: str) -> bool:
        """Tell whether an answer is recorded for a key."""
        ...

    def record_answer(self, namespace: str, key: str, body: str) -> None:
        """Record the answer to the request that has claimed a key in this transaction."""
        ...

    def lease_blobs(self, blobs: Collection[str], until: int) -> None:
        """Record new blobs, whose names were never used before. The leases end at ``until``, in Unix seconds."""
        ...

    def insert_small_blob(self, blob: str, content: bytes) -> None:
        """Store a new blob, whose name was never used before, with the rows. A row must name it in this transaction."""
        ...

    def small_blob(self, blob: str) -> bytes | None:
        """Return the content of a blob; None if it is not kept with the rows."""
        ...

    def abandon_blob(self, blob: str, now: int) -> list[str]:
        """Mark a blob as dead if it is new, and return it if it was."""
        ...

    def due_blobs(self, now: int, limit: int) -> list[str]:
        """Return up to ``limit`` blobs to delete: dead ones, and those whose lease has ended, which are marked as dead.

        No other caller gets them, unless they are still there so late that the caller must have died.
        """
        ...

    def forget_blobs(self, blobs: Collection[str]) -> None:
        """Remove the record of dead blobs that were deleted."""
        ...

    def usage(self, now: int) -> list[Usage]:
        """Return what each namespace contains that is not empty, sorted by name. Reads every row, so use it in
        ``survey`` only."""
        ...

    def keys(self) -> list[KeyRecord]:
        """Return all API keys, oldest first."""
        ...

    def insert_key(self, key: KeyRecord) -> bool:
        """Insert a key, and return whether that was possible. It is not if another key has its name."""
        ...

    def delete_key(self, id: str) -> bool:
        """Delete a key, and return whether there was one."""
        ...

    def quotas(self) -> list[Quota]:
        """Return the quotas of all namespaces that have one, sorted by name."""
        ...

    def quota(self, namespace: str) -> Quota | None:
        """Return the quota of a namespace, if it has one."""

    def set_quota(self, namespace: str, max_bytes: int | None, max_files: int | None) -> None:
        """Limit what a namespace may hold, after counting what it holds. Without limits, it no longer has a quota.

        Other writers wait in the meantime.
        """
        ...

    def forget(self, cursors_before: int, answers_before: int, limit: int) -> Removal:
        """Remove up to ``limit`` older places of deleted items, and as many older recorded answers."""
        ...


def nothing() -> None:
    """There is nothing to be done first."""


class MetadataStore(Protocol):
    """Keeps the rows, for several servers at once. All methods raise StoreUnavailableError if the rows cannot be
    reached."""

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` on one consistent snapshot."""
        ...

    async def write(
        self, work: Callable[[Transaction], T], *, frees: bool = False, first: Callable[[], None] = nothing
    ) -> T:
        """Run ``work`` and make its changes durable. They have happened when this returns, and not at all if it raises.

        ``work`` may run more than once, after a conflict with another writer, and must have no effects outside its
        transaction. If the task is cancelled in the meantime, the cancellation is raised once the outcome is known.

        Args:
            frees: whether the change deletes or adds nothing, so that it must work on a full disk too.
            first: called once, in the thread that then runs ``work``, and may take long. If it raises, nothing else is
                done. It saves a hop to another thread for what has to be stored before a row names it.

        Raises:
            OutOfSpaceError: if the disk is full.
        """
        ...

    async def survey(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` as ``read`` does, without making others wait for it. It may take long."""
        ...

    async def close(self) -> None: ...


class BlobWriter(Protocol):
    """Writes one new blob."""

    @property
    def name(self) -> str | None:
        """The blob's name, once it is stored outside of the rows."""
        ...

    @property
    def size(self) -> int:
        """The number of bytes written so far."""
        ...

    async def write(self, data: bytes | memoryview) -> None:
        """Append bytes. May return before they are written, so that errors are raised by a later call.

        Raises:
            OutOfSpaceError: if there is no space.
        """
        ...

    async def commit(self) -> str:
        """End the blob and return its name. The blob is stored once ``publish`` has returned and ``record`` is done.

        Raises:
            OutOfSpaceError: if there is no space.
        """
        ...

    def publish(self) -> None:
        """Make the bytes of a committed blob durable, so that ``open`` finds it. May be called in any thread, and may
        take long.

        Raises:
            OutOfSpaceError: if there is no space.
        """
        ...

    def record(self, tx: Transaction) -> None:
        """Store in the rows what is kept there of a committed blob, before a row names it."""
        ...


class BlobReader(Protocol):
    """An open blob. It can be read at least as long as dead blobs are kept."""

    @property
    def size(self) -> int:
        """The number of bytes."""

    async def seek(self, start: int, stop: int) -> None:
        """Announce which bytes will be read, in order.

        Raises:
            BlobNotFoundError: if there is no such blob.
        """
        ...

    async def address(self, seconds: float) -> str | None:
        """Return a URL from which anybody can fetch the blob for so many seconds; None if the store has none."""
        ...

    async def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes at ``offset``: at least one, unless ``offset`` is at or after the end."""
        ...

    async def close(self) -> None: ...


class BlobStore(Protocol):
    """Keeps the bytes, for several servers at once. Blobs never change."""

    def writer(self) -> AbstractAsyncContextManager[BlobWriter]:
        """Give a writer for a new blob, until the context ends.

        A blob that is not committed by then is removed. One that is committed stays new, as the rows have it, until a
        row names it.
        """
        ...

    async def open(self, blob: str, size: int) -> BlobReader:
        """Open a blob of ``size`` bytes.

        Raises:
            BlobNotFoundError: if there is no such blob; may also be raised by ``BlobReader.seek``.
            OSError: if the blob has another size; may also be raised by ``BlobReader.seek``.
        """
        ...

    async def discard(self, blobs: Collection[str]) -> None:
        """Free the space of dead blobs now, if those that are reading them can go on."""
        ...

    async def delete(self, blobs: Collection[str]) -> bool:
        """Delete dead blobs; some of them may never have been stored.

        Returns:
            Whether they are gone. If not, they are to be deleted again later.
        """
        ...

    async def sweep_unfinished(self) -> None:
        """Remove what dead writers left of blobs that they did not commit."""
        ...

    async def close(self) -> None: ...
