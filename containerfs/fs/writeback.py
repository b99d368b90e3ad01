"""Uploads: what is staged here becomes a file of the service, once, and takes the place of what it replaces.

New before old: the new content is stored and verified before what it replaces is deleted, so that a failure at any
point leaves one of the two whole. An upload that fails is noted at its file and in the journal, and tried again, ever
more rarely, until it succeeds or the file is deleted here. Each upload has a worker of its own while it runs: one that
hangs delays none of the others.
"""

import logging
import os
import threading
import time
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import replace
from typing import BinaryIO, cast

from containerfs.fs import types
from containerfs.fs.attributes import AttributeStore, file_key
from containerfs.fs.journal import Journal, Record, StagedFile
from containerfs.fs.reading.cache import ContentCache
from containerfs.fs.remote import Remote, UploadRequest
from containerfs.fs.scratch import NamePolicy
from containerfs.fs.tree import FileNode, Tree
from containerfs.fs.types import RemoteFile

log = logging.getLogger(__name__)

_WORKERS = 8
_LINGER = 5.0  # seconds for which an idle worker waits for the next upload
_TEMPORARY_DELAY = 2.0  # seconds for which a temporary name may become another one before it is uploaded
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0  # seconds between attempts


class Upload:
    """One file that is due.

    Attributes:
        due: monotonic time before which it is not begun.
        attempts: that failed so far.
        since: Unix seconds from which on one of them may have reached the service; None if none can have.
        outcome: of the next attempt; done when it ends, whichever way; cancelled if there will be none.
        again: whether more was written while it ran.
    """

    def __init__(self, node: FileNode, due: float, since: int | None = None, attempts: int = 0) -> None:
        self.node = node
        self.due = due
        self.since = since
        self.attempts = attempts
        self.running = self.again = False
        self.outcome: Future[None] = Future()

    @property
    def pending(self) -> bool:
        """Whether it is being tried or about to be; else it waits, after an attempt that failed."""
        return self.running or not self.node.error or self.due <= time.monotonic()


class Uploader:
    """Uploads staged files, in parallel, in the background; who closes a file waits for its own.

    Args:
        journal: holds what is due across mounts.
        cache: adopts what was uploaded, so that reading it back costs nothing.
    """

    def __init__(
        self,
        remote: Remote,
        tree: Tree,
        journal: Journal,
        cache: ContentCache,
        attributes: AttributeStore,
        names: NamePolicy,
    ) -> None:
        self._remote = remote
        self._tree = tree
        self._journal = journal
        self._cache = cache
        self._attributes = attributes
        self._names = names
        self._uploads: dict[FileNode, Upload] = {}
        self._workers = 0
        self._stopping = False
        self._changed = threading.Condition()  # guards the three above; notified when they change

    def record(self, node: FileNode, *, durable: bool, since: int | None = None) -> None:
        """Note in the journal what is due for a node. Raises NoSpace."""
        with self._tree.lock:
            container = node.container
            record = Record(
                container.remote.id,
                container.remote.name,
                node.path,
                sorted(stale_ids(node)),
                node.attributes(),
                since or int(time.time()),
                node.error,
            )
        with node.lock:
            if node.staged is not None:
                self._journal.record(node.staged, record, durable=durable)

    def commit(self, node: FileNode, *, lazily: bool) -> None:
        """What was written to a node is complete: make it safe.

        Args:
            lazily: on this machine now, and on the service soon; else on the service before this returns.

        Raises:
            FsError: it is not safe there; it stays staged, and is tried again.
        """
        temporary = self._names.is_temporary(node.name)
        self.record(node, durable=lazily or temporary)
        if temporary:
            self.submit(node, _TEMPORARY_DELAY)
        elif lazily:
            self.submit(node)
        else:
            self.publish(node)

    def submit(self, node: FileNode, delay: float = 0.0, since: int | None = None) -> Upload:
        """Upload a node after ``delay`` seconds, or as soon as one that is asked for already comes up."""
        due = time.monotonic() + delay
        with self._changed:
            upload = self._uploads.get(node)
            if upload is None:
                upload = self._uploads[node] = Upload(node, due, since)
                self._add_worker()
            elif upload.running:
                upload.again = True
            else:
                upload.due = due
            self._changed.notify_all()
            return upload

    def publish(self, node: FileNode) -> None:
        """Upload a node now, and return once the service has all that was written. Raises what went wrong."""
        with suppress(CancelledError):  # somebody else deletes or renames it, and sees to the rest
            while node.dirty and node.parent is not None and not node.scratch:
                self.submit(node).outcome.result()

    def cancel(self, node: FileNode) -> bool:
        """Take a node out of the queue, and say whether it was in it. An upload that runs is waited for."""
        while True:
            with self._changed:
                upload = self._uploads.get(node)
                if upload is None:
                    return False
                if not upload.running:
                    del self._uploads[node]
                    upload.outcome.cancel()
                    self._changed.notify_all()
                    return True
            with suppress(types.FsError):
                upload.outcome.result()

    def recorded(self, node: FileNode) -> bool:
        """Whether the journal has what is staged for a node."""
        with node.lock:
            return node.staged is not None and self._journal.has_record(node.staged)

    def resume(self, node: FileNode, *, due: bool, recorded: bool) -> None:
        """What was done to a node has failed: let the queue and the journal have it as they had it before.

        Args:
            due: as ``cancel`` said.
            recorded: as ``recorded`` said.
        """
        with suppress(types.FsError):  # a vanished container, or a full disk: it is still staged here
            if recorded:
                self.record(node, durable=True)
        with node.lock:
            if node.staged is not None and not recorded:
                self._journal.forget(node.staged)
        if due:
            self.submit(node)

    def pending(self) -> list[Upload]:
        """All that is due, failed ones included."""
        with self._changed:
            return list(self._uploads.values())

    def hasten(self, within: "set[FileNode] | None" = None) -> list[Upload]:
        """Begin now what is to be tried later (of ``within``), without waiting for it; returns all that is due."""
        due = [upload for upload in self.pending() if within is None or upload.node in within]
        with self._changed:
            for upload in due:
                upload.due = 0.0
            self._changed.notify_all()
        return due

    def drain(self, timeout: float, within: "set[FileNode] | None" = None) -> list[Upload]:
        """Try everything that is due (of ``within``) now; returns what is not there after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        for upload in self.hasten(within):
            self._await(upload, deadline)
        return [upload for upload in self.pending() if within is None or upload.node in within]

    def _await(self, upload: Upload, deadline: float) -> None:
        """Wait until nothing is due for its node any more, an attempt fails, or the time is over."""
        due: Upload | None = upload
        with suppress(Exception, CancelledError):  # why it failed is noted at the node, and logged
            while due is not None:
                due.outcome.result(max(0.0, deadline - time.monotonic()))
                due = self._uploads.get(upload.node)

    def close(self) -> None:
        """Begin nothing more. What is due stays in the journal."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def stand_for(self, node: FileNode, stored: RemoteFile) -> None:
        """Let a node stand for a file of the service, and delete what it replaces. Raises FsError if that fails."""
        with self._tree.lock:
            container = node.container
            node.replaces = stale_ids(node) - {stored.id}
            self._tree.set_remote(node, stored)
            container.withhold(node.replaces)
            node.pages = stored.id
            node.newer, node.gone, node.error = None, False, None
            node.changed_at = time.monotonic()
            kept = node.attributes()
            if stored.path != node.path:
                kept = replace(kept, path=node.path)
            container.kept_attributes[file_key(stored.id)] = kept
        self._attributes.save(container.remote.id, file_key(stored.id), kept)
        self.delete_replaced(node)

    def delete_replaced(self, node: FileNode) -> None:
        """Delete what a node takes the place of, but for what the service says that it has replaced itself."""
        with self._tree.lock:
            container = node.container
            stale = set(node.replaces)
            replaced = node.remote.replaced_id if node.remote else None
            container.withhold(stale)
        for file_id in stale:
            if file_id != replaced:
                self._remote.delete_file(container.remote.id, file_id)
            container.removed[file_id] = time.monotonic()
            self._cache.drop(container.remote.id, file_id)
        if stale:
            self._attributes.forget(container.remote.id, map(file_key, stale))
            node.replaces -= stale

    def _add_worker(self) -> None:
        """One more worker while there are fewer than files due. Wants ``_changed`` held."""
        if self._workers < min(_WORKERS, len(self._uploads)):
            self._workers += 1
            threading.Thread(target=self._work, name="upload", daemon=True).start()

    def _work(self) -> None:
        while True:
            upload = self._next()
            if upload is None:
                return
            try:
                self._upload(upload)
            except Exception as error:
                self._failed(upload, error)
            else:
                self._ended(upload)

    def _next(self) -> Upload | None:
        """The upload that is due first, once it is; None when this worker is to end."""
        with self._changed:
            while not self._stopping:
                now = time.monotonic()
                waiting = (upload for upload in self._uploads.values() if not upload.running)
                upload = next((upload for upload in waiting if upload.due <= now), None)
                if upload is not None:
                    upload.running = True
                    return upload
                later = [upload.due - now for upload in self._uploads.values() if not upload.running]
                if not self._changed.wait(min(later, default=_LINGER)) and not later:
                    break
            self._workers -= 1
            return None

    def _upload(self, upload: Upload) -> None:
        node = upload.node
        with self._tree.lock, node.lock:
            staged = node.staged
            if node.parent is None or node.scratch:
                return
            if staged is not None:
                request, version = self._request(node, staged, upload.since), staged.version
        if staged is None:
            self.delete_replaced(node)
            return
        if version != node.uploaded_version:
            self._send(upload, request, version)
        else:
            self.delete_replaced(node)
        self._adopt(node, staged, version)

    def _send(self, upload: Upload, request: UploadRequest, version: int) -> None:
        node, started = upload.node, int(time.time())
        try:
            stored = self._remote.upload(request)
        except types.Unreachable:
            upload.since = upload.since or started
            raise
        with node.lock:
            node.uploaded_version = version
        self.stand_for(node, stored)

    def _adopt(self, node: FileNode, staged: StagedFile, version: int) -> None:
        """What is on the service is not staged any more, unless it was written to meanwhile."""
        with node.lock:
            if node.staged is not staged or staged.version != version or node.remote is None:
                return
            self._journal.forget(staged)
            node.staged = None
            self._cache.adopt(node.remote, staged.path)
            staged.close()

    @staticmethod
    def _request(node: FileNode, staged: StagedFile, since: int | None) -> UploadRequest:
        return UploadRequest(
            node.container.remote.id,
            node.path,
            cast(BinaryIO, _Content(staged.fd, staged.size)),
            staged.size,
            staged.key,
            known=frozenset(stale_ids(node)),
            since=since,
        )

    def _ended(self, upload: Upload) -> None:
        with self._changed:
            if upload.again:
                self._uploads[upload.node] = Upload(upload.node, time.monotonic())
            elif self._uploads.get(upload.node) is upload:
                del self._uploads[upload.node]
            self._changed.notify_all()
        with self._tree.lock:
            self._tree.settle(upload.node)
        upload.outcome.set_result(None)

    def _failed(self, upload: Upload, error: Exception) -> None:
        """Note why, and try again later."""
        node = upload.node
        node.error = str(error)
        log.error("Upload of %r failed, attempt %d: %s", node.name, upload.attempts + 1, error)
        pause = min(_FIRST_PAUSE * 2**upload.attempts, _LONGEST_PAUSE)
        with self._changed:
            if self._uploads.get(node) is upload:
                self._uploads[node] = Upload(node, time.monotonic() + pause, upload.since, upload.attempts + 1)
            self._changed.notify_all()
        with suppress(types.FsError):  # a vanished container, or a full disk: what was noted before still stands
            self.record(node, durable=True, since=upload.since)
        upload.outcome.set_exception(error)


def stale_ids(node: FileNode) -> set[str]:
    """The files of the service that the next upload of a node takes the place of."""
    return node.replaces | {remote.id for remote in (node.remote, node.newer) if remote is not None}


class _Content:
    """A staged file as the client reads it: with a position of its own, never beyond the size that was announced."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._size = size
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        left = self._size - self._position
        data = os.pread(self._fd, left if size < 0 else min(size, left), self._position)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._position, self._size)[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position
