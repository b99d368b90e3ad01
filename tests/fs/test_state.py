"""The states of a file's content: what each event makes of each state, and what holds whatever happens.

A shape names a state by its layers, from the top: W (being written), T (torn), D (due), U (uploading), and at the
bottom S (stored), N (the service never had it), O (outdated: it has a newer one), G (outdated: it has none); ``b`` for
any of these four. L is local, X unlinked.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from containerfs.fs import state, transitions
from containerfs.fs.staged import StagedFile
from containerfs.fs.state import (
    Due,
    Failure,
    Local,
    Outdated,
    Staged,
    State,
    Stored,
    Torn,
    Unlinked,
    Uploading,
    Version,
)
from containerfs.fs.transitions import IllegalTransition
from containerfs.fs.types import RemoteFile

FAILURE = Failure("no")


def remote(name: str = "old") -> RemoteFile:
    return RemoteFile(name, "cntr", "a", 1, 0)


def data(name: str, *, sealed: bool = True) -> StagedFile:
    return StagedFile(Path(name), sealed=sealed)


BOTTOMS: dict[str, state.Base] = {
    "N": Stored(),
    "S": Stored(remote(), frozenset({"older"})),
    "O": Outdated(remote(), remote("newer")),
    "G": Outdated(remote(), None),
}


def built(shape: str) -> State:
    """A state of a shape."""
    top, under = shape[0], shape[1:]
    match top:
        case "L":
            return Local(data("local", sealed=False))
        case "X":
            return Unlinked(data("deleted"), None)
        case "W" | "T":
            made = Staged(data("written", sealed=False), built(under))  # type: ignore[arg-type]
            return made if top == "W" else transitions.torn(made)
        case "D":
            return Due(Version(data("due"), 1), built(under), FAILURE)  # type: ignore[arg-type]
        case "U":
            return Uploading(Version(data("uploading"), 2), built(under))  # type: ignore[arg-type]
        case _:
            return BOTTOMS[shape]


def shape(state_: State) -> str:
    """The shape of a state."""
    match state_:
        case Local():
            return "L"
        case Unlinked():
            return "X"
        case Stored(remote=None):
            return "N"
        case Stored():
            return "S"
        case Outdated(newer=None):
            return "G"
        case Outdated():
            return "O"
        case _:
            return {Staged: "W", Torn: "T", Due: "D", Uploading: "U"}[type(state_)] + shape(state_.over)


Event = Callable[[State], State]

EVENTS: dict[str, Event] = {
    "written": lambda s: transitions.written(s, data("copy", sealed=False)),
    "recorded": lambda s: transitions.recorded(s, 7),
    "torn": transitions.torn,
    "reverted": transitions.reverted,
    "closed": lambda s: transitions.closed(s, 8),
    "not noted": lambda s: transitions.closed(s, None, FAILURE),
    "begun": lambda s: transitions.begun(s, 9),
    "uploaded": lambda s: transitions.uploaded(s, remote("new")),
    "failed": lambda s: transitions.failed(s, FAILURE),
    "refused": lambda s: transitions.failed(s, Failure("never", lasting=True)),
    "moved on": lambda s: transitions.moved_on(s, frozenset({"misplaced"})),
    "given up": transitions.given_up,
    "overtaken": transitions.overtaken,
    "put off": lambda s: transitions.put_off(s, FAILURE),
    "asked": transitions.asked,
    "named": lambda s: transitions.named(s, frozenset({"replaced"})),
    "copied": lambda s: transitions.named(s, frozenset({"replaced"}), Version(remote(), 10), keeps_old=True),
    "published": lambda s: transitions.published(s, Version(data("local"), 11), frozenset({"replaced"})),
    "released": transitions.released,
    "unlinked": transitions.unlinked,
    "sized": lambda s: transitions.sized(s, "old", 5),
}

# In each table: a state, and what each event makes of it; "-" where the event cannot happen. The bottom ``b`` is any of
# the four, and stays what it is.

WRITING = """
        written  recorded  torn  reverted  closed  not noted  unlinked
b       Wb       -         -     -         -       -          X
Ub      WUb      -         -     -         -       -          X
Db      WDb      -         -     -         -       -          X
DUb     WDUb     -         -     -         -       -          X
Wb      -        Wb        Tb    b         Db      Db         X
WUb     -        WUb       TUb   Ub        DUb     DUb        X
WDb     -        WDb       TDb   Db        Db      Db         X
WDUb    -        WDUb      TDUb  DUb       DUb     DUb        X
Tb      -        -         Tb    b         Db      Db         X
TUb     -        -         TUb   Ub        DUb     DUb        X
TDb     -        -         TDb   Db        Db      Db         X
TDUb    -        -         TDUb  DUb       DUb     DUb        X
L       -        -         L     -         -       -          X
X       X        -         X     -         -       -          X
"""

UPLOADING = """
        begun  uploaded  failed  refused  moved on  given up  put off  asked  released  overtaken
b       -      -         -       -        -         -         -        -      b         -
Ub      -      S         Db      Db       Db        b         -        -      Ub        -
Db      Ub     -         -       -        -         -         Db       Db     Db        b
DUb     -      DS        Db      Db       Db        Db        DUb      DUb    DUb       Ub
Wb      -      -         -       -        -         -         -        -      Wb        -
WUb     -      WS        WDb     WDb      WDb       Wb        -        -      WUb       -
WDb     WUb    -         -       -        -         -         WDb      WDb    WDb       Wb
WDUb    -      WDS       WDb     WDb      WDb       WDb       WDUb     WDUb   WDUb      WUb
Tb      -      -         -       -        -         -         -        -      Tb        -
TUb     -      TS        TDb     TDb      TDb       Tb        -        -      TUb       -
TDb     TUb    -         -       -        -         -         TDb      TDb    TDb       Tb
TDUb    -      TDS       TDb     TDb      TDb       TDb       TDUb     TDUb   TDUb      TUb
L       -      -         -       -        -         -         -        -      L         -
X       -      -         -       -        -         -         -        -      X         -
"""

NAMES = """
        named  copied  published  sized
b       b      Db      -          b
Ub      Ub     -       -          Ub
Db      Db     -       -          Db
DUb     DUb    -       -          DUb
Wb      Wb     WDb     -          Wb
WUb     WUb    -       -          WUb
WDb     WDb    -       -          WDb
WDUb    WDUb   -       -          WDUb
Tb      Tb     TDb     -          Tb
TUb     TUb    -       -          TUb
TDb     TDb    -       -          TDb
TDUb    TDUb   -       -          TDUb
L       -      -       DN         L
X       -      -       -          X
"""


def cases(table: str) -> list[tuple[str, str, str]]:
    """State, event and outcome, for each of the bottoms."""
    header, *rows = table.strip("\n").splitlines()
    events = header.replace("not noted", "not_noted").replace("moved on", "moved_on").replace("given up", "given_up")
    names = [event.replace("_", " ") for event in events.replace("put off", "put_off").split()]
    found = []
    for row in rows:
        before, *outcomes = row.split()
        assert len(outcomes) == len(names), row
        for bottom in BOTTOMS if "b" in before else "b":
            for event, after in zip(names, outcomes, strict=True):
                found.append((before.replace("b", bottom), event, after.replace("b", bottom)))
    return found


def outcome(before: State, event: Event) -> str:
    try:
        return shape(event(before))
    except IllegalTransition:
        return "-"


@pytest.mark.parametrize("table", [WRITING, UPLOADING, NAMES], ids=["writing", "uploading", "names"])
def test_every_event_in_every_state(table: str) -> None:
    wrong = [
        f"{before} {event}: {now}, not {after}"
        for before, event, after in cases(table)
        if (now := outcome(built(before), EVENTS[event])) != after
    ]
    assert not wrong, "\n".join(wrong)


def test_the_tables_have_every_event() -> None:
    in_tables = {event for table in (WRITING, UPLOADING, NAMES) for _, event, _ in cases(table)}
    assert in_tables == EVENTS.keys()


LISTINGS = """
        listed-same  listed-other  held-other  left-out  let-go
N       S            S             S           N         -
S       S            S             O           G         -
O       S            S             O           G         S
G       S            S             O           G         N
UN      US           US            US          UN        -
US      US           US            US          UN        -
DS      DS           DS            DS          DN        -
WS      WS           WS            WS          WN        -
WO      WS           WS            WS          WN        -
WG      WS           WS            WS          WN        -
WDUS    WDUS         WDUS          WDUS        WDUN      -
L       L            L             L           L         -
X       X            X             X           X         -
"""


def test_listings_in_every_state() -> None:
    events: dict[str, Event] = {
        "listed-same": lambda s: transitions.listed(s, remote(), held=True),
        "listed-other": lambda s: transitions.listed(s, remote("other"), held=False),
        "held-other": lambda s: transitions.listed(s, remote("other"), held=True),
        "left-out": transitions.left_out,
        "let-go": transitions.let_go,
    }
    header, *rows = LISTINGS.strip("\n").splitlines()
    wrong = [
        f"{before} {event}: {now}, not {after}"
        for before, *outcomes in map(str.split, rows)
        for event, after in zip(header.split(), outcomes, strict=True)
        if (now := outcome(built(before), events[event])) != after
    ]
    assert not wrong, "\n".join(wrong)


# What the tables do not show


def version(state_: State) -> Version:
    layer = state.due(state_) or state.uploading(state_)
    assert layer is not None
    return layer.version


def test_a_name_that_is_taken_over_is_replaced_too() -> None:
    for before in ("S", "DS", "US", "DUS", "WDUS", "O"):
        after = transitions.named(built(before), frozenset({"replaced"}))
        assert state.remote_ids(after) == state.remote_ids(built(before)) | {"replaced"}
    published = EVENTS["published"](built("L"))
    assert state.remote_ids(published) == {"replaced"}


def test_a_rename_that_is_complete_has_nothing_to_replace_any_more() -> None:
    stored = transitions.uploaded(built("US"), remote("new"), frozenset({"old"}), 5)
    assert state.remote_ids(stored) == {"new", "old"}
    assert transitions.released(stored) == Stored(remote("new"))


def test_a_rename_that_goes_on_in_the_background_replaces_at_once() -> None:
    copied = transitions.named(built("S"), frozenset({"replaced"}), Version(remote(), 10, keeps_old=True))
    assert version(copied).keeps_old
    for on_its_way in (copied, transitions.begun(copied, 10)):
        released = transitions.released(on_its_way)
        assert not version(released).keeps_old
        assert version(released) == version(on_its_way), "the same version, whoever waits for it"
        assert state.remote_ids(released) == state.remote_ids(on_its_way)


@pytest.mark.parametrize("before", ["S", "DS", "WS", "WDS", "O", "N"])
@pytest.mark.parametrize("happened", [[], ["begun"], ["begun", "failed"], ["begun", "uploaded"]])
def test_a_rename_that_failed_leaves_the_state_as_it_was(before: str, happened: list[str]) -> None:
    first = built(before)
    added = Version(remote(), 10, keeps_old=True) if state.due(first) is None and state.base(first).remote else None
    now = transitions.named(first, frozenset({"replaced"}), added, keeps_old=True)
    for event in happened if added else []:
        now = EVENTS[event](now)
    assert shape(transitions.unnamed(now, first, added)) == before
    assert state.remote_ids(transitions.unnamed(now, first, added)) == state.remote_ids(first)


def test_what_was_written_during_a_rename_that_failed_stays() -> None:
    first, added = built("S"), Version(remote(), 10, keeps_old=True)
    copied = transitions.named(first, frozenset(), added, keeps_old=True)
    written = transitions.written(copied, data("written", sealed=False))
    assert shape(transitions.unnamed(written, first, added)) == "WS"
    closed = transitions.closed(written, 11)
    assert shape(transitions.unnamed(closed, first, added)) == "DS"
    assert state.content(transitions.unnamed(closed, first, added)) == state.content(closed)


def test_a_scratch_file_is_local_again_where_its_new_name_failed() -> None:
    local = Local(data("local"))
    published = transitions.published(local, Version(local.data, 11), frozenset())
    assert transitions.unnamed(published, local, None) is local


def test_what_was_written_to_a_scratch_file_whose_new_name_failed_stays() -> None:
    local = built("L")
    written = transitions.written(EVENTS["published"](local), data("written", sealed=False))
    assert transitions.unnamed(written, local, None) == Local(written.data)  # type: ignore[union-attr]
    closed = transitions.closed(written, 11)
    assert transitions.unnamed(closed, local, None) == Local(written.data)  # type: ignore[union-attr]


def test_a_change_that_was_not_noted_has_not_happened() -> None:
    assert transitions.undone(built("WDUS"), built("S")) == built("S")


def test_what_an_earlier_mount_left_is_due() -> None:
    left = transitions.replayed(Version(data("left"), 3), frozenset({"old"}), FAILURE)
    assert (shape(left), state.remote_ids(left), state.entries(left)) == ("DN", frozenset({"old"}), [3])


def test_a_deleted_file_keeps_its_content_and_what_is_to_be_deleted_with_it() -> None:
    assert transitions.unlinked(built("S"), frozenset({"old"})) == Unlinked(None, remote(), frozenset({"old"}))
    deleted = transitions.unlinked(built("WDS"))
    assert state.content(deleted) == state.content(built("WDS")) or state.writable(deleted) is not None


def test_whoever_waits_for_a_version_that_was_overtaken_waits_for_the_later_one() -> None:
    first = built("DS")
    second = transitions.closed(transitions.written(first, data("later", sealed=False)), 12)
    assert version(second).outcome is not version(first).outcome
    assert not version(first).outcome.done()
    version(second).outcome.set_result(None)
    assert version(first).outcome.done()


def test_a_version_that_failed_after_a_later_one_was_closed_is_overtaken() -> None:
    under_way = built("US")
    later = transitions.closed(transitions.written(under_way, data("later", sealed=False)), 12)
    failed = transitions.failed(later, FAILURE)
    layer = state.due(failed)
    assert layer is not None
    assert (layer.version, layer.failure) == (version(later), None)
    layer.version.outcome.set_exception(ValueError("no"))


# What holds whatever happens


class History:
    """A file, and what must be true of it: its content, by what programs wrote, and its files on the service."""

    def __init__(self, bottom: str) -> None:
        self.state: State = BOTTOMS[bottom]
        self.numbers = iter(range(1000))
        self.values: dict[str, str] = {}  # of remote files: what was written
        self.there = set(state.remote_ids(self.state))  # files of the service that nothing else accounts for
        self.waiting: list[Version] = []

    def value(self) -> str | None:
        """What programs read."""
        match state.content(self.state):
            case StagedFile(path=path):
                return path.name
            case RemoteFile(id=file_id):
                return self.values.get(file_id, file_id)
            case _:
                return None

    def happens(self, event: str) -> None:
        """Let an event happen, if it can; check what it leaves unchanged."""
        before, value, name = self.state, self.value(), f"{event}-{next(self.numbers)}"
        under_way = state.uploading(before)
        try:
            match event:
                case "written":
                    self.state, value = transitions.written(before, data(name, sealed=False)), name
                case "closed":
                    self.state = transitions.closed(before, next(self.numbers))
                    content = state.content(self.state)
                    assert isinstance(content, StagedFile)
                    content.sealed = True
                    self.waiting.append(version(self.state))
                case "uploaded":
                    self.state = transitions.uploaded(before, remote(name))
                    assert under_way is not None
                    assert isinstance(under_way.version.content, StagedFile)
                    self.values[name] = under_way.version.content.path.name
                    self.there = {name}  # what it replaced is the journal's from now on
                    under_way.version.outcome.set_result(None)
                case "failed":
                    self.state = transitions.failed(before, FAILURE)
                    assert under_way is not None
                    under_way.version.outcome.set_exception(ValueError(name))
                    if state.due(before) is None:
                        self.waiting.append(version(self.state))
                case "moved_on":
                    self.state = transitions.moved_on(before, frozenset({name}))
                    self.there |= {name}
                case "reverted":
                    self.state = transitions.reverted(before)
                    value = self.value()
                case "named":
                    self.state = transitions.named(before, frozenset({name}))
                    self.there |= {name}
                case "listed":
                    self.state = transitions.listed(before, remote(name), held=False)
                    value = value if isinstance(state.content(before), StagedFile) else self.value()
                    self.there = {name, *(set() if isinstance(before, Stored | Outdated) else self.there)}
                case "torn" | "begun" | "asked":
                    self.state = EVENTS[event](before)
        except IllegalTransition:
            self.state = before
        self._check(value)

    def _check(self, value: str | None) -> None:
        assert self.value() == value, "programs see what they wrote last"
        layers = shape(self.state)
        order = sorted(layers, key="WTDUSNOG".index)
        assert list(layers) == order, "in order"
        assert len({layer.replace("T", "W") for layer in layers}) == len(layers), "each at most once"
        assert self.there <= state.remote_ids(self.state), "no file of the service is forgotten"


events = st.lists(
    st.sampled_from(
        [
            "written",
            "closed",
            "begun",
            "uploaded",
            "failed",
            "moved_on",
            "reverted",
            "named",
            "listed",
            "torn",
            "asked",
        ]
    ),
    max_size=40,
)


@settings(max_examples=300)
@given(st.sampled_from(["N", "S"]), events)
def test_whatever_happens_nothing_is_forgotten(bottom: str, happened: list[str]) -> None:
    history = History(bottom)
    for event in happened:
        history.happens(event)
    if isinstance(history.state, Staged | Torn):
        history.happens("closed")
    for event in ("uploaded", "begun", "uploaded"):
        history.happens(event)
    assert isinstance(history.state, Stored), "in the end all is stored"
    assert all(version.outcome.done() for version in history.waiting), "and nobody waits any more"
