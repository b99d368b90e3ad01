"""What the stores and their users exchange about rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from containerfs.api.models import Order


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


@dataclass(frozen=True, slots=True)
class Removal:
    """The result of removing rows: how many were removed, and the blobs that are dead now and not kept with them."""

    rows: int
    garbage: Sequence[str] = ()
