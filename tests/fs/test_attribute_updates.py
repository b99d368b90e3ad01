"""What is set here is seen by other mounts of a service that keeps it: modes, owners, times, empty directories."""

import itertools
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from containerfs.api.dialect import Dialect
from containerfs.fs import types
from containerfs.fs.options import Options
from tests.fs.gates import Gate, down
from tests.fs.memory import MemoryRemote
from tests.fs.mounts import Opener, crash, mounted
from tests.fs.paths import Paths
from tests.fs.programs import exists, names, opened, put, read, write

_numbers = itertools.count()
KEEPS = Dialect(attributes=True, directories=True)
YEAR_2001 = 10**18


@pytest.fixture
def other(opener: Opener, tmp_path: Path) -> Iterator[Paths]:
    """Another machine, which looks anew each time."""
    filesystem = opener(Options(tmp_path / "other", metadata_expiry=0.0))
    yield filesystem
    filesystem.close()


@pytest.fixture
def keeping(remote: MemoryRemote, container: str) -> MemoryRemote:
    remote.dialect, remote.replaces = KEEPS, "new id"
    return remote


def shown(fs: Paths, path: str) -> tuple[int, int]:
    """Permission bits and time of last change."""
    attr = fs.getattr(path)
    return attr.mode & 0o7777, attr.mtime


def test_modes_and_times_travel(fs: Paths, other: Paths, box: str) -> None:
    write(fs, f"{box}/script", b"#!/bin/sh\n")
    written = fs.getattr(f"{box}/script").mtime
    assert other.getattr(f"{box}/script").mtime == written, "the upload carries it"
    fs.chmod(f"{box}/script", 0o755)
    fs.utimens(f"{box}/script", None, YEAR_2001)
    fs.chown(f"{box}/script", 7, 8)
    assert fs.drain(10) == []
    assert shown(other, f"{box}/script") == shown(fs, f"{box}/script") == (0o755, YEAR_2001)
    assert (other.getattr(f"{box}/script").uid, other.getattr(f"{box}/script").gid) == (7, 8)
    other.chmod(f"{box}/script", 0o644)
    assert other.drain(10) == []
    assert shown(fs, f"{box}/script") == (0o644, YEAR_2001)


def test_what_a_file_gets_before_it_is_closed_goes_with_it(keeping: MemoryRemote, tmp_path: Path) -> None:
    with mounted(keeping, tmp_path / "cache") as fs:
        fh = fs.create("/box/a", 2, 0o750)
        put(fs, fh, b"content")
        fs.utimens("/box/a", None, YEAR_2001)
        fs.flush(fh)
        fs.release(fh)
        assert fs.drain(10) == []


def test_a_rename_takes_them_along(fs: Paths, other: Paths, box: str) -> None:
    write(fs, f"{box}/a", b"content")
    fs.chmod(f"{box}/a", 0o711)
    fs.rename(f"{box}/a", f"{box}/b")
    assert fs.drain(10) == []
    assert shown(other, f"{box}/b") == shown(fs, f"{box}/b")
    assert shown(other, f"{box}/b")[0] == 0o711


def test_links_have_theirs(fs: Paths, other: Paths, box: str) -> None:
    fs.symlink(f"{box}/l", b"target")
    fs.utimens(f"{box}/l", None, YEAR_2001)
    assert fs.drain(10) == []
    assert other.readlink(f"{box}/l") == b"target"
    assert other.getattr(f"{box}/l").mtime == YEAR_2001


def test_empty_directories_travel(fs: Paths, other: Paths, box: str) -> None:
    fs.mkdir(f"{box}/d", 0o700)
    fs.mkdir(f"{box}/d/e", 0o755)
    assert fs.drain(10) == []
    assert names(other, box) == ["d"]
    assert shown(other, f"{box}/d")[0] == 0o700
    assert names(other, f"{box}/d") == ["e"]
    other.rmdir(f"{box}/d/e")
    assert other.drain(10) == []
    assert names(fs, f"{box}/d") == []
    fs.rename(f"{box}/d", f"{box}/renamed")
    assert fs.drain(10) == []
    assert names(other, box) == ["renamed"]
    assert shown(other, f"{box}/renamed")[0] == 0o700
    fs.rmdir(f"{box}/renamed")
    assert fs.drain(10) == []
    assert names(other, box) == []
    other.rmdir(box)


def test_a_directory_whose_last_file_goes_stays_everywhere(fs: Paths, other: Paths, box: str) -> None:
    fs.mkdir(f"{box}/d", 0o755)
    write(fs, f"{box}/d/a", b"content")
    assert names(other, f"{box}/d") == ["a"]
    fs.unlink(f"{box}/d/a")
    assert fs.drain(10) == []
    assert names(other, f"{box}/d") == []


def test_a_renamed_tree_keeps_its_directories(fs: Paths, other: Paths, box: str) -> None:
    for path in ("t", "t/full", "t/empty", "t/empty/er"):
        fs.mkdir(f"{box}/{path}", 0o750)
    write(fs, f"{box}/t/full/a", b"content")
    assert fs.drain(10) == []
    fs.rename(f"{box}/t", f"{box}/u")
    assert fs.drain(10) == []
    for each in (fs, other):
        assert names(each, box) == ["u"]
        assert names(each, f"{box}/u") == ["empty", "full"]
        assert names(each, f"{box}/u/empty") == ["er"]
        assert stat.S_IMODE(each.getattr(f"{box}/u/empty/er").mode) == 0o750


def test_what_is_set_one_after_the_other_is_one_request(keeping: MemoryRemote, container: str, tmp_path: Path) -> None:
    file_id = keeping.put(container, "a", b"content")
    with mounted(keeping, tmp_path / "cache", metadata_expiry=60.0) as fs:
        fs.chmod("/box/a", 0o600)
        fs.chown("/box/a", 5, 6)
        fs.utimens("/box/a", None, YEAR_2001)
        fs.mkdir("/box/d", 0o700)
        fs.chmod("/box/d", 0o711)
        assert fs.drain(10) == []
        assert (keeping.asked("attributes"), keeping.asked("directory")) == ([file_id], ["d"])
        assert shown(fs, "/box/a") == (0o600, YEAR_2001)
        keeping.requests.clear()
        read(fs, "/box/a")
        assert fs.drain(10) == []
        assert keeping.asked("attributes") == [], "of access times no service is told"


def test_what_could_not_be_sent_is_sent_by_the_next_mount(
    keeping: MemoryRemote, container: str, tmp_path: Path
) -> None:
    file_id = keeping.put(container, "a", b"content")
    with mounted(keeping, tmp_path / "cache", metadata_expiry=60.0) as fs:
        names(fs, "/box")
        keeping.before = down
        fs.chmod("/box/a", 0o600)
        fs.mkdir("/box/d", 0o700)
        left = {str(each) for each in fs.drain(10)}
        assert left == {
            f"box/{file_id} (the service does not have its mode, owner and time)",
            "box/d (the service does not have its mode, owner and time)",
        }
        crash(fs)
    keeping.before = lambda *_: None
    with mounted(keeping, tmp_path / "cache") as fs:
        assert fs.drain(10) == []
        assert keeping.asked("attributes")[-1:] == [file_id]
    with mounted(keeping, tmp_path / "elsewhere") as fs:
        assert (shown(fs, "/box/a")[0], shown(fs, "/box/d")[0]) == (0o600, 0o700)


def test_syncing_a_container_waits_for_nothing_of_another(keeping: MemoryRemote, tmp_path: Path) -> None:
    held_up = keeping.put(keeping.made("other"), "a", b"content")
    gate = Gate("attributes")
    keeping.before = lambda operation, subject: gate(operation, subject) if subject == held_up else None
    with mounted(keeping, tmp_path / "cache", patience=30.0) as fs:
        fs.chmod("/other/a", 0o600)
        gate.wait()
        write(fs, "/box/b", b"content")
        fs.chmod("/box/b", 0o600)
        syncing = threading.Thread(target=fs.sync, args=("/box",))
        syncing.start()
        syncing.join(10)
        waits = syncing.is_alive()
        gate.open()
        syncing.join()
        assert not waits
        assert len(keeping.asked("attributes")) == 2


def test_what_was_removed_before_it_was_sent_is_not_made(keeping: MemoryRemote, container: str, tmp_path: Path) -> None:
    with mounted(keeping, tmp_path / "cache") as fs:
        fs.mkdir("/box/d", 0o700)
        fs.rmdir("/box/d")
        gate = keeping.before = Gate("directory")
        fs.mkdir("/box/e", 0o700)
        gate.wait()
        fs.rmdir("/box/e")
        gate.open()
        assert fs.drain(10) == []
        assert keeping.stored(container) == {}
        assert names(fs, "/box") == []


def test_a_file_that_is_gone_has_no_attributes_to_send(keeping: MemoryRemote, container: str, tmp_path: Path) -> None:
    file_id = keeping.put(container, "a", b"content")
    with mounted(keeping, tmp_path / "cache", metadata_expiry=60.0) as fs:
        fs.chmod("/box/a", 0o600)
        keeping.take_away(file_id)
        assert fs.drain(10) == []


def test_what_was_kept_here_before_the_service_kept_it_is_sent(
    remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    remote.put(container, "a", b"content")
    with mounted(remote, tmp_path / "cache") as fs:
        fs.chmod("/box/a", 0o600)
        fs.mkdir("/box/d", 0o700)
        assert fs.drain(10) == []
        assert (remote.asked("attributes"), remote.asked("directory")) == ([], [])
    remote.dialect = KEEPS
    with mounted(remote, tmp_path / "cache") as fs:
        assert fs.drain(10) == []
    with mounted(remote, tmp_path / "elsewhere") as fs:
        assert (shown(fs, "/box/a")[0], shown(fs, "/box/d")[0]) == (0o600, 0o700)


def test_a_file_that_is_open_shows_what_others_set(keeping: MemoryRemote, container: str, tmp_path: Path) -> None:
    file_id = keeping.put(container, "a", b"content")
    with mounted(keeping, tmp_path / "cache") as fs, opened(fs, "/box/a"):
        keeping.set_attributes(container, file_id, types.FileAttributes(mode=0o600))
        names(fs, "/box")
    with mounted(keeping, tmp_path / "cache") as fs:
        assert shown(fs, "/box/a")[0] == 0o600
        assert exists(fs, "/box/a")
