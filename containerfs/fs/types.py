"""The vocabulary of the file system: attributes, entries and errors. No I/O, no FUSE, no HTTP.

FsError
├── NotFound, AlreadyExists, NotADirectory, IsADirectory, DirectoryNotEmpty
├── NotPermitted        the API cannot hold this, or the mount does not allow it
├── AccessDenied        the service refuses the key, or what was requested with it
├── ReadOnly, CrossDevice, NotSupported, NoAttribute, BadHandle
├── InvalidName, NameTooLong
├── NoSpace             this machine's disk, or the service's limit, is full
├── TooLarge            more than the service accepts
├── Refused             the service does not accept this, for another reason
├── KeyConflict         an idempotency key belongs to something else
├── TooManyOpenFiles    this process, or this machine, has no descriptor left
├── Gone                it existed when it was opened, and the service no longer has it
├── Unreachable         the service does not answer
│   ├── AnswerLost          and may have done what was requested
│   └── Down                and was not asked, because it has not answered others
├── Interrupted         nobody waits for the operation any more
├── Damaged             staged data is not what was closed
├── Cancelled           nobody wants the result any more
└── Failed              anything else; the message says what
"""

import hashlib
import stat
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from containerfs.api.errors import ContainerFSError

STATUS_FORM = 3
"""The version of the status document. The command that reads it may have another version than the mount."""


class FsError(ContainerFSError):
    """An operation failed. The message is for the log; programs see the errno that ``fuse.errno`` maps the class to.

    Attributes:
        lasting: whether trying the same again is pointless until something changes: the file, the key, or the service.
        remedy: what the owner of the file can do about it; empty if that depends.
    """

    lasting: ClassVar[bool] = False
    remedy: ClassVar[str] = ""


class NotFound(FsError):
    """There is no such file or directory."""


class AlreadyExists(FsError):
    """The name is taken."""


class NotADirectory(FsError):
    """A directory was needed."""


class IsADirectory(FsError):
    """A file was needed."""


class DirectoryNotEmpty(FsError):
    """A directory must be empty to be removed or replaced."""


class NotPermitted(FsError):
    """The API cannot hold this, or the mount does not allow it."""


class AccessDenied(FsError):
    """The service refuses the key, or what was requested with it."""

    lasting = True
    remedy = "check the API key and what it may do"


class ReadOnly(FsError):
    """The mount is read-only."""


class CrossDevice(FsError):
    """The API cannot move this; programs copy instead."""


class NotSupported(FsError):
    """This is not offered at all."""


class NoAttribute(FsError):
    """There is no such extended attribute."""


class BadHandle(FsError):
    """The handle was not opened for this."""


class InvalidName(FsError):
    """The name cannot be sent: it is not UTF-8, or the service refuses it."""

    lasting = True
    remedy = "rename the file"


class NameTooLong(FsError):
    """A name is longer than 255 bytes."""


class NoSpace(FsError):
    """This machine's disk, or the service's limit, is full."""

    remedy = "make room, on this machine's disk or on the service"


class TooLarge(FsError):
    """It is larger than the service accepts."""

    lasting = True
    remedy = "make the file smaller, or move it out of the mount"


class Refused(FsError):
    """The service does not accept this: its type, its form, or its path."""

    lasting = True


class TooManyOpenFiles(FsError):
    """This process, or this machine, has as many open files as allowed."""

    remedy = "raise the limit on open files (ulimit -n)"


class KeyConflict(FsError):
    """The idempotency key of a request belongs to another content, for example of a body that was cut short on
    its way."""


class Gone(FsError):
    """It existed when it was opened; the service no longer has it."""


class Unreachable(FsError):
    """The service does not answer."""

    remedy = "if this lasts, check the network, the proxy and the service"


class AnswerLost(Unreachable):
    """The service may or may not have stored what it was sent, because its answer did not arrive."""


class Down(Unreachable):
    """The service has not answered for so long that it was not asked."""


class Interrupted(FsError):
    """The program that waited for the operation is ending, or got a signal, or the mount is ending."""


class Damaged(FsError):
    """Staged data on this machine's disk is not what was closed."""


class Cancelled(FsError):
    """Nobody wants the result any more."""


class Failed(FsError):
    """Anything else; the message says what."""


class NoThread(Failed):
    """The limit on threads and processes is reached."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"no thread or process can be started ({error}): raise the limit on processes")


def digest(identity: str) -> str:
    """Return a short name for a text of any length and alphabet, which can be a file name. Source: BLAKE2b."""
    return hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()


class Attr(NamedTuple):
    """What ``stat`` tells. Times are in nanoseconds since 1970; ``mode`` has the type bits. Source: stat(2).

    It is a tuple, because listing a directory makes one for each name, and a frozen dataclass takes more than twice as
    long.

    Attributes:
        blocks: how much of the disk it takes, in units of 512 bytes; None for content without holes.
    """

    ino: int
    mode: int
    size: int
    uid: int
    gid: int
    atime: int
    mtime: int
    ctime: int
    nlink: int = 1
    blocks: int | None = None

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)


@dataclass(frozen=True, slots=True)
class RemoteContainer:
    """A container as the service describes it. Times are in Unix seconds.

    Attributes:
        expires_at: when it ends unless it is used; None if it does not end, or that is not known.
        idle_limit: how many seconds after its last use it ends; None if its end does not depend on that.
    """

    id: str
    name: str
    created_at: int
    expires_at: int | None = None
    idle_limit: int | None = None


@dataclass(frozen=True, slots=True)
class FileAttributes:
    """What a service keeps of a file besides its content. Fields that were not set are None.

    Attributes:
        mode: permission bits.
        mtime: time of the last change, in nanoseconds since 1970.
    """

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    mtime: int | None = None


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a container as the service describes it. The content of an id never changes.

    Attributes:
        path: below the container, separated by "/", where every segment is a legal file name. The path of a directory
            that the service keeps without files ends in "/".
        size: in bytes; None if the service does not tell it.
        created_at: in Unix seconds.
        replaced_id: the file that it replaced when it was stored, and that is gone; None if the service does not tell.
        blocks: how much the content took of this machine's disk when it was uploaded, in units of 512 bytes; None if it
            was not uploaded here.
        attributes: None if the service keeps none.
    """

    id: str
    container_id: str
    path: str
    size: int | None
    created_at: int
    replaced_id: str | None = field(default=None, compare=False)
    blocks: int | None = field(default=None, compare=False)
    attributes: FileAttributes | None = field(default=None, compare=False)

    @property
    def is_directory(self) -> bool:
        return self.path.endswith("/")


def naming(service: str, error: FsError) -> FsError:
    """Return the same error with the name of the service that cannot be used, and what may help."""
    hint = ""
    if isinstance(error, AccessDenied):
        hint = ": check the API key"
    elif isinstance(error, NotFound) and "://" in service and not service.rstrip("/").endswith("/v1"):
        hint = f": check the URL, which usually ends in /v1, as {service.rstrip('/')}/v1"
    return type(error)(f"{service}: {error}{hint}")
