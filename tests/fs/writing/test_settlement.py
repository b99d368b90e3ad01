"""What requests whose answers were lost have left: found by its content, removed, and never taken for another's."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from containerfs.api.dialect import Dialect
from containerfs.fs import types
from containerfs.fs.writing import backoff, settlement
from tests.fs import programs
from tests.fs.gates import Gate, eventually, failing
from tests.fs.memory import MemoryRemote, no_fault
from tests.fs.mounts import crash, mounted
from tests.fs.paths import Paths


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_PAUSE", 3600.0)
    monkeypatch.setattr(settlement, "_LOOKS", (0.0, 0.01, 3600.0))


def test_every_request_that_arrives_late_is_removed(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    remote.before = failing("upload", 2, types.AnswerLost)
    programs.write(memory_fs, "/box/a", b"content")
    remote.put(container, "a", b"content")
    remote.put(container, "a", b"content")
    assert programs.read(memory_fs, "/box/a") == b"content"
    eventually(lambda: len(remote._found(container)) == 1)
    assert programs.read(memory_fs, "/box/a") == b"content"


def test_a_file_that_was_stored_in_the_end_is_shown_by_the_next_mount(
    remote: MemoryRemote, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement, "_LOOKS", (3600.0,))
    remote.before = failing("upload", 1, types.AnswerLost)
    with mounted(remote, tmp_path) as fs:
        programs.write(fs, "/box/a", b"content")
        crash(fs)
    with mounted(remote, tmp_path) as again:
        assert programs.read(again, "/box/a") == b"content"


def test_what_a_service_stored_of_a_body_that_was_cut_is_never_shown(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    _lose(memory_fs, remote, container, left=b"cont")
    remote.before = failing("newest", 1, types.Unreachable)
    memory_fs.unlink("/box/a")
    eventually(lambda: bool(remote.asked("newest")))
    assert programs.names(memory_fs, "/box") == []
    eventually(lambda: remote.stored(container) == {})


def test_a_look_that_an_upload_to_the_same_path_puts_off_is_made_before_a_drain_ends(
    remote: MemoryRemote, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement, "_LOOKS", (0.0, 3600.0, 3600.0))
    with mounted(remote, tmp_path, write_back=True) as fs:
        _lose(fs, remote, container, left=b"cont")
        remote.before = failing("newest", 1, types.Unreachable)
        fs.unlink("/box/a")
        eventually(lambda: bool(remote.asked("newest")) and not fs._backlog._settlement._unlooked)
        remote.before = gate = Gate("upload")
        programs.write(fs, "/box/a", b"new")
        gate.wait()
        fs._backlog._schedule.expedite(lambda key: True)
        eventually(lambda: bool(fs._backlog._settlement._put_off))
        gate.open()
        assert fs.drain(30) == []
        assert remote.stored(container) == {"a": b"new"}


def test_a_look_that_was_put_off_and_made_since_is_not_waited_for(
    remote: MemoryRemote, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement, "_LOOKS", (3600.0, 3600.0))
    with mounted(remote, tmp_path, write_back=True) as fs:
        looks, schedule = fs._backlog._settlement, fs._backlog._schedule
        _lose(fs, remote, container, left=b"cont")
        remote.before = no_fault
        fs.unlink("/box/a")
        remote.before = gate = Gate("upload")
        programs.write(fs, "/box/a", b"new")
        gate.wait()
        schedule.expedite(lambda key: True)
        eventually(lambda: bool(looks._put_off))
        gate.open()
        eventually(lambda: fs._backlog._due() == [])
        schedule.expedite(lambda key: True)
        eventually(lambda: remote.stored_all(container) == [("a", b"new")])
        eventually(lambda: not looks._unlooked and not looks._put_off)


def test_a_request_that_is_under_way_when_its_file_is_deleted_is_looked_for_once_it_has_ended(
    remote: MemoryRemote, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement, "_LOOKS", (0.0, 3600.0))
    with mounted(remote, tmp_path, write_back=True) as fs:
        remote.before, remote.after = Gate("upload"), failing("upload", 1, types.Unreachable)
        gate = remote.before
        programs.write(fs, "/box/a", b"content")
        gate.wait()
        fs.unlink("/box/a")
        eventually(lambda: bool(fs._backlog._settlement._unsent or remote.asked("newest")))
        gate.open()
        eventually(lambda: bool(remote.asked("newest")))
        eventually(lambda: remote.stored(container) == {})
        assert fs.drain(30) == []


def test_looks_that_somebody_asks_for_are_made_besides_those_that_were_planned(
    remote: MemoryRemote, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement, "_LOOKS", (0.0, 3600.0, 3600.0))
    with mounted(remote, tmp_path) as fs:
        _lose(fs, remote, container, left=b"content")
        remote.before = no_fault
        fs.unlink("/box/a")
        eventually(lambda: remote.stored(container) == {})
        for _ in range(3):
            asked = len(remote.asked("newest"))
            eventually(lambda: schedule_waits(fs))
            fs.setxattr("/", "user.containerfs.sync", b"")
            eventually(lambda asked=asked: len(remote.asked("newest")) > asked)  # type: ignore[misc]
        remote.put(container, "a", b"content")
        eventually(lambda: schedule_waits(fs))
        fs.setxattr("/", "user.containerfs.sync", b"")
        eventually(lambda: remote.stored(container) == {})


def schedule_waits(fs: Paths) -> bool:
    """Whether the next look is planned."""
    return bool(fs._backlog._schedule._waiting)


def test_what_many_requests_have_left_is_looked_for_in_one_listing(
    remote: MemoryRemote, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement, "_LOOKS", (3600.0, 3600.0))
    with mounted(remote, tmp_path) as fs:
        for number in range(4):
            remote.before = failing("upload", 1, types.AnswerLost)
            with suppress(types.FsError):
                programs.write(fs, f"/box/{number}", b"content")
        for number in range(4):
            fs.unlink(f"/box/{number}")
            remote.put(container, f"{number}", b"content")
        crash(fs)
    monkeypatch.setattr(settlement, "_LOOKS", (0.0, 3600.0))
    remote.requests.clear()
    with mounted(remote, tmp_path) as again:
        again.replay()
        eventually(lambda: remote.stored(container) == {})
    assert len(remote.asked("newest")) == 1


def test_what_an_upload_stores_during_a_look_is_not_taken_for_what_was_left(
    memory_fs: Paths, remote: MemoryRemote, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    conflict, looking, stored = failing("upload", 1, types.KeyConflict), Gate("newest"), Gate("upload")

    def before(operation: str, subject: str) -> None:
        conflict(operation, subject)
        looking(operation, subject)

    remote.before, remote.after = before, stored
    journal, answers = memory_fs._files._journal, iter([False])  # the look begins before the upload does
    is_attempted = journal.is_attempted
    monkeypatch.setattr(journal, "is_attempted", lambda *asked: next(answers, True) and is_attempted(*asked))
    with ThreadPoolExecutor(1) as program:
        writing = program.submit(programs.write, memory_fs, "/box/a", b"content")
        looking.wait()
        stored.wait()
        looking.open()
        eventually(lambda: bool(memory_fs._backlog._settlement._put_off or remote.asked("delete")))
        stored.open()
        writing.result(30)
    assert memory_fs.drain(30) == []
    assert remote.stored(container) == {"a": b"content"}


def test_a_look_that_meets_a_full_journal_is_made_again(
    memory_fs: Paths, remote: MemoryRemote, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lose(memory_fs, remote, container, left=b"content")
    remote.before = gate = Gate("newest")
    memory_fs.unlink("/box/a")
    gate.wait()
    journal = memory_fs._files._journal
    transaction = journal.transaction

    def full() -> None:
        monkeypatch.setattr(journal, "transaction", transaction)
        raise types.NoSpace("the disk is full")

    monkeypatch.setattr(journal, "transaction", full)
    gate.open()
    eventually(lambda: remote.stored(container) == {})


def test_a_later_file_with_the_same_content_is_not_taken_for_what_a_lost_request_left(
    remote: MemoryRemote, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement, "_LOOKS", (3600.0, 0.0))
    remote.before = failing("upload", 3, types.AnswerLost)
    with mounted(remote, tmp_path) as fs:
        with pytest.raises(types.AnswerLost):
            programs.write(fs, "/box/a", b"content")
        fs.unlink("/box/a")
        programs.write(fs, "/box/a", b"content")
        crash(fs)
    monkeypatch.setattr(settlement, "_LOOKS", (0.0, 0.0, 0.0))
    with mounted(remote, tmp_path) as again:
        again.drain(30)
        assert remote.stored(container) == {"a": b"content"}


def test_a_service_that_may_copy_twice_is_asked_for_no_copy(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    remote.dialect = Dialect(copies_by_path=True)
    remote.put(container, "a", b"content")
    remote.before = failing("upload", 1, types.AnswerLost)
    memory_fs.rename("/box/a", "/box/b")
    assert remote.asked("copy") == []
    assert remote.stored(container) == {"b": b"content"}


@pytest.mark.parametrize(("other", "new"), [("b", "d/b"), ("d/b", "b"), ("d/b", "e/b"), ("a-b", "b")])
def test_an_equal_file_of_a_similar_name_is_not_taken_for_what_was_sent(
    remote: MemoryRemote, container: str, tmp_path: Path, other: str, new: str
) -> None:
    with mounted(remote, tmp_path) as fs:
        for directory in ("d", "e"):
            fs.mkdir(f"/box/{directory}", 0o755)
        programs.write(fs, f"/box/{other}", b"content")
        remote.before = failing("upload", 3, types.AnswerLost)
        with pytest.raises(types.AnswerLost):
            programs.write(fs, f"/box/{new}", b"content")
        crash(fs)
    with mounted(remote, tmp_path) as again:
        assert again.drain(30) == []
    assert remote.stored(container) == {other: b"content", new: b"content"}


def test_a_file_that_is_to_be_deleted_is_not_taken_for_what_was_sent(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    remote.put(container, "a", b"")
    remote.before = failing("delete")
    programs.append(memory_fs, "/box/a", b"content")
    remote.before = failing("upload", 1, types.AnswerLost)
    memory_fs.truncate("/box/a", 0)
    assert memory_fs.drain(30) == []
    assert remote.stored(container) == {"a": b""}
    assert programs.read(memory_fs, "/box/a") == b""


@pytest.mark.parametrize("content", [b"", b"content"])
def test_nothing_is_left_of_a_file_that_was_deleted_during_its_upload(
    remote: MemoryRemote, container: str, tmp_path: Path, content: bytes
) -> None:
    gate = Gate("upload")
    remote.before = gate
    with mounted(remote, tmp_path, write_back=True) as fs:
        programs.write(fs, "/box/a", content)
        gate.wait()
        fs.unlink("/box/a")
        gate.open()
        assert fs.drain(30) == []
        eventually(lambda: not list(tmp_path.glob("journal/*/data/*")))
    with mounted(remote, tmp_path) as again:
        assert again.drain(30) == []
    assert remote.stored(container) == {}


def _lose(fs: Paths, remote: MemoryRemote, container: str, left: bytes) -> None:
    """Write ``/box/a``, of which ``left`` is stored, though no answer tells."""
    remote.before = failing("upload", 3, types.AnswerLost)
    with suppress(types.AnswerLost):
        programs.write(fs, "/box/a", b"content")
    eventually(lambda: bool(fs._backlog.outstanding().failed))
    remote.put(container, "a", left)


@pytest.mark.parametrize("crashes", [False, True])
@pytest.mark.parametrize("newer", [b"newer", None])
def test_what_another_client_did_after_a_lost_upload_was_stored_is_not_undone(
    remote: MemoryRemote, container: str, tmp_path: Path, newer: bytes | None, crashes: bool
) -> None:
    remote.replaces, remote.tells_replaced = "new id", True
    remote.dialect = Dialect(idempotency=True)
    old = remote.put(container, "a", b"old")
    with mounted(remote, tmp_path, write_back=True) as fs:
        remote.after = failing("upload", 3, types.Unreachable)
        programs.write(fs, "/box/a", b"ours")
        eventually(lambda: bool(fs._backlog.outstanding().failed))
        assert remote.stored(container) == {"a": b"ours"}
        assert old not in remote._files
        remote.take_away(*remote._files)
        if newer is not None:
            remote.put(container, "a", newer)
        programs.names(fs, "/box")
        if crashes:
            crash(fs)
        else:
            assert fs.drain(30) == []
    with mounted(remote, tmp_path) as again:
        programs.names(again, "/box")
        assert again.drain(30) == []
        assert programs.names(again, "/box") == ([] if newer is None else ["a"])
        assert remote.stored(container) == ({} if newer is None else {"a": newer})


@pytest.mark.parametrize("content", [b"", b"content"])
def test_a_request_that_outlives_its_mount_leaves_nothing_of_a_version_that_was_overtaken(
    remote: MemoryRemote, container: str, tmp_path: Path, content: bytes
) -> None:
    remote.dialect = Dialect(idempotency=True)
    remote.put(container, "a", b"old")
    remote.before = gate = Gate("upload")
    with mounted(remote, tmp_path, write_back=True) as fs:
        programs.write(fs, "/box/a", content)
        gate.wait()
        programs.write(fs, "/box/a", b"new")
        crash(fs)
    remote.before = no_fault
    with mounted(remote, tmp_path, write_back=True) as again:
        gate.open()
        eventually(lambda: len(remote.asked("upload")) >= 2 and content in remote.contents.values())
        assert again.drain(30) == []
        again._backlog._schedule.expedite(lambda key: True)
        eventually(lambda: remote.stored_all(container) == [("a", b"new")])


def test_a_copy_whose_source_is_gone_is_known_by_its_key(remote: MemoryRemote, container: str, tmp_path: Path) -> None:
    remote.dialect = Dialect(idempotency=True, copies_by_path=True)
    remote.put(container, "a", b"content")
    with mounted(remote, tmp_path, write_back=True, metadata_expiry=60.0) as fs:
        remote.after = failing("copy", 100, types.Unreachable)
        fs.rename("/box/a", "/box/b")
        eventually(lambda: bool(remote.asked("copy")) and not fs._backlog._uploader.under_way())
        remote.before = gate = Gate("newest")
        remote.after = no_fault
        programs.write(fs, "/box/b", b"new")
        gate.wait()
        eventually(lambda: bool(remote.asked("delete")))
        gate.open()
        eventually(lambda: remote.stored_all(container) == [("b", b"new")])
        assert programs.read(fs, "/box/b") == b"new"
        assert fs.drain(30) == []


@pytest.mark.parametrize("left", [b"cont", b"content"], ids=["cut", "whole"])
@pytest.mark.parametrize("crashes", [False, True], ids=["goes on", "crashes"])
def test_what_was_to_replace_a_file_that_is_gone_is_known_by_its_content(
    remote: MemoryRemote,
    container: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    left: bytes,
    crashes: bool,
) -> None:
    """Where the service copies nothing, the content of a renamed file is uploaded; of a lost request, it is kept."""
    remote.dialect = Dialect()
    remote.put(container, "a", b"content")
    with mounted(remote, tmp_path, write_back=True, metadata_expiry=60.0) as fs:
        remote.before = failing("upload", 100, types.AnswerLost)
        fs.rename("/box/a", "/box/b")
        eventually(lambda: bool(remote.asked("upload")) and not fs._backlog._uploader.under_way())
        remote.put(container, "b", left)
        remote.before = failing("newest", 100, types.Unreachable)
        programs.write(fs, "/box/b", b"new")
        eventually(lambda: ("a", b"content") not in remote.stored_all(container))
        remote.before = no_fault
        if crashes:
            crash(fs)
        else:
            fs._backlog._schedule.expedite(lambda key: True)
            eventually(lambda: remote.stored_all(container) == [("b", b"new")])
    monkeypatch.setattr(settlement, "_LOOKS", (0.0,))
    with mounted(remote, tmp_path) as again:
        eventually(lambda: remote.stored_all(container) == [("b", b"new")])
        assert again.drain(30) == []
        eventually(lambda: not list(tmp_path.glob("journal/*/data/*")))


def test_a_copy_whose_source_is_there_is_not_asked_for_again(
    remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    """It would be made, beside what has its name by now."""
    remote.dialect = Dialect(idempotency=True, copies_by_path=True)
    remote.put(container, "a", b"content")

    def fault(operation: str, subject: str) -> None:
        if operation == "copy":
            raise types.AnswerLost("it never arrives")
        if operation == "delete":
            raise types.AccessDenied("403")

    with mounted(remote, tmp_path, write_back=True, metadata_expiry=60.0) as fs:
        remote.before = fault
        fs.rename("/box/a", "/box/b")
        eventually(lambda: bool(remote.asked("copy")) and not fs._backlog._uploader.under_way())
        asked = len(remote.asked("copy"))
        remote.put(container, "b", b"")
        programs.write(fs, "/box/b", b"new")
        fs._backlog.drain(30)
        assert remote.stored_all(container) == [("a", b"content"), ("b", b""), ("b", b"new")]
        assert len(remote.asked("copy")) == asked
