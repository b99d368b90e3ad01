"""The journal: what was promised outlives its mount, once, whatever happens to the directory."""

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from containerfs.fs import types
from containerfs.fs.namespace.attributes import Attributes
from containerfs.fs.state import Failure
from containerfs.fs.types import RemoteFile
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.records import Attempt, Deletion, Entry
from tests.fs.gates import eventually
from tests.fs.writing.journal_process import note
from tests.fuse.namespace import FULL_DISK, namespace

FILE = RemoteFile("cfile_1", "cntr_1", "a/b.txt", 5, 1700000000)
ENTRY = Entry(
    "cntr_1",
    "box",
    "a/b.txt",
    None,
    FILE,
    frozenset({"cfile_1", "cfile_2"}),
    Attributes(mode=0o600, mtime=5),
    5,
    "digest",
    "refused",
    True,
    FILE,
    "boot",
)
ATTEMPT = Attempt("key", "cntr_1", "a/b.txt", 5, 1700000000, None, None, "cfile_1", "digest", frozenset({"cfile_1"}))


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


def kill(journal: Journal) -> None:
    """End it as its process' death does: nothing more is written, and the kernel drops the lock."""
    journal._database.close()
    os.close(journal._ownership._fd)


def contents(journal: Journal) -> dict[str, bytes]:
    """The contents that are due, by path, in their order."""
    return {entry.path: journal.staged(entry.data).path.read_bytes() for entry in journal.entries() if entry.data}


def left(directory: Path) -> dict[str, bytes]:
    """What the next mount finds due; it ends in order."""
    journal = Journal(directory)
    try:
        return contents(journal)
    finally:
        journal.close()


def data_files(journal: Journal) -> list[bytes]:
    return sorted(path.read_bytes() for path in (journal.directory / "data").iterdir())


class Other:
    """Another mount's journal, in a process of its own that notes ``paths``."""

    def __init__(self, directory: Path, *paths: str) -> None:
        command = [sys.executable, "-m", "tests.fs.writing.journal_process", str(directory), *paths]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def note(self, path: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"put {path}\n")
        assert self.process.stdout.readline() == "noted\n"

    def end(self) -> None:
        assert self.process.communicate("end\n", timeout=60)[0] == ""
        assert self.process.returncode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=60)


@contextlib.contextmanager
def other(directory: Path, *paths: str) -> Iterator[Other]:
    process = Other(directory, *paths)
    try:
        process.ready()
        yield process
    finally:
        process.kill()


# What is noted


@pytest.mark.parametrize("killed", [True, False])
def test_what_was_noted_is_had_by_the_next_mount_as_it_was(journal: Journal, killed: bool) -> None:
    with journal.transaction() as tx:
        sequence = tx.put(ENTRY)
        tx.begin(ATTEMPT)
        tx.delete_later("cntr_1", ["cfile_3"])
    kill(journal) if killed else journal.close()
    for _ in range(2):  # it is due until it is dropped
        following = Journal(journal.directory)
        (entry,) = following.entries()
        assert entry == type(entry)(**{**fields(ENTRY), "sequence": sequence})
        assert following.attempts() == [ATTEMPT]
        assert following.deletions() == [Deletion("cntr_1", "cfile_3")]
        following.close()


def fields(entry: Entry) -> dict[str, object]:
    return {name: getattr(entry, name) for name in Entry.__slots__}


def test_a_transaction_happens_whole_or_not_at_all(journal: Journal) -> None:
    note(journal, "before")
    with contextlib.suppress(KeyError), journal.transaction() as tx:
        tx.put(ENTRY)
        tx.begin(ATTEMPT)
        tx.delete_later("cntr_1", ["cfile_3"])
        raise KeyError
    assert (list(contents(journal)), journal.attempts(), journal.deletions()) == (["before"], [], [])
    note(journal, "after")
    assert list(contents(journal)) == ["before", "after"]


def test_a_transaction_under_way_when_its_process_is_killed_has_not_happened(tmp_path: Path) -> None:
    program = (
        "import os, sys, pathlib\n"
        "from containerfs.fs.writing.journal import Journal\n"
        "from tests.fs.writing.test_journal import ENTRY\n"
        "journal = Journal(pathlib.Path(sys.argv[1]))\n"
        "with journal.transaction() as tx:\n"
        "    tx.put(ENTRY)\n"
        "with journal.transaction() as tx:\n"
        "    tx.put(ENTRY)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, tmp_path], timeout=60).returncode == -9
    assert len(Journal(tmp_path).entries()) == 1


def test_a_row_that_takes_anothers_place_has_its_attempts(journal: Journal) -> None:
    with journal.transaction() as tx:
        first = tx.put(ENTRY)
        tx.begin(Attempt("key", "cntr_1", "a/b.txt", 5, 1, entry=first))
        second = tx.put(Entry("cntr_1", "box", "a/b.txt", "data", sequence=first))
    assert second > first
    assert [entry.data for entry in journal.entries()] == ["data"]
    assert [attempt.key for attempt in journal.attempts(second)] == ["key"]


def test_what_is_dropped_is_not_due_and_what_it_sent_is_nobodys(journal: Journal) -> None:
    with journal.transaction() as tx:
        sequence = tx.put(ENTRY)
        tx.begin(Attempt("key", "cntr_1", "a/b.txt", 5, 1, entry=sequence))
        tx.drop(sequence)
    assert journal.entries() == []
    assert [attempt.key for attempt in journal.attempts()] == ["key"]


def test_what_is_set_aside_waits_until_it_is_brought_back(journal: Journal) -> None:
    sequence = note(journal, "a")
    with journal.transaction() as tx:
        tx.note_failure(sequence, Failure("refused", lasting=True), "digest")
        tx.set_aside(sequence, "its container is gone")
    assert journal.entries() == []
    assert [(row.name, row.reason) for row in journal.all_set_aside()] == [("box/a", "its container is gone")]
    with journal.transaction() as tx:
        tx.bring_back(sequence)
    assert (journal.entries(), journal.all_set_aside()) == ([], [])
    (entry,) = journal.take_returned()
    assert journal.entries() == [entry]
    assert journal.take_returned() == []
    assert (entry.error, entry.held, entry.digest) == (None, False, None)


def test_after_its_end_a_journal_says_so(journal: Journal) -> None:
    journal.close()
    with pytest.raises(types.Failed, match="the mount has ended"):
        journal.entries()
    with pytest.raises(types.Failed, match="the mount has ended"), journal.transaction():
        pass


# Staged data


def test_data_that_nobody_was_told_is_safe_is_removed(journal: Journal) -> None:
    journal.stage().write(memoryview(b"never closed"), 0)
    note(journal, "closed")
    kill(journal)
    following = Journal(journal.directory)
    assert data_files(following) == [b"closed"]
    assert following.unlisted_data() == []
    following.close()


def test_promised_data_without_a_row_is_set_aside(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    sequence = note(journal, "promised")
    note(journal, "well")
    journal._database._db.execute("DELETE FROM entries WHERE sequence = ?", (sequence,))
    kill(journal)
    for _ in range(2):  # and it stays, however many mounts follow
        following = Journal(journal.directory)
        assert contents(following) == {"well": b"well"}
        assert [path.read_bytes() for path in following.unlisted_data()] == [b"promised"]
        following.close()
    assert "their records are missing" in caplog.text


def test_data_stays_while_an_attempt_may_have_to_be_looked_for(journal: Journal) -> None:
    staged = journal.stage()
    with journal.transaction() as tx:
        tx.begin(Attempt("key", "cntr_1", "a", 0, 1, data=staged.path.name))
    journal.discard(staged)
    assert staged.path.exists()
    kill(journal)
    following = Journal(journal.directory)
    assert staged.path.exists()
    with following.transaction() as tx:
        tx.end("key")
    following.discard(following.staged(staged.path.name))
    assert not staged.path.exists()
    following.close()


# Damage


def test_a_database_that_cannot_be_read_is_set_aside_with_its_data(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    note(journal, "precious")
    journal.stage().write(memoryview(b"open"), 0)
    kill(journal)
    (journal.directory / "journal.db").write_bytes(os.urandom(20_000))
    following = Journal(journal.directory)
    assert following.entries() == []
    assert sorted(path.read_bytes() for path in following.unlisted_data()) == [b"open", b"precious"]
    assert "file is not a database" in caplog.text
    note(following, "new")
    kill(following)
    assert left(journal.directory) == {"new": b"new"}


@pytest.mark.parametrize("damage", ["middle", "half", "empty", "gone", "tables", "schema"])
def test_whatever_happens_to_the_database_the_mount_starts_and_the_data_is_kept(journal: Journal, damage: str) -> None:
    for number in range(200):
        note(journal, f"{number:0100}")
    if damage == "tables":
        journal._database._db.execute("DROP TABLE attempts")
    elif damage == "schema":
        journal._database._db.execute("PRAGMA user_version = 0")
    journal.close()
    spoil(journal.directory / "journal.db", damage)
    following = Journal(journal.directory)
    kept = [*contents(following).values(), *(path.read_bytes() for path in following.unlisted_data())]
    assert sorted(kept) == [b"%0100d" % number for number in range(200)]
    note(following, "new")
    assert contents(following)["new"] == b"new"
    following.close()


def spoil(path: Path, damage: str) -> None:
    size = path.stat().st_size
    if damage == "gone":
        path.unlink()
    elif damage in ("half", "empty"):
        os.truncate(path, size // 2 if damage == "half" else 0)
    elif damage == "middle":
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(size - 8192))


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_a_log_full_of_garbage_loses_names_and_no_data(journal: Journal, suffix: str) -> None:
    for number in range(20):
        note(journal, str(number))
    copy_out(journal)
    log = journal.directory / f"journal.db{suffix}"
    log.write_bytes(os.urandom(log.stat().st_size))
    following = Journal(journal.directory)
    kept = [*contents(following).values(), *(path.read_bytes() for path in following.unlisted_data())]
    assert sorted(kept) == sorted(b"%d" % number for number in range(20))
    following.close()


def copy_out(journal: Journal) -> None:
    """Kill the mount, with the files of its database as they were: closing the last connection would empty the log."""
    files = {path: path.read_bytes() for path in journal.directory.glob("journal.db*")}
    kill(journal)
    for path, content in files.items():
        path.write_bytes(content)


def test_a_damaged_database_is_not_taken_away_from_a_mount_that_uses_it(journal: Journal) -> None:
    with other(journal.directory, "a"):
        journal._database._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        kill(journal)
        (journal.directory / "journal.db").write_bytes(os.urandom(20_000))
        with pytest.raises(types.Failed, match="is damaged, and another mount uses it: unmount that first"):
            Journal(journal.directory)
        assert len(list((journal.directory / "data").iterdir())) == 1
    following = Journal(journal.directory)
    assert [path.read_bytes() for path in following.unlisted_data()] == [b"a"]
    following.close()


@pytest.mark.parametrize("garbage", ["", "{", "null", "5", '"abc"', "[5]", '{"mode": "rw"}', "[[]]", '{"path": 1}'])
@pytest.mark.parametrize("column", ["replaces", "attributes", "source"])
def test_a_row_that_cannot_be_read_is_set_aside_and_listed(
    journal: Journal, column: str, garbage: str, caplog: pytest.LogCaptureFixture
) -> None:
    sequence = note(journal, "broken")
    note(journal, "well")
    journal._database._db.execute(f"UPDATE entries SET {column} = ? WHERE sequence = ?", (garbage, sequence))
    kill(journal)
    assert left(journal.directory) == {"well": b"well"}
    assert "box/broken cannot be read" in caplog.text
    for _ in range(2):
        following = Journal(journal.directory)
        (aside,) = following.all_set_aside()
        assert (aside.name, aside.reason) == ("box/broken", "its record in the journal cannot be read")
        assert aside.data is not None
        assert following.staged(aside.data).path.read_bytes() == b"broken"
        following.close()


def test_an_attempt_that_cannot_be_read_is_forgotten(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    with journal.transaction() as tx:
        tx.begin(ATTEMPT)
        tx.begin(Attempt("well", "cntr_1", "a", 5, 1))
    journal._database._db.execute("UPDATE attempts SET known = '5' WHERE key = 'key'")
    assert [attempt.key for attempt in journal.attempts()] == ["well"]
    assert "Not looking for what an upload of a/b.txt has left" in caplog.text
    caplog.clear()
    assert [attempt.key for attempt in journal.attempts()] == ["well"]
    assert not caplog.records


def test_damage_while_mounted_is_a_failure_of_what_was_asked(journal: Journal) -> None:
    note(journal, "a")
    journal._database._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (journal.directory / "journal.db").open("r+b") as file:
        file.write(bytes(os.urandom(20_000)))
    journal._database._db.execute("PRAGMA shrink_memory")
    with pytest.raises(types.Failed, match="the journal"):
        journal.entries()
    with pytest.raises(types.Failed, match="the journal"):
        note(journal, "b")


def test_a_newer_versions_journal_is_refused_and_left_as_it_is(journal: Journal) -> None:
    note(journal, "a")
    (version,) = journal._database._db.execute("PRAGMA user_version").fetchone()
    journal._database._db.execute(f"PRAGMA user_version = {version + 1}")
    kill(journal)
    for _ in range(2):
        with pytest.raises(types.Failed, match="written by a newer version of containerfs: use that one"):
            Journal(journal.directory)
    with contextlib.closing(sqlite3.connect(journal.directory / "journal.db")) as db:
        db.execute(f"PRAGMA user_version = {version}")
    assert left(journal.directory) == {"a": b"a"}


# Full disks

_ON_A_FULL_DISK = """
import os, sys
from pathlib import Path
from containerfs.fs import types
from containerfs.fs.writing.journal import Journal
from tests.fs.writing.journal_process import note
from tests.fs.writing.test_journal import ATTEMPT, ENTRY

journal = Journal(Path(sys.argv[1], "journal"))
note(journal, "before")
with open(Path(sys.argv[1], "filler"), "wb", buffering=0) as filler:
    try:
        while True:
            filler.write(bytes(4096))
    except OSError:
        pass
noted = 0
try:
    while noted < 100_000:
        with journal.transaction() as tx:
            tx.put(ENTRY)
            tx.delete_later("cntr_1", [f"cfile_{noted}"])
        noted += 1
except types.NoSpace:
    pass
assert len(journal.entries()) == noted + 1
assert len(journal.deletions()) == noted
Path(sys.argv[1], "filler").unlink()
note(journal, "after")
print(noted, flush=True)
os._exit(0)
"""


def test_on_a_full_disk_there_is_room_for_some_transactions_and_then_none_is_half(tmp_path: Path) -> None:
    with namespace(FULL_DISK, tmp_path / "disk", "8M") as prefix:
        program = [*prefix, sys.executable, "-c", _ON_A_FULL_DISK, tmp_path / "disk"]
        noted = int(subprocess.run(program, check=True, capture_output=True, text=True, timeout=120).stdout)
        assert 50 < noted < 100_000
        following = (
            "import sys, pathlib; from tests.fs.writing.test_journal import Journal;"
            "journal = Journal(pathlib.Path(sys.argv[1], 'journal'));"
            "print(len(journal.entries()), len(journal.deletions()), journal.entries()[-1].path)"
        )
        program = [*prefix, sys.executable, "-c", following, tmp_path / "disk"]
        found = subprocess.run(program, check=True, capture_output=True, text=True, timeout=120).stdout
        assert found.split() == [str(noted + 2), str(noted), "after"]


# The log


def in_the_database_itself(journal: Journal, copy: Path) -> int:
    """How many entries somebody finds who has the database, and not its log."""
    copy.write_bytes((journal.directory / "journal.db").read_bytes())
    with contextlib.closing(sqlite3.connect(copy)) as db:
        try:
            (count,) = db.execute("SELECT count(*) FROM entries").fetchone()
        except sqlite3.DatabaseError:  # it was being written to
            return 0
        return int(count)


def test_the_log_is_written_into_the_database_beside_the_transactions(journal: Journal, tmp_path: Path) -> None:
    (automatic,) = journal._database.select("PRAGMA wal_autocheckpoint")
    assert automatic == (0,)
    eventually(lambda: note(journal, "a") > 32 and in_the_database_itself(journal, tmp_path / "copy") >= 32)


def test_the_log_does_not_grow_without_end(journal: Journal) -> None:
    for number in range(3_000):
        with journal.transaction() as tx:
            tx.put(ENTRY)
            tx.delete_later("cntr_1", [f"cfile_{number}"])
    assert (journal.directory / "journal.db-wal").stat().st_size < 64 << 20


@pytest.mark.parametrize(("version", "lacking"), [(1, ["boot", "outdated"]), (2, ["outdated"]), (3, [])])
def test_a_journal_of_a_version_before_is_read(journal: Journal, version: int, lacking: list[str]) -> None:
    with journal.transaction() as tx:
        tx.begin(replace(ATTEMPT, entry=tx.put(ENTRY)))
    journal.close()
    with contextlib.closing(sqlite3.connect(journal.directory / "journal.db", isolation_level=None)) as db:
        if version < 3:
            db.execute("DROP INDEX entries_of_a_path")
        for column in lacking:
            db.execute(f"ALTER TABLE entries DROP COLUMN {column}")
        db.execute("ALTER TABLE attempts RENAME TO later")
        db.execute("DROP INDEX attempts_of_an_entry")
        db.execute("CREATE TABLE attempts AS SELECT * FROM later")
        db.execute("CREATE INDEX attempts_of_an_entry ON attempts (entry)")
        db.execute("DROP TABLE later")
        db.execute(f"PRAGMA user_version = {version}")
    following = Journal(journal.directory)
    assert [entry.path for entry in following.entries()] == [ENTRY.path]
    assert [attempt.key for attempt in following.attempts(1)] == [ATTEMPT.key]
    note(following, "new")
    assert len(following.entries()) == 2
    following.close()


# Several mounts


def test_what_a_mount_that_is_gone_has_left_is_taken_over_and_what_a_live_one_has_is_not(tmp_path: Path) -> None:
    with other(tmp_path, "dead") as dead, other(tmp_path, "live") as live:
        dead.kill()
        journal = Journal(tmp_path)
        assert contents(journal) == {"dead": b"dead"}
        assert data_files(journal) == [b"dead", b"live"]
        live.note("later")
        journal.close()
        live.end()
    assert left(tmp_path) == {"live": b"live", "dead": b"dead", "later": b"later"}


def test_data_of_a_live_mount_is_left_alone_before_it_is_noted(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    staged = first.stage()
    staged.write(memoryview(b"being written"), 0)
    with other(tmp_path):
        assert staged.path.read_bytes() == b"being written"
    first.close()


def test_the_order_in_which_mounts_wrote_is_the_order_of_replay(tmp_path: Path) -> None:
    with other(tmp_path) as first, other(tmp_path) as second:
        for number in range(3):
            first.note(f"first {number}")
            second.note(f"second {number}")
        second.kill()
        first.end()
    assert list(left(tmp_path)) == [f"{name} {number}" for number in range(3) for name in ("first", "second")]


def test_what_a_dead_mount_left_goes_to_one_of_many_that_begin_at_once(tmp_path: Path) -> None:
    for turn in range(5):
        with other(tmp_path, f"left {turn}"):
            pass
        starting = [Other(tmp_path, f"own {turn} {number}") for number in range(6)]
        for process in starting:
            process.ready()
        for number, process in enumerate(starting):
            process.end() if number % 2 else process.kill()
    wanted = {f"left {turn}" for turn in range(5)} | {
        f"own {turn} {number}" for turn in range(5) for number in range(6)
    }
    found = left(tmp_path)
    assert set(found) == wanted
    assert all(path.encode() == content for path, content in found.items())
    assert len(list((tmp_path / "owners").iterdir())) == 0


def test_mounts_that_begin_and_end_all_the_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from containerfs.fs.writing.journal import Journal\n"
        "from tests.fs.writing.journal_process import note\n"
        "for number in range(20):\n"
        "    journal = Journal(pathlib.Path(sys.argv[1]))\n"
        "    note(journal, f'{sys.argv[2]} {number}')\n"
        "    journal.close()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    processes = [subprocess.Popen([*command, str(number)], stderr=subprocess.PIPE) for number in range(4)]
    assert [process.communicate(timeout=100)[1] for process in processes] == [b""] * 4
    assert len(left(tmp_path)) == 80


def test_another_mounts_transaction_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("containerfs.fs.writing.database._BUSY", 0.1)
    first, second = Journal(tmp_path), Journal(tmp_path)
    with first.transaction(), pytest.raises(types.Failed, match="the journal cannot be used: database is locked"):
        note(second, "a")
    assert second.entries() == []
    note(second, "b")
    assert list(contents(second)) == ["b"]
    first.close()
    second.close()
