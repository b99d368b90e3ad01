"""Streaming uploads: those that begin while their file is still being written.

A service that only stores whole uploads keeps nothing of one that breaks off. So a body may follow its file as the file
grows, as long as it is written in sequence; what is written also goes to the staged file. The end of the body is held
back until the file was closed and the journal has the attempt, which continues the upload. If anything goes wrong
before that, nothing is stored and nothing was promised: the upload is dropped, and the file is uploaded like any other.
"""

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from containerfs.fs import state, types
from containerfs.fs.disk import disk_errors
from containerfs.fs.namespace.names import NamePolicy
from containerfs.fs.namespace.nodes import FileNode
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.remote import Remote, UploadRequest
from containerfs.fs.staged import StagedFile, StagedSource
from containerfs.fs.types import FileAttributes, RemoteFile

log = logging.getLogger(__name__)

_FROM = 8 << 20  # bytes written in sequence from which a separate request is worthwhile
_MOST = 4  # at a time
_PAUSE = 30.0  # seconds that a writer may take for a piece; services give up after a minute
_LOOK = 1.0  # seconds between checks whether a file that does not grow is still wanted


class GrowingSource(StagedSource):
    """A staged file as the client uploads it while it is written. Implements ``UploadSource``.

    Args:
        staged: the file, which is followed from now on.
        wanted: returns whether the upload is still of use.

    Attributes:
        progress: called whenever some of it is read.
    """

    def __init__(self, staged: StagedFile, wanted: Callable[[], bool]) -> None:
        super().__init__(None)  # until all of it was read
        self.progress: Callable[[], object] = bool
        self._staged = staged
        self._wanted = wanted
        self._fd = -1
        self._end: int | None = None  # set once nothing more is written
        self._expected: str | None = None
        self._awaited = 0  # bytes; there is something to send once there are so many
        self._changed = threading.Event()
        staged.follower = self._grew

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Open the file for reading within the context. Raises Failed, TooManyOpenFiles."""
        with self._staged.opened() as self._fd:
            yield

    @property
    def has_ended(self) -> bool:
        """Whether the end of the upload may have been sent."""
        return self.size is not None

    def finish(self, expected: str | None) -> bool:
        """Let the end be sent, because nothing more is written. Returns False if the content is not what was sent.

        Args:
            expected: the digest that was recorded when the file was closed; None if there is none.
        """
        written = self._staged.in_sequence
        if self._cancelled or written is None or written != self._staged.size:
            self.cancel()
            return False
        self._expected, self._end = expected, written
        self._changed.set()
        return True

    def cancel(self) -> None:
        """Make the upload stop at its next read."""
        super().cancel()
        self._changed.set()

    def read_at(self, offset: int, size: int) -> bytes:
        """Wait until ``size`` bytes were written, and return them; fewer only at the end.

        Raises:
            Cancelled: if the upload is of no more use.
            Damaged: if the content is not what was closed.
        """
        self.progress()
        there = self._wait_for(offset + size)
        wanted = max(0, min(size, there - offset))
        with disk_errors():
            data = os.pread(self._fd, wanted, offset)
        if len(data) < wanted:
            raise types.Cancelled("the file was changed during its upload")
        self._take_digest(data, offset)
        if wanted < size:
            self._note_end(there)
        return data

    def _wait_for(self, end: int) -> int:
        """Wait until so much was written, or nothing more will be. Returns how much there is."""
        gives_up = time.monotonic() + _PAUSE
        while True:
            if self._cancelled or not self._wanted():
                raise types.Cancelled("the file was deleted, renamed or replaced during its upload")
            self._awaited = end  # before checking whether they are there
            there = self._staged.in_sequence
            if there is None:
                raise types.Cancelled("the file was changed during its upload")
            if there >= end or self._end is not None:
                return there
            if time.monotonic() > gives_up:
                raise types.Cancelled("nothing was written to the file for too long")
            self._changed.wait(_LOOK)
            self._changed.clear()

    def _note_end(self, size: int) -> None:
        """Record the size. Raises Damaged if the content is not what was closed."""
        if self._expected not in (None, self._hash.hexdigest()):
            raise types.Damaged("the staged data was damaged on this machine's disk")
        self.size = size

    def _grew(self, there: int | None) -> None:
        """Called at each write. Waking the sending thread each time would take the processor from the program that
        writes."""
        if there is None or there >= self._awaited:
            self._changed.set()


class StreamingUpload:
    """An upload that has begun. Thread-safe.

    Attributes:
        key: its idempotency key.
        container_id: the container that it goes to.
        path: where it goes in that container.
        outcome: what the service has stored, or why it has not.
    """

    def __init__(self, container_id: str, path: str, source: GrowingSource) -> None:
        self.key = f"containerfs-{uuid.uuid4()}"
        self.container_id = container_id
        self.path = path
        self.source = source
        self.outcome: Future[RemoteFile] = Future()
        self._attributes: FileAttributes | None = None

    def send(self, remote: Remote) -> RemoteFile:
        """Send what is written as it arrives, until all is sent. Returns what the service has stored."""
        with self.source.opened():
            return remote.upload(
                UploadRequest(self.container_id, self.path, self.source, self.key, lambda: self._attributes)
            )

    def finish(self, attributes: FileAttributes | None, expected: str | None) -> RemoteFile | None:
        """Let the rest be sent, because the file was closed and the journal has the attempt, and wait for the answer.

        Args:
            attributes: to be kept with it.
            expected: the digest that was recorded when the file was closed; None if there is none.

        Returns:
            What the service has stored; None if the upload had broken off, so that nothing was stored.

        Raises:
            FsError: as for any upload, once the end may have been sent.
        """
        self._attributes = attributes
        if not self.source.finish(expected):
            return None
        try:
            return self.outcome.result()
        except Exception:
            if self.source.has_ended:
                raise
            return None


class StreamingUploads:
    """Begins uploads, and knows those that are running. Thread-safe.

    Args:
        enabled: whether any may begin.
    """

    def __init__(self, remote: Remote, tree: Tree, names: NamePolicy, *, enabled: bool) -> None:
        self._remote = remote
        self._tree = tree
        self._names = names
        self._enabled = enabled
        self._lock = threading.Lock()  # guards what follows
        self._under_way: dict[StagedFile, tuple[FileNode, StreamingUpload]] = {}

    def follow(self, node: FileNode, staged: StagedFile) -> None:
        """Called when something was written to a file: begins to upload it if it is large and written in sequence."""
        if not self._enabled or staged.follower is not None or (staged.in_sequence or 0) < _FROM:
            return
        dialect = self._remote.dialect
        if dialect.whole_uploads and dialect.idempotency and self._remote.silent_since() is None:
            upload = self._begun(node, staged)
            if upload is not None:
                self._start(staged, upload)

    def of(self, staged: StagedFile, container_id: str, path: str) -> StreamingUpload | None:
        """Return the upload of a file to a path; None if there is none."""
        with self._lock:
            _, upload = self._under_way.get(staged, (None, None))
        return upload if upload is not None and (upload.container_id, upload.path) == (container_id, path) else None

    def under_way(self) -> dict[FileNode, StreamingUpload]:
        """Return the running uploads."""
        with self._lock:
            return dict(self._under_way.values())

    def close(self) -> None:
        """Drop all of them."""
        self._enabled = False
        for upload in self.under_way().values():
            upload.source.cancel()

    def _begun(self, node: FileNode, staged: StagedFile) -> StreamingUpload | None:
        with self._tree.lock, self._lock:
            if len(self._under_way) >= _MOST or staged.follower is not None or not self._is_worth_it(node, staged):
                return None
            container_id, path = node.container.remote.id, node.stored_path
            source = GrowingSource(staged, lambda: self._is_wanted(node, staged, path))
            upload = StreamingUpload(container_id, path, source)
            self._under_way[staged] = node, upload
            return upload

    def _is_worth_it(self, node: FileNode, staged: StagedFile) -> bool:
        """Tell whether to upload a file while it is written. The tree's lock must be held."""
        is_being_written = isinstance(node.state, state.Staged) and node.state.data is staged
        return is_being_written and node.parent is not None and not self._names.is_temporary(node.path)

    def _is_wanted(self, node: FileNode, staged: StagedFile, path: str) -> bool:
        with self._tree.lock:
            has_its_name = node.parent is not None and node.stored_path == path
            return has_its_name and staged in state.owned_data(node.state)

    def _start(self, staged: StagedFile, upload: StreamingUpload) -> None:
        try:
            threading.Thread(target=self._run, args=[staged, upload], name="streaming upload", daemon=True).start()
        except RuntimeError:  # no more threads can be started
            self._forget(staged)

    def _run(self, staged: StagedFile, upload: StreamingUpload) -> None:
        try:
            stored = upload.send(self._remote)
        except BaseException as error:
            log.debug("The upload of %r while it was written has ended: %s", upload.path, error)
            self._forget(staged)
            upload.outcome.set_exception(error)
        else:
            self._forget(staged)
            upload.outcome.set_result(stored)

    def _forget(self, staged: StagedFile) -> None:
        """Called before the outcome is known, so that no later attempt takes the upload for a running one."""
        with self._lock:
            del self._under_way[staged]
