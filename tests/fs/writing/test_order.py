"""What is stored, renamed and replaced in the background ends as if it had been done at once, in order."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from containerfs.api.dialect import Dialect
from containerfs.fs import types
from containerfs.fs.writing import backoff
from tests.fs import programs
from tests.fs.gates import Gate, down, eventually, failing
from tests.fs.memory import MemoryRemote, no_fault
from tests.fs.mounts import crash, mounted
from tests.fs.paths import Paths

OURS = Dialect(idempotency=True, copies_by_path=True)


@pytest.fixture(params=["ours", "foreign, replaces"])
def remote(request: pytest.FixtureRequest) -> MemoryRemote:
    """A service that replaces by path."""
    remote = MemoryRemote()
    remote.replaces = "new id"
    if request.param == "ours":
        remote.dialect, remote.tells_replaced = OURS, True
    return remote


@pytest.fixture
def fs(remote: MemoryRemote, container: str, tmp_path: Path) -> Iterator[Paths]:
    """A file system whose close() and rename() do not wait for the service."""
    with mounted(remote, tmp_path / "cache", write_back=True) as filesystem:
        yield filesystem


@pytest.fixture
def renamed(fs: Paths, remote: MemoryRemote) -> Gate:
    """Holds up the upload of ``/box/a``, which has been renamed to ``/box/b`` since it began."""
    remote.before = gate = Gate("upload")
    programs.write(fs, "/box/a", b"first")
    gate.wait()
    fs.rename("/box/a", "/box/b")
    return gate


def test_a_new_file_of_the_old_name_waits_until_the_old_one_has_its_new_name(
    fs: Paths, remote: MemoryRemote, container: str, copying: str
) -> None:
    remote.put(container, "a", b"old")
    programs.names(fs, "/box")
    gate = Gate(copying)
    remote.before = lambda operation, subject: gate(operation, subject) if subject == "b" else None
    fs.rename("/box/a", "/box/b")
    gate.wait()
    programs.write(fs, "/box/a", b"new")
    eventually(lambda: bool(fs._backlog._uploader._blocked))
    assert "a" not in remote.asked("upload")
    gate.open()
    assert fs.drain(30) == []
    assert remote.stored(container) == {"a": b"new", "b": b"old"}


def test_a_file_that_was_renamed_on_its_way_does_not_replace_what_has_its_old_name(
    fs: Paths, remote: MemoryRemote, container: str, renamed: Gate
) -> None:
    programs.write(fs, "/box/a", b"second")
    eventually(lambda: bool(fs._backlog._uploader._blocked))
    renamed.open()
    assert fs.drain(30) == []
    assert remote.stored(container) == {"a": b"second", "b": b"first"}


def test_a_file_that_was_renamed_and_written_to_on_its_way_leaves_nothing_in_the_journal(
    fs: Paths, remote: MemoryRemote, container: str, renamed: Gate
) -> None:
    programs.write(fs, "/box/b", b"second")
    renamed.open()
    assert fs.drain(30) == []
    assert fs._files._journal.entries() == []
    assert remote.stored(container) == {"b": b"second"}


def test_a_file_that_gets_its_old_name_back_is_not_sent(fs: Paths, remote: MemoryRemote, container: str) -> None:
    remote.put(container, "a", b"content")
    programs.names(fs, "/box")
    remote.before = down
    fs.rename("/box/a", "/box/b")
    fs.rename("/box/b", "/box/a")
    fs.drain(30)  # else an attempt that has begun by then may be the one that fails below
    remote.before = no_fault
    remote.requests.clear()
    eventually(lambda: fs.drain(30) == [])  # an attempt that began before may fail still
    assert remote.stored(container) == {"a": b"content"}
    assert not {"copy", "upload"} & {operation for operation, _ in remote.requests}


def test_after_a_crash_what_was_renamed_to_a_path_counts_and_not_what_was_written_there_before(
    fs: Paths, remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    programs.names(fs, "/box")
    remote.before = down
    programs.write(fs, "/box/a.part", b"renamed")
    programs.write(fs, "/box/a", b"written later, and replaced")
    with fs.file("/box/a") as target:
        pass
    with pytest.MonkeyPatch.context() as patch:  # the mount ends before what was replaced is given up
        patch.setattr(type(fs._moves), "_bury_replaced", lambda *_: None)
        fs.rename("/box/a.part", "/box/a")
    assert target.parent is None
    crash(fs)
    remote.before = no_fault
    with mounted(remote, tmp_path / "cache") as following:
        assert programs.read(following, "/box/a") == b"renamed"
        assert following.drain(30) == []
    assert remote.stored(container) == {"a": b"renamed"}


def test_a_page_in_place_of_a_content_does_not_clear_what_a_lost_request_has_left(
    remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    remote.replaces, remote.dialect = "nothing", Dialect()
    with mounted(remote, tmp_path / "cache", write_back=True) as fs:
        programs.names(fs, "/box")
        settlement = fs._backlog._settlement
        with fs.found("/box") as box:
            pass

        def lost(operation: str, _: str) -> None:
            if operation == "upload":
                remote.after = no_fault
                remote.before = down
                raise types.Unreachable("its answer is lost")

        remote.after = lost
        programs.write(fs, "/box/a", b"content")
        eventually(lambda: bool(fs._backlog.outstanding().failed))
        remote.before = no_fault
        (left,) = remote._files
        remote.contents[left], good = b"<html>", remote.contents[left]
        fs.filesystem.unlink(box, "a")  # without a listing, which would show what is left
        settlement.wait(time.monotonic() + 30)
        assert left in remote._files
        remote.contents[left] = good
        fs._backlog._schedule.expedite(lambda key: True)
        eventually(lambda: left not in remote._files)


def test_a_mount_gives_way_to_another_that_wrote_later(
    remote: MemoryRemote, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share a journal, whose order is that of what was written."""
    monkeypatch.setattr(backoff, "FIRST_PAUSE", 3600.0)
    remote.put(container, "old", b"old")
    with mounted(remote, tmp_path, write_back=True) as one, mounted(remote, tmp_path, write_back=True) as two:
        remote.before = failing("upload", 100, types.Unreachable)
        for path in ("/box/new", "/box/old"):
            programs.write(one, path, b"earlier")
        eventually(lambda: len(one._backlog.outstanding().failed) == 2)
        remote.before = no_fault
        for path in ("/box/new", "/box/old"):
            programs.write(two, path, b"later")
        assert two.drain(30) == []
        asked = len(remote.asked("upload"))
        assert one.drain(30) == []
        assert len(remote.asked("upload")) == asked
        assert remote.stored(container) == {"new": b"later", "old": b"later"}
        for fs in (one, two):
            assert [programs.read(fs, path) for path in ("/box/new", "/box/old")] == [b"later", b"later"]
    assert list(tmp_path.glob("journal/*/data/*")) == []


def test_what_fails_as_a_drain_begins_is_tried_once_more(
    fs: Paths, remote: MemoryRemote, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt that was under way says nothing of the service as it is now."""
    begun, drained = threading.Event(), threading.Event()

    def down_until_the_drain_begins(operation: str, subject: str) -> None:
        if operation == "upload" and not drained.is_set():
            begun.set()
            assert drained.wait(30)
            down(operation, subject)

    backlog = fs._backlog
    wait = backlog._await

    def awaited(*args: Any) -> None:
        drained.set()
        wait(*args)

    monkeypatch.setattr(backlog, "_await", awaited)
    remote.before = down_until_the_drain_begins
    programs.write(fs, "/box/a", b"content")
    assert begun.wait(30)
    assert fs.drain(30) == []
    assert remote.stored(container) == {"a": b"content"}
