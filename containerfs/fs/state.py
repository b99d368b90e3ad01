"""What is true of a file's content: one value of a closed set of types.

A state is a stack of layers. At the bottom is what the service has under the file's name. Above it are, each at most
once and in this order, the version that is being uploaded, the version that waits to be, and what is being written now:

    Staged | Torn       written here, not closed yet; Torn after a failed write
    Due                 closed: to be uploaded
    Uploading           being uploaded
    Stored | Outdated   on the service; ``Outdated`` if a listing said something else while a program had it open

Programs see the content on top. Two states are not stacks, because nothing of them is uploaded: ``Local`` (a scratch
name), and ``Unlinked`` (deleted or replaced).

The functions in ``transitions`` turn one state into another.
"""

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from containerfs.fs import types
from containerfs.fs.staged import StagedFile
from containerfs.fs.types import RemoteFile


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an upload failed.

    Attributes:
        lasting: whether trying again without a change is pointless, so that it waits until the file changes or somebody
            asks.
        remedy: what would help, if that is known.
    """

    reason: str
    lasting: bool = False
    remedy: str = ""

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """Make the failure for an attempt that ended with an error."""
        if isinstance(error, types.FsError):
            return cls(str(error), error.lasting, error.remedy)
        return cls(str(error))


@dataclass(frozen=True, slots=True)
class Version:
    """Content that is complete and has to reach the service. Two values are the same version if their outcome is the
    same.

    Attributes:
        content: staged data, which never changes again; or a file of the service, to be copied to another name.
        entry: its row in the journal; None while the journal could not be written.
        keeps_old: whether what it replaces stays on the service until the rename that it belongs to is complete.
        outcome: of the next attempt to upload it. The thread that closed the file waits for it.
    """

    content: StagedFile | RemoteFile = field(compare=False)
    entry: int | None = field(default=None, compare=False)
    keeps_old: bool = field(default=False, compare=False)
    outcome: "Future[None]" = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class Stored:
    """What the service has.

    Attributes:
        remote: None for a file that the service never had.
        stale: other files of the service that have this name until new content is stored, and are deleted then.
        entry: a row in the journal that delays deletions until a rename is complete.
    """

    remote: RemoteFile | None = None
    stale: frozenset[str] = frozenset()
    entry: int | None = None


@dataclass(frozen=True, slots=True)
class Outdated:
    """What the service had when the file was opened. Since then it has ``newer``, or nothing."""

    remote: RemoteFile
    newer: RemoteFile | None
    stale: frozenset[str] = frozenset()
    entry: int | None = None


Base = Stored | Outdated


@dataclass(frozen=True, slots=True)
class Uploading:
    """A version that is being uploaded."""

    version: Version
    over: Base


@dataclass(frozen=True, slots=True)
class Due:
    """A version that waits to be uploaded. ``failure`` says why the last attempt failed."""

    version: Version
    over: Base | Uploading
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Staged:
    """A program is writing. ``entry`` is its row in the journal, if something of it was promised to be safe."""

    data: StagedFile
    over: Base | Uploading | Due
    entry: int | None = None


@dataclass(frozen=True, slots=True)
class Torn:
    """A write failed, so ``data`` is not what its writer meant. The file is restored once its writer was told."""

    data: StagedFile
    over: Base | Uploading | Due
    entry: int | None = None


@dataclass(frozen=True, slots=True)
class Local:
    """Scratch, which stays on this machine."""

    data: StagedFile


@dataclass(frozen=True, slots=True)
class Unlinked:
    """Deleted or replaced. Programs that hold it continue to read and write, and nobody else sees it.

    Attributes:
        doomed: the files of the service that are deleted once no program holds it.
    """

    data: StagedFile | None
    remote: RemoteFile | None
    doomed: frozenset[str] = frozenset()


Pile = Stored | Outdated | Uploading | Due | Staged | Torn
State = Pile | Local | Unlinked

NEW = Stored()
"""Nothing on the service, and nothing here."""

# As tuples, because a union in an expression is made anew each time, which takes longer than the look at the type.
_BASES: Final = (Stored, Outdated)
_ABOVE: Final = (Uploading, Due, Staged, Torn)


# Reading a state


def layers(state: State) -> Iterator[Pile]:
    """Return the layers from the top."""
    layer: State = state
    while isinstance(layer, _ABOVE):
        yield layer
        layer = layer.over
    if isinstance(layer, _BASES):
        yield layer


def content(state: State) -> StagedFile | RemoteFile | None:
    """Return what programs read: staged data, or a file of the service; None for a file without any content."""
    if isinstance(state, Stored):  # true of nearly all files of a long listing
        return state.remote
    match state:
        case Outdated(remote=remote):
            return remote
        case Uploading(version=version) | Due(version=version):
            return version.content
        case Unlinked(data=None, remote=remote):
            return remote
        case _:
            return state.data


def identity(state: State) -> StagedFile | str | None:
    """Return what tells the content from any other: the staged data, or the id of the service's file."""
    shown = content(state)
    return shown.id if isinstance(shown, RemoteFile) else shown


def base(state: State) -> Base:
    """Return what the service has under the name; ``NEW`` for states without such a layer."""
    while isinstance(state, _ABOVE):
        state = state.over
    return state if isinstance(state, _BASES) else NEW


def due(state: State) -> Due | None:
    """Return the layer that waits to be uploaded."""
    while isinstance(state, (Staged, Torn)):
        state = state.over
    return state if isinstance(state, Due) else None


def uploading(state: State) -> Uploading | None:
    """Return the layer that is being uploaded."""
    while isinstance(state, (Staged, Torn, Due)):
        state = state.over
    return state if isinstance(state, Uploading) else None


def writable(state: State) -> StagedFile | None:
    """Return the staged data that can be written to; None if the content has to be copied first."""
    match state:
        case Staged(data=data) | Torn(data=data) | Local(data=data):
            return data
        case Unlinked(data=StagedFile() as data) if not data.sealed:
            return data
        case _:
            return None


def owned_data(state: State) -> list[StagedFile]:
    """Return all staged data of a file."""
    versions = [layer.version.content for layer in layers(state) if isinstance(layer, Uploading | Due)]
    top = [layer.data for layer in layers(state) if isinstance(layer, Staged | Torn)]
    beside = [state.data] if isinstance(state, Local | Unlinked) and state.data is not None else []
    return list(dict.fromkeys([*top, *(data for data in versions if isinstance(data, StagedFile)), *beside]))


def entries(state: State) -> list[int]:
    """Return the rows in the journal that belong to a file."""
    found = [layer.entry for layer in layers(state) if isinstance(layer, Staged | Torn)]
    found += [layer.version.entry for layer in layers(state) if isinstance(layer, Uploading | Due)]
    return [entry for entry in found if entry is not None]


def remote_ids(state: State) -> frozenset[str]:
    """Return the ids of the service's files that the next content replaces."""
    bottom = base(state)
    newer = bottom.newer if isinstance(bottom, Outdated) else None
    return bottom.stale | {remote.id for remote in (bottom.remote, newer) if remote is not None}
