"""Settlement: finds out what requests with lost answers left on the service.

A file there is ours only if its content is: the digests must match, or, if the source of a copy is gone, the service
must name the file in answer to our request. Names, sizes and times only tell which files to look at. What an abandoned
request left, complete or cut short, is deleted. It is looked for several times, because a request may still be running
when its answer is given up.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from containerfs.fs import deadline, types
from containerfs.fs.namespace.attributes import AttributeStore, file_key
from containerfs.fs.namespace.tree import Suspect, Tree
from containerfs.fs.remote import Remote
from containerfs.fs.staged import new_hash
from containerfs.fs.types import RemoteFile
from containerfs.fs.writing.deletions import Deletions
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.newest import NewestFiles
from containerfs.fs.writing.records import Attempt, may_be_named
from containerfs.fs.writing.schedule import Job, Schedule

log = logging.getLogger(__name__)

_LOOKS = (0.0, 5.0, 30.0, 120.0)  # seconds between looks for what an abandoned request left
_EARLY = 0.8  # the part of that time after which a listing may begin that several requests share
_SKEW = 300  # seconds by which the service's clock may have changed, or be behind one that it does not tell


@dataclass(frozen=True, slots=True)
class _Look:
    """One of the looks for what a request left.

    Attributes:
        number: an index into ``_LOOKS``.
        planned: monotonic time.
    """

    number: int
    planned: float

    @classmethod
    def after(cls, number: int, since: float | None = None) -> "_Look":
        """Return the look of a number, counted from some time."""
        return cls(number, (time.monotonic() if since is None else since) + _LOOKS[number])

    @property
    def due(self) -> float:
        """The monotonic time from which on it counts."""
        return self.planned - (1 - _EARLY) * _LOOKS[self.number]

    @property
    def later(self) -> "_Look":
        """Return the same look, for later, if it was not made."""
        return _Look.after(max(1, self.number))

    @property
    def next(self) -> "_Look | None":
        """Return the next look, if there is one; the same again if this one was made before it was due because somebody
        asked."""
        if time.monotonic() < self.due:
            return self
        return _Look.after(self.number + 1) if self.number + 1 < len(_LOOKS) else None


class Settlement:
    """Finds out what requests with lost answers did. Thread-safe."""

    def __init__(
        self,
        remote: Remote,
        tree: Tree,
        journal: Journal,
        attributes: AttributeStore,
        deletions: Deletions,
        schedule: Schedule,
    ) -> None:
        self._remote = remote
        self._newest = NewestFiles(remote)
        self._tree = tree
        self._journal = journal
        self._attributes = attributes
        self._deletions = deletions
        self._schedule = schedule
        self._renames = False  # whether the service was seen to add to the names of uploads
        self._sending: set[str] = set()  # keys of requests that are still running here
        self._unsent: dict[str, Attempt] = {}  # those of them that are abandoned, and looked for after they end
        self._unlooked: set[str] = set()  # keys of requests that were not looked for yet
        self._put_off: set[str] = (
            set()
        )  # keys of requests that were put off because something is being stored at their path
        self._changed = threading.Condition()  # guards these four; notified when the third shrinks

    def find(self, attempt: Attempt, digest: Callable[[], str]) -> RemoteFile | None:
        """Return what a request has stored, if it has.

        Args:
            digest: returns that of its content; called if there is something to compare it with.

        Raises:
            FsError: if that cannot be found out now.
        """
        for candidate in self._candidates(attempt, time.monotonic()):
            if candidate.size in (None, attempt.size) and self._digest(candidate, attempt.size) == digest():
                return candidate
        return None

    def note_stored(self, asked: str, stored: str) -> None:
        """Learn from an upload whether the service adds to names."""
        self._renames = self._renames or stored != asked

    def begun(self, key: str) -> None:
        """Called when a request is about to be sent."""
        with self._changed:
            self._sending.add(key)

    def ended(self, key: str) -> None:
        """Called when a request is no longer running. If it was abandoned, what it left is looked for from now on."""
        with self._changed:
            self._sending.discard(key)
            abandoned = self._unsent.pop(key, None)
        if abandoned is not None:
            self._look_later(abandoned, _Look.after(0))

    def take_up(self) -> None:
        """Look for what abandoned requests left, from now on. Until that is known, it is not shown."""
        first = _Look.after(0)  # this is after all of them, so that one listing is enough
        for attempt in [attempt for attempt in self._journal.attempts() if self._suspect(attempt)]:
            if not self._is_being_sent(attempt):
                self._look_later(attempt, first)

    def wait(self, until: float) -> None:
        """Wait until every abandoned request was looked for once, or until ``until``, a monotonic time.

        Looks that were put off are made now: what was being stored then is stored by now, or waits for a later attempt.
        Raises what the deadline raises.
        """
        with self._changed:
            put_off, self._put_off = self._put_off, set()
            self._unlooked |= put_off
        self._schedule.expedite({("attempt", key) for key in put_off}.__contains__)
        with self._changed:
            deadline.wait_for(self._changed, lambda: not self._unlooked, until)

    def _suspect(self, attempt: Attempt) -> bool:
        """Hide what a request may have left until it was looked for. Returns whether that is new."""
        with self._tree.lock:
            suspects = self._tree.suspects.setdefault(attempt.container_id, {})
            if attempt.key in suspects:
                return False
            suspects[attempt.key] = _suspect(attempt)
        with self._changed:
            self._unlooked.add(attempt.key)
        return True

    def _is_being_sent(self, attempt: Attempt) -> bool:
        """Tell whether an abandoned request is still running. It is looked for after it ends."""
        with self._changed:
            if attempt.key in self._sending:
                self._unsent[attempt.key] = attempt
            return attempt.key in self._sending

    def _look_later(self, attempt: Attempt, look: _Look) -> None:
        def run(_: Job) -> None:
            try:
                self._look(attempt, look)
            except types.FsError as error:
                again(error)

        def again(error: types.FsError) -> None:
            log.warning("Looking again later for what an upload of %r may have left: %s", attempt.path, error)
            self._note_looked(attempt)
            self._look_later(attempt, look.later)

        self._schedule.submit(("attempt", attempt.key), look.planned - time.monotonic(), run, again)

    def _note_looked(self, attempt: Attempt, *, put_off: bool = False) -> None:
        with self._changed:
            self._unlooked.discard(attempt.key)
            self._put_off.discard(attempt.key)
            if put_off:
                self._put_off.add(attempt.key)
            self._changed.notify_all()

    def _look(self, attempt: Attempt, look: _Look) -> None:
        """Remove what a request left, and look again later, because it may have been sent several times."""
        attempt = self._journal.attempt(attempt.key) or attempt
        if self._is_storing(attempt):
            self._look_after_others(attempt, look)
            return
        following = look.next
        try:
            left = self._left_by(attempt, look.due)
        except types.NotFound:  # its container is gone
            left, following = [], None
        if left and not self._remove(attempt, [file.id for file in left]):
            self._look_after_others(attempt, look)
            return
        if following is None:
            self._end(attempt)
        self._note_looked(attempt)
        if following is not None:
            self._look_later(attempt, following)

    def _is_storing(self, attempt: Attempt) -> bool:
        """Tell whether something is being stored at the path of a request, which must not be taken for what it left."""
        return self._journal.is_attempted(attempt.container_id, attempt.path)

    def _look_after_others(self, attempt: Attempt, look: _Look) -> None:
        with self._changed:
            self._note_looked(attempt, put_off=True)
            self._look_later(attempt, look.later)

    def _remove(self, attempt: Attempt, file_ids: list[str]) -> bool:
        """Delete files, except those that an upload has stored. Returns whether no upload is running that may have
        stored them."""
        container_id = attempt.container_id
        with self._tree.lock:  # held when uploads begin, and when their results are recorded
            if self._is_storing(attempt):
                return False
            container = self._tree.container(container_id)
            if container is not None:  # stored by an upload in the meantime
                file_ids = [file_id for file_id in file_ids if file_id not in container.by_id]
            with self._journal.transaction() as tx:
                tx.delete_later(container_id, file_ids)
            self._tree.hide_ids(container_id, file_ids)
        self._deletions.carry_out(container_id, file_ids)
        return True

    def _end(self, attempt: Attempt) -> None:
        with self._journal.transaction() as tx:
            tx.end(attempt.key)
        with self._tree.lock:
            self._tree.suspects.get(attempt.container_id, {}).pop(attempt.key, None)
        if attempt.data is not None:
            self._journal.discard(self._journal.staged(attempt.data))

    def _left_by(self, attempt: Attempt, due: float) -> list[RemoteFile]:
        """Return files that hold what the request sent, or the beginning of it, and that are not known to be others."""
        left = []
        for file in self._candidates(attempt, due):
            if self._is_left_by(file, attempt):
                left.append(file)
            else:
                self._clear(attempt, file)
        return left

    def _is_left_by(self, file: RemoteFile, attempt: Attempt) -> bool:
        if self._stands_for_a_name(file):
            return False
        digest = self._expected(attempt, file.size)
        if digest is not None:
            return self._digest(file, attempt.size) == digest
        return self._is_copy(attempt, file)

    def _clear(self, attempt: Attempt, file: RemoteFile) -> None:
        """Record that a file is not what the request left, so that the next listing shows it."""
        with self._tree.lock:
            suspect = self._tree.suspects.get(attempt.container_id, {}).get(attempt.key)
            if suspect is not None:
                suspect.known |= {file.id}

    def _stands_for_a_name(self, file: RemoteFile) -> bool:
        with self._tree.lock:
            container = self._tree.container(file.container_id)
            return container is not None and file.id in container.by_id

    def _candidates(self, attempt: Attempt, due: float) -> list[RemoteFile]:
        """Return files that a request may have stored, from a listing requested at ``due`` or later."""
        newest = self._newest.listed(attempt.container_id, self._oldest_start(attempt), due)
        suspect = _suspect(attempt)
        found = [file for file in newest if self._may_be_named(file.path, attempt.path) and suspect.fits(file)]
        return self._unknown(attempt, found) if found else []

    def _oldest_start(self, attempt: Attempt) -> int:
        """Return when the first of the container's requests began that are looked for: one listing serves them all."""
        with self._tree.lock:
            others = self._tree.suspects.get(attempt.container_id, {}).values()
            return min([attempt.started, *(suspect.since + _SKEW for suspect in others)])

    def _unknown(self, attempt: Attempt, files: list[RemoteFile]) -> list[RemoteFile]:
        """Leave out files that are to be deleted, and those that this machine stored earlier, whose times it keeps."""
        doomed = self._journal.doomed(attempt.container_id, attempt.entry)
        kept = self._attributes.load(attempt.container_id)
        times = {key: attributes.mtime for key, attributes in kept.items()}
        return [file for file in files if file.id not in doomed and times.get(file_key(file.id)) is None]

    def _may_be_named(self, stored: str, asked: str) -> bool:
        return stored == asked or (self._renames and may_be_named(stored, asked))

    def _expected(self, attempt: Attempt, size: int | None) -> str | None:
        """Return the digest of the content, cut to ``size`` bytes; None if it is no longer known."""
        whole = size is None or size == attempt.size
        if whole and attempt.digest is not None:
            return attempt.digest
        if size == 0 and not whole:  # an empty file may belong to anybody
            return None
        if attempt.data is not None:
            staged = self._journal.staged(attempt.data)
            return staged.digest(None if whole else size) if staged.path.exists() else None
        return None if attempt.source_id is None else self._digest(_source(attempt), attempt.size, size)

    def _is_copy(self, attempt: Attempt, file: RemoteFile) -> bool:
        """Tell whether a file is the copy that a request made, if the source is gone.

        The same request is repeated. If the first one never arrived, this one would be carried out and replace what is
        there, but the source is gone. So it is either answered like the first one, or fails.
        """
        whole = file.size in (None, attempt.size)
        if not whole or attempt.source_id is None or not self._remote.dialect.copies_once:
            return False
        try:
            return self._remote.copy(_source(attempt), attempt.path, attempt.key).id == file.id
        except (types.NotFound, types.KeyConflict):
            return False

    def _digest(self, file: RemoteFile, limit: int | None, first: int | None = None) -> str | None:
        """Return the digest of a file of the service, or of its ``first`` bytes; None if it is gone.

        Args:
            limit: in bytes; a longer content is known to be another file.

        Raises:
            Failed: if what arrives is not the file, but for example an error page of a proxy, which must not pass for
                other content.
        """
        hash_, read = new_hash(), 0
        try:
            with self._remote.content(file) as stream:
                for chunk in stream.chunks:
                    hash_.update(chunk if first is None else chunk[: max(0, first - read)])
                    read += len(chunk)
                    if limit is not None and read > limit:
                        break
        except types.NotFound:
            return None
        if file.size not in (None, read):
            raise types.Failed(f"received {read} bytes of {file.path!r}, which has {file.size}")
        return hash_.hexdigest()


def _source(attempt: Attempt) -> RemoteFile:
    """Return the file that was to be copied."""
    assert attempt.source_id is not None
    return RemoteFile(attempt.source_id, attempt.container_id, attempt.path, attempt.size, attempt.started)


def _suspect(attempt: Attempt) -> Suspect:
    return Suspect(attempt.path, attempt.size, attempt.started - _SKEW, attempt.known)
