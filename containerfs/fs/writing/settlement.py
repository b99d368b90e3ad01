"""Settling: what a request whose answer was lost has left on the service.

A file there is ours only if its content is: the digests must agree. Names, sizes and times merely say which files are
worth looking at. What an abandoned request left, whole or cut short, is deleted; it is looked for several times, since
a request may still be on its way when its answer is given up.
"""

import logging
import threading

from containerfs.fs import types
from containerfs.fs.namespace.tree import Suspect, Tree
from containerfs.fs.remote import Remote
from containerfs.fs.staged import new_hash
from containerfs.fs.types import RemoteFile
from containerfs.fs.writing.deletions import Deletions
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.records import Attempt
from containerfs.fs.writing.schedule import Job, Schedule

log = logging.getLogger(__name__)

_LOOKS = (0.0, 5.0, 30.0, 120.0)  # seconds after which an abandoned request is looked for, one after the other
_SKEW = 300  # seconds by which the service's clock may be behind ours


class Settlement:
    """Finds out what became of requests. Thread-safe."""

    def __init__(self, remote: Remote, tree: Tree, journal: Journal, deletions: Deletions, schedule: Schedule) -> None:
        self._remote = remote
        self._tree = tree
        self._journal = journal
        self._deletions = deletions
        self._schedule = schedule
        self._renames = False  # whether the service was seen to add to the names of uploads
        self._unlooked: set[str] = set()
        self._changed = threading.Condition()  # guards the set; notified when it shrinks

    def find(self, attempt: Attempt, digest: str) -> RemoteFile | None:
        """What a request has stored, if it has. Raises FsError if that cannot be found out now."""
        for candidate in self._candidates(attempt):
            if candidate.size in (None, attempt.size) and self._digest(candidate, attempt.size) == digest:
                return candidate
        return None

    def note_stored(self, asked: str, stored: str) -> None:
        """Learn from an upload whether the service adds to names."""
        self._renames = self._renames or stored != asked

    def take_up(self) -> None:
        """Look for what abandoned requests have left, from now on; until that is known, it is not shown."""
        for attempt in self._journal.attempts():
            with self._tree.lock:
                suspects = self._tree.suspects.setdefault(attempt.container_id, {})
                if attempt.key in suspects:
                    continue
                suspects[attempt.key] = Suspect(attempt.path, attempt.size, attempt.started - _SKEW, attempt.known)
            with self._changed:
                self._unlooked.add(attempt.key)
            self._look_later(attempt, 0)

    def wait(self, timeout: float) -> None:
        """Wait until every abandoned request was looked for once, for ``timeout`` seconds at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self._unlooked, timeout)

    def _look_later(self, attempt: Attempt, look: int) -> None:
        def run(_: Job) -> None:
            self._look(attempt, look)
            self._note_looked(attempt)

        def refused(error: types.FsError) -> None:
            log.warning("What may be left of %r is looked for later: %s", attempt.path, error)
            self._note_looked(attempt)
            self._look_later(attempt, max(1, look))

        if look == len(_LOOKS):
            self._end(attempt)
        else:
            self._schedule.submit(("attempt", attempt.key), _LOOKS[look], run, refused)

    def _note_looked(self, attempt: Attempt) -> None:
        with self._changed:
            self._unlooked.discard(attempt.key)
            self._changed.notify_all()

    def _look(self, attempt: Attempt, look: int) -> None:
        try:
            copied = attempt.source_id is not None and self._remote.dialect.copies_by_path
            left = self._copied(attempt) if copied else self._left_by(attempt)
        except types.NotFound:  # its container is gone
            self._end(attempt)
        except types.FsError as error:
            log.warning("What may be left of %r is looked for again: %s", attempt.path, error)
            self._look_later(attempt, max(1, look))
        else:
            if left is None:
                self._look_later(attempt, look + 1)
            else:
                self._remove(attempt, left)

    def _remove(self, attempt: Attempt, left: RemoteFile) -> None:
        with self._tree.lock:
            with self._journal.transaction() as tx:
                tx.end(attempt.key)
                tx.delete_later(left.container_id, [left.id])
            self._tree.hide_ids(left.container_id, [left.id])
        self._end(attempt)
        self._deletions.carry_out(left.container_id, [left.id])

    def _end(self, attempt: Attempt) -> None:
        with self._journal.transaction() as tx:
            tx.end(attempt.key)
        with self._tree.lock:
            self._tree.suspects.get(attempt.container_id, {}).pop(attempt.key, None)
        if attempt.data is not None:
            self._journal.discard(self._journal.staged(attempt.data))

    def _copied(self, attempt: Attempt) -> RemoteFile | None:
        """The result of a request to copy: the same request, sent again, is answered as the first was."""
        assert attempt.source_id is not None
        source = RemoteFile(attempt.source_id, attempt.container_id, attempt.path, attempt.size, attempt.started)
        return self._remote.copy(source, attempt.path, attempt.key)

    def _left_by(self, attempt: Attempt) -> RemoteFile | None:
        """A file that holds what the request sent, or the beginning of it, and that nobody has taken for another."""
        for candidate in self._candidates(attempt):
            if self._is_left_by(attempt, candidate):
                return candidate
            self._clear(attempt, candidate)
        return None

    def _is_left_by(self, attempt: Attempt, candidate: RemoteFile) -> bool:
        digest = self._expected(attempt, candidate.size)
        if digest is None or self._stands_for_a_name(candidate):
            return False
        return self._digest(candidate, attempt.size) == digest

    def _clear(self, attempt: Attempt, candidate: RemoteFile) -> None:
        """A file is not what the request left: it is shown, at the next listing at the latest."""
        with self._tree.lock:
            suspect = self._tree.suspects.get(attempt.container_id, {}).get(attempt.key)
            if suspect is not None:
                suspect.known |= {candidate.id}

    def _stands_for_a_name(self, file: RemoteFile) -> bool:
        with self._tree.lock:
            container = self._tree.container(file.container_id)
            return container is not None and file.id in container.by_id

    def _candidates(self, attempt: Attempt) -> list[RemoteFile]:
        newest = self._remote.newest(attempt.container_id, attempt.started)
        return [
            file
            for file in newest
            if file.id not in attempt.known and self._may_be_named(file.path, attempt.path) and _fits(file, attempt)
        ]

    def _may_be_named(self, stored: str, asked: str) -> bool:
        """Whether the service may have stored under one path what was sent under another."""
        if stored == asked:
            return True
        (directory, _, name), (asked_directory, _, asked_name) = stored.rpartition("/"), asked.rpartition("/")
        return self._renames and directory == asked_directory and asked_name in name

    def _expected(self, attempt: Attempt, size: int | None) -> str | None:
        """The digest that the content, cut to ``size`` bytes, has; None where that is not known any more."""
        whole = size is None or size == attempt.size
        if whole and attempt.digest is not None:
            return attempt.digest
        if attempt.data is None or size == 0:  # an empty file may be anybody's
            return None
        staged = self._journal.staged(attempt.data)
        return staged.digest(None if whole else size) if staged.path.exists() else None

    def _digest(self, file: RemoteFile, limit: int | None) -> str | None:
        """The digest of a file of the service; None if it is longer than ``limit``, or gone."""
        hash_, read = new_hash(), 0
        try:
            with self._remote.content(file) as stream:
                for chunk in stream.chunks:
                    hash_.update(chunk)
                    read += len(chunk)
                    if limit is not None and read > limit:
                        return None
        except types.NotFound:
            return None
        return hash_.hexdigest()


def _fits(file: RemoteFile, attempt: Attempt) -> bool:
    return file.size is None or attempt.size is None or file.size <= attempt.size
