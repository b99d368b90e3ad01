"""Open files: which content of a file that others have open, and that was replaced elsewhere, a program gets."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from containerfs.fs import files
from tests.fs import programs
from tests.fs.gates import eventually
from tests.fs.memory import MemoryRemote
from tests.fs.paths import Paths


@pytest.fixture
def outdated(memory_fs: Paths, remote: MemoryRemote, container: str) -> int:
    """A handle of ``/box/a``, which holds "old" while the service has "newer" since."""
    old = remote.put(container, "a", b"old")
    fh, _ = memory_fs.open("/box/a", os.O_RDONLY)
    assert programs.take(memory_fs, fh) == b"old"
    remote.delete_file(container, old)
    remote.put(container, "a", b"newer")
    programs.names(memory_fs, "/box")
    return fh


def test_a_file_is_opened_once_those_who_have_older_content_open_have_closed_it(
    memory_fs: Paths, outdated: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_PATIENCE", 3600.0)
    with ThreadPoolExecutor(2) as others:
        reading = [others.submit(programs.read, memory_fs, "/box/a") for _ in range(2)]
        waiting = memory_fs._tree.released._waiters  # type: ignore[attr-defined]
        eventually(lambda: len(waiting) == len(reading))
        assert programs.take(memory_fs, outdated) == b"old"
        memory_fs.release(outdated)
        assert [each.result(30) for each in reading] == [b"newer", b"newer"]


def test_older_content_that_somebody_keeps_open_is_what_others_get(
    memory_fs: Paths, outdated: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_PATIENCE", 0.01)
    assert programs.read(memory_fs, "/box/a") == b"old"
    monkeypatch.setattr(files, "_PATIENCE", 3600.0)
    assert programs.read(memory_fs, "/box/a") == b"old"
    memory_fs.release(outdated)
    assert programs.read(memory_fs, "/box/a") == b"newer"
