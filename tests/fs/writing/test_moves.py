"""Renames: new before old, nothing moved twice, and all as it was where one fails."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from containerfs.api.dialect import Dialect
from containerfs.fs import types
from containerfs.fs.writing import backoff, removals
from tests.fs import programs
from tests.fs.gates import Gate, eventually, failing
from tests.fs.memory import MemoryRemote, no_fault
from tests.fs.mounts import crash, mounted
from tests.fs.paths import Paths


@pytest.fixture(autouse=True)
def _undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is not tried again, however long a test takes."""
    monkeypatch.setattr(backoff, "FIRST_PAUSE", 3600.0)


@pytest.fixture(params=["copies", "uploads"])
def remote(request: pytest.FixtureRequest) -> MemoryRemote:
    remote = MemoryRemote()
    remote.dialect = Dialect(idempotency=True, copies_by_path=request.param == "copies")
    return remote


def test_a_file_gets_a_new_name(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    remote.put(container, "a", b"content")
    memory_fs.chmod("/box/a", 0o600)
    memory_fs.utimens("/box/a", 1, 2)
    ino = memory_fs.getattr("/box/a").ino
    memory_fs.rename("/box/a", "/box/b")
    assert remote.stored(container) == {"b": b"content"}
    attr = memory_fs.getattr("/box/b")
    assert (attr.ino, attr.mode & 0o777, attr.mtime) == (ino, 0o600, 2)
    assert programs.names(memory_fs, "/box") == ["b"]
    assert programs.read(memory_fs, "/box/b") == b"content"
    assert remote.asked("upload") == ([] if remote.dialect.copies_by_path else ["b"])


def test_what_was_cached_before_a_rename_is_cached_after_it(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    programs.write(memory_fs, "/box/a", b"content")
    memory_fs.rename("/box/a", "/box/b")
    assert programs.read(memory_fs, "/box/b") == b"content"
    assert remote.asked("content") == []


def test_a_file_takes_the_place_of_another(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    remote.put(container, "a", b"new")
    remote.put(container, "d/b", b"old")
    memory_fs.rename("/box/a", "/box/d/b")
    assert remote.stored(container) == {"d/b": b"new"}
    assert programs.read(memory_fs, "/box/d/b") == b"new"
    assert programs.names(memory_fs, "/box") == ["d"]
    memory_fs.rename("/box/d/b", "/box/d/b")
    assert remote.stored(container) == {"d/b": b"new"}


@pytest.mark.parametrize("operation", ["copy", "upload"])
def test_a_rename_that_fails_leaves_all_as_it_was(
    memory_fs: Paths, remote: MemoryRemote, container: str, operation: str
) -> None:
    remote.dialect = Dialect(idempotency=True, copies_by_path=operation == "copy")
    remote.put(container, "a", b"new")
    remote.put(container, "b", b"old")
    remote.before = failing(operation, kind=types.Unreachable)
    with pytest.raises(types.Unreachable):
        memory_fs.rename("/box/a", "/box/b")
    assert remote.stored(container) == {"a": b"new", "b": b"old"}
    assert programs.names(memory_fs, "/box") == ["a", "b"]
    assert programs.read(memory_fs, "/box/a") == b"new"
    assert programs.read(memory_fs, "/box/b") == b"old"
    assert memory_fs.drain(30) == []
    memory_fs.rename("/box/a", "/box/b")
    assert remote.stored(container) == {"b": b"new"}


@pytest.mark.parametrize("crashed", [True, False])
def test_a_rename_of_what_is_due_that_fails_leaves_it_due_under_its_name(
    memory_fs: Paths, remote: MemoryRemote, container: str, tmp_path: Path, crashed: bool
) -> None:
    remote.put(container, "b", b"old")
    programs.write(memory_fs, "/box/a.part", b"new")  # uploaded in a moment, if it still has that name
    remote.before = failing("upload")
    with pytest.raises(types.Failed):
        memory_fs.rename("/box/a.part", "/box/b")
    assert programs.read(memory_fs, "/box/a.part") == b"new"
    if crashed:
        crash(memory_fs)
        with mounted(remote, tmp_path / "cache") as filesystem:
            assert filesystem.drain(30) == []
    else:
        assert memory_fs.drain(30) == []
    assert remote.stored(container) == {"a.part": b"new", "b": b"old"}


def test_a_rename_of_scratch_that_fails_leaves_it_scratch(
    memory_fs: Paths, remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    programs.write(memory_fs, "/box/.a.swp", b"content")
    remote.before = failing("upload")
    with pytest.raises(types.Failed):
        memory_fs.rename("/box/.a.swp", "/box/a")
    assert programs.state(memory_fs, "/box/.a.swp") == "local"
    programs.append(memory_fs, "/box/.a.swp", b" and more")
    assert programs.read(memory_fs, "/box/.a.swp") == b"content and more"
    crash(memory_fs)
    with mounted(remote, tmp_path / "cache") as filesystem:
        assert filesystem.drain(30) == []
    assert remote.stored(container) == {}


def test_what_is_written_to_scratch_while_its_new_name_fails_is_kept(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    gate = Gate("upload")

    def refuse(asked: str, subject: str) -> None:
        if asked == "upload":
            gate(asked, subject)
            raise types.Refused("no")

    fh = memory_fs.create("/box/.a.swp", os.O_RDWR, 0o644)
    programs.put(memory_fs, fh, b"content")
    remote.before = refuse
    with ThreadPoolExecutor(1) as mv:
        moving = mv.submit(memory_fs.rename, "/box/.a.swp", "/box/a")
        gate.wait()
        programs.put(memory_fs, fh, b"CON")
        gate.open()
        with pytest.raises(types.Refused):
            moving.result()
    programs.put(memory_fs, fh, b"TENT", 3)
    assert programs.take(memory_fs, fh) == b"CONTENT"
    memory_fs.release(fh)
    assert programs.state(memory_fs, "/box/.a.swp") == "local"
    assert programs.read(memory_fs, "/box/.a.swp") == b"CONTENT"
    assert memory_fs.drain(30) == []
    assert remote.stored(container) == {}


def test_scratch_that_becomes_a_file_is_uploaded(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    programs.write(memory_fs, "/box/.goutputstream-ABC", b"content")
    assert remote.stored(container) == {}
    memory_fs.rename("/box/.goutputstream-ABC", "/box/a")
    assert remote.stored(container) == {"a": b"content"}
    assert programs.state(memory_fs, "/box/a") == "clean"


def test_scratch_that_becomes_a_file_is_safe_on_this_machine_first(
    remote: MemoryRemote, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(os.pread(fd, 100, 0)))
    with mounted(remote, tmp_path, write_back=True, strict=True) as filesystem:
        programs.write(filesystem, "/box/.goutputstream-ABC", b"content")
        remote.before = failing("upload", 100)
        filesystem.rename("/box/.goutputstream-ABC", "/box/a")
        assert synced == [b"content"]
        crash(filesystem)
    for path in tmp_path.glob("journal/*/journal.db*"):
        path.unlink()
    with mounted(remote, tmp_path) as filesystem:
        (lost,) = filesystem.drain(30)
        assert Path(lost.name).read_bytes() == b"content"


def test_a_file_that_is_being_written_is_uploaded_under_its_new_name(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    with programs.created(memory_fs, "/box/a") as fh:
        programs.put(memory_fs, fh, b"first")
        memory_fs.rename("/box/a", "/box/b")
        programs.put(memory_fs, fh, b" second", 5)
    assert remote.stored(container) == {"b": b"first second"}


def test_a_directory_moves_with_all_that_is_in_it(
    memory_fs: Paths, remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    remote.put(container, "d/a", b"1")
    remote.put(container, "d/e/b", b"2")
    memory_fs.mkdir("/box/d/empty", 0o700)
    memory_fs.chmod("/box/d", 0o750)
    memory_fs.mkdir("/box/target", 0o755)
    memory_fs.rename("/box/d", "/box/target")
    assert remote.stored(container) == {"target/a": b"1", "target/e/b": b"2"}
    with mounted(remote, tmp_path / "cache") as again:
        for filesystem in (memory_fs, again):
            assert programs.names(filesystem, "/box") == ["target"]
            assert programs.names(filesystem, "/box/target") == ["a", "e", "empty"]
            assert filesystem.getattr("/box/target").mode & 0o777 == 0o750
            assert filesystem.getattr("/box/target/empty").mode & 0o777 == 0o700


def test_moves_that_are_none(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    remote.made("other")
    remote.put(container, "a", b"1")
    remote.put(container, "d/b", b"2")
    for old, new, error in [
        ("/box", "/crate", types.CrossDevice),
        ("/box/a", "/other/a", types.CrossDevice),
        ("/box/d", "/other/d", types.CrossDevice),
        ("/box/a", "/a", types.NotPermitted),
        ("/box/a", "/box/d", types.IsADirectory),
        ("/box/d", "/box/a", types.NotADirectory),
        ("/box/missing", "/box/b", types.NotFound),
        ("/box/a", "/box/missing/a", types.NotFound),
        ("/box/a", "/box/" + "x" * 256, types.NameTooLong),
        ("/box/a", "/box/\udc80", types.InvalidName),
    ]:
        with pytest.raises(error):
            memory_fs.rename(old, new)
    memory_fs.mkdir("/box/full", 0o755)
    programs.write(memory_fs, "/box/full/c", b"3")
    with pytest.raises(types.DirectoryNotEmpty):
        memory_fs.rename("/box/d", "/box/full")
    assert remote.stored(container) == {"a": b"1", "d/b": b"2", "full/c": b"3"}


def test_an_open_file_that_is_deleted_is_read_and_written_to_the_end(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    remote.put(container, "a", b"content")
    with programs.opened(memory_fs, "/box/a", os.O_RDWR) as fh:
        memory_fs.unlink("/box/a")
        assert programs.names(memory_fs, "/box") == []
        assert memory_fs.fgetattr(fh).nlink == 0
        assert programs.take(memory_fs, fh) == b"content"
        programs.put(memory_fs, fh, b"more", 7)
        memory_fs.fsync(fh)
        assert programs.take(memory_fs, fh) == b"contentmore"
    assert remote.stored(container) == {}
    assert remote.asked("upload") == []


def test_an_open_file_whose_deletion_fails_is_read_on_and_deleted_in_the_end(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    remote.put(container, "a", b"content")
    with programs.opened(memory_fs, "/box/a") as fh:
        remote.before = failing("delete")
        memory_fs.unlink("/box/a")
        assert programs.names(memory_fs, "/box") == []
        assert programs.take(memory_fs, fh) == b"content"
    assert remote.stored(container) == {"a": b"content"}
    remote.before = no_fault
    assert memory_fs.drain(30) == []
    assert remote.stored(container) == {}


def test_a_file_that_is_closed_and_not_released_yet_is_deleted_without_being_fetched(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    """The kernel releases a file some time after close()."""
    remote.put(container, "a", b"content")
    fh, _ = memory_fs.open("/box/a", os.O_RDONLY)
    memory_fs.flush(fh)
    with ThreadPoolExecutor(1) as program:
        unlinking = program.submit(memory_fs.unlink, "/box/a")
        memory_fs.release(fh)
        unlinking.result(30)
    assert remote.stored(container) == {}
    assert remote.asked("content") == []


def test_a_file_that_another_process_goes_on_reading_is_deleted_without_waiting_for_it(
    memory_fs: Paths, remote: MemoryRemote, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removals, "_RELEASED", 3600.0)
    remote.put(container, "a", b"content")
    fh, _ = memory_fs.open("/box/a", os.O_RDONLY)
    memory_fs.flush(fh)  # by a process that has inherited it
    assert programs.take(memory_fs, fh) == b"content"
    memory_fs.unlink("/box/a")
    assert programs.names(memory_fs, "/box") == []
    assert programs.take(memory_fs, fh) == b"content"
    memory_fs.release(fh)


def test_what_is_too_large_to_be_fetched_is_deleted_on_the_service_once_it_is_closed(
    memory_fs: Paths, remote: MemoryRemote, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removals, "_FETCHED", 3)
    for path in ("a", "b"):
        remote.put(container, path, b"content")
    remote.put(container, "c", b"new")
    with programs.opened(memory_fs, "/box/a") as deleted, programs.opened(memory_fs, "/box/b") as replaced:
        memory_fs.unlink("/box/a")
        memory_fs.rename("/box/c", "/box/b")
        assert programs.names(memory_fs, "/box") == ["b"]
        assert programs.read(memory_fs, "/box/b") == b"new"
        assert programs.take(memory_fs, deleted) == programs.take(memory_fs, replaced) == b"content"
    eventually(lambda: remote.stored(container) == {"b": b"new"})
    assert len(remote._found(container)) == 1


def test_scratch_that_is_open_can_be_deleted(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    fh = memory_fs.create("/box/.a.swp", os.O_RDWR, 0o644)
    programs.put(memory_fs, fh, b"content")
    memory_fs.unlink("/box/.a.swp")
    assert not programs.exists(memory_fs, "/box/.a.swp")
    assert programs.names(memory_fs, "/box") == []
    assert programs.take(memory_fs, fh) == b"content"
    memory_fs.release(fh)
    assert remote.stored(container) == {}


def test_what_was_staged_of_a_deleted_file_goes_with_its_last_handle(memory_fs: Paths, container: str) -> None:
    fh = memory_fs.create("/box/a", os.O_RDWR, 0o644)
    programs.put(memory_fs, fh, b"content")
    memory_fs.unlink("/box/a")
    data = memory_fs._files.handle(fh).node.state.data.path
    assert data.exists()
    memory_fs.flush(fh)
    memory_fs.release(fh)
    assert not data.exists()


def test_an_open_file_that_was_synced_and_deleted_does_not_come_back(
    memory_fs: Paths, remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    fh = memory_fs.create("/box/a", os.O_WRONLY, 0o644)
    programs.put(memory_fs, fh, b"content")
    memory_fs.fsync(fh)
    memory_fs.unlink("/box/a")
    crash(memory_fs)
    with mounted(remote, tmp_path / "cache") as filesystem:
        assert programs.names(filesystem, "/box") == []
        assert filesystem.drain(30) == []
    assert remote.stored(container) == {}


def test_an_open_file_that_is_due_and_not_replaced_after_all_is_due_again(
    memory_fs: Paths, remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    remote.dialect = Dialect()
    remote.put(container, "b", b"other")
    remote.before = failing("upload")
    with pytest.raises(types.Failed):
        programs.write(memory_fs, "/box/a", b"precious")
    with programs.opened(memory_fs, "/box/a"):
        remote.before = failing("upload")
        with pytest.raises(types.Failed):
            memory_fs.rename("/box/b", "/box/a")
    assert memory_fs.drain(30) == []
    assert remote.stored(container) == {"a": b"precious", "b": b"other"}


def test_a_rename_whose_old_name_cannot_be_deleted_is_finished_later(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    remote.put(container, "a", b"content")
    remote.before = failing("delete")
    memory_fs.rename("/box/a", "/box/b")
    assert programs.names(memory_fs, "/box") == ["b"]
    assert memory_fs.drain(30) == []
    assert remote.stored(container) == {"b": b"content"}


def test_after_a_rename_that_failed_others_changes_are_seen(
    memory_fs: Paths, remote: MemoryRemote, container: str, copying: str
) -> None:
    first = remote.put(container, "a", b"content")
    remote.before = failing(copying)
    with pytest.raises(types.Failed):
        memory_fs.rename("/box/a", "/box/b")
    remote.take_away(first)
    remote.put(container, "a", b"another's")
    assert programs.read(memory_fs, "/box/a") == b"another's"


def test_an_open_file_that_is_replaced_is_read_to_the_end(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    remote.put(container, "a", b"old")
    remote.put(container, "b", b"new")
    with programs.opened(memory_fs, "/box/a") as fh:
        memory_fs.rename("/box/b", "/box/a")
        assert programs.take(memory_fs, fh) == b"old"
        assert programs.read(memory_fs, "/box/a") == b"new"
    assert memory_fs.drain(30) == []
    assert remote.stored(container) == {"a": b"new"}


def test_an_open_file_whose_replacement_does_not_arrive_gets_its_name_back(
    memory_fs: Paths, remote: MemoryRemote, container: str, copying: str
) -> None:
    remote.put(container, "a", b"old")
    remote.put(container, "b", b"new")
    with programs.opened(memory_fs, "/box/a") as fh:
        remote.before = failing(copying)
        with pytest.raises(types.Failed):
            memory_fs.rename("/box/b", "/box/a")
        assert programs.take(memory_fs, fh) == b"old"
    assert programs.names(memory_fs, "/box") == ["a", "b"]
    assert programs.read(memory_fs, "/box/a") == b"old"
    assert remote.stored(container) == {"a": b"old", "b": b"new"}


@pytest.mark.parametrize("arrives", [True, False])
def test_an_open_file_that_is_closed_while_its_replacement_is_on_its_way_goes_when_that_has_arrived(
    memory_fs: Paths, remote: MemoryRemote, container: str, copying: str, arrives: bool
) -> None:
    remote.put(container, "a", b"old")
    remote.put(container, "b", b"new")
    gate = Gate(copying)

    def fault(asked: str, subject: str) -> None:
        gate(asked, subject)
        if asked == copying and not arrives:
            raise types.Refused("no")

    fh = memory_fs.open("/box/a", os.O_RDONLY)[0]
    programs.take(memory_fs, fh)
    remote.before = fault
    with ThreadPoolExecutor(1) as mv:
        moving = mv.submit(memory_fs.rename, "/box/b", "/box/a")
        gate.wait()
        memory_fs.release(fh)
        assert remote.asked("delete") == [], "new before old"
        gate.open()
        error = moving.exception(30)
    assert error is None if arrives else isinstance(error, types.Refused)
    assert memory_fs.drain(30) == []
    assert remote.stored(container) == ({"a": b"new"} if arrives else {"a": b"old", "b": b"new"})
    assert programs.names(memory_fs, "/box") == (["a"] if arrives else ["a", "b"])


def test_what_is_written_and_closed_while_a_replacement_is_on_its_way_is_kept_if_that_does_not_arrive(
    memory_fs: Paths, remote: MemoryRemote, container: str, copying: str
) -> None:
    remote.put(container, "a", b"old")
    remote.put(container, "b", b"new")
    gate = Gate(copying)

    def fault(asked: str, subject: str) -> None:
        gate(asked, subject)
        if asked == copying:
            remote.before = no_fault
            raise types.Refused("no")

    fh = memory_fs.open("/box/a", os.O_RDWR)[0]
    programs.take(memory_fs, fh)
    remote.before = fault
    with ThreadPoolExecutor(1) as mv:
        moving = mv.submit(memory_fs.rename, "/box/b", "/box/a")
        gate.wait()
        programs.put(memory_fs, fh, b"written")
        memory_fs.flush(fh)
        memory_fs.release(fh)
        gate.open()
        assert isinstance(moving.exception(30), types.Refused)
    assert memory_fs.drain(30) == []
    assert remote.stored(container) == {"a": b"written", "b": b"new"}


def test_a_file_that_was_found_before_it_was_replaced_can_still_be_opened(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    remote.put(container, "b", b"new")
    programs.write(memory_fs, "/box/a", b"old")
    with memory_fs.file("/box/a") as node:
        memory_fs.rename("/box/b", "/box/a")
        for _ in range(2):
            fh, _ = memory_fs.filesystem.open(node, os.O_RDONLY)
            assert programs.take(memory_fs, fh) == b"old"
            memory_fs.release(fh)
    with pytest.raises(types.Gone):
        memory_fs.filesystem.open(node, os.O_RDONLY)
    assert memory_fs.drain(30) == []
    assert programs.names(memory_fs, "/box") == ["a"]
    assert remote.stored(container) == {"a": b"new"}


def test_a_file_that_was_found_before_it_was_deleted_is_looked_for_again(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    remote.put(container, "a", b"content")
    with memory_fs.file("/box/a") as node:
        memory_fs.unlink("/box/a")
        with pytest.raises(types.Gone):
            memory_fs.filesystem.open(node, os.O_RDONLY)
        with pytest.raises(types.Gone):
            memory_fs.filesystem.getattr(node)


def test_a_directory_whose_last_file_is_open_and_deleted_can_be_removed(
    memory_fs: Paths, remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    remote.put(container, "d/a", b"content")
    with programs.opened(memory_fs, "/box/d/a", os.O_RDWR) as fh:
        memory_fs.unlink("/box/d/a")
        memory_fs.rmdir("/box/d")
        assert memory_fs.fgetattr(fh).size == 7
        assert programs.take(memory_fs, fh) == b"content"
        memory_fs.ftruncate(fh, 4)
        assert programs.take(memory_fs, fh) == b"cont"
        assert programs.names(memory_fs, "/box") == []
    assert remote.stored(container) == {}


def test_a_directory_takes_the_place_of_one_whose_last_file_is_open_and_deleted(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    remote.put(container, "d/a", b"old")
    remote.put(container, "e/a", b"new")
    with programs.opened(memory_fs, "/box/d/a") as fh:
        memory_fs.unlink("/box/d/a")
        memory_fs.rename("/box/e", "/box/d")
        assert programs.take(memory_fs, fh) == b"old"
        assert memory_fs.fgetattr(fh).size == 3
        assert programs.read(memory_fs, "/box/d/a") == b"new"
    assert memory_fs.drain(30) == []
    assert remote.stored(container) == {"d/a": b"new"}


def test_what_is_written_to_an_open_file_while_it_is_deleted_is_kept(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    remote.put(container, "a", b"old")
    gate = Gate("content")
    with programs.opened(memory_fs, "/box/a", os.O_RDWR) as fh, ThreadPoolExecutor(1) as rm:
        remote.before = gate
        deleting = rm.submit(memory_fs.unlink, "/box/a")
        gate.wait()
        memory_fs.ftruncate(fh, 0)
        programs.put(memory_fs, fh, b"new")
        gate.open()
        deleting.result()
        assert programs.take(memory_fs, fh) == b"new"
    assert memory_fs.drain(30) == []
    assert remote.stored(container) == {}


def test_a_directory_emptied_by_a_move_stays_across_mounts(
    memory_fs: Paths, remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    remote.put(container, "d/a", b"content")
    memory_fs.rename("/box/d/a", "/box/a")
    assert programs.names(memory_fs, "/box") == ["a", "d"]
    with mounted(remote, tmp_path / "cache") as again:
        assert programs.names(again, "/box") == ["a", "d"]


@pytest.mark.parametrize("replaces", ["nothing", "new id"])
def test_a_rename_whose_answer_is_lost_is_finished_later(
    memory_fs: Paths, remote: MemoryRemote, container: str, copying: str, replaces: str
) -> None:
    remote.replaces = replaces
    remote.put(container, "a", b"new")
    remote.put(container, "b", b"old")
    remote.after = failing(copying, 3, types.Unreachable)
    memory_fs.rename("/box/a", "/box/b")
    assert programs.names(memory_fs, "/box") == ["b"]
    assert programs.read(memory_fs, "/box/b") == b"new"
    assert memory_fs.drain(30) == []
    assert remote.stored(container) == {"b": b"new"}


def test_what_is_closed_while_a_rename_fails_is_kept_under_the_old_name(
    memory_fs: Paths, remote: MemoryRemote, container: str, copying: str
) -> None:
    remote.put(container, "d/a", b"old")
    remote.put(container, "d/b", b"content")
    gate = Gate(copying)

    def refuse_one(asked: str, subject: str) -> None:
        if (asked, subject) == (copying, "e/b"):
            gate(asked, subject)
            raise types.Refused("no")

    remote.before = refuse_one
    with programs.opened(memory_fs, "/box/d/a", os.O_WRONLY) as fh, ThreadPoolExecutor(1) as mv:
        moving = mv.submit(memory_fs.rename, "/box/d", "/box/e")
        gate.wait()
        eventually(lambda: "e/a" in remote.stored(container))
        programs.put(memory_fs, fh, b"new")
        memory_fs.flush(fh)
        gate.open()
        with pytest.raises(types.Refused):
            moving.result()
    assert programs.read(memory_fs, "/box/d/a") == b"new"
    assert memory_fs.drain(30) == []
    assert remote.stored(container) == {"d/a": b"new", "d/b": b"content"}


def test_what_is_written_to_an_open_file_whose_replacement_does_not_arrive_is_kept(
    memory_fs: Paths, remote: MemoryRemote, container: str, copying: str
) -> None:
    remote.put(container, "a", b"old")
    remote.put(container, "b", b"new")
    with programs.opened(memory_fs, "/box/a", os.O_RDWR) as fh:
        programs.put(memory_fs, fh, b"O")
        remote.before = failing(copying)
        with pytest.raises(types.Failed):
            memory_fs.rename("/box/b", "/box/a")
        assert programs.take(memory_fs, fh) == b"Old"
    assert programs.read(memory_fs, "/box/a") == b"Old"
    assert remote.stored(container) == {"a": b"Old", "b": b"new"}


def test_what_was_due_before_a_rename_that_failed_replaces_what_it_should(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    remote.put(container, "a.tmp", b"old")
    remote.before = failing("upload", kind=types.Unreachable)
    programs.append(memory_fs, "/box/a.tmp", b" and new")
    with pytest.raises(types.Unreachable):
        memory_fs.rename("/box/a.tmp", "/box/b")
    assert memory_fs.drain(30) == []
    assert remote.stored(container) == {"a.tmp": b"old and new"}
