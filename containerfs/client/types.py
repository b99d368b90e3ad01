"""The vocabulary of the client's signatures: what may be passed, what may be left out.

The names are those of the ``openai`` SDK, so that programs written for it need only a new import.
"""

import os
from collections.abc import Callable, Mapping
from typing import IO, Final, Literal, NotRequired, Protocol, TypeAlias, TypedDict, TypeVar, final, runtime_checkable

import httpx

from containerfs.api.dialect import AuthHeader as AuthHeader

T = TypeVar("T")

Timeout = httpx.Timeout
"""Timeouts by phase, in seconds: ``Timeout(600, connect=5, read=..., write=..., pool=...)``."""


class _Absent:
    """The type of markers for values that are not given, for parameters where ``None`` is a value."""

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return type(self).__name__


@final
class Omit(_Absent):
    """The type of ``omit``: a parameter that is not sent, or a default header that is removed."""


@final
class NotGiven(_Absent):
    """The type of ``NOT_GIVEN``: the client's own setting applies (``None`` would mean no limit)."""


omit: Final = Omit()
NOT_GIVEN: Final = NotGiven()
not_given: Final = NOT_GIVEN


@runtime_checkable
class UploadSource(Protocol):
    """Content to upload that is read at offsets, so that several uploads can read it at once.

    An exception that it raises aborts the upload and reaches the caller unchanged; nothing is stored.
    """

    @property
    def size(self) -> int | None:
        """The size in bytes; None while it is not known. Then no length is announced, and the content ends when
        ``read_at`` returns less than requested.

        Once it is known, it must not change while an upload runs.
        """

    def read_at(self, offset: int, size: int) -> bytes:
        """Return the ``size`` bytes at ``offset``; fewer only at the end."""


FileContent: TypeAlias = UploadSource | IO[bytes] | bytes | os.PathLike[str]
FileTypes: TypeAlias = (
    FileContent
    | tuple[str | None, FileContent]
    | tuple[str | None, FileContent, str | None]
    | tuple[str | None, FileContent, str | None, Mapping[str, str]]
)
"""A file to upload: its content alone, or ``(name, content[, content type[, headers]])``."""

Progress: TypeAlias = Callable[[int, int | None], object]
"""Called during an upload with the number of bytes sent so far and their total (None if it is not known).

A retry starts again from 0. The call is made on the thread (or in the task) that sends, so it should return quickly.
"""


class SinceCreation(TypedDict):
    """A container expires so many days after its creation."""

    anchor: Literal["created_at"]
    days: int


class SinceUse(TypedDict):
    """A container expires so many minutes after its last use."""

    anchor: Literal["last_active_at"]
    minutes: int


class FileExpiry(TypedDict):
    """A file expires so many seconds after its creation."""

    anchor: Literal["created_at"]
    seconds: int


ContainerExpiry: TypeAlias = SinceCreation | SinceUse


class NoNetwork(TypedDict):
    """Programs in the container have no network."""

    type: Literal["disabled"]


class DomainSecret(TypedDict):
    """A value that programs may use for one domain, by its name."""

    domain: str
    name: str
    value: str


class AllowedDomains(TypedDict):
    """Programs in the container can reach only these domains."""

    type: Literal["allowlist"]
    allowed_domains: list[str]
    domain_secrets: NotRequired[list[DomainSecret]]


NetworkAccess: TypeAlias = NoNetwork | AllowedDomains

MemoryLimit: TypeAlias = Literal["1g", "4g", "16g", "64g"]


class RequestOptions(TypedDict, total=False):
    """Parameters of every method, besides its own. They take precedence over the client's settings.

    Attributes:
        extra_headers: further HTTP headers; the value ``omit`` removes a default header.
        extra_query: further query parameters.
        extra_body: further fields of the JSON body or the form; not sent with GET. A field of a form with a file may be
            a function. It is called once the file was sent, and its result follows the file.
        timeout: for this request, in seconds; None for no limit.
    """

    extra_headers: Mapping[str, str | Omit] | None
    extra_query: Mapping[str, object] | None
    extra_body: Mapping[str, object] | None
    timeout: float | httpx.Timeout | NotGiven | None
