"""What is true of a file's content: one value of a closed set of types.

A state is a pile of layers. At the bottom is what the service has under the file's name; above it, each at most once
and in this order, the version that is being uploaded, the version that waits to be, and what is being written now:

    Staged | Torn       written here, not closed yet; after a write that failed, Torn
    Due                 closed: to be uploaded
    Uploading           on its way
    Stored | Outdated   on the service; ``Outdated`` once a listing said something else while a program had it open

Programs see the topmost content. Two states are outside of the pile, since nothing of them is to be uploaded:
``Local`` (a scratch name), and ``Unlinked`` (deleted or replaced).

One becomes another by the functions of ``transitions``.
"""

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

from containerfs.fs import types
from containerfs.fs.staged import StagedFile
from containerfs.fs.types import RemoteFile


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an upload failed.

    Attributes:
        lasting: trying again without a change is pointless; it waits until the file changes or somebody asks.
        remedy: what would help, where that is known.
    """

    reason: str
    lasting: bool = False
    remedy: str = ""

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """Why an attempt failed that ended with an error."""
        if isinstance(error, types.FsError):
            return cls(str(error), error.lasting, error.remedy)
        return cls(str(error))


@dataclass(frozen=True, slots=True)
class Version:
    """A content that is complete and has to reach the service. Two values are one version if their outcome is one.

    Attributes:
        content: staged data, which never changes again; or a file of the service, to be copied under another name.
        entry: its row in the journal; None while the journal could not take it.
        keeps_old: what it replaces stays on the service until a rename that it is a part of is complete.
        outcome: of the next attempt to upload it; the thread that closed the file waits for that.
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
        stale: other files of the service that stand for this name until new content is stored; then they go.
        entry: a row in the journal that holds deletions back until a rename is complete.
    """

    remote: RemoteFile | None = None
    stale: frozenset[str] = frozenset()
    entry: int | None = None


@dataclass(frozen=True, slots=True)
class Outdated:
    """What the service had when the file was opened; it has ``newer`` since, or nothing."""

    remote: RemoteFile
    newer: RemoteFile | None
    stale: frozenset[str] = frozenset()
    entry: int | None = None


Base = Stored | Outdated


@dataclass(frozen=True, slots=True)
class Uploading:
    """A version is on its way to the service."""

    version: Version
    over: Base


@dataclass(frozen=True, slots=True)
class Due:
    """A version waits to be uploaded; ``failure`` says why the last attempt failed."""

    version: Version
    over: Base | Uploading
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Staged:
    """A program is writing. ``entry`` is its row in the journal, once something of it was promised to be safe."""

    data: StagedFile
    over: Base | Uploading | Due
    entry: int | None = None


@dataclass(frozen=True, slots=True)
class Torn:
    """A write failed: ``data`` is not what its writer meant. The file is as it was once its writer was told."""

    data: StagedFile
    over: Base | Uploading | Due
    entry: int | None = None


@dataclass(frozen=True, slots=True)
class Local:
    """Scratch: lives on this machine only."""

    data: StagedFile


@dataclass(frozen=True, slots=True)
class Unlinked:
    """Deleted or replaced: programs that hold it read and write on, and nobody else sees it.

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


# What is true in a state


def layers(state: State) -> Iterator[Pile]:
    """The pile, from the top."""
    layer: object = state
    while isinstance(layer, Uploading | Due | Staged | Torn):
        yield layer
        layer = layer.over
    if isinstance(layer, Stored | Outdated):
        yield layer


def content(state: State) -> StagedFile | RemoteFile | None:
    """What programs read: staged data, or a file of the service; None for a file without content anywhere."""
    if isinstance(state, Stored):  # as nearly all of a long listing are
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
    """What tells the content from any other: staged data is itself, a file of the service its id."""
    shown = content(state)
    return shown.id if isinstance(shown, RemoteFile) else shown


def base(state: State) -> Base:
    """What the service has under the name; ``NEW`` for what it has no part in."""
    return next((layer for layer in layers(state) if isinstance(layer, Stored | Outdated)), NEW)


def due(state: State) -> Due | None:
    """The layer that waits to be uploaded."""
    return next((layer for layer in layers(state) if isinstance(layer, Due)), None)


def uploading(state: State) -> Uploading | None:
    """The layer that is being uploaded."""
    return next((layer for layer in layers(state) if isinstance(layer, Uploading)), None)


def writable(state: State) -> StagedFile | None:
    """The staged data that takes writes; None if the content has to be copied before it can be written to."""
    match state:
        case Staged(data=data) | Torn(data=data) | Local(data=data):
            return data
        case Unlinked(data=StagedFile() as data) if not data.sealed:
            return data
        case _:
            return None


def owned_data(state: State) -> list[StagedFile]:
    """All staged data of a file."""
    versions = [layer.version.content for layer in layers(state) if isinstance(layer, Uploading | Due)]
    top = [layer.data for layer in layers(state) if isinstance(layer, Staged | Torn)]
    beside = [state.data] if isinstance(state, Local | Unlinked) and state.data is not None else []
    return list(dict.fromkeys([*top, *(data for data in versions if isinstance(data, StagedFile)), *beside]))


def entries(state: State) -> list[int]:
    """The rows in the journal that stand for a file."""
    found = [layer.entry for layer in layers(state) if isinstance(layer, Staged | Torn)]
    found += [layer.version.entry for layer in layers(state) if isinstance(layer, Uploading | Due)]
    return [entry for entry in found if entry is not None]


def remote_ids(state: State) -> frozenset[str]:
    """The files of the service that the next content takes the place of."""
    bottom = base(state)
    newer = bottom.newer if isinstance(bottom, Outdated) else None
    return bottom.stale | {remote.id for remote in (bottom.remote, newer) if remote is not None}
