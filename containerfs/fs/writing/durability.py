"""Durability: when the journal reaches this machine's disk, so that a crash of the machine loses nothing.

A crash of the mount never loses anything, because rows and staged files are in the kernel's memory by then. For the
disk, either each change is synced before it is answered, or one sync a moment later covers everything that waits.
Contents are synced before the log, and a content counts as safe once the journal has its digest, or, for a large one,
says that it is on the disk. So content that did not reach the disk is recognised after a crash of the machine, and not
uploaded.
"""

import logging
import threading
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType

from containerfs.fs import types
from containerfs.fs.staged import StagedFile
from containerfs.fs.writing.backoff import pause
from containerfs.fs.writing.digests import Digests
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.schedule import Job, Manner, Schedule

log = logging.getLogger(__name__)

_DELAY = 0.3  # seconds to wait for further changes; with the sync itself, less than one second
_NOTHING: Mapping[int, StagedFile] = MappingProxyType({})


class Durability:
    """Makes contents and the journal's log reach the disk. Thread-safe.

    Args:
        strict: whether ``soon`` means ``now``.
    """

    def __init__(self, journal: Journal, digests: Digests, schedule: Schedule, *, strict: bool) -> None:
        self._journal = journal
        self._digests = digests
        self._schedule = schedule
        self._strict = strict
        self._waiting: dict[int, StagedFile] = {}
        self._is_scheduled = False
        self._failures = 0  # in a row
        self._lock = threading.Lock()  # guards everything above
        self._syncing = threading.Lock()  # held during a sync in the background

    def now(self, contents: Mapping[int, StagedFile] = _NOTHING) -> None:
        """Flush everything in the journal to the disk.

        Args:
            contents: closed contents that must be on the disk too, by the sequence of their rows.

        Raises:
            NoSpace: if the disk is full.
            Failed: if it cannot be flushed.
        """
        lacking = self._journal.without_digest(contents)
        digests = {sequence: self._digests.at_hand(sequence, contents[sequence]) for sequence in lacking}
        if contents:
            self._journal.sync_data(contents.values())
        if digests:
            with self._journal.transaction() as tx:
                for sequence, digest in digests.items():
                    if digest is None:
                        tx.note_on_disk(sequence)
                    else:
                        tx.note_closed(sequence, digest)
        self._journal.sync()

    def soon(self, contents: Mapping[int, StagedFile] = _NOTHING) -> None:
        """Flush within a second; with ``strict``, before this returns, and with the errors of ``now``."""
        if self._strict:
            self.now(contents)
            return
        with self._lock:
            self._waiting.update(contents)
            self._submit(_DELAY)

    def close(self) -> None:
        """Flush what is still waiting, after the schedule has ended."""
        with self._syncing, self._lock:
            waiting, scheduled = dict(self._waiting), self._is_scheduled
        if scheduled:
            try:
                self.now(self._still_due(waiting))
            except types.FsError as error:
                log.warning("Files that were closed last may not be on this machine's disk: %s", error)

    def _submit(self, delay: float) -> None:
        """The lock must be held."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self._schedule.submit("durability", delay, self._run, self._refused, Manner.BRIEF)

    def _run(self, _: Job) -> None:
        with self._syncing:
            with self._lock:
                waiting = dict(self._waiting)
                self._waiting.clear()
                self._is_scheduled = False
            try:
                self.now(self._still_due(waiting))
            except types.FsError as error:
                self._try_again(waiting, error)
            else:
                with self._lock:
                    self._failures = 0

    def _refused(self, error: types.FsError) -> None:
        self._try_again({}, error)

    def _try_again(self, waiting: dict[int, StagedFile], error: types.FsError) -> None:
        """Schedule another try. Contents that were uploaded in the meantime may be gone, which is no failure."""
        left, delay = waiting, 0.0
        with suppress(types.FsError):  # the journal cannot be read; try all of them again
            left = self._still_due(waiting)
        with self._lock:
            if len(left) == len(waiting):
                self._failures += 1
                delay = pause(self._failures)
                log.warning(
                    "Closed files are not safe on this machine's disk yet, attempt %d: %s", self._failures, error
                )
            self._waiting = left | self._waiting
            self._is_scheduled = False
            self._submit(delay)

    def _still_due(self, contents: dict[int, StagedFile]) -> dict[int, StagedFile]:
        return {sequence: contents[sequence] for sequence in self._journal.still_due(contents)}
