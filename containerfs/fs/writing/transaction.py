"""What can change in the journal, within one transaction: its entries, attempts and deletions."""

import sqlite3
from collections.abc import Iterable

from containerfs.fs.namespace.attributes import Attributes
from containerfs.fs.state import Failure
from containerfs.fs.types import RemoteFile
from containerfs.fs.writing.database import TABLES
from containerfs.fs.writing.owners import NOBODY
from containerfs.fs.writing.records import (
    Attempt,
    Deletion,
    Entry,
    decode_ids,
    encode_attributes,
    encode_file,
    encode_ids,
    may_be_named,
)


class Transaction:
    """Changes to the journal that happen together.

    Args:
        db: a database with an open transaction.
        owner: of the rows that are added.
    """

    def __init__(self, db: sqlite3.Connection, owner: str) -> None:
        self._db = db
        self._owner = owner
        self._dropped: set[str] = set()  # data of removed rows

    def unneeded(self) -> set[str]:
        """The data that was promised to be kept for removed rows, and is not needed any more."""
        named = "SELECT 1 FROM entries WHERE data = ?"
        return {name for name in self._dropped if self._db.execute(named, (name,)).fetchone() is None}

    # Entries

    def put(self, entry: Entry) -> int:
        """Record what is due, replacing the row that the entry has. Returns the sequence of the new row."""
        row = (
            *(self._owner, entry.container_id, entry.container_name, entry.path, entry.data),
            *(encode_file(entry.source), encode_ids(entry.replaces), encode_attributes(entry.attributes)),
            *(entry.size, entry.digest, entry.error, entry.held, encode_file(entry.stored), entry.boot),
        )
        cursor = self._db.execute(
            "INSERT INTO entries (owner, container_id, container_name, path, data, source, replaces, attributes, size,"
            " digest, error, held, stored, boot) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )
        sequence = cursor.lastrowid
        assert sequence is not None
        if entry.sequence is not None:
            self.overtake(entry.sequence, by=sequence)
        return sequence

    def overtake(self, sequence: int, by: int) -> None:
        """Replace an entry by later content. What its attempts left is looked for once that content is stored."""
        self._db.execute("UPDATE attempts SET entry = ? WHERE entry = ?", (by, sequence))
        self._remove(sequence)

    def outdate_earlier(self, sequence: int) -> None:
        """Record that the service will have an entry, so that earlier ones of its path, of other mounts, are not
        replayed."""
        self._db.execute(
            "UPDATE entries SET outdated = 1 FROM entries AS later WHERE later.sequence = ?"
            " AND entries.owner != later.owner AND entries.container_id = later.container_id"
            " AND entries.path = later.path"
            " AND coalesce(entries.moved, entries.sequence) < coalesce(later.moved, later.sequence)",
            (sequence,),
        )

    def take_over(self, owner: str) -> None:
        """Take over what a dead mount left, except what is older than what the service has by now."""
        rows = self._db.execute("SELECT sequence FROM entries WHERE owner = ? AND outdated", (owner,)).fetchall()
        for (sequence,) in rows:
            self.drop(sequence)
        for table in TABLES:
            self._db.execute(f"UPDATE {table} SET owner = ? WHERE owner = ?", (self._owner, owner))

    def drop(self, sequence: int) -> None:
        """Record that nothing is due for an entry. What its attempts may have left on the service is to be removed."""
        self._remove(sequence)
        self._db.execute("UPDATE attempts SET entry = NULL WHERE entry = ?", (sequence,))

    def move(self, sequence: int, path: str, replaces: Iterable[str]) -> None:
        """Give an entry another path, where it replaces these files. Its attempts at the old path no longer count as
        its own."""
        self._db.execute("UPDATE attempts SET entry = NULL WHERE entry = ? AND path != ?", (sequence, path))
        # What a rename puts at a path is later than what was there, so it gets a new place in the sequence.
        self._db.execute("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'entries'")
        (moved,) = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'entries'").fetchone()
        self._db.execute(
            "UPDATE entries SET path = ?, replaces = ?, moved = ? WHERE sequence = ?",
            (path, encode_ids(replaces), moved, sequence),
        )

    def replace_also(self, sequence: int, file_ids: Iterable[str]) -> None:
        """Add to the files that an entry replaces."""
        for (text,) in self._db.execute("SELECT replaces FROM entries WHERE sequence = ?", (sequence,)).fetchall():
            merged = encode_ids(decode_ids(text) | frozenset(file_ids))
            self._db.execute("UPDATE entries SET replaces = ? WHERE sequence = ?", (merged, sequence))

    def note_attributes(self, sequence: int, attributes: Attributes) -> None:
        """Record attributes that were set for a file since."""
        self._db.execute(
            "UPDATE entries SET attributes = ? WHERE sequence = ?", (encode_attributes(attributes), sequence)
        )

    def note_failure(self, sequence: int, failure: Failure, digest: str | None) -> None:
        """Record why the last attempt failed, and the digest of the content if it was computed."""
        self._db.execute(
            "UPDATE entries SET error = ?, held = ?, digest = coalesce(digest, ?) WHERE sequence = ?",
            (failure.reason, failure.lasting, digest, sequence),
        )

    def note_closed(self, sequence: int, digest: str) -> None:
        """Record the digest of what was closed."""
        self._db.execute("UPDATE entries SET digest = ? WHERE sequence = ?", (digest, sequence))

    def note_on_disk(self, sequence: int) -> None:
        """Record that this machine's disk has the content of an entry."""
        self._db.execute("UPDATE entries SET boot = NULL WHERE sequence = ?", (sequence,))

    def note_stored(self, sequence: int, stored: RemoteFile) -> None:
        """Record that the service has it. What it replaces stays until its rename is complete."""
        self._db.execute("UPDATE entries SET stored = ? WHERE sequence = ?", (encode_file(stored), sequence))

    def set_aside(self, sequence: int, reason: str) -> None:
        """Stop showing and trying an entry until somebody decides what to do with it."""
        self._db.execute("UPDATE entries SET set_aside = ? WHERE sequence = ?", (reason, sequence))
        self._db.execute("UPDATE attempts SET entry = NULL WHERE entry = ?", (sequence,))

    def bring_back(self, sequence: int) -> None:
        """Let the next mount try an entry that was set aside."""
        self._db.execute(
            "UPDATE entries SET set_aside = NULL, error = NULL, held = 0, digest = NULL, owner = ? WHERE sequence = ?",
            (NOBODY, sequence),
        )

    def _remove(self, sequence: int) -> None:
        rows = self._db.execute("SELECT data FROM entries WHERE sequence = ? AND data IS NOT NULL", (sequence,))
        self._dropped.update(name for (name,) in rows.fetchall())
        self._db.execute("DELETE FROM entries WHERE sequence = ?", (sequence,))

    # Attempts

    def begin(self, attempt: Attempt) -> None:
        """Record a request that is about to be sent."""
        self._db.execute(
            "INSERT OR REPLACE INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(attempt.key, self._owner, attempt.container_id, attempt.path, attempt.size, attempt.started),
                *(attempt.entry, attempt.data, attempt.source_id, attempt.digest, encode_ids(attempt.known)),
            ),
        )

    def end(self, key: str) -> None:
        """Record that the result of a request is known."""
        self._db.execute("DELETE FROM attempts WHERE key = ?", (key,))

    def note_digest(self, key: str, digest: str | None) -> None:
        """Record the digest of what a request has sent."""
        self._db.execute("UPDATE attempts SET digest = coalesce(digest, ?) WHERE key = ?", (digest, key))

    def note_fetched(self, key: str, data: str, digest: str) -> None:
        """Record what was fetched from the source of a request, and will be sent."""
        self._db.execute("UPDATE attempts SET data = ?, digest = ? WHERE key = ?", (data, digest, key))

    def abandon(self, key: str, digest: str | None) -> None:
        """Record that nobody wants the result of a request, which may be on the service."""
        self._db.execute("UPDATE attempts SET entry = NULL, digest = coalesce(digest, ?) WHERE key = ?", (digest, key))

    def note_known(self, stored: RemoteFile) -> None:
        """Record that a file of the service has a name, so that no request with an unknown result has left it."""
        select = "SELECT key, path, known FROM attempts WHERE container_id = ?"
        for key, path, text in self._db.execute(select, (stored.container_id,)).fetchall():
            if may_be_named(stored.path, path):
                known = encode_ids(decode_ids(text) | {stored.id})
                self._db.execute("UPDATE attempts SET known = ? WHERE key = ?", (known, key))

    def data_gone(self, name: str, digest: str | None) -> None:
        """Record that the content of requests is deleted here. Its digest still tells what they left on the service."""
        self._db.execute("UPDATE attempts SET data = NULL, digest = coalesce(digest, ?) WHERE data = ?", (digest, name))

    # Deletions

    def delete_later(self, container_id: str, file_ids: Iterable[str]) -> None:
        """Record files of the service that have to go."""
        rows = [(container_id, file_id, self._owner) for file_id in file_ids]
        self._db.executemany("INSERT OR REPLACE INTO deletions VALUES (?, ?, ?)", rows)

    def deleted(self, deletion: Deletion) -> None:
        """Record that a file is gone, or is to stay after all."""
        self._db.execute(
            "DELETE FROM deletions WHERE container_id = ? AND file_id = ?", (deletion.container_id, deletion.file_id)
        )

    def forget_container(self, container_id: str) -> None:
        """Record that a container is gone, with everything that was to be deleted in it."""
        self._db.execute("DELETE FROM deletions WHERE container_id = ?", (container_id,))
        self._db.execute("DELETE FROM attempts WHERE container_id = ?", (container_id,))
