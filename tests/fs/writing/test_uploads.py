"""Uploads: once, new before old, in parallel, tried again until they succeed or are discarded."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from containerfs.api.dialect import Dialect
from containerfs.fs import types
from containerfs.fs.remote import UploadRequest
from containerfs.fs.writing import backoff, schedule
from tests.fs import programs
from tests.fs.gates import Gate, down, eventually, failing
from tests.fs.memory import MemoryRemote, no_fault
from tests.fs.mounts import crash, end, mounted
from tests.fs.paths import Paths


@pytest.fixture
def lazy_fs(remote: MemoryRemote, container: str, tmp_path: Path) -> Iterator[Paths]:
    """A file system whose close() does not wait for uploads."""
    with mounted(remote, tmp_path / "lazy", write_back=True) as filesystem:
        yield filesystem


@pytest.fixture
def never_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is not tried again by itself while a test lasts."""
    monkeypatch.setattr(backoff, "FIRST_PAUSE", 3600.0)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again at once."""
    monkeypatch.setattr(backoff, "FIRST_PAUSE", 0.0)


def write_refused(fs: Paths, remote: MemoryRemote, path: str, content: bytes) -> None:
    """Write what the service refuses, once; close() fails."""
    remote.before = failing("upload")
    with pytest.raises(types.Failed, match="refused"):
        programs.write(fs, path, content)


def test_new_before_old(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    old = remote.put(container, "a", b"old")
    programs.write(memory_fs, "/box/a", b"new")
    changes = [request for request in remote.requests if request[0] in ("upload", "delete")]
    assert changes == [("upload", "a"), ("delete", old)]
    assert remote.stored(container) == {"a": b"new"}


def test_a_key_that_stands_for_something_else_is_replaced_at_once(
    memory_fs: Paths, remote: MemoryRemote, container: str, never_again: None
) -> None:
    remote.before = failing("upload", kind=types.KeyConflict)
    programs.write(memory_fs, "/box/a", b"content")
    assert remote.stored(container) == {"a": b"content"}


def test_a_service_that_refuses_every_key_is_not_asked_without_pause(
    memory_fs: Paths, remote: MemoryRemote, container: str, never_again: None
) -> None:
    remote.before = failing("upload", 1_000_000, kind=types.KeyConflict)
    with pytest.raises(types.KeyConflict):
        programs.write(memory_fs, "/box/a", b"content")
    assert len(remote.asked("upload")) == 2
    assert programs.state(memory_fs, "/box/a") == "failed"


@pytest.mark.parametrize("replaces", ["nothing", "new id", "same id"])
def test_whatever_the_service_does_with_the_old_one_the_new_one_is_there(
    memory_fs: Paths, remote: MemoryRemote, container: str, replaces: str
) -> None:
    remote.replaces = replaces
    remote.put(container, "a", b"old")
    for content in (b"newer", b"newest", b""):
        programs.write(memory_fs, "/box/a", content)
        assert remote.stored(container) == {"a": content}
        assert programs.read(memory_fs, "/box/a") == content


def test_a_service_that_keeps_the_id_is_read_anew_by_who_has_the_file_open(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    remote.replaces = "same id"
    remote.put(container, "a", b"old")
    with programs.opened(memory_fs, "/box/a") as reader:
        assert programs.take(memory_fs, reader) == b"old"
        programs.write(memory_fs, "/box/a", b"newer")
        assert programs.take(memory_fs, reader) == b"newer"
    assert programs.read(memory_fs, "/box/a") == b"newer"


def test_what_is_being_replaced_is_not_shown_beside_what_replaces_it(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    remote.put(container, "a", b"old")
    gate = Gate("delete")
    remote.before = gate
    with ThreadPoolExecutor(1) as program:
        writing = program.submit(programs.write, memory_fs, "/box/a", b"new")
        gate.wait()
        assert programs.names(memory_fs, "/box") == ["a"]
        gate.open()
        writing.result(30)
    assert programs.names(memory_fs, "/box") == ["a"]


def test_a_listing_that_was_begun_before_a_file_was_deleted_does_not_bring_it_back(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    remote.put(container, "a", b"old")
    deletion, listing = Gate("delete"), Gate("files")
    with ThreadPoolExecutor(2) as program:
        remote.before = deletion
        unlinking = program.submit(memory_fs.unlink, "/box/a")
        deletion.wait()
        remote.after = listing
        looking = program.submit(programs.names, memory_fs, "/box")
        listing.wait()
        deletion.open()
        unlinking.result(30)
        listing.open()
        assert looking.result(30) == []
    assert programs.names(memory_fs, "/box") == []


def test_what_was_uploaded_is_read_back_without_a_request(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    programs.write(memory_fs, "/box/a", b"content" * 1000)
    assert programs.read(memory_fs, "/box/a") == b"content" * 1000
    assert remote.asked("content") == []


def test_a_refused_upload_is_closes_error_and_stays_readable(
    memory_fs: Paths, remote: MemoryRemote, container: str, never_again: None
) -> None:
    write_refused(memory_fs, remote, "/box/a", b"content")
    assert programs.state(memory_fs, "/box/a") == "failed"
    assert b"refused" in memory_fs.getxattr("/box/a", "user.containerfs.error")
    assert programs.read(memory_fs, "/box/a") == b"content"
    assert programs.names(memory_fs, "/box") == ["a"]
    assert b"upload of 'a' is refused" in memory_fs.getxattr("/", "user.containerfs.status")
    assert remote.stored(container) == {}
    assert memory_fs.drain(30) == []
    assert programs.state(memory_fs, "/box/a") == "clean"
    assert remote.stored(container) == {"a": b"content"}


def test_a_failed_overwrite_leaves_the_old_content_on_the_service(
    memory_fs: Paths, remote: MemoryRemote, container: str, never_again: None
) -> None:
    remote.put(container, "a", b"old")
    write_refused(memory_fs, remote, "/box/a", b"new")
    assert remote.stored(container) == {"a": b"old"}
    assert programs.read(memory_fs, "/box/a") == b"new"


def test_a_failed_upload_is_tried_again_by_itself(
    memory_fs: Paths, remote: MemoryRemote, container: str, at_once: None
) -> None:
    stored = threading.Event()
    remote.before = failing("upload", 3)
    remote.after = lambda operation, _: stored.set() if operation == "upload" else None
    with pytest.raises(types.Failed):
        programs.write(memory_fs, "/box/a", b"content")
    assert stored.wait(30)
    assert memory_fs.drain(30) == []
    assert remote.stored(container) == {"a": b"content"}
    assert len(remote.asked("upload")) == 4


def test_pauses_between_attempts_double() -> None:
    assert [backoff.pause(failures) for failures in range(1, 11)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert backoff.pause(10_000) == 300


def test_deleting_a_failed_upload_discards_it(
    memory_fs: Paths, remote: MemoryRemote, container: str, tmp_path: Path, never_again: None
) -> None:
    write_refused(memory_fs, remote, "/box/a", b"content")
    memory_fs.unlink("/box/a")
    assert memory_fs._backlog.outstanding().failed == []
    assert not programs.exists(memory_fs, "/box/a")
    crash(memory_fs)
    with mounted(remote, tmp_path / "cache") as filesystem:
        assert filesystem.drain(30) == []
    assert remote.stored(container) == {}


def test_what_an_unlink_cannot_delete_stays_due(
    memory_fs: Paths, remote: MemoryRemote, container: str, never_again: None
) -> None:
    remote.put(container, "a", b"old")
    write_refused(memory_fs, remote, "/box/a", b"new")
    remote.before = failing("delete", kind=types.Unreachable)
    with pytest.raises(types.Unreachable):
        memory_fs.unlink("/box/a")
    assert programs.read(memory_fs, "/box/a") == b"new"
    assert memory_fs.drain(30) == []
    assert remote.stored(container) == {"a": b"new"}


def test_what_cannot_be_deleted_after_an_overwrite_is_deleted_later(
    memory_fs: Paths, remote: MemoryRemote, container: str, never_again: None
) -> None:
    remote.put(container, "a", b"old")
    remote.before = failing("delete")
    programs.write(memory_fs, "/box/a", b"new")
    assert programs.names(memory_fs, "/box") == ["a"]
    assert memory_fs.drain(30) == []
    assert remote.stored(container) == {"a": b"new"}
    assert len(remote.asked("upload")) == 1


def test_one_upload_that_hangs_delays_no_other(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    gate = Gate("upload")
    remote.before = lambda operation, subject: gate(operation, subject) if subject == "hangs" else None
    with ThreadPoolExecutor(1) as program:
        hanging = program.submit(programs.write, memory_fs, "/box/hangs", b"1")
        gate.wait()
        for name in ("a", "b", "c"):
            programs.write(memory_fs, f"/box/{name}", b"2")
        assert programs.state(memory_fs, "/box/hangs") == "uploading"
        gate.open()
        hanging.result(30)
    assert len(remote.stored(container)) == 4


def test_uploads_run_in_parallel_within_bounds(lazy_fs: Paths, remote: MemoryRemote, container: str) -> None:
    gate = Gate("upload")
    remote.before = gate
    for number in range(40):
        programs.write(lazy_fs, f"/box/{number}", b"%d" % number)
    gate.wait(16)
    assert len(remote.asked("upload")) == 16
    assert lazy_fs._backlog.outstanding().pending == 40
    gate.open()
    assert lazy_fs.drain(30) == []
    assert len(remote.stored(container)) == 40


def test_what_is_written_while_it_is_uploaded_is_uploaded_as_well(
    lazy_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    gate = Gate("upload")
    remote.before = gate
    programs.write(lazy_fs, "/box/a", b"first")
    gate.wait()
    programs.append(lazy_fs, "/box/a", b" second")
    gate.open()
    assert lazy_fs.drain(30) == []
    assert remote.stored(container) == {"a": b"first second"}
    assert programs.state(lazy_fs, "/box/a") == "clean"


def test_closing_while_an_upload_runs_waits_for_what_was_written_since(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    gate = Gate("upload")
    remote.before = gate
    with ThreadPoolExecutor(2) as program:
        first = program.submit(programs.write, memory_fs, "/box/a", b"first")
        gate.wait()
        second = program.submit(programs.append, memory_fs, "/box/a", b" second")
        eventually(lambda: len(programs.read(memory_fs, "/box/a")) == len("first second"))
        gate.open()
        first.result(30)
        second.result(30)
    assert remote.stored(container) == {"a": b"first second"}


def test_what_was_written_during_an_upload_that_is_set_aside_is_uploaded(
    lazy_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    gate = Gate("upload")

    def damage_first(operation: str, subject: str) -> None:
        if operation == "upload" and len(remote.asked("upload")) == 1:
            gate(operation, subject)
            raise types.Damaged("not what was closed")

    remote.before = damage_first
    programs.write(lazy_fs, "/box/a", b"first")
    gate.wait()
    programs.append(lazy_fs, "/box/a", b" second")
    eventually(lambda: len(lazy_fs._backlog._schedule._running) == 1)  # the second has found the first on its way
    gate.open()
    eventually(lambda: remote.stored(container) == {"a": b"first second"})


def test_unlinking_a_file_that_somebody_is_closing_leaves_nobody_waiting(
    memory_fs: Paths, remote: MemoryRemote, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "_SLOTS", 1)
    monkeypatch.setattr(schedule, "_STALLED", 3600.0)
    gate = Gate("upload")
    remote.before = gate
    with ThreadPoolExecutor(2) as program:
        other = program.submit(programs.write, memory_fs, "/box/other", b"1")
        gate.wait()
        closing = program.submit(programs.write, memory_fs, "/box/a", b"2")
        eventually(lambda: memory_fs._backlog.outstanding().pending == 2)
        memory_fs.unlink("/box/a")
        gate.open()
        other.result(30)
        closing.result(30)
    assert remote.stored(container) == {"other": b"1"}


def test_unlinking_while_it_is_uploaded_deletes_what_arrived(
    lazy_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    gate = Gate("upload")
    remote.before = gate
    programs.write(lazy_fs, "/box/a", b"content")
    gate.wait()
    with ThreadPoolExecutor(1) as program:
        unlinking = program.submit(lazy_fs.unlink, "/box/a")
        gate.open()
        unlinking.result(30)
    assert not programs.exists(lazy_fs, "/box/a")
    eventually(lambda: not lazy_fs._backlog._uploader._under_way)
    eventually(lambda: remote.stored(container) == {})  # what arrived after the unlink


@pytest.mark.parametrize("durable_first", [True, False])
def test_write_back_is_safe_against_a_crash_once_closed(
    lazy_fs: Paths, remote: MemoryRemote, container: str, tmp_path: Path, durable_first: bool, never_again: None
) -> None:
    remote.put(container, "a", b"old")
    remote.before = failing("upload", 100, types.Unreachable)
    if durable_first:
        with programs.opened(lazy_fs, "/box/a", os.O_WRONLY) as fh:
            programs.put(lazy_fs, fh, b"synced")
            lazy_fs.fsync(fh)
    programs.write(lazy_fs, "/box/a", b"new")
    assert len(lazy_fs.drain(30)) == 1
    crash(lazy_fs)
    remote.before = no_fault
    with mounted(remote, tmp_path / "lazy") as filesystem:
        assert programs.read(filesystem, "/box/a") == b"new"
        assert filesystem.drain(30) == []
    assert remote.stored(container) == {"a": b"new"}


def test_what_failed_keeps_its_error_across_mounts(
    memory_fs: Paths, remote: MemoryRemote, tmp_path: Path, never_again: None
) -> None:
    remote.before = failing("upload", 1000)
    with pytest.raises(types.Failed):
        programs.write(memory_fs, "/box/a", b"content")
    end(memory_fs)
    with mounted(remote, tmp_path / "cache") as filesystem:
        assert [unfinished.name for unfinished in filesystem.drain(30)] == ["box/a"]
        assert programs.state(filesystem, "/box/a") == "failed"
        assert programs.read(filesystem, "/box/a") == b"content"


def test_a_content_has_one_idempotency_key_until_its_answer_arrives(
    memory_fs: Paths, remote: MemoryRemote, container: str, never_again: None
) -> None:
    remote.dialect = Dialect(idempotency=True)
    keys = []
    upload = remote.upload

    def note(request: UploadRequest) -> types.RemoteFile:
        keys.append(request.key)
        return upload(request)

    remote.upload = note  # type: ignore[method-assign]
    remote.after = failing("upload", 4, types.Unreachable)
    with pytest.raises(types.AnswerLost):
        programs.write(memory_fs, "/box/a", b"content")
    assert memory_fs.drain(30) == []
    assert len(keys) == 5
    assert len(set(keys)) == 1
    assert remote.stored(container) == {"a": b"content"}


def test_a_mount_that_ends_keeps_what_is_due_for_the_next(
    lazy_fs: Paths, remote: MemoryRemote, container: str, tmp_path: Path, never_again: None
) -> None:
    remote.before = down
    programs_write_without_asking(lazy_fs, remote, "/box/a", b"content")
    assert [unfinished.name for unfinished in lazy_fs.drain(30)] == ["box/a"]
    end(lazy_fs)
    remote.before = no_fault
    with mounted(remote, tmp_path / "lazy") as filesystem:
        assert filesystem.drain(30) == []
    assert remote.stored(container) == {"a": b"content"}


def programs_write_without_asking(fs: Paths, remote: MemoryRemote, path: str, content: bytes) -> None:
    """Write while the service is down: the container is known from before."""
    fault, remote.before = remote.before, no_fault
    fh = fs.create(path, os.O_WRONLY, 0o644)
    remote.before = fault
    programs.put(fs, fh, content)
    fs.flush(fh)
    fs.release(fh)


def test_draining_gives_up_in_time_and_says_what_is_left(lazy_fs: Paths, remote: MemoryRemote, container: str) -> None:
    gate = Gate("upload")
    remote.before = gate
    programs.write(lazy_fs, "/box/a", b"content")
    gate.wait()
    assert [unfinished.name for unfinished in lazy_fs.drain(0.0)] == ["box/a"]
    with pytest.raises(types.Failed, match=r"not on the service: box/a \(waiting\)"):
        lazy_fs.sync("/box", 0.0)
    gate.open()
    lazy_fs.sync("/box")
    assert remote.stored(container) == {"a": b"content"}


def test_draining_includes_the_deletion_of_what_was_replaced(
    lazy_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    remote.put(container, "a", b"old")
    remote.before = gate = Gate("delete")
    programs.write(lazy_fs, "/box/a", b"new")
    gate.wait()
    with ThreadPoolExecutor(1) as unmount:
        draining = unmount.submit(lazy_fs.drain, 30)
        gate.wait()
        gate.open()
        assert draining.result(30) == []
    assert remote.stored(container) == {"a": b"new"}


def test_a_temporary_name_that_becomes_another_is_uploaded_once(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    programs.write(memory_fs, "/box/.a.txt.Xy12Ab", b"content")
    assert remote.asked("upload") == []
    memory_fs.rename("/box/.a.txt.Xy12Ab", "/box/a.txt")
    assert remote.asked("upload") == ["a.txt"]
    assert remote.stored(container) == {"a.txt": b"content"}


def test_a_temporary_name_that_stays_is_uploaded(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    programs.write(memory_fs, "/box/a.part", b"content")
    assert memory_fs.drain(30) == []
    assert remote.stored(container) == {"a.part": b"content"}


def test_what_a_process_inherited_is_recorded_when_it_closes_it(
    memory_fs: Paths, remote: MemoryRemote, container: str, tmp_path: Path, never_again: None
) -> None:
    child = os.getppid()  # any other process that runs
    fh = memory_fs.create("/box/a", os.O_WRONLY, 0o644, os.getpid())
    programs.put(memory_fs, fh, b"content")
    memory_fs.flush(fh, child)
    assert remote.asked("upload") == []
    crash(memory_fs)
    with mounted(remote, tmp_path / "cache") as filesystem:
        assert filesystem.drain(30) == []
    assert remote.stored(container) == {"a": b"content"}


def test_scratch_that_a_process_inherited_stays_here(
    memory_fs: Paths, remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    fh = memory_fs.create("/box/.a.swp", os.O_WRONLY, 0o644, os.getpid())
    programs.put(memory_fs, fh, b"content")
    memory_fs.flush(fh, os.getppid())
    memory_fs.fsync(fh)
    crash(memory_fs)
    with mounted(remote, tmp_path / "cache") as filesystem:
        assert filesystem.drain(30) == []
    assert remote.stored(container) == {}


def test_what_is_released_without_a_close_is_uploaded_in_the_background(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    fh = memory_fs.create("/box/a", os.O_WRONLY, 0o644)
    programs.put(memory_fs, fh, b"content")
    memory_fs.release(fh)
    assert memory_fs.drain(30) == []
    assert remote.stored(container) == {"a": b"content"}


def test_what_was_due_in_a_container_that_is_gone_is_set_aside(
    memory_fs: Paths, remote: MemoryRemote, container: str, tmp_path: Path, never_again: None
) -> None:
    write_refused(memory_fs, remote, "/box/a", b"content")
    end(memory_fs)
    remote.expire(container)
    with mounted(remote, tmp_path / "cache") as filesystem:
        (unfinished,) = filesystem.drain(30)
        assert unfinished.reason in filesystem.getxattr("/", "user.containerfs.status").decode()
        assert unfinished.name == "box/a"
        assert not programs.exists(filesystem, f"/{container}/a")
    with mounted(remote, tmp_path / "cache") as filesystem:
        assert filesystem._backlog.outstanding().pending == 0
        assert filesystem.drain(30) == [unfinished]


def test_replaying_into_a_directory_and_over_a_file(
    memory_fs: Paths, remote: MemoryRemote, container: str, tmp_path: Path, never_again: None
) -> None:
    remote.put(container, "d/a", b"old")
    write_refused(memory_fs, remote, "/box/d/a", b"new")
    memory_fs.chmod("/box/d/a", 0o600)
    crash(memory_fs)
    with mounted(remote, tmp_path / "cache") as filesystem:
        assert programs.read(filesystem, "/box/d/a") == b"new"
        assert programs.names(filesystem, "/box/d") == ["a"]
        assert filesystem.drain(30) == []
    assert remote.stored(container) == {"d/a": b"new"}


def test_an_upload_for_which_no_thread_can_be_started_fails_clearly_and_is_made_up_for(
    memory_fs: Paths, remote: MemoryRemote, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(types.Failed, match="raise the limit on processes"):
            programs.write(memory_fs, "/box/a", b"content")
        (failed,) = memory_fs._backlog.outstanding().failed
        assert "raise the limit on processes" in failed.reason
        assert programs.read(memory_fs, "/box/a") == b"content"
    assert memory_fs.drain(30) == []
    assert remote.stored(container) == {"a": b"content"}


@pytest.mark.parametrize("held_up", ["the request", "its answer"])
def test_a_listing_during_an_unlink_leaves_the_file_to_it(
    memory_fs: Paths, remote: MemoryRemote, container: str, held_up: str
) -> None:
    remote.put(container, "a", b"content")
    gate = Gate("delete")
    with ThreadPoolExecutor(1) as program:
        remote.before, remote.after = (gate, no_fault) if held_up == "the request" else (no_fault, gate)
        unlinking = program.submit(memory_fs.unlink, "/box/a")
        gate.wait()
        programs.names(memory_fs, "/box")
        gate.open()
        unlinking.result(30)
    assert not programs.exists(memory_fs, "/box/a")


def test_a_listing_during_an_unlink_that_fails_hides_nothing(
    remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    remote.put(container, "a", b"content")
    gate, refused = Gate("delete"), failing("delete")

    def refused_at_last(operation: str, subject: str) -> None:
        gate(operation, subject)
        refused(operation, subject)

    with mounted(remote, tmp_path / "cache", metadata_expiry=3600.0) as fs, ThreadPoolExecutor(1) as program:
        remote.before = refused_at_last
        unlinking = program.submit(fs.unlink, "/box/a")
        gate.wait()
        fs.setxattr("/box", "user.containerfs.refresh", b"")
        programs.names(fs, "/box")
        gate.open()
        with pytest.raises(types.Failed):
            unlinking.result(30)
        assert programs.read(fs, "/box/a") == b"content"
