"""Files that are about to be written: their content is there first, and a full disk leaves all as it was."""

import errno
import os

import pytest

from containerfs.fs import types
from tests.fs import programs
from tests.fs.gates import failing
from tests.fs.memory import MemoryRemote
from tests.fs.paths import Paths


def test_writing_into_a_file_keeps_the_rest(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    remote.put(container, "a", b"0123456789")
    with programs.opened(memory_fs, "/box/a", os.O_RDWR) as fh:
        programs.put(memory_fs, fh, b"xy", 3)
        assert programs.take(memory_fs, fh) == b"012xy56789"
    assert remote.stored(container) == {"a": b"012xy56789"}


def test_a_shorter_overwrite_keeps_no_old_tail(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    remote.put(container, "a", b"0123456789")
    programs.write(memory_fs, "/box/a", b"short")
    assert remote.stored(container) == {"a": b"short"}
    assert remote.asked("content") == [], "what is truncated need not be fetched"


def test_opening_to_write_and_closing_uploads_nothing(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    remote.put(container, "a", b"content")
    with programs.opened(memory_fs, "/box/a", os.O_RDWR) as fh:
        assert programs.take(memory_fs, fh) == b"content"
    memory_fs.truncate("/box/a", 7)
    assert remote.asked("upload") == []


def test_a_content_that_cannot_be_had_cannot_be_written_into(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    remote.put(container, "a", b"content")
    remote.before = failing("content", 100)
    with programs.opened(memory_fs, "/box/a", os.O_WRONLY) as fh, pytest.raises(types.Failed):
        programs.put(memory_fs, fh, b"x", 3)
    assert remote.stored(container) == {"a": b"content"}
    assert programs.state(memory_fs, "/box/a") == "clean"


def fill_disk(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Let the next writes find the disk full."""
    pwrite, left = os.pwrite, [times]

    def write(fd: int, data: memoryview, offset: int) -> int:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(fd, data, offset)

    monkeypatch.setattr("os.pwrite", write)


def test_a_full_disk_evicts_what_is_cached_before_it_fails(
    memory_fs: Paths, remote: MemoryRemote, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.put(container, "cached", b"content")
    programs.read(memory_fs, "/box/cached")
    with programs.created(memory_fs, "/box/a") as fh:
        fill_disk(monkeypatch, 1)
        programs.put(memory_fs, fh, b"content")
    assert remote.stored(container)["a"] == b"content"
    programs.read(memory_fs, "/box/cached")
    assert len(remote.asked("content")) == 2


def test_a_disk_that_stays_full_is_writes_error_and_the_old_content_stays(
    memory_fs: Paths, remote: MemoryRemote, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.put(container, "a", b"old")
    fh = memory_fs.open("/box/a", os.O_WRONLY)[0]
    with monkeypatch.context() as patch:
        fill_disk(patch, 100)
        with pytest.raises(types.NoSpace):
            programs.put(memory_fs, fh, b"new and longer")
    memory_fs.flush(fh)
    memory_fs.release(fh)
    assert remote.stored(container) == {"a": b"old"}


def test_open_with_truncation_that_fails_opens_nothing(
    memory_fs: Paths, remote: MemoryRemote, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.put(container, "a", b"old")

    def full(*_: object) -> None:
        raise types.NoSpace("full")

    with monkeypatch.context() as patch:
        patch.setattr("containerfs.fs.writing.journal.Journal.stage", full)
        with pytest.raises(types.NoSpace):
            memory_fs.open("/box/a", os.O_WRONLY | os.O_TRUNC)
    assert memory_fs._lookup.file(memory_fs._lookup.directory(memory_fs.top, "box"), "a").opens == 0
    assert programs.read(memory_fs, "/box/a") == b"old"
