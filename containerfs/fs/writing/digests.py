"""Digests of closed contents, by which damage is noticed, and what a lost request has left is recognised.

Computing one takes as long as reading the content, so nobody waits for that of a large one.
"""

import logging

from containerfs.fs import types
from containerfs.fs.staged import StagedFile
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.schedule import Manner, Schedule

log = logging.getLogger(__name__)

_LARGE = 64 << 20  # bytes; what is smaller is read in less than a tenth of a second


class Digests:
    """Computes digests of what is due. Thread-safe."""

    def __init__(self, journal: Journal, schedule: Schedule) -> None:
        self._journal = journal
        self._schedule = schedule

    def at_hand(self, entry: int, content: StagedFile) -> str | None:
        """Return the digest of a closed content; None if it is large, and recorded in its entry later, if that still
        exists by then.

        Raises:
            Failed: if the content cannot be read.
        """
        if content.size < _LARGE:
            return content.digest()
        key = ("digest", entry)
        if key not in self._schedule.keys():  # noqa: SIM118 - it is not a mapping
            self._schedule.submit(key, 0.0, lambda _: self._take(entry, content), _report, Manner.BRIEF)
        return None

    def _take(self, entry: int, content: StagedFile) -> None:
        try:
            digest = content.digest(is_wanted=lambda: bool(self._journal.without_digest([entry])))
            with self._journal.transaction() as tx:
                tx.note_closed(entry, digest)
        except types.Cancelled:
            pass
        except types.FsError as error:
            _report(error)


def _report(error: types.FsError) -> None:
    log.info("Damage of a large file that waits for its upload would not be noticed: %s", error)
