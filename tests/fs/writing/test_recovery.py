"""Recovery: what journals hold is listed without being taken over; what is decided about it is carried out whole."""

import sqlite3
from pathlib import Path

import pytest

from containerfs.fs import types
from containerfs.fs.staged import new_hash
from containerfs.fs.types import RemoteFile
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.records import Attempt, Entry
from containerfs.fs.writing.recovery import Leftover, Recovery
from tests.fs.writing.journal_process import note
from tests.fs.writing.test_journal import kill, left


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal" / "0123456789")


@pytest.fixture
def recovery(tmp_path: Path) -> Recovery:
    return Recovery(tmp_path)


def only(recovery: Recovery) -> Leftover:
    (leftover,) = recovery.leftovers()
    return leftover


def test_looking_takes_nothing_over(journal: Journal, recovery: Recovery) -> None:
    note(journal, "a")
    journal.stage().write(memoryview(b"open"), 0)
    files = sorted(journal.directory.rglob("*"))
    for is_running in (True, False):
        leftover = only(recovery)
        assert (leftover.name, leftover.id, leftover.size) == ("box/a", "01234567.1", 1)
        assert leftover.is_running is is_running
        assert sorted(journal.directory.rglob("*")) == files
        if is_running:
            kill(journal)
            files = sorted(journal.directory.rglob("*"))
    assert left(journal.directory) == {"a": b"a"}


def test_what_is_discarded_goes_and_what_was_sent_of_it_is_known_by_its_digest(
    journal: Journal, recovery: Recovery
) -> None:
    sequence = note(journal, "a")
    (entry,) = journal.entries()
    with journal.transaction() as tx:
        tx.begin(Attempt("key", "cntr_1", "a", 1, 1, entry=sequence, data=entry.data))
    kill(journal)
    recovery.discard(only(recovery))
    assert recovery.leftovers() == []
    assert list((journal.directory / "data").iterdir()) == []
    following = Journal(journal.directory)
    hash_ = new_hash()
    hash_.update(b"a")
    assert following.attempts() == [Attempt("key", "cntr_1", "a", 1, 1, digest=hash_.hexdigest())]
    following.close()


def test_a_copy_of_what_only_the_service_has_can_be_sent_or_discarded(
    journal: Journal, recovery: Recovery, tmp_path: Path
) -> None:
    with journal.transaction() as tx:
        tx.put(Entry("cntr_1", "box", "a", source=RemoteFile("cfile_1", "cntr_1", "b", 5, 1)))
    kill(journal)
    with pytest.raises(types.Failed, match="is a copy of a file that only the service has: send or discard it"):
        recovery.save(only(recovery), tmp_path / "saved")
    recovery.send(only(recovery))
    recovery.discard(only(recovery))
    assert recovery.leftovers() == []


def test_what_cannot_be_sent_is_not(journal: Journal, recovery: Recovery, tmp_path: Path) -> None:
    note(journal, "missing")
    unreadable = note(journal, "unreadable")
    (missing, _) = journal.entries()
    journal._database._db.execute("UPDATE entries SET replaces = '5' WHERE sequence = ?", (unreadable,))
    kill(journal)
    (journal.directory / "data" / str(missing.data)).unlink()
    with pytest.raises(types.Failed, match="the data of box/missing is missing: there is nothing to send"):
        recovery.send(recovery.find("box/missing"))
    with pytest.raises(types.Failed, match="on this machine's disk"):
        recovery.save(recovery.find("box/missing"), tmp_path / "saved")
    with pytest.raises(types.Failed, match="its record cannot be read: save it"):
        recovery.send(recovery.find("box/unreadable"))
    assert recovery.save(recovery.find("box/unreadable"), tmp_path / "saved")
    assert (tmp_path / "saved").read_bytes() == b"unreadable"
    for name in ("box/missing", "box/unreadable"):
        recovery.discard(recovery.find(name))
    assert recovery.leftovers() == []


def test_what_a_mount_has_taken_over_meanwhile_is_its_own(journal: Journal, recovery: Recovery) -> None:
    note(journal, "a")
    kill(journal)
    leftover = only(recovery)
    following = Journal(journal.directory)
    for decide in (recovery.send, recovery.discard):
        with pytest.raises(types.NotPermitted, match="a running mount has it"):
            decide(leftover)
    with following.transaction() as tx:
        tx.drop(following.entries()[0].sequence or 0)
    with pytest.raises(types.NotFound, match="box/a no longer exists"):
        recovery.discard(leftover)
    following.close()


def test_a_newer_versions_journal_is_said_to_be_one(journal: Journal, recovery: Recovery) -> None:
    kill(journal)
    with sqlite3.connect(journal.directory / "journal.db") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(types.Failed, match="written by a newer version of containerfs"):
        recovery.leftovers()
