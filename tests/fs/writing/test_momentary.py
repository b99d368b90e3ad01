"""Files that are stored for a moment: none is left, whatever fails."""

from pathlib import Path
from typing import Any

import pytest

from containerfs.fs import types
from containerfs.fs.endings import Endings
from containerfs.fs.writing import backoff, settlement
from tests.fs import programs
from tests.fs.gates import eventually, failing
from tests.fs.memory import Fault, MemoryRemote, no_fault
from tests.fs.mounts import crash, mounted
from tests.fs.paths import Paths

SOON = 1e10  # by which a container has to be used, whatever is known of it


@pytest.fixture(autouse=True)
def endings(monkeypatch: pytest.MonkeyPatch) -> list[Endings]:
    """Those of the mounts that have begun, which look when a test says."""
    begun: list[Endings] = []
    monkeypatch.setattr(Endings, "start", lambda self: begun.append(self))
    monkeypatch.setattr(backoff, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(settlement, "_LOOKS", (0.0, 0.01))
    return begun


def kept_alive(remote: MemoryRemote, tmp_path: Path) -> Any:
    return mounted(remote, tmp_path / "cache", keep_alive=["box"])


def test_nothing_is_left(remote: MemoryRemote, container: str, tmp_path: Path, endings: list[Endings]) -> None:
    with kept_alive(remote, tmp_path) as fs:
        endings[0].look(SOON)
        assert len(remote.asked("upload")) == 1
        assert remote.stored(container) == {}
        assert programs.names(fs, "/box") == []


def answer_lost(operation: str, subject: str) -> None:
    if operation == "upload":
        raise types.Unreachable("lost")


@pytest.mark.parametrize(
    ("before", "after"),
    [(failing("delete"), no_fault), (failing("delete", 1, types.Unreachable), no_fault), (no_fault, answer_lost)],
    ids=["deletion refused", "deletion lost", "answer lost"],
)
def test_what_fails_leaves_nothing(
    remote: MemoryRemote, container: str, tmp_path: Path, endings: list[Endings], before: Fault, after: Fault
) -> None:
    with kept_alive(remote, tmp_path) as fs:
        remote.before, remote.after = before, after
        endings[0].look(SOON)
        assert programs.names(fs, "/box") == []
        eventually(lambda: remote.stored(container) == {})
        assert fs.drain(30) == []


def test_what_was_not_stored_is_not_looked_for(
    remote: MemoryRemote, container: str, tmp_path: Path, endings: list[Endings]
) -> None:
    with kept_alive(remote, tmp_path) as fs:
        remote.before = failing("upload")
        endings[0].look(SOON)
        assert fs.drain(30) == []
        assert remote.asked("newest") == []


@pytest.mark.parametrize("operation", ["upload", "delete"])
def test_what_a_mount_leaves_that_is_killed_goes_with_the_next(
    remote: MemoryRemote, container: str, tmp_path: Path, endings: list[Endings], operation: str
) -> None:
    class Killed(BaseException):
        """Nothing that follows is done."""

    def kill(asked: str, subject: str) -> None:
        if asked == operation:
            raise Killed

    with kept_alive(remote, tmp_path) as fs:
        if operation == "upload":
            remote.after = kill
        else:
            remote.before = kill
        schedule_nothing(fs)
        with pytest.raises(Killed):
            endings[0].look(SOON)
        crash(fs)
    assert len(remote.stored(container)) == 1
    remote.before = remote.after = no_fault
    with mounted(remote, tmp_path / "cache") as again:
        eventually(lambda: remote.stored(container) == {})
        assert again.drain(30) == []


def schedule_nothing(fs: Paths) -> None:
    fs._backlog._schedule.close()
