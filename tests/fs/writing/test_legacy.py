"""Journals of earlier versions: what they hold is taken over once, in its order, whatever is in between."""

import fcntl
import json
import os
import uuid
from pathlib import Path

import pytest

from containerfs.fs.namespace.attributes import Attributes
from containerfs.fs.types import digest
from containerfs.fs.writing import legacy
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.records import Attempt, Entry
from containerfs.fs.writing.transaction import Transaction
from tests.fs import programs
from tests.fs.memory import MemoryRemote
from tests.fs.mounts import mounted


class OldJournal:
    """A mount's directory as earlier versions made it; its lock is held until ``die``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / uuid.uuid4().hex
        self.directory.mkdir(parents=True, mode=0o700)
        self._lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def stage(self, content: bytes) -> Path:
        path = self.directory / f"{uuid.uuid4().hex}.data"
        path.write_bytes(content)
        path.chmod(0o600)
        return path

    def record(self, content: bytes, path: str, mtime: int = 0, **fields: object) -> Path:
        """Note a staged file; the record is as old as ``mtime`` says."""
        record = self.stage(content).with_suffix(".json")
        attributes = dict.fromkeys(("mode", "uid", "gid", "atime", "mtime", "path", "size"))
        values = {
            "container_id": "cntr_1",
            "container_name": "box",
            "path": path,
            "replaces": ["cfile_1"],
            "attributes": attributes | {"mode": 0o600},
            "since": 1700000000,
            "error": None,
        }
        record.write_text(json.dumps(values | fields))
        os.utime(record, (mtime, mtime))
        return record

    def die(self) -> None:
        os.close(self._lock)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Where the old journals are."""
    return tmp_path / "old"


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


def contents(journal: Journal) -> list[tuple[str, bytes]]:
    return [(entry.path, journal.staged(entry.data).path.read_bytes()) for entry in journal.entries() if entry.data]


def kill(journal: Journal) -> None:
    journal._database.close()
    os.close(journal._ownership._fd)


def test_what_was_due_is_taken_over_and_the_old_directory_goes(old: Path, journal: Journal) -> None:
    mount = OldJournal(old)
    record = mount.record(b"content", "a/b.txt", error="refused")
    mount.die()
    legacy.take_over(old, journal)
    (entry,) = journal.entries()
    data = f"legacy.{record.stem}"
    replaces = frozenset(["cfile_1"])
    assert entry.sequence is not None
    assert entry == Entry(
        *("cntr_1", "box", "a/b.txt", data, None, replaces, Attributes(mode=0o600)),
        error="refused",
        sequence=entry.sequence,
    )
    assert contents(journal) == [("a/b.txt", b"content")]
    (attempt,) = journal.attempts(entry.sequence)
    assert attempt == Attempt(
        f"containerfs-{data}", "cntr_1", "a/b.txt", 7, 1700000000, entry.sequence, data, known=replaces
    )
    assert not old.exists()
    assert not (journal.directory / "legacy").exists()
    kill(journal)
    assert contents(Journal(journal.directory)) == [("a/b.txt", b"content")]


def test_nothing_of_an_earlier_version_is_nothing_to_do(old: Path, journal: Journal) -> None:
    legacy.take_over(old, journal)
    assert journal.entries() == []


def test_the_order_is_that_of_the_records_across_mounts(old: Path, journal: Journal) -> None:
    mounts = [OldJournal(old) for _ in range(3)]
    for mtime in (5, 1, 4, 2, 3, 0):
        mounts[mtime % 3].record(b"%d" % mtime, "same", mtime)
    for mount in mounts:
        mount.die()
    legacy.take_over(old, journal)
    assert contents(journal) == [("same", b"%d" % mtime) for mtime in range(6)]


def test_a_mount_that_lives_keeps_its_own(old: Path, journal: Journal) -> None:
    live, dead = OldJournal(old), OldJournal(old)
    kept = live.record(b"live", "live")
    dead.record(b"dead", "dead")
    dead.die()
    legacy.take_over(old, journal)
    assert contents(journal) == [("dead", b"dead")]
    assert kept.exists()
    live.die()
    legacy.take_over(old, journal)
    assert contents(journal) == [("dead", b"dead"), ("live", b"live")]
    assert not old.exists()


def test_data_without_a_record_was_never_closed_and_goes(old: Path, journal: Journal) -> None:
    mount = OldJournal(old)
    mount.stage(b"never closed").with_suffix(".tmp").write_text('{"contain')
    mount.die()
    legacy.take_over(old, journal)
    assert (journal.entries(), journal.unlisted_data()) == ([], [])
    assert not old.exists()


@pytest.mark.parametrize("damaged", ["", "{", "null", "[]", "{}", '{"container_id": "a"}', "\xff"])
def test_what_cannot_be_read_is_kept_and_listed(
    old: Path, journal: Journal, damaged: str, caplog: pytest.LogCaptureFixture
) -> None:
    mount = OldJournal(old)
    mount.record(b"precious", "broken").write_text(damaged, encoding="latin-1")
    mount.record(b"well", "well")
    mount.stage(b"older").rename(mount.directory / "1.unreadable-data")
    (mount.directory / "1.unreadable").write_text("{")
    mount.die()
    legacy.take_over(old, journal)
    assert contents(journal) == [("well", b"well")]
    assert sorted(path.read_bytes() for path in journal.unlisted_data()) == [b"older", b"precious"]
    assert "cannot be read" in caplog.text
    assert not old.exists()


class Killed(BaseException):
    """The process ends here."""


class _Dying:
    """Counts steps, and ends the process at the one that is wanted."""

    def __init__(self, step: int) -> None:
        self.left = step

    def __call__(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


@pytest.mark.parametrize("step", range(8))
def test_an_import_that_is_broken_off_loses_nothing_and_repeats_nothing(
    old: Path, journal: Journal, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = OldJournal(old)
    for number in range(2):
        mount.record(b"%d" % number, f"{number}", number)
    mount.die()
    dying = _Dying(step)
    with monkeypatch.context() as patch:
        for owner, name in ((Path, "rename"), (Path, "unlink"), (Transaction, "put"), (Path, "rmdir")):
            patch.setattr(owner, name, _after(getattr(owner, name), dying))
        with pytest.raises(Killed):
            legacy.take_over(old, journal)
    kill(journal)
    following = Journal(journal.directory)
    legacy.take_over(old, following)
    assert contents(following) == [("0", b"0"), ("1", b"1")]
    assert following.unlisted_data() == []
    assert not old.exists()
    assert not (journal.directory / "legacy").exists()
    assert sorted(path.name for path in (journal.directory / "data").iterdir()) == sorted(
        entry.data for entry in following.entries() if entry.data
    )


def _after(step: object, dying: _Dying) -> object:
    def call(*arguments: object, **options: object) -> object:
        dying()
        return step(*arguments, **options)  # type: ignore[operator]

    return call


def test_a_mount_uploads_what_an_earlier_version_left(remote: MemoryRemote, container: str, tmp_path: Path) -> None:
    replaced = remote.put(container, "a", b"old")
    mount = OldJournal(tmp_path / "cache" / "journal" / digest(remote.service))
    mount.record(b"new", "a", container_id=container, replaces=[replaced])
    mount.die()
    with mounted(remote, tmp_path / "cache") as filesystem:
        assert programs.read(filesystem, "/box/a") == b"new"
        assert filesystem.drain(30) == []
    assert remote.stored(container) == {"a": b"new"}


def test_what_had_reached_the_service_before_is_not_sent_again(
    remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    mount = OldJournal(tmp_path / "cache" / "journal" / digest(remote.service))
    mount.record(b"new", "a", container_id=container, replaces=[], since=0)
    mount.die()
    remote.put(container, "a", b"new")
    with mounted(remote, tmp_path / "cache") as filesystem:
        assert filesystem.drain(30) == []
    assert remote.asked("upload") == []
    assert remote.stored(container) == {"a": b"new"}
