"""The words of the file system: attributes, entries and errors. No I/O, no FUSE, no HTTP.

FsError
├── NotFound, AlreadyExists, NotADirectory, IsADirectory, DirectoryNotEmpty
├── NotPermitted        the API has no such thing, or the mount does not allow it
├── AccessDenied        the service refuses the key, or what was asked of it
├── ReadOnly, CrossDevice, NotSupported, NoAttribute, BadHandle
├── InvalidName, NameTooLong
├── NoSpace             this machine's disk, or the service's limit, is full
├── TooLarge            more than the service takes
├── Refused             the service does not take this, for another reason
├── KeyConflict         an idempotency key stands for something else
├── TooManyOpenFiles    this process, or this machine, has no descriptor left
├── Gone                it was there when it was opened, and the service has dropped it
├── Unreachable         the service does not answer
│   ├── AnswerLost          and may have done what it was asked to
│   └── Down                and was not asked, since it has not answered others
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
"""The version of the status document: the command that asks may be of another version."""


class FsError(ContainerFSError):
    """An operation failed. The message is for the log; programs see the errno that ``fuse.errno`` maps the class to.

    Attributes:
        lasting: whether trying the same again is pointless until something changes: the file, the key, the service.
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
    """The API has no such thing, or the mount does not allow it."""


class AccessDenied(FsError):
    """The service refuses the key, or what was asked of it with this key."""

    lasting = True
    remedy = "check the API key and what it may do"


class ReadOnly(FsError):
    """The mount is read-only."""


class CrossDevice(FsError):
    """The API cannot move this; programs copy instead."""


class NotSupported(FsError):
    """Not offered at all."""


class NoAttribute(FsError):
    """There is no such extended attribute."""


class BadHandle(FsError):
    """The handle was not opened for this."""


class InvalidName(FsError):
    """The name cannot be sent: it is not UTF-8, or the service refuses it."""

    lasting = True
    remedy = "rename the file"


class NameTooLong(FsError):
    """A name of more than 255 bytes."""


class NoSpace(FsError):
    """The disk of this machine, or the service's limit, is full."""

    remedy = "make room, on this machine's disk or on the service"


class TooLarge(FsError):
    """Larger than the service takes."""

    lasting = True
    remedy = "make the file smaller, or move it out of the mount"


class Refused(FsError):
    """The service does not take this: its type, its form, or its path."""

    lasting = True


class TooManyOpenFiles(FsError):
    """This process, or this machine, has as many open files as it may."""

    remedy = "raise the limit on open files (ulimit -n)"


class KeyConflict(FsError):
    """The idempotency key of a request stands for another content: that of a body that was cut on its way, say."""


class Gone(FsError):
    """It was there when it was opened; the service has dropped it since."""


class Unreachable(FsError):
    """The service does not answer."""

    remedy = "if this lasts, check the network, the proxy and the service"


class AnswerLost(Unreachable):
    """The service may or may not have stored what it was sent: what it answered did not arrive."""


class Down(Unreachable):
    """The service has not answered for so long that it was not asked."""


class Interrupted(FsError):
    """The program that waited for the operation is ending, or has got a signal, or the mount is ending."""


class Damaged(FsError):
    """What is staged on this machine's disk is not what was closed."""


class Cancelled(FsError):
    """Nobody wants the result any more."""


class Failed(FsError):
    """Anything else; the message says what."""


def digest(identity: str) -> str:
    """A short name for something of any length and alphabet, that can be a file name. Source: BLAKE2b."""
    return hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()


class Attr(NamedTuple):
    """What ``stat`` tells. Times are nanoseconds since the epoch; ``mode`` has the type bits. Source: stat(2).

    A tuple, for listing a directory makes one for each name, and a frozen dataclass takes more than twice as long.

    Attributes:
        blocks: of 512 bytes, that it takes; None for a content without holes.
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
    """A container as the service tells of it. Times are Unix seconds.

    Attributes:
        expires_at: when it ends if nobody uses it until then; None if it does not, or that is not known.
        idle_limit: seconds after its last use at which it ends; None if its end does not depend on that.
    """

    id: str
    name: str
    created_at: int
    expires_at: int | None = None
    idle_limit: int | None = None


@dataclass(frozen=True, slots=True)
class FileAttributes:
    """What a service keeps of a file beside its content, if it does; None where nothing was set.

    Attributes:
        mode: permission bits.
        mtime: nanoseconds since the epoch.
    """

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    mtime: int | None = None


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a container as the service tells of it; the content behind an id never changes.

    Attributes:
        path: below the container, "/"-separated, every segment a legal file name; that of a directory which the service
            keeps without files ends in "/".
        size: in bytes; None where the service does not say.
        created_at: Unix seconds.
        replaced_id: the file whose place it took when it was stored, and which is gone; None where the service does
            not say.
        blocks: of 512 bytes, that the content took on this machine's disk when it was uploaded; None if it was not
            uploaded here.
        attributes: None where the service keeps none.
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
    """The same error with the name of the service that cannot be used, and what may help."""
    hint = ""
    if isinstance(error, AccessDenied):
        hint = ": check the API key"
    elif isinstance(error, NotFound) and "://" in service and not service.rstrip("/").endswith("/v1"):
        hint = f": check the URL, which usually ends in /v1, as {service.rstrip('/')}/v1"
    return type(error)(f"{service}: {error}{hint}")
