"""Deletions with ``--write-back``: the journal has them when ``unlink`` returns, and the service follows."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from containerfs.fs import types
from containerfs.fs.writing import deletions, schedule, uploads
from tests.fs import programs
from tests.fs.gates import Gate, down, eventually
from tests.fs.memory import MemoryRemote, no_fault
from tests.fs.mounts import crash, mounted
from tests.fs.paths import Paths

MANY = 16  # deletions that are under way at a time


@pytest.fixture
def lazy_fs(remote: MemoryRemote, container: str, tmp_path: Path) -> Iterator[Paths]:
    with mounted(remote, tmp_path, write_back=True) as filesystem:
        yield filesystem


@pytest.fixture
def not_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is uploaded or deleted until somebody asks."""
    monkeypatch.setattr(schedule, "_CALM", 3600.0)
    monkeypatch.setattr(uploads, "PATIENCE", 3600.0)
    monkeypatch.setattr(deletions, "PATIENCE", 3600.0)


def deletes_fail(operation: str, subject: str) -> None:
    if operation == "delete":
        down(operation, subject)


def test_unlink_does_not_wait_for_the_service(lazy_fs: Paths, remote: MemoryRemote, container: str) -> None:
    remote.put(container, "a", b"a")
    remote.before = gate = Gate("delete")
    lazy_fs.unlink("/box/a")
    assert not programs.exists(lazy_fs, "/box/a")
    assert programs.names(lazy_fs, "/box") == []
    gate.open()
    eventually(lambda: remote.stored(container) == {})


def test_many_are_deleted_at_a_time(lazy_fs: Paths, remote: MemoryRemote, container: str) -> None:
    for number in range(MANY):
        remote.put(container, f"{number}", b"content")
    remote.before = gate = Gate("delete")
    for number in range(MANY):
        lazy_fs.unlink(f"/box/{number}")
    gate.wait(MANY)
    gate.open()
    eventually(lambda: remote.stored(container) == {})


@pytest.mark.usefixtures("not_by_itself")
def test_the_end_of_a_mount_deletes_many_at_a_time(lazy_fs: Paths, remote: MemoryRemote, container: str) -> None:
    for number in range(MANY):
        remote.put(container, f"{number}", b"content")
    for number in range(MANY):
        lazy_fs.unlink(f"/box/{number}")
    assert len(remote.stored(container)) == MANY
    remote.before = gate = Gate("delete")
    with ThreadPoolExecutor(1) as unmount:
        draining = unmount.submit(lazy_fs.drain, 30)
        gate.wait(MANY)
        gate.open()
        assert draining.result(30) == []
    assert remote.stored(container) == {}
    assert len(remote.asked("delete")) == MANY


def test_the_end_of_a_mount_tells_what_could_not_be_deleted(
    lazy_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    file_id = remote.put(container, "a", b"a")
    remote.before = deletes_fail
    lazy_fs.unlink("/box/a")
    (unfinished,) = lazy_fs.drain(30)
    assert unfinished.name == f"box/{file_id}"
    remote.before = no_fault
    assert lazy_fs.drain(30) == []
    assert remote.stored(container) == {}


def test_the_end_of_a_mount_waits_no_longer_than_it_may(lazy_fs: Paths, remote: MemoryRemote, container: str) -> None:
    remote.put(container, "a", b"a")
    remote.before = gate = Gate("delete")
    lazy_fs.unlink("/box/a")
    gate.wait()
    assert len(lazy_fs.drain(0.05)) == 1
    gate.open()


@pytest.mark.usefixtures("not_by_itself")
def test_after_a_crash_what_was_deleted_does_not_come_back(
    lazy_fs: Paths, remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    remote.put(container, "a", b"a")
    remote.put(container, "b", b"b")
    lazy_fs.unlink("/box/a")
    crash(lazy_fs)
    assert len(remote.stored(container)) == 2
    remote.before = deletes_fail
    with mounted(remote, tmp_path) as filesystem:
        assert programs.names(filesystem, "/box") == ["b"]
        remote.before = no_fault
        assert filesystem.drain(30) == []
    assert remote.stored(container) == {"b": b"b"}


@pytest.mark.usefixtures("not_by_itself")
def test_what_was_not_uploaded_yet_never_is(lazy_fs: Paths, remote: MemoryRemote, container: str) -> None:
    programs.write(lazy_fs, "/box/a", b"a")
    lazy_fs.unlink("/box/a")
    assert lazy_fs.drain(30) == []
    assert remote.asked("upload") == remote.asked("delete") == []


@pytest.mark.parametrize("replaces", ["nothing", "new id"])
@pytest.mark.usefixtures("not_by_itself")
def test_a_new_file_of_the_same_name_stays(lazy_fs: Paths, remote: MemoryRemote, container: str, replaces: str) -> None:
    remote.replaces = replaces
    remote.put(container, "a", b"old")
    lazy_fs.unlink("/box/a")
    programs.write(lazy_fs, "/box/a", b"new")
    assert lazy_fs.drain(30) == []
    assert remote.stored(container) == {"a": b"new"}
    assert programs.read(lazy_fs, "/box/a") == b"new"


@pytest.mark.usefixtures("not_by_itself")
def test_a_container_of_which_all_was_deleted_can_be_removed(
    lazy_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    remote.put(container, "directory/a", b"a")
    lazy_fs.unlink("/box/directory/a")
    lazy_fs.rmdir("/box/directory")
    lazy_fs.rmdir("/box")
    assert lazy_fs.drain(30) == []
    assert remote.containers() == []


@pytest.mark.usefixtures("not_by_itself")
def test_what_the_journal_cannot_take_is_not_deleted(
    lazy_fs: Paths, remote: MemoryRemote, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.put(container, "a", b"a")
    programs.names(lazy_fs, "/box")

    def full(*_: object) -> None:
        raise types.NoSpace("full")

    with monkeypatch.context() as patch:
        patch.setattr("containerfs.fs.writing.journal.Transaction.delete_later", full)
        with pytest.raises(types.NoSpace):
            lazy_fs.unlink("/box/a")
    assert programs.read(lazy_fs, "/box/a") == b"a"
    assert lazy_fs.drain(30) == []
    assert remote.stored(container) == {"a": b"a"}


def test_what_is_open_is_read_to_its_end(lazy_fs: Paths, remote: MemoryRemote, container: str) -> None:
    remote.put(container, "a", b"content")
    with programs.opened(lazy_fs, "/box/a") as fh:
        assert programs.at(lazy_fs, fh, 0, 3) == b"con"
        lazy_fs.unlink("/box/a")
        eventually(lambda: remote.stored(container) == {})
        assert programs.take(lazy_fs, fh) == b"content"


def test_the_disk_has_the_deletion_soon(
    lazy_fs: Paths, remote: MemoryRemote, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("containerfs.fs.writing.database.sync_path", synced.append)
    remote.put(container, "a", b"a")
    lazy_fs.unlink("/box/a")
    eventually(lambda: [path.name for path in synced] == ["journal.db-wal"])
