"""Files that are uploaded while they are written: the content is there once and right, whatever becomes of either."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from containerfs.api.dialect import Dialect
from containerfs.client import UploadSource
from containerfs.fs import types
from containerfs.fs.writing import streaming
from tests.fs import programs
from tests.fs.gates import eventually
from tests.fs.memory import MemoryRemote
from tests.fs.mounts import crash, mounted
from tests.fs.paths import Paths

LARGE, PIECE = 1000, 100  # bytes: from how many on a file is streamed, and how many are sent at once
BEGUN, REST = b"0123456789" * 150, b"abcdefghij" * 25 + b"the end"
PATH = "/box/file"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_FROM", LARGE)


@pytest.fixture
def remote() -> MemoryRemote:
    remote = MemoryRemote()
    remote.dialect = Dialect(idempotency=True, whole_uploads=True)
    remote.replaces, remote.chunk = "new id", PIECE
    return remote


def under_way(fs: Paths) -> dict[str, int]:
    """How much was sent of each file that is being written."""
    told: dict[str, Any] = json.loads(fs.getxattr("/", "user.containerfs.status"))["uploads"]
    return {each["name"]: each["sent"] for each in told["streaming"]}


def begin(fs: Paths, path: str = PATH) -> int:
    """Write the first part of a file, and wait until all of it was sent; returns the handle."""
    fh = fs.create(path, os.O_RDWR | os.O_CREAT, 0o644)
    fs.write(fh, memoryview(BEGUN), 0)
    eventually(lambda: under_way(fs).get(path[1:]) == len(BEGUN))
    return fh


def close(fs: Paths, fh: int) -> None:
    try:
        fs.flush(fh)
    finally:
        fs.release(fh)


def test_what_is_written_is_sent_and_stored_when_the_file_is_closed(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    fh = begin(memory_fs)
    assert remote.stored(container) == {}
    memory_fs.write(fh, memoryview(REST), len(BEGUN))
    close(memory_fs, fh)
    assert remote.stored(container) == {"file": BEGUN + REST}
    assert remote.asked("upload") == ["file"]
    assert under_way(memory_fs) == {}
    assert programs.read(memory_fs, PATH) == BEGUN + REST


def test_a_file_that_ends_where_a_piece_does(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    close(memory_fs, begin(memory_fs))
    assert remote.stored(container) == {"file": BEGUN}
    assert remote.asked("upload") == ["file"]


def test_it_keeps_to_the_limit_of_bandwidth(remote: MemoryRemote, container: str, tmp_path: Path) -> None:
    remote.chunk = 1500  # in two pieces
    with mounted(remote, tmp_path / "cache", up_limit=4000) as fs:
        fh = begin(fs)
        fs.write(fh, memoryview(REST), len(BEGUN))
        close(fs, fh)
        assert remote.stored(container) == {"file": BEGUN + REST}
        assert remote.asked("upload") == ["file"]


def test_the_journal_has_the_attempt_before_the_end_is_sent(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    database = memory_fs._files._journal._database
    noted: list[list[tuple[Any, ...]]] = []
    remote.before = lambda operation, subject: noted.append(database.select("SELECT path, size FROM attempts"))
    fh = begin(memory_fs)
    noted.clear()
    close(memory_fs, fh)
    assert noted[0] == [("file", len(BEGUN))]
    assert database.select("SELECT path FROM attempts") == []


CHANGES: dict[str, tuple[Callable[[Paths, int], object], bytes]] = {
    "written over": (lambda fs, fh: fs.write(fh, memoryview(b"changed"), 7), BEGUN[:7] + b"changed" + BEGUN[14:]),
    "written over at its start": (lambda fs, fh: fs.write(fh, memoryview(b"X"), 0), b"X" + BEGUN[1:]),
    "written over at its end": (lambda fs, fh: fs.write(fh, memoryview(b"XY"), len(BEGUN) - 1), BEGUN[:-1] + b"XY"),
    "written behind its end": (lambda fs, fh: fs.write(fh, memoryview(b"X"), 2000), BEGUN + bytes(500) + b"X"),
    "cut": (lambda fs, fh: fs.ftruncate(fh, 10), BEGUN[:10]),
    "cut to nothing": (lambda fs, fh: fs.ftruncate(fh, 0), b""),
    "extended": (lambda fs, fh: fs.ftruncate(fh, 1510), BEGUN + bytes(10)),
    "allocated": (lambda fs, fh: fs.fallocate(fh, 0, 0, 1600), BEGUN + bytes(100)),
    "punched": (lambda fs, fh: fs.fallocate(fh, 3, 0, 5), bytes(5) + BEGUN[5:]),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("then", [b"", REST], ids=["closed", "written on"])
def test_a_file_that_is_changed_is_uploaded_anew(
    memory_fs: Paths, remote: MemoryRemote, container: str, change: str, then: bytes
) -> None:
    act, wanted = CHANGES[change]
    fh = begin(memory_fs)
    act(memory_fs, fh)
    if then:
        memory_fs.write(fh, memoryview(then), len(wanted))
    close(memory_fs, fh)
    assert remote.stored(container) == {"file": wanted + then}
    assert remote.asked("upload") == ["file"]  # the other never came to its end
    eventually(lambda: under_way(memory_fs) == {})


def test_a_file_that_is_renamed_meanwhile(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    fh = begin(memory_fs)
    memory_fs.rename(PATH, "/box/other")
    eventually(lambda: under_way(memory_fs) == {})
    memory_fs.write(fh, memoryview(REST), len(BEGUN))
    close(memory_fs, fh)
    assert remote.stored(container) == {"other": BEGUN + REST}


def test_a_file_that_is_renamed_and_closed_at_once(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    fh = begin(memory_fs)
    memory_fs.rename(PATH, "/box/other")
    close(memory_fs, fh)
    assert remote.stored(container) == {"other": BEGUN}


def test_a_file_that_is_renamed_and_gets_its_name_back(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    fh = begin(memory_fs)
    memory_fs.rename(PATH, "/box/other")
    memory_fs.rename("/box/other", PATH)
    close(memory_fs, fh)
    assert remote.stored(container) == {"file": BEGUN}


@pytest.mark.parametrize("anew", [False, True], ids=["", "made anew"])
def test_a_file_that_is_deleted_meanwhile(
    memory_fs: Paths, remote: MemoryRemote, container: str, *, anew: bool
) -> None:
    fh = begin(memory_fs)
    memory_fs.unlink(PATH)
    if anew:
        programs.write(memory_fs, PATH, b"another")
    eventually(lambda: under_way(memory_fs) == {})
    memory_fs.write(fh, memoryview(REST), len(BEGUN))
    close(memory_fs, fh)
    assert remote.stored(container) == ({"file": b"another"} if anew else {})


def test_a_file_that_is_replaced_meanwhile(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    fh = begin(memory_fs)
    programs.write(memory_fs, "/box/other", b"other")
    memory_fs.rename("/box/other", PATH)
    close(memory_fs, fh)
    assert remote.stored(container) == {"file": b"other"}


def test_two_programs_write_one_after_the_other(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    first = begin(memory_fs)
    second = memory_fs.open(PATH, os.O_WRONLY)[0]
    memory_fs.write(second, memoryview(REST), len(BEGUN))
    close(memory_fs, first)
    assert remote.stored(container) == {"file": BEGUN + REST}
    memory_fs.write(second, memoryview(b"last"), len(BEGUN + REST))
    close(memory_fs, second)
    assert remote.stored(container) == {"file": BEGUN + REST + b"last"}


@pytest.mark.parametrize("synced", [False, True], ids=["", "synced"])
def test_a_crash_in_the_middle(
    memory_fs: Paths, remote: MemoryRemote, container: str, tmp_path: Path, *, synced: bool
) -> None:
    fh = begin(memory_fs)
    if synced:
        memory_fs.fsync(fh)
    crash(memory_fs)
    assert remote.stored(container) == {}
    with mounted(remote, tmp_path / "cache") as fs:
        assert fs.drain(20) == []
    assert remote.stored(container) == ({"file": BEGUN} if synced else {})


def test_one_that_breaks_off_in_the_middle(
    memory_fs: Paths, remote: MemoryRemote, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaking = threading.Event()

    def read(source: UploadSource) -> bytes:
        monkeypatch.undo()
        source.read_at(0, PIECE)
        breaking.set()
        raise types.AnswerLost("the connection broke")

    monkeypatch.setattr(streaming, "_FROM", LARGE)
    monkeypatch.setattr(remote, "_read", read)
    programs.write(memory_fs, PATH, BEGUN + REST)
    assert breaking.is_set()
    assert remote.stored(container) == {"file": BEGUN + REST}
    assert remote.asked("upload") == ["file"]


def test_one_whose_answer_is_lost_is_sent_again_and_stored_once(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    lost: list[str] = []

    def lose(operation: str, subject: str) -> None:
        if operation == "upload" and not lost:
            lost.append(subject)
            raise types.Unreachable("the answer is lost")

    remote.after = lose
    fh = begin(memory_fs)
    close(memory_fs, fh)
    assert lost == ["file"]
    assert remote.asked("upload") == ["file", "file"]
    assert remote.stored_all(container) == [("file", BEGUN)]


def test_one_that_is_refused_is_told_of_by_close(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    def refuse(operation: str, subject: str) -> None:
        if operation == "upload":
            raise types.TooLarge("413")

    remote.before = refuse
    fh = begin(memory_fs)
    with pytest.raises(types.TooLarge):
        close(memory_fs, fh)
    assert programs.state(memory_fs, PATH) == "failed"
    assert programs.read(memory_fs, PATH) == BEGUN


def test_a_writer_that_pauses_has_its_file_uploaded_anew(
    memory_fs: Paths, remote: MemoryRemote, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_PAUSE", 0.05)
    monkeypatch.setattr(streaming, "_LOOK", 0.01)
    fh = memory_fs.create(PATH, os.O_RDWR | os.O_CREAT, 0o644)
    memory_fs.write(fh, memoryview(BEGUN), 0)
    eventually(lambda: under_way(memory_fs) == {})
    memory_fs.write(fh, memoryview(REST), len(BEGUN))
    assert under_way(memory_fs) == {}
    close(memory_fs, fh)
    assert remote.stored(container) == {"file": BEGUN + REST}


def test_few_are_under_way_at_a_time_and_the_others_follow(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    names = [f"{number}" for number in range(streaming._MOST + 2)]
    with ExitStack() as stack:
        handles = [stack.enter_context(programs.created(memory_fs, f"/box/{name}")) for name in names]
        for fh in handles:
            memory_fs.write(fh, memoryview(BEGUN), 0)
        eventually(lambda: sum(under_way(memory_fs).values()) == streaming._MOST * len(BEGUN))
        assert len(under_way(memory_fs)) == streaming._MOST
    assert remote.stored(container) == dict.fromkeys(names, BEGUN)
    assert sorted(remote.asked("upload")) == names


@pytest.fixture(params=["write back", "turned off", "the service may store a part", "no idempotency keys"])
def without(request: pytest.FixtureRequest, remote: MemoryRemote, container: str, tmp_path: Path) -> Iterator[Paths]:
    options: dict[str, object] = {}
    match request.param:
        case "write back":
            options["write_back"] = True
        case "turned off":
            options["streaming_uploads"] = False
        case "the service may store a part":
            remote.dialect = Dialect(idempotency=True)
        case _:
            remote.dialect = Dialect(whole_uploads=True)
    with mounted(remote, tmp_path / "cache", **options) as fs:
        yield fs


def test_where_nothing_is_streamed(without: Paths, remote: MemoryRemote, container: str) -> None:
    fh = without.create(PATH, os.O_RDWR | os.O_CREAT, 0o644)
    without.write(fh, memoryview(BEGUN), 0)
    assert under_way(without) == {}
    without.write(fh, memoryview(REST), len(BEGUN))
    close(without, fh)
    assert without.drain(20) == []
    assert remote.stored(container) == {"file": BEGUN + REST}


@pytest.mark.parametrize("name", ["file.part", ".DS_Store"])
def test_names_that_are_not_streamed(memory_fs: Paths, name: str) -> None:
    with programs.created(memory_fs, f"/box/{name}") as fh:
        memory_fs.write(fh, memoryview(BEGUN), 0)
        assert under_way(memory_fs) == {}


def test_a_small_file_is_not_streamed(memory_fs: Paths) -> None:
    with programs.created(memory_fs, PATH) as fh:
        memory_fs.write(fh, memoryview(bytes(LARGE - 1)), 0)
        assert under_way(memory_fs) == {}
