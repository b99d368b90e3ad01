"""Staged files are given up by several threads at once: by the last close(), and by an upload that has ended."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from containerfs.fs.staged import StagedFile


class SlowClose:
    """The first descriptor that is closed takes so long that another comes meanwhile, and its number another file has.

    Attributes:
        begun: set when that is so.
        used: set by the other once it has come through; one that waits for its turn does not.
    """

    def __init__(self, path: Path) -> None:
        self.begun = threading.Event()
        self.used = threading.Event()
        self.closed: list[int] = []
        self._path = path
        self._close = os.close

    def close(self, descriptor: int) -> None:
        self.closed.append(descriptor)
        self._close(descriptor)
        if len(self.closed) == 1:
            assert os.open(self._path, os.O_RDWR) == descriptor
            self.begun.set()
            self.used.wait(0.1)


@pytest.fixture
def staged(tmp_path: Path) -> StagedFile:
    staged = StagedFile.create(tmp_path / "staged")
    staged.write(memoryview(b"what was written"), 0)
    return staged


@pytest.mark.parametrize(
    "use",
    [
        StagedFile.rest,
        StagedFile.remove,
        lambda staged: staged.write(memoryview(b"more"), 0),
        lambda staged: staged.append(memoryview(b"more")),
        lambda staged: staged.truncate(1),
        lambda staged: staged.read(0, 4),
        lambda staged: staged.sync(),
        lambda staged: staged.size,
    ],
    ids=["rest", "remove", "write", "append", "truncate", "read", "sync", "size"],
)
def test_a_descriptor_that_is_given_back_is_nobodys(
    staged: StagedFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: Callable[[StagedFile], object]
) -> None:
    """Else a write goes to another file, whose descriptor has that number by then, or that one is closed."""
    other = tmp_path / "other"
    other.write_bytes(b"nobody's business")
    slow = SlowClose(other)
    failures: list[BaseException] = []

    def meanwhile() -> None:
        slow.begun.wait(10)
        try:
            use(staged)
        except BaseException as error:
            failures.append(error)
        slow.used.set()

    thread = threading.Thread(target=meanwhile)
    thread.start()
    monkeypatch.setattr("containerfs.fs.staged.os.close", slow.close)
    staged.rest()
    thread.join(10)
    monkeypatch.undo()
    assert (failures, other.read_bytes()) == ([], b"nobody's business")
    os.close(slow.closed[0])
    assert slow.closed.count(slow.closed[0]) == 1
