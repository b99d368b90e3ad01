"""The objects of the containers API, tolerant of all its dialects.

The seed schema, the published spec and the services disagree about which fields exist. Each model has all of them. A
field that some service leaves out or fills with unexpected values is optional here, undocumented fields are kept, and
nothing but an id is required. Source: the seed document's "Types", and the published spec of ``/v1/containers`` and
``/v1/files``.
"""

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema
from pydantic_core.core_schema import with_default_schema

from containerfs.api.base import ApiModel
from containerfs.api.rules import ExpiresAfter

__all__ = [
    "Container",
    "ContainerFile",
    "Deletion",
    "ExpiresAfter",
    "File",
    "FileAttributes",
    "ListPage",
    "NetworkPolicy",
    "Order",
]

Order = Literal["asc", "desc"]


_NOBODY = (1 << 32) - 1  # which means "unchanged". Source: chown(2)
_FARTHEST_NS = 1 << 66  # some 2,300 years from the epoch, and more than file systems keep


class Otherwise:
    """Marks a field whose default also replaces values of another type: null, or anything unexpected."""

    def __init__(self, default: object) -> None:
        self._default = default

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return with_default_schema(handler(source), default=self._default, on_error="default")


T = TypeVar("T")
Maybe = Annotated[T | None, Otherwise(None)]

# What Linux has room for. Anything beyond is as unexpected as a value of another type.
Size = Annotated[int, Field(ge=0, lt=1 << 63)]
Seconds = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]


class Identified(ApiModel):
    """An object with an id, which is all that listings need. Ids are opaque, of any length and alphabet."""

    id: str


Item = TypeVar("Item", bound=Identified)


class NetworkPolicy(ApiModel):
    """Network access of code that runs in the container: ``disabled``, or an ``allowlist`` of domains."""

    type: str
    allowed_domains: list[str] | None = None


class Container(Identified):
    """An isolated, expiring file store. Times are Unix seconds.

    Attributes:
        id: opaque; any length and alphabet.
        name: chosen at creation; not unique.
        status: ``running``, ``active``, ``deleted`` or ``expired``; None where the service does not say.
        expires_at: when it expires; None if it does not, or the service does not say.
        expires_after: the rule from which ``expires_at`` follows.
        file_count: how many files it holds; None where the service does not say.
        memory_limit: ``1g``, ``4g``, ``16g`` or ``64g``.
    """

    created_at: Annotated[Seconds, Otherwise(0)] = 0
    name: Annotated[str, Otherwise("")] = ""
    object: Annotated[str, Otherwise("container")] = "container"
    status: Maybe[str] = None
    expires_at: Maybe[Seconds] = None
    expires_after: Maybe[ExpiresAfter] = None
    last_active_at: Maybe[Seconds] = None
    memory_limit: Maybe[str] = None
    network_policy: Maybe[NetworkPolicy] = None
    file_count: Maybe[Size] = None


class FileAttributes(ApiModel):
    """What a file system stores for a file besides its content. ``containerfs serve`` does not interpret it.

    Attributes:
        mode: permission bits, 0 to 0o7777.
        uid, gid: owner and group, if they are not those of the user who mounts.
        mtime_ns: nanoseconds since the epoch at which the content was last changed.
    """

    mode: Maybe[Annotated[int, Field(ge=0, le=0o7777)]] = None
    uid: Maybe[Annotated[int, Field(ge=0, lt=_NOBODY)]] = None
    gid: Maybe[Annotated[int, Field(ge=0, lt=_NOBODY)]] = None
    mtime_ns: Maybe[Annotated[int, Field(ge=-_FARTHEST_NS, le=_FARTHEST_NS)]] = None


class ContainerFile(Identified):
    """A file in a container. ``created_at`` is in Unix seconds.

    Attributes:
        id: opaque; any length and alphabet. Its content never changes: a changed file is a new id.
        bytes: size in bytes; None if the service does not say (which does not mean zero).
        path: its path in the container, as ``/mnt/data/NAME``; None if the service does not say.
        source: ``user`` or ``assistant``.
        file_id: the file (of ``/v1/files``) that it was copied from, if it was.
        replaced_id: the file of the same path whose place it took; ``containerfs serve`` says so where one is added.
        attributes: those it was given; None if it was given none, or the service stores none.
    """

    created_at: Annotated[Seconds, Otherwise(0)] = 0
    container_id: Annotated[str, Otherwise("")] = ""
    object: Annotated[str, Otherwise("container.file")] = "container.file"
    bytes: Maybe[Size] = None
    path: Maybe[str] = None
    source: Maybe[str] = None
    file_id: Maybe[str] = None
    replaced_id: Maybe[str] = None
    attributes: Maybe[FileAttributes] = None


class File(Identified):
    """A file of ``/v1/files``, which can be copied into containers. Times are Unix seconds, ``bytes`` a size."""

    created_at: Annotated[Seconds, Otherwise(0)] = 0
    filename: Annotated[str, Otherwise("")] = ""
    purpose: Annotated[str, Otherwise("")] = ""
    object: Annotated[str, Otherwise("file")] = "file"
    bytes: Maybe[Size] = None
    status: Maybe[str] = None
    expires_at: Maybe[Seconds] = None
    status_details: Maybe[str] = None


class Deletion(Identified):
    """The answer to a DELETE: ``object`` is ``container.deleted``, ``container.file.deleted`` or ``file``."""

    object: Annotated[str, Otherwise("")] = ""
    deleted: Annotated[bool, Otherwise(True)] = True


class ListPage(ApiModel, Generic[Item]):
    """One page of a listing on the wire. ``has_more`` is None if the service does not say."""

    data: list[Item]
    object: Annotated[str, Otherwise("list")] = "list"
    has_more: Maybe[bool] = None
    first_id: Maybe[str] = None
    last_id: Maybe[str] = None
