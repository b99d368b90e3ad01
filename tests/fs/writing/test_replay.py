"""Replay: what mounts that are gone left undone is taken up, in the order in which it was written."""

import os
from pathlib import Path

import pytest

from containerfs.fs.writing.journal import Journal
from tests.fs import programs
from tests.fs.gates import down
from tests.fs.memory import MemoryRemote, no_fault
from tests.fs.mounts import crash, mounted
from tests.fs.paths import Paths


def uploads_fail(operation: str, subject: str) -> None:
    if operation == "upload":
        down(operation, subject)


def journal_of(filesystem: Paths) -> Journal:
    return filesystem._files._journal


def test_of_what_two_mounts_left_for_one_path_the_later_write_counts(
    remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    remote.put(container, "a", b"old")
    remote.before = uploads_fail
    with (
        mounted(remote, tmp_path, write_back=True) as first,
        mounted(remote, tmp_path, write_back=True) as second,
    ):
        programs.write(second, "/box/a", b"earliest")
        programs.write(first, "/box/a", b"earlier")
        programs.write(second, "/box/a", b"latest")
        crash(second)
        crash(first)
    with mounted(remote, tmp_path, write_back=True) as filesystem:
        assert programs.read(filesystem, "/box/a") == b"latest"
        remote.before = no_fault
        assert filesystem.drain(30) == []
    assert remote.stored(container) == {"a": b"latest"}
    assert not list(tmp_path.glob("journal/*/data/*"))


def test_a_directory_that_has_taken_its_name_loses_nothing(
    remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    remote.before = uploads_fail
    with mounted(remote, tmp_path, write_back=True) as filesystem:
        programs.write(filesystem, "/box/a", b"a")
        crash(filesystem)
    remote.put(container, "a/inner", b"inner")
    with mounted(remote, tmp_path, write_back=True) as filesystem:
        programs.names(filesystem, "/box")
        remote.before = no_fault
        assert filesystem.drain(30) == []
        assert programs.read(filesystem, "/box/a/inner") == b"inner"
    assert sorted(remote.stored(container).values()) == [b"a", b"inner"]


def test_what_has_lost_its_data_is_set_aside(remote: MemoryRemote, container: str, tmp_path: Path) -> None:
    remote.before = uploads_fail
    with mounted(remote, tmp_path, write_back=True) as filesystem:
        programs.write(filesystem, "/box/a", b"a")
        crash(filesystem)
    (data,) = tmp_path.glob("journal/*/data/*")
    data.unlink()
    with mounted(remote, tmp_path, write_back=True) as filesystem:
        (left,) = filesystem.drain(30)
        assert str(left) == "box/a (its staged data is missing)"
        assert programs.names(filesystem, "/box") == []


def test_what_is_brought_back_while_a_mount_runs_is_sent_when_it_is_asked_to(
    remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    remote.before = uploads_fail
    with mounted(remote, tmp_path, write_back=True) as filesystem:
        programs.write(filesystem, "/box/a", b"a")
        crash(filesystem)
    (data,) = tmp_path.glob("journal/*/data/*")
    data.chmod(0o600)
    data.write_bytes(b"b")
    remote.before = no_fault
    with mounted(remote, tmp_path, write_back=True) as filesystem:
        assert [unfinished.name for unfinished in filesystem.drain(30)] == ["box/a"]
        assert programs.names(filesystem, "/box") == []
        (aside,) = journal_of(filesystem).all_set_aside()
        with journal_of(filesystem).transaction() as tx:
            tx.bring_back(aside.sequence)
        filesystem.sync("/", 30)
        assert programs.read(filesystem, "/box/a") == b"b"
        assert filesystem.drain(30) == []
    assert remote.stored(container) == {"a": b"b"}


def test_what_was_synced_is_kept_though_its_record_is_lost(
    remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    with mounted(remote, tmp_path) as filesystem:
        fh = filesystem.create("/box/a", os.O_RDWR | os.O_CREAT, 0o644)
        programs.put(filesystem, fh, b"synced")
        filesystem.fsync(fh)
        programs.put(filesystem, fh, b" and on", 6)
        crash(filesystem)
    for path in tmp_path.glob("journal/*/journal.db*"):
        path.unlink()
    with mounted(remote, tmp_path) as filesystem:
        (lost,) = filesystem.drain(30)
        assert Path(lost.name).read_bytes() == b"synced and on"
        assert lost.reason == "its journal was damaged"


@pytest.mark.parametrize("closed", [False, True])
def test_a_mode_that_is_set_before_the_service_has_the_file_outlives_a_crash(
    remote: MemoryRemote, container: str, tmp_path: Path, closed: bool
) -> None:
    with mounted(remote, tmp_path, write_back=True) as fs:
        programs.names(fs, "/box")
        remote.before = down
        fh = fs.create("/box/a", os.O_WRONLY, 0o644)
        fs.fsync(fh)
        if closed:
            fs.flush(fh)
            fs.release(fh)
        fs.chmod("/box/a", 0o755)
        crash(fs)
    remote.before = no_fault
    with mounted(remote, tmp_path) as again:
        assert again.getattr("/box/a").mode & 0o777 == 0o755
        assert again.drain(30) == []
        assert again.getattr("/box/a").mode & 0o777 == 0o755
