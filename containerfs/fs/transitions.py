"""What events do to the state of a file's content.

A transition is a pure function from one state to the next. Only ``Tree.change`` applies transitions. An event that
cannot happen in a state raises ``IllegalTransition``, which is a bug, and never a user's mistake.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import TypeVar

from containerfs.fs.staged import StagedFile
from containerfs.fs.state import (
    Base,
    Due,
    Failure,
    Local,
    Outdated,
    Pile,
    Staged,
    State,
    Stored,
    Torn,
    Unlinked,
    Uploading,
    Version,
    base,
    content,
    writable,
)
from containerfs.fs.types import RemoteFile

C = TypeVar("C")


class IllegalTransition(Exception):
    """An event happened in a state in which it cannot."""


# Writing and closing


def written(state: State, data: StagedFile) -> State:
    """A first write: ``data`` holds a copy of the content, and is written to."""
    match state:
        case Stored() | Outdated() | Uploading() | Due():
            return Staged(data, state)
        case Unlinked(doomed=doomed) if writable(state) is None:
            return Unlinked(data, None, doomed)
    raise IllegalTransition(f"written: {state}")


def recorded(state: State, entry: int) -> State:
    """The journal has what is being written, because it was synced."""
    if isinstance(state, Staged):
        return replace(state, entry=entry)
    raise IllegalTransition(f"recorded: {state}")


def torn(state: State) -> State:
    """A write failed."""
    match state:
        case Staged(data, over, entry):
            return Torn(data, over, entry)
        case Torn() | Local() | Unlinked():
            return state
    raise IllegalTransition(f"torn: {state}")


def reverted(state: State) -> State:
    """What was written is dropped: the file is as it was before."""
    if isinstance(state, Staged | Torn):
        return state.over
    raise IllegalTransition(f"reverted: {state}")


def closed(state: State, entry: int | None, failure: Failure | None = None) -> State:
    """What was written is complete, and replaces a version that still waits.

    Args:
        entry: its row in the journal; None if the journal could not be written, for the reason in ``failure``.
    """
    if isinstance(state, Staged | Torn):
        return replace(_due(Version(state.data, entry), state.over), failure=failure)
    raise IllegalTransition(f"closed: {state}")


# Uploading


def begun(state: State, entry: int) -> State:
    """An upload begins; the journal has it and its attempt."""
    if isinstance(state, Staged | Torn):
        return replace(state, over=_begun(state.over, entry))
    return _begun(state, entry)


def _begun(state: State, entry: int) -> Uploading:
    if isinstance(state, Due) and isinstance(state.over, Stored | Outdated):
        return Uploading(replace(state.version, entry=entry), state.over)
    raise IllegalTransition(f"begun: {state}")


def uploaded(state: State, remote: RemoteFile, stale: frozenset[str] = frozenset(), entry: int | None = None) -> State:
    """The service has the version that was being uploaded.

    Args:
        stale: files of the service that are deleted once a rename is complete.
        entry: the row in the journal that says so.
    """
    return _replaced(state, Uploading, lambda _: Stored(remote, stale, entry))


def failed(state: State, failure: Failure) -> State:
    """An attempt failed: the version waits again, unless a later one has replaced it."""

    def lowered(layer: Uploading) -> Due:
        return Due(replace(layer.version, outcome=Future()), layer.over, failure)

    return _replaced(state, Uploading, lowered)


def moved_on(state: State, stale: frozenset[str]) -> State:
    """An attempt has stored the version under a name that the file no longer has: it is due again.

    Args:
        stale: what the attempt stored.
    """

    def lowered(layer: Uploading) -> Due:
        return Due(layer.version, replace(layer.over, stale=layer.over.stale | stale))

    return _replaced(state, Uploading, lowered)


def given_up(state: State) -> State:
    """Somebody has to decide about the version that was being uploaded: the file is what the service has."""
    return _replaced(state, Uploading, lambda layer: layer.over)


def overtaken(state: State) -> State:
    """Another mount has stored later content under the name: nothing is due, and the file is what the service has."""

    def dropped(layer: Due) -> Pile:
        return layer.over if isinstance(layer.over, Uploading) else replace(layer.over, stale=frozenset())

    return _replaced(state, Due, dropped)


def put_off(state: State, failure: Failure) -> State:
    """An attempt could not begin."""
    return _replaced(
        state, Due, lambda layer: replace(layer, failure=failure, version=replace(layer.version, outcome=Future()))
    )


def asked(state: State) -> State:
    """Somebody asks for another attempt, or the reason for the failure is gone."""
    return _replaced(state, Due, lambda layer: replace(layer, failure=None))


# Names


def named(state: State, stale: frozenset[str], copy: Version | None = None, *, keeps_old: bool = False) -> State:
    """The file gets another name, and what is due of it is uploaded there.

    Args:
        stale: further files of the service that it replaces.
        copy: its content under the new name, if the service only has it under the old one.
        keeps_old: whether what is replaced stays until the whole rename is complete.
    """
    match state:
        case Stored() | Outdated():
            bottom = replace(state, stale=state.stale | stale)
            return bottom if copy is None else Due(copy, bottom)
        case Uploading(over=over) if copy is None:
            return replace(state, over=replace(over, stale=over.stale | stale))
        case Due(version, over) if copy is None:
            under = named(over, stale)
            return replace(state, version=replace(version, keeps_old=keeps_old), over=under, failure=None)  # type: ignore[arg-type]
        case Staged(over=over) | Torn(over=over):
            return replace(state, over=named(over, stale, copy, keeps_old=keeps_old))  # type: ignore[arg-type]
    raise IllegalTransition(f"named: {state}")


def published(state: State, version: Version, stale: frozenset[str]) -> State:
    """A scratch file gets an ordinary name: its content is due."""
    if isinstance(state, Local):
        return Due(version, Stored(None, stale))
    raise IllegalTransition(f"published: {state}")


def replayed(version: Version, stale: frozenset[str], failure: Failure | None) -> State:
    """An earlier mount left a version: it is due."""
    return Due(version, Stored(None, stale), failure)


def released(state: State) -> State:
    """A rename can no longer be undone: what it replaced is deleted, and does not belong to the file any more."""

    def cleared(layer: Base) -> Base:
        return layer if layer.entry is None else replace(layer, stale=frozenset(), entry=None)

    def carried_on(layer: Uploading | Due) -> Pile:
        return replace(layer, version=replace(layer.version, keeps_old=False))

    return _mapped(_rebased(state, cleared), (Uploading, Due), carried_on)


def unnamed(state: State, before: State, added: Version | None) -> State:
    """A rename failed: the file is as it was ``before``, except for what was written since.

    Args:
        added: the version that was made for the rename, if one was.
    """
    if isinstance(state, Local | Unlinked):
        raise IllegalTransition(f"unnamed: {state}")
    if isinstance(before, Local):
        newest = content(state)
        return Local(newest) if isinstance(newest, StagedFile) and newest is not before.data else before
    bottom = base(before)

    def lowered(layer: Pile) -> Pile:
        match layer:
            case Stored() | Outdated():
                return bottom
            case Uploading(version=version) | Due(version=version) if added and version.content is added.content:
                return lowered(layer.over)
            case Uploading(version=version) | Due(version=version):
                own = replace(version, keeps_old=False)
                return replace(layer, version=own, over=lowered(layer.over))  # type: ignore[arg-type]
            case _:
                return replace(layer, over=lowered(layer.over))  # type: ignore[arg-type]

    return lowered(state)


def undone(_: State, before: State) -> State:
    """The journal could not record a change: nothing has happened."""
    return before


def unlinked(state: State, doomed: frozenset[str] = frozenset()) -> State:
    """The file was deleted or replaced: nothing of it is due. Programs that have it open continue.

    Args:
        doomed: what the service has of it, and keeps until no program reads it any more.
    """
    held = content(state)
    if isinstance(held, StagedFile):
        return Unlinked(held, None, doomed)
    return Unlinked(None, held, doomed)


# Listings


def listed(state: State, remote: RemoteFile, *, held: bool) -> State:
    """A listing has ``remote`` under the name. ``held`` tells whether a program has the file open."""

    def news(layer: Base) -> Base:
        if layer.remote is None or layer.remote.id == remote.id:
            return Stored(remote, layer.stale, layer.entry)
        if state is layer and held:  # nothing was written here; programs that hold it read what they opened
            return Outdated(layer.remote, remote, layer.stale, layer.entry)
        stale = layer.stale if state is layer else layer.stale | {layer.remote.id}
        return Stored(remote, stale, layer.entry)

    return _rebased(state, news)


def left_out(state: State) -> State:
    """A listing no longer has the file, and a program holds it, or it was written to here."""

    def news(layer: Base) -> Base:
        if layer.remote is None:
            return layer
        if state is layer:
            return Outdated(layer.remote, None, layer.stale, layer.entry)
        return Stored(None, layer.stale | {layer.remote.id}, layer.entry)

    return _rebased(state, news)


def let_go(state: State) -> State:
    """No program holds the file any more: what listings said in the meantime counts."""
    if isinstance(state, Outdated):
        return Stored(state.newer, state.stale, state.entry)
    raise IllegalTransition(f"let_go: {state}")


def sized(state: State, file_id: str, size: int) -> State:
    """The size of a file of the service was learned, wherever the state has it."""

    def learned(content: C) -> C | RemoteFile:
        if isinstance(content, RemoteFile) and content.id == file_id:
            return replace(content, size=size)
        return content

    def learn(layer: Pile) -> Pile:
        match layer:
            case Stored():
                return replace(layer, remote=learned(layer.remote))
            case Outdated():
                return replace(layer, remote=learned(layer.remote), newer=learned(layer.newer))
            case Uploading() | Due():
                return replace(layer, version=replace(layer.version, content=learned(layer.version.content)))
            case _:
                return layer

    if isinstance(state, Unlinked):
        return replace(state, remote=learned(state.remote))
    return _mapped(state, (Stored, Outdated, Uploading, Due), learn)


KEEPS_BYTES: frozenset[Callable[..., State]] = frozenset([written, uploaded])
"""The transitions after which programs read the same bytes from another place."""


# Changing layers

L = TypeVar("L", Uploading, Due)


def _replaced(state: State, kind: type[L], change: Callable[[L], Pile]) -> State:
    """Return the state with its layer of one kind changed. Raises IllegalTransition if there is none."""
    if isinstance(state, kind):
        return change(state)
    match state:
        case Uploading() | Due() | Staged() | Torn():
            under = _replaced(state.over, kind, change)
            if isinstance(state, Due) and isinstance(under, Due):  # a later version has replaced it
                _follow(under.version.outcome, state.version.outcome)
                return replace(state, over=under.over)
            return replace(state, over=under)  # type: ignore[arg-type]
    raise IllegalTransition(f"no {kind.__name__} in {state}")


def _rebased(state: State, change: Callable[[Base], Base]) -> State:
    return _mapped(state, (Stored, Outdated), change)


def _mapped(state: State, kinds: tuple[type[Pile], ...], change: Callable[..., Pile]) -> State:
    """Return the state with each of its layers of some kinds changed, from the bottom."""
    match state:
        case Local() | Unlinked():
            return state
        case Uploading() | Due() | Staged() | Torn():
            state = replace(state, over=_mapped(state.over, kinds, change))  # type: ignore[arg-type]
    return change(state) if isinstance(state, kinds) else state


def _due(version: Version, over: Base | Uploading | Due) -> Due:
    """Put a version on top of what it replaces. Those who wait for a version that it replaces wait for it."""
    if not isinstance(over, Due):
        return Due(version, over)
    _follow(over.version.outcome, version.outcome)
    return Due(replace(version, keeps_old=over.version.keeps_old), over.over)


def _follow(outcome: "Future[None]", leader: "Future[None]") -> None:
    def copy(done: "Future[None]") -> None:
        error = done.exception()
        if outcome.done():
            return
        if error is None:
            outcome.set_result(None)
        else:
            outcome.set_exception(error)

    leader.add_done_callback(copy)
