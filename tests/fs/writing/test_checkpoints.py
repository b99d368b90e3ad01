"""The journal's log is kept short, whatever fails in between."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from containerfs.fs.writing import checkpoints
from containerfs.fs.writing.checkpoints import Checkpoints
from tests.fs.gates import eventually


def transactions(checkpoints_: Checkpoints) -> None:
    """As many as make a checkpoint due."""
    for _ in range(checkpoints._EVERY):
        checkpoints_.committed()


def test_a_database_that_cannot_be_opened_for_a_moment_is_opened_for_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "there later" / "journal.db"
    kept = Checkpoints(path)
    transactions(kept)
    eventually(lambda: "could not be written into its database" in caplog.text)
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("CREATE TABLE entries (sequence)")
        before = path.stat().st_size
        transactions(kept)
        eventually(lambda: path.stat().st_size > before)
        kept.close()
