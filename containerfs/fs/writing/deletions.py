"""Deletions: files on the service that have to go. Each is retried until it is gone.

A deletion is recorded in the journal together with its cause: the upload of what replaces the file, or the removal of
its name. From then on, a failed DELETE is nobody's error. It is retried, by the next mount too.
"""

import logging
import threading
import time
from collections.abc import Iterable
from contextlib import suppress

from containerfs.fs import deadline, types
from containerfs.fs.namespace.attributes import AttributeStore, file_key
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.reading.cache import ContentCache
from containerfs.fs.remote import Remote
from containerfs.fs.writing.backoff import pause
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.records import Deletion
from containerfs.fs.writing.schedule import PATIENCE, Job, Manner, Schedule

log = logging.getLogger(__name__)


class Deletions:
    """Carries out the deletions in the journal. Thread-safe."""

    def __init__(
        self,
        remote: Remote,
        tree: Tree,
        journal: Journal,
        cache: ContentCache,
        attributes: AttributeStore,
        schedule: Schedule,
    ) -> None:
        self._remote = remote
        self._tree = tree
        self._journal = journal
        self._cache = cache
        self._attributes = attributes
        self._schedule = schedule
        self._failures: dict[Deletion, int] = {}
        self._awaited: set[Deletion] = set()  # those whose next attempt somebody waits for
        self._lock = threading.Lock()  # guards the two above
        self._ended = threading.Condition(self._lock)  # notified when an attempt has ended

    def carry_out(self, container_id: str, file_ids: Iterable[str]) -> None:
        """Delete files whose deletion is in the journal. Failures are retried later, and raise no error."""
        for file_id in sorted(file_ids):
            self._attempt(Deletion(container_id, file_id))

    def carry_out_later(self, container_id: str, file_ids: Iterable[str]) -> None:
        """Delete such files in the background, many at a time."""
        for file_id in sorted(file_ids):
            self._submit(Deletion(container_id, file_id), 0.0)

    def carry_out_patiently(self, container_id: str, file_ids: Iterable[str]) -> None:
        """Delete such files when programs pause. Nobody waits for it."""
        for file_id in sorted(file_ids):
            self._submit(Deletion(container_id, file_id), PATIENCE, Manner.PATIENT)

    def delete(self, container_id: str, file_ids: Iterable[str]) -> None:
        """Delete files.

        Raises:
            FsError: if one could not be deleted.
        """
        for file_id in sorted(file_ids):
            self._delete(Deletion(container_id, file_id))

    def replay(self) -> None:
        """Continue what earlier mounts left."""
        for deletion in self._journal.deletions():
            with self._tree.lock:
                self._tree.hide_ids(deletion.container_id, [deletion.file_id])
            self._submit(deletion, 0.0)

    def retry_pending(self, until: float) -> list[Deletion]:
        """Try now, once, everything that is not done, and return what is left.

        Args:
            until: monotonic time when to give up; by then some may not have been tried.

        Raises:
            Interrupted: if nobody waits for it any more.
        """
        tried: set[Deletion] = set()
        left = self._journal.deletions()
        while (untried := set(left) - tried) and time.monotonic() < until:
            tried |= untried
            self._try(untried, until)
            left = self._journal.deletions()
        return left

    def _try(self, deletions: set[Deletion], until: float) -> None:
        with self._lock:
            self._awaited |= deletions
        scheduled = self._schedule.keys()
        self._schedule.expedite(deletions.__contains__)
        for deletion in deletions - scheduled:
            self._submit(deletion, 0.0)
        with self._ended, suppress(types.Unreachable):
            deadline.wait_for(self._ended, lambda: not deletions & self._awaited, until)

    def note_gone(self, container_id: str, file_ids: Iterable[str]) -> None:
        """Drop everything kept for files that are gone, whoever deleted them."""
        gone = list(file_ids)
        with self._tree.lock:
            self._tree.ids_deleted(container_id, gone)
        for file_id in gone:
            self._cache.drop(container_id, file_id)
        self._attributes.forget(container_id, map(file_key, gone))

    def _attempt(self, deletion: Deletion) -> bool:
        """Try to delete a file, and return whether it is gone. If not, it is retried."""
        try:
            return self._has_deleted(deletion)
        finally:
            self._note_ended(deletion)

    def _has_deleted(self, deletion: Deletion) -> bool:
        try:
            self._delete(deletion)
        except types.FsError as error:
            with self._lock:
                failures = self._failures[deletion] = self._failures.get(deletion, 0) + 1
            log.warning("File %s could not be deleted, attempt %d: %s", deletion.file_id, failures, error)
            self._submit(deletion, pause(failures))
            return False
        return True

    def _delete(self, deletion: Deletion) -> None:
        self._remote.delete_file(deletion.container_id, deletion.file_id)
        self.note_gone(deletion.container_id, [deletion.file_id])
        with self._journal.transaction() as tx:
            tx.deleted(deletion)
        with self._lock:
            self._failures.pop(deletion, None)

    def _note_ended(self, deletion: Deletion) -> None:
        with self._ended:
            self._awaited.discard(deletion)
            self._ended.notify_all()

    def _submit(self, deletion: Deletion, delay: float, manner: Manner = Manner.USUAL) -> None:
        def run(_: Job) -> None:
            self._attempt(deletion)

        def refused(error: types.FsError) -> None:
            log.warning("File %s will be deleted later: %s", deletion.file_id, error)
            self._submit(deletion, pause(1))
            self._note_ended(deletion)

        self._schedule.submit(deletion, delay, run, refused, manner)
