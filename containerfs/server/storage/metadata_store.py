"""The interface of the store of the rows.

The rules of the service are functions of a ``Transaction``, passed to ``MetadataStore.read`` or ``write``. They are
synchronous, so that the same code works with every database, wherever the store runs it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol, TypeVar

from containerfs.server.storage.records import (
    ContainerFileRecord,
    ContainerRecord,
    FileRecord,
    KeyRecord,
    PageQuery,
    Quota,
    RecordedAnswer,
    Removal,
    Usage,
)

T = TypeVar("T")

LEASE_S = 3600
"""How long a new blob is kept for a row to name it, in seconds."""

LINGER_S = 3600
"""How long a dead blob is kept for those that are reading it, in seconds, if the file system does not keep it for them.
"""


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

    def keeps_small_blobs(self) -> bool:
        """Tell whether blobs may be stored with the rows. If so, that remains. It is not so as long as servers may run
        that would not find them."""
        ...

    def insert_small_blob(self, blob: str, content: bytes) -> None:
        """Store a new blob, whose name was never used before, with the rows. A row must name it in this transaction."""
        ...

    def small_blob(self, blob: str) -> bytes | None:
        """Return the content of a blob; None if it is not kept with the rows."""
        ...

    def abandon_blob(self, blob: str, now: int) -> list[str]:
        """Mark a blob as dead if it is new, or was forgotten after its lease had ended, and return it if it was."""
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
