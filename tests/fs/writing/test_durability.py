"""When this machine's disk has what was closed with ``--write-back``, and what is left if the power goes first."""

import errno
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from containerfs.fs import types
from containerfs.fs.namespace.nodes import FileNode
from containerfs.fs.reading.cache import ContentCache
from containerfs.fs.writing import digests, durability, schedule, uploads
from containerfs.fs.writing.digests import Digests
from containerfs.fs.writing.journal import Journal
from tests.fs import programs
from tests.fs.gates import down, eventually
from tests.fs.memory import MemoryRemote, no_fault
from tests.fs.mounts import crash, end, mounted
from tests.fs.paths import Paths

LARGE = os.urandom(1 << 20)
MANY = 40


class Disk:
    """Notes what is synced: the contents of staged files, ``disk`` for all of it, ``log`` for the journal's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: list[bytes | str] = []
        self.fault: Callable[[], None] = lambda: None
        monkeypatch.setattr(os, "fdatasync", self._content)
        monkeypatch.setattr("containerfs.fs.writing.journal.sync_disk", lambda path: self._note("disk"))
        monkeypatch.setattr("containerfs.fs.writing.database.sync_path", lambda path: self._note("log"))

    def _content(self, fd: int) -> None:
        self._note(os.pread(fd, 1 << 21, 0))

    def _note(self, what: bytes | str) -> None:
        self.fault()
        self.synced.append(what)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def not_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is synced or uploaded until somebody asks."""
    monkeypatch.setattr(durability, "_DELAY", 3600.0)
    monkeypatch.setattr(schedule, "_CALM", 3600.0)
    monkeypatch.setattr(uploads, "PATIENCE", 3600.0)


@pytest.fixture
def lazy_fs(remote: MemoryRemote, container: str, tmp_path: Path) -> Iterator[Paths]:
    """A file system that writes back, to a service that takes nothing yet."""
    remote.before = uploads_fail
    with mounted(remote, tmp_path, write_back=True) as filesystem:
        yield filesystem


def uploads_fail(operation: str, subject: str) -> None:
    if operation in ("upload", "copy"):
        down(operation, subject)


def sync(filesystem: Paths) -> None:
    """Have done what is due."""
    filesystem.setxattr("/", "user.containerfs.sync", b"")


def power_cut(filesystem: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """End it; the machine starts again. What its disk has is up to the test."""
    crash(filesystem)
    monkeypatch.setattr("containerfs.fs.writing.replay.boot_id", lambda: "another")


def staged(directory: Path) -> list[Path]:
    return sorted(directory.glob("journal/*/data/*"))


@pytest.mark.usefixtures("not_by_itself")
def test_what_is_closed_waits_for_one_sync(lazy_fs: Paths, disk: Disk) -> None:
    for number in range(MANY):
        programs.write(lazy_fs, f"/box/{number}", b"content")
    assert disk.synced == []
    sync(lazy_fs)
    eventually(lambda: len(disk.synced) == 2)
    assert disk.synced == ["disk", "log"]


@pytest.mark.usefixtures("not_by_itself")
def test_a_few_files_are_synced_without_what_others_have_written_to_the_disk(lazy_fs: Paths, disk: Disk) -> None:
    programs.write(lazy_fs, "/box/a", b"a")
    programs.write(lazy_fs, "/box/b", b"b")
    sync(lazy_fs)
    eventually(lambda: len(disk.synced) == 3)
    assert disk.synced == [b"a", b"b", "log"]


def test_it_is_synced_by_itself(lazy_fs: Paths, disk: Disk) -> None:
    programs.write(lazy_fs, "/box/a", b"a")
    eventually(lambda: disk.synced == [b"a", "log"])


@pytest.mark.usefixtures("not_by_itself")
def test_a_mount_that_is_strict_syncs_at_each_close(
    remote: MemoryRemote, container: str, tmp_path: Path, disk: Disk
) -> None:
    remote.before = uploads_fail
    with mounted(remote, tmp_path, write_back=True, strict=True) as filesystem:
        programs.write(filesystem, "/box/a", b"a")
        assert disk.synced == [b"a", "log"]
        programs.write(filesystem, "/box/b.tmp", LARGE)
        assert disk.synced == [b"a", "log", LARGE, "log"]
        filesystem.rename("/box/b.tmp", "/box/b")
        assert disk.synced[4:] == ["log"]


@pytest.mark.usefixtures("not_by_itself")
def test_fsync_waits_for_the_disk(lazy_fs: Paths, disk: Disk) -> None:
    with programs.created(lazy_fs, "/box/a") as fh:
        programs.put(lazy_fs, fh, b"a")
        lazy_fs.fsync(fh)
        assert disk.synced == [b"a", "log"]
        lazy_fs.flush(fh)
        lazy_fs.fsync(fh)
        assert disk.synced == [b"a", "log", b"a", "log"]


@pytest.mark.usefixtures("not_by_itself")
def test_the_end_of_a_mount_syncs_what_waits(lazy_fs: Paths, disk: Disk) -> None:
    programs.write(lazy_fs, "/box/a", b"a")
    end(lazy_fs)
    assert disk.synced[:2] == [b"a", "log"]


@pytest.mark.usefixtures("not_by_itself")
def test_a_mount_on_which_nothing_waits_ends_without_a_sync(lazy_fs: Paths, disk: Disk) -> None:
    end(lazy_fs)
    assert disk.synced == []


def test_a_disk_that_fails_is_asked_again(
    lazy_fs: Paths, disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failed = threading.Event()

    def fault() -> None:
        if not failed.is_set():
            failed.set()
            raise OSError(errno.EIO, "bad disk")

    monkeypatch.setattr(durability, "pause", lambda failures: 0.0)
    disk.fault = fault
    programs.write(lazy_fs, "/box/a", b"a")
    eventually(lambda: disk.synced == [b"a", "log"])
    assert failed.is_set()
    assert "not safe on this machine's disk yet" in caplog.text


def test_what_waits_is_not_forgotten_while_the_journal_cannot_be_read(
    lazy_fs: Paths, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempted, still_due = itertools.count(1), Journal.still_due

    def failing(journal: Journal, sequences: Iterable[int]) -> list[int]:
        if next(attempted) <= 2:
            raise types.Failed("bad disk")
        return still_due(journal, sequences)

    monkeypatch.setattr(durability, "pause", lambda failures: 0.0)
    monkeypatch.setattr(Journal, "still_due", failing)
    programs.write(lazy_fs, "/box/a", b"a")
    eventually(lambda: disk.synced == [b"a", "log"])


@pytest.mark.usefixtures("not_by_itself")
def test_what_was_uploaded_meanwhile_need_not_be_synced(
    lazy_fs: Paths, remote: MemoryRemote, container: str, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    programs.write(lazy_fs, "/box/a", b"a")
    remote.before = no_fault
    lazy_fs.fsyncdir(lazy_fs.opendir("/box"))
    assert remote.stored(container) == {"a": b"a"}
    sync(lazy_fs)
    eventually(lambda: disk.synced == ["log"])
    assert "disk" not in caplog.text


@pytest.mark.usefixtures("not_by_itself")
def test_closing_again_and_again_does_not_put_the_upload_off(lazy_fs: Paths) -> None:
    def planned() -> list[float]:
        schedule = lazy_fs._backlog._schedule
        return [job.due for key, job in schedule._waiting.items() if isinstance(key, FileNode)]

    programs.write(lazy_fs, "/box/a", b"first")
    (first,) = planned()
    programs.write(lazy_fs, "/box/a", b"second")
    assert planned() == [pytest.approx(first, abs=1e-3)]


def test_attributes_of_what_was_just_stored_survive_a_crash_of_the_mount(
    remote: MemoryRemote, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service keeps none; the journal has them no more, and the cache takes its time."""
    adopting, ended = threading.Event(), threading.Event()
    monkeypatch.setattr(ContentCache, "adopt", lambda *_: (adopting.set(), ended.wait(30)))
    with mounted(remote, tmp_path, write_back=True) as filesystem:
        programs.write(filesystem, "/box/a", b"content")
        filesystem.chmod("/box/a", 0o600)
        filesystem.utimens("/box/a", None, 5 * 10**9)
        assert adopting.wait(30)
        crash(filesystem)
        with mounted(remote, tmp_path) as again:
            attr = again.getattr("/box/a")
            assert (attr.mode & 0o777, attr.mtime) == (0o600, 5 * 10**9)
        ended.set()


# When the power goes


@pytest.mark.parametrize("content", [b"small", LARGE], ids=["small", "large"])
def test_what_was_synced_is_uploaded_after_a_power_cut(
    lazy_fs: Paths,
    remote: MemoryRemote,
    container: str,
    tmp_path: Path,
    disk: Disk,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
) -> None:
    programs.write(lazy_fs, "/box/a", content)
    eventually(lambda: "log" in disk.synced)
    power_cut(lazy_fs, monkeypatch)
    remote.before = no_fault
    with mounted(remote, tmp_path) as filesystem:
        assert filesystem.drain(30) == []
    assert remote.stored(container) == {"a": content}


def test_a_huge_content_is_safe_before_its_digest_is_known(
    lazy_fs: Paths,
    remote: MemoryRemote,
    container: str,
    tmp_path: Path,
    disk: Disk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reading it may take minutes, for which neither it nor others wait."""
    ended = threading.Event()
    monkeypatch.setattr(digests, "_LARGE", len(LARGE))
    monkeypatch.setattr(Digests, "_take", lambda *_: ended.wait(30))
    programs.write(lazy_fs, "/box/huge", LARGE)
    programs.write(lazy_fs, "/box/small", b"small")
    eventually(lambda: "log" in disk.synced)
    power_cut(lazy_fs, monkeypatch)
    ended.set()
    remote.before = no_fault
    with mounted(remote, tmp_path) as filesystem:
        assert filesystem.drain(30) == []
    assert remote.stored(container) == {"huge": LARGE, "small": b"small"}


def test_damage_of_a_huge_content_is_noticed(
    lazy_fs: Paths, remote: MemoryRemote, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_LARGE", len(LARGE))
    programs.write(lazy_fs, "/box/huge", LARGE)
    journal = lazy_fs._backlog._journal
    eventually(lambda: journal.noted_digest(journal.entries()[0].sequence) is not None)
    crash(lazy_fs)
    (data,) = staged(tmp_path)
    data.write_bytes(bytes(len(LARGE)))
    remote.before = no_fault
    with mounted(remote, tmp_path) as filesystem:
        (unfinished,) = filesystem.drain(30)
        assert unfinished.name == "box/huge"
    assert remote.stored(container) == {}


@pytest.mark.parametrize("content", [b"small", LARGE], ids=["small", "large"])
@pytest.mark.usefixtures("not_by_itself", "disk")
def test_half_a_content_never_takes_the_place_of_a_whole_one(
    lazy_fs: Paths,
    remote: MemoryRemote,
    container: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
) -> None:
    """The journal's row has reached the disk by chance, and the content has not."""
    remote.put(container, "a", b"old")
    programs.write(lazy_fs, "/box/a", content)
    power_cut(lazy_fs, monkeypatch)
    (data,) = staged(tmp_path)
    data.write_bytes(bytes(len(content)))
    remote.before = no_fault
    with mounted(remote, tmp_path) as filesystem:
        (unfinished,) = filesystem.drain(30)
        assert unfinished.name == "box/a"
        assert programs.read(filesystem, "/box/a") == b"old"
    assert remote.stored(container) == {"a": b"old"}
    assert staged(tmp_path) == [data]


@pytest.mark.usefixtures("not_by_itself", "disk")
def test_after_a_crash_of_the_mount_all_that_was_closed_is_uploaded(
    lazy_fs: Paths, remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    programs.write(lazy_fs, "/box/small", b"small")
    programs.write(lazy_fs, "/box/large", LARGE)
    crash(lazy_fs)
    remote.before = no_fault
    with mounted(remote, tmp_path) as filesystem:
        assert filesystem.drain(30) == []
    assert remote.stored(container) == {"small": b"small", "large": LARGE}


@pytest.mark.usefixtures("not_by_itself", "disk")
def test_what_was_fsynced_and_is_being_written_survives_a_power_cut(
    lazy_fs: Paths, remote: MemoryRemote, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fh = lazy_fs.create("/box/a", os.O_RDWR, 0o644)
    programs.put(lazy_fs, fh, LARGE)
    lazy_fs.fsync(fh)
    power_cut(lazy_fs, monkeypatch)
    remote.before = no_fault
    with mounted(remote, tmp_path) as filesystem:
        assert filesystem.drain(30) == []
    assert remote.stored(container) == {"a": LARGE}


def test_strict_close_tells_that_the_disk_is_full(
    remote: MemoryRemote, container: str, tmp_path: Path, disk: Disk
) -> None:
    remote.before = uploads_fail

    def full() -> None:
        raise OSError(errno.ENOSPC, "full")

    with mounted(remote, tmp_path, write_back=True, strict=True) as filesystem:
        disk.fault = full
        with pytest.raises(types.NoSpace):
            programs.write(filesystem, "/box/a", b"a")
        disk.fault = lambda: None
