"""What requests whose answers were lost have left: found by its content, removed, and never taken for another's."""

from pathlib import Path

import pytest

from containerfs.api.dialect import Dialect
from containerfs.fs import types
from containerfs.fs.filesystem import FileSystem
from containerfs.fs.writing import backoff, settlement
from tests.fs import programs
from tests.fs.gates import Gate, eventually, failing
from tests.fs.memory import MemoryRemote
from tests.fs.mounts import crash, mounted


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_PAUSE", 3600.0)
    monkeypatch.setattr(settlement, "_LOOKS", (0.0, 0.01, 3600.0))


def test_every_request_that_arrives_late_is_removed(
    memory_fs: FileSystem, remote: MemoryRemote, container: str
) -> None:
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
    memory_fs: FileSystem, remote: MemoryRemote, container: str
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
    memory_fs: FileSystem, remote: MemoryRemote, container: str
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
