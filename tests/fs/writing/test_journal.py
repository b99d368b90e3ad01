"""The journal: what was recorded outlives its mount, once, whatever else is in the directory."""

import errno
import json
import os
from pathlib import Path

import pytest

from containerfs.fs import types
from containerfs.fs.attributes import Attributes
from containerfs.fs.journal import Journal, Record, StagedFile

RECORD = Record("cntr_1", "box", "a/b.txt", ["cfile_1"], Attributes(mode=0o600, mtime=5), 1700000000, "refused")


def stage(journal: Journal, content: bytes) -> StagedFile:
    staged = journal.stage()
    staged.write(memoryview(content), 0)
    return staged


def content_of(staged: StagedFile) -> bytes:
    buffer = bytearray(staged.size)
    assert staged.read_into(memoryview(buffer), 0) == len(buffer)
    return bytes(buffer)


def kill(journal: Journal) -> None:
    """End it as its process' death does: the kernel drops the lock."""
    os.close(journal._lock)


def replayed(directory: Path) -> list[tuple[Record, bytes]]:
    journal = Journal(directory)
    found = [(record, content_of(staged)) for record, staged in journal.replay()]
    kill(journal)
    return found


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("killed", [True, False])
def test_what_is_recorded_is_replayed_by_the_next_mount(tmp_path: Path, durable: bool, killed: bool) -> None:
    journal = Journal(tmp_path)
    journal.record(stage(journal, b"content"), RECORD, durable=durable)
    kill(journal) if killed else journal.close()
    assert replayed(tmp_path) == [(RECORD, b"content")]
    assert replayed(tmp_path) == [(RECORD, b"content")], "it is due until it is forgotten"


def test_what_was_never_recorded_goes(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    stage(journal, b"never closed")
    kill(journal)
    assert replayed(tmp_path) == []
    assert not list(tmp_path.rglob("*.data"))


def test_closing_leaves_nothing_but_what_is_due(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    stage(journal, b"never closed")
    journal.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("gone", ["forget", "discard"])
def test_what_is_done_is_not_replayed(tmp_path: Path, gone: str) -> None:
    journal = Journal(tmp_path)
    staged = stage(journal, b"content")
    journal.record(staged, RECORD, durable=False)
    getattr(journal, gone)(staged)
    assert staged.path.exists() == (gone == "forget")
    kill(journal)
    assert replayed(tmp_path) == []


def test_recording_again_replaces(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    staged = stage(journal, b"content")
    journal.record(staged, Record("cntr_1", "box", "old"), durable=True)
    staged.truncate(3)
    journal.record(staged, RECORD, durable=True)
    kill(journal)
    assert replayed(tmp_path) == [(RECORD, b"con")]


def test_mounts_that_live_keep_their_own(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    staged = stage(first, b"first")
    first.record(staged, RECORD, durable=False)
    second = Journal(tmp_path)
    assert list(second.replay()) == []
    assert content_of(staged) == b"first"
    second.close()
    first.close()
    assert [content for _, content in replayed(tmp_path)] == [b"first"]


def test_journals_of_several_dead_mounts_are_taken_over_together(tmp_path: Path) -> None:
    journals = [Journal(tmp_path) for _ in range(3)]
    for number, journal in enumerate(journals):
        journal.record(stage(journal, b"%d" % number), RECORD, durable=False)
    for journal in journals:
        kill(journal)
    assert sorted(content for _, content in replayed(tmp_path)) == [b"0", b"1", b"2"]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damaged", ["", "{", "null", "[]", "{}", '{"container_id": "a"}', '{"surprise": 1}'])
def test_a_damaged_record_is_kept_and_nothing_is_uploaded(
    tmp_path: Path, damaged: str, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path)
    journal.record(stage(journal, b"precious"), RECORD, durable=False)
    journal.record(stage(journal, b"well"), RECORD, durable=False)
    broken = next(path for path in tmp_path.rglob("*.data") if path.read_bytes() == b"precious")
    broken.with_suffix(".json").write_text(damaged)
    kill(journal)
    assert replayed(tmp_path) == [(RECORD, b"well")]
    assert "cannot be read" in caplog.text
    for _ in range(2):  # and it stays, however many mounts follow
        assert replayed(tmp_path) == [(RECORD, b"well")]
        assert [path.read_bytes() for path in tmp_path.rglob("*.unreadable-data")] == [b"precious"]


def test_half_written_records_are_as_good_as_none(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    staged = stage(journal, b"content")
    staged.path.with_suffix(".tmp").write_text('{"contain')
    kill(journal)
    assert replayed(tmp_path) == []
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_record_survives_being_taken_over_halfway(tmp_path: Path) -> None:
    first, second = Journal(tmp_path), Journal(tmp_path)
    staged = stage(first, b"content")
    first.record(staged, RECORD, durable=False)
    record = staged.path.with_suffix(".json")
    record.rename(second.directory / record.name)  # and then that mount dies as well
    kill(first)
    kill(second)
    assert replayed(tmp_path) == [(RECORD, b"content")]


def test_a_full_disk_records_nothing_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path)
    staged = stage(journal, b"content")
    journal.record(staged, RECORD, durable=False)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(json, "dump", full)
        with pytest.raises(types.NoSpace):
            journal.record(staged, Record("cntr_1", "box", "new"), durable=True)
    kill(journal)
    assert replayed(tmp_path) == [(RECORD, b"content")]


def test_a_staged_file_is_a_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    staged = stage(journal, b"0123456789")
    versions = [staged.version]
    staged.append(memoryview(b"ab"))
    versions.append(staged.version)
    staged.truncate(11)
    versions.append(staged.version)
    assert versions == sorted(set(versions))
    assert content_of(staged) == b"0123456789a"
    staged.truncate(13)
    assert content_of(staged) == b"0123456789a\0\0"
    assert staged.key != stage(journal, b"").key
    journal.close()


def test_copying_from_the_cache(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    path = tmp_path / "source"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        staged = journal.stage()
        staged.copy_from(file.fileno(), 4)
        assert content_of(staged) == b"0123"
        with pytest.raises(types.Failed, match="shorter than its size"):
            journal.stage().copy_from(file.fileno(), 11)
    journal.close()


def test_errors_of_the_disk_are_told_apart(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    staged = stage(journal, b"")
    os.close(staged.fd)
    staged.fd = os.open("/dev/full", os.O_RDWR)
    with pytest.raises(types.NoSpace):
        staged.write(memoryview(b"x"), 0)
    with pytest.raises(types.Failed, match="on this machine's disk"):
        staged.truncate(5)
    journal.close()
