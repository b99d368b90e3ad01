"""Momentary files: stored and deleted again, so that the service considers a container as used."""

import uuid

from containerfs.fs import types
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.remote import BytesSource, Remote, UploadRequest
from containerfs.fs.staged import new_hash
from containerfs.fs.types import RemoteFile
from containerfs.fs.writing.deletions import Deletions
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.records import Attempt
from containerfs.fs.writing.settlement import Settlement

_CONTENT = b"\n"


class MomentaryFiles:
    """Stores momentary files. Thread-safe."""

    def __init__(
        self, remote: Remote, tree: Tree, journal: Journal, deletions: Deletions, settlement: Settlement
    ) -> None:
        self._remote = remote
        self._tree = tree
        self._journal = journal
        self._deletions = deletions
        self._settlement = settlement

    def store(self, container_id: str, path: str) -> None:
        """Store a file and delete it. If something fails, what is left of it is deleted later, by the next mount too.

        Raises:
            FsError: if it was not stored, or that is not known.
        """
        attempt = _abandoned_attempt(container_id, path, self._remote.now())
        self._settlement.begun(attempt.key)
        try:
            with self._journal.transaction() as tx:
                tx.begin(attempt)
            stored = self._upload(attempt)
            with self._tree.lock:
                with self._journal.transaction() as tx:
                    tx.end(attempt.key)
                    tx.delete_later(container_id, [stored.id])
                self._tree.hide_ids(container_id, [stored.id])
        finally:
            self._settlement.ended(attempt.key)
            self._settlement.take_up()
        self._deletions.carry_out(container_id, [stored.id])

    def _upload(self, attempt: Attempt) -> RemoteFile:
        try:
            source = BytesSource(_CONTENT)
            return self._remote.upload(UploadRequest(attempt.container_id, attempt.path, source, attempt.key))
        except types.AnswerLost:
            raise
        except types.FsError:
            with self._journal.transaction() as tx:
                tx.end(attempt.key)
            raise


def _abandoned_attempt(container_id: str, path: str, now: float) -> Attempt:
    """Return an attempt whose result nobody wants, so that what it leaves is recognised by its content."""
    return Attempt(
        key=f"containerfs-{uuid.uuid4()}",
        container_id=container_id,
        path=path,
        size=len(_CONTENT),
        started=int(now),
        digest=_digest(),
    )


def _digest() -> str:
    hash_ = new_hash()
    hash_.update(_CONTENT)
    return hash_.hexdigest()
