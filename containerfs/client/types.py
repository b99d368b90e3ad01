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
"""Time-outs by phase, in seconds: ``Timeout(600, connect=5, read=..., write=..., pool=...)``."""


class _Absent:
    """What stands for a value that is not there, where ``None`` is one."""

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
        """In bytes; None as long as that is not known: then no length is announced, and the content ends where
        ``read_at`` returns less than it was asked for. Constant while an upload runs, once it is known."""

    def read_at(self, offset: int, size: int) -> bytes:
        """The ``size`` bytes starting at ``offset``; fewer only at the end."""


FileContent: TypeAlias = UploadSource | IO[bytes] | bytes | os.PathLike[str]
FileTypes: TypeAlias = (
    FileContent
    | tuple[str | None, FileContent]
    | tuple[str | None, FileContent, str | None]
    | tuple[str | None, FileContent, str | None, Mapping[str, str]]
)
"""A file to upload: its content alone, or ``(name, content[, content type[, headers]])``."""

Progress: TypeAlias = Callable[[int, int | None], object]
"""Called as an upload goes on, with the bytes sent so far and their total (None: not known).

A retry starts again from 0. The call is made on the thread (or in the task) that sends: it should return quickly.
"""


class SinceCreation(TypedDict):
    """A container expires so many days after it was created."""

    anchor: Literal["created_at"]
    days: int


class SinceUse(TypedDict):
    """A container expires so many minutes after it was last used."""

    anchor: Literal["last_active_at"]
    minutes: int


class FileExpiry(TypedDict):
    """A file expires so many seconds after it was created."""

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
    """What every method takes besides its own parameters. These override the client's settings.

    Attributes:
        extra_headers: further HTTP headers; ``omit`` as a value removes a default header.
        extra_query: further query parameters.
        extra_body: further fields of the JSON body or the form; not sent with GET. A field of a form with a file may be
            a function: it is called once the file was sent, and what it returns follows the file.
        timeout: for this request, in seconds; None means no limit.
    """

    extra_headers: Mapping[str, str | Omit] | None
    extra_query: Mapping[str, object] | None
    extra_body: Mapping[str, object] | None
    timeout: float | httpx.Timeout | NotGiven | None
