"""The backlog: what is not on the service yet, for everybody who asks or waits.

Nothing is ever dropped silently: it is in the journal, and listed here with the reason.
"""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from containerfs.fs import state, types
from containerfs.fs.namespace.nodes import Directory, FileNode
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.remote import Remote
from containerfs.fs.state import Staged
from containerfs.fs.writing.attribute_updates import AttributeUpdates, Subject
from containerfs.fs.writing.deletions import Deletions
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.records import Deletion
from containerfs.fs.writing.schedule import Schedule
from containerfs.fs.writing.settlement import Settlement
from containerfs.fs.writing.streaming import StreamingUploads
from containerfs.fs.writing.uploads import Uploader

_REMEDY = "change the file, or ask for it: 'containerfs sync'"
_DECIDE = "'containerfs recover' saves, sends or discards it"


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Something that is not on the service.

    Attributes:
        name: ``CONTAINER/PATH``.
        reason: why it is not there.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that is being uploaded, or will be soon.

    Attributes:
        name: ``CONTAINER/PATH``.
        size: in bytes; None if it is not known.
        sent: the number of bytes sent; None while it waits for its turn.
        rate: in bytes per second.
    """

    name: str
    size: int | None
    sent: int | None
    rate: float


@dataclass(frozen=True, slots=True)
class FailedUpload(Unfinished):
    """A file whose upload failed.

    Attributes:
        name: ``CONTAINER/PATH``.
        size: in bytes; None if it is not known.
        reason: why it failed.
        retry_in: seconds until the next attempt; None if there will be none.
        remedy: what would help.
        set_aside: whether it can never be uploaded as it is.
    """

    size: int | None
    retry_in: float | None
    remedy: str
    set_aside: bool = False


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A file that another process is to upload, for example that of a mount that was detached.

    Attributes:
        pid: None if it is not known.
    """

    name: str
    size: int | None
    pid: int | None


@dataclass(frozen=True, slots=True)
class Outstanding:
    """Everything that is not on the service at one moment. Each file is in exactly one of the lists.

    Attributes:
        elsewhere: files that another mount is to upload.
    """

    uploads: list[Upload]
    streaming: list[Upload]
    failed: list[FailedUpload]
    elsewhere: list[Elsewhere]

    @property
    def pending(self) -> int:
        """The number of files that are being uploaded, or will be soon."""
        return len(self.uploads) + sum(failed.retry_in == 0 for failed in self.failed)

    @property
    def set_aside(self) -> list[FailedUpload]:
        """What waits for somebody's decision."""
        return [failed for failed in self.failed if failed.set_aside]


class Backlog:
    """Everything that is due. Thread-safe."""

    def __init__(
        self,
        remote: Remote,
        tree: Tree,
        journal: Journal,
        uploader: Uploader,
        deletions: Deletions,
        settlement: Settlement,
        updates: AttributeUpdates,
        schedule: Schedule,
        streaming: StreamingUploads,
    ) -> None:
        self._remote = remote
        self._tree = tree
        self._journal = journal
        self._uploader = uploader
        self._deletions = deletions
        self._settlement = settlement
        self._updates = updates
        self._schedule = schedule
        self._streaming = streaming

    def outstanding(self) -> Outstanding:
        """Return what is not on the service now."""
        uploads, failed = [], []
        with self._tree.lock:  # held for every change of a file's state, and of what is set aside
            under_way = self._uploader.under_way()
            for node in self._tree.unfinished:
                delivery = under_way.get(node)
                failure = self._failure(node)
                if delivery is not None:
                    uploads.append(Upload(self._name(node), _size(node), delivery.sent, delivery.rate))
                elif failure is None or state.uploading(node.state) is not None:
                    uploads.append(Upload(self._name(node), _size(node), None, 0.0))
                else:
                    failed.append(self._failed(node, failure))
            failed += self._set_aside()
            streaming = [
                Upload(self._name(node), None, upload.source.sent, upload.source.rate.per_second())
                for node, upload in self._streaming.under_way().items()
                if node not in self._tree.unfinished
            ]
        elsewhere = [
            Elsewhere(name, _size_on_disk(self._journal.staged(data).path if data else None), pid)
            for name, data, pid in self._journal.due_elsewhere()
        ]
        return Outstanding(uploads, streaming, failed, elsewhere)

    def _failed(self, node: FileNode, failure: state.Failure) -> FailedUpload:
        remedy = failure.remedy or (_REMEDY if failure.lasting else "")
        return FailedUpload(self._name(node), failure.reason, _size(node), self._uploader.retry_in(node), remedy)

    def _set_aside(self) -> list[FailedUpload]:
        rows = self._journal.all_set_aside()
        found = [(row.name, row.reason, self._journal.staged(row.data).path if row.data else None) for row in rows]
        found += [(str(path), "its journal was damaged", path) for path in self._journal.unlisted_data()]
        return [
            FailedUpload(name, reason, _size_on_disk(path), None, _DECIDE, set_aside=True)
            for name, reason, path in found
        ]

    def expedite(self, within: set[FileNode] | None = None) -> list[FileNode]:
        """Try everything that is due now, without waiting for it, and return what that is.

        A service that was down may be back, so it is checked.

        Args:
            within: limits this to a directory.
        """
        self._remote.seek()
        nodes = [node for node in self._due() if within is None or node in within]
        self._uploader.ask(nodes)
        if within is None:
            self._schedule.expedite(lambda key: not isinstance(key, FileNode))
        return nodes

    def drain_files(self, directory: Directory, timeout: float) -> list[Unfinished]:
        """Try now, once, what is due of the files below a directory, and wait for it and for attributes set in its
        container.

        Args:
            timeout: in seconds.

        Returns:
            Those files that are not on the service when that is done, or the time is over.
        """
        deadline = time.monotonic() + timeout
        with self._tree.lock:
            files, containers = set(directory.files()), self._containers(directory)
        left = self._drain_files(deadline, files)
        self._updates.drain(deadline, containers)
        return left

    def _containers(self, directory: Directory) -> set[str]:
        """Return the ids of the containers that a directory is in or has. The tree's lock must be held."""
        if directory is self._tree.root:
            return {container.remote.id for container in self._tree.containers()}
        with suppress(types.NotFound):
            return {directory.container.remote.id}
        return set()

    def _drain_files(self, deadline: float, within: set[FileNode] | None = None) -> list[Unfinished]:
        under_way = self._uploader.under_way()
        for node in self.expedite(within):
            self._await(node, deadline)
            if node in under_way and self._failure(node) is not None:  # that attempt had begun earlier
                self._uploader.ask([node])
                self._await(node, deadline)
        return [self._unfinished(node) for node in self._due() if within is None or node in within]

    def drain(self, timeout: float) -> list[Unfinished]:
        """Try now, once, everything that is due, and return what is not on the service then, or after ``timeout``
        seconds."""
        deadline = time.monotonic() + timeout
        left = self._drain_files(deadline)
        unset = [self._unset(subject) for subject in self._updates.drain(deadline)]
        with suppress(types.Unreachable):
            self._uploader.wait_for_deleted(deadline)
            self._settlement.wait(deadline)
        undeleted = [self._undeleted(deletion) for deletion in self._deletions.retry_pending(deadline)]
        return [*left, *self._recorded(), *unset, *undeleted, *self._set_aside()]

    def _due(self) -> list[FileNode]:
        with self._tree.lock:
            return list(self._tree.unfinished)

    def _await(self, node: FileNode, deadline: float) -> None:
        """Wait until nothing is due for a file, an attempt fails, or the time is over."""
        try:
            while self._failure(node) is None and (version := _version(node)) is not None:
                self._uploader.wait(node, version, deadline)
        except types.Interrupted:
            raise
        except Exception:  # the reason is in its state and in the log
            return

    def _failure(self, node: FileNode) -> state.Failure | None:
        layer = state.due(node.state)
        return None if layer is None else layer.failure

    def _unfinished(self, node: FileNode) -> Unfinished:
        failure = self._failure(node)
        return Unfinished(self._name(node), "waiting" if failure is None else failure.reason)

    def _name(self, node: FileNode) -> str:
        with self._tree.lock:
            return node.name if node.parent is None else f"{node.container.name}/{node.path}"

    def _recorded(self) -> list[Unfinished]:
        """Return open files that were synced. The next mount would upload them."""
        with self._tree.lock:
            nodes = [
                node
                for container in self._tree.containers()
                for node in container.files()
                if isinstance(node.state, Staged) and node.state.entry is not None
            ]
            return [Unfinished(self._name(node), "it was still open") for node in nodes]

    def _unset(self, subject: Subject) -> Unfinished:
        name = f"{self._container_name(subject.container_id)}/{subject.key.partition(':')[2]}"
        return Unfinished(name, "the service does not have its mode, owner and time")

    def _undeleted(self, deletion: Deletion) -> Unfinished:
        name = f"{self._container_name(deletion.container_id)}/{deletion.file_id}"
        return Unfinished(name, "it is still to be deleted")

    def _container_name(self, container_id: str) -> str:
        with self._tree.lock:
            container = self._tree.container(container_id)
            return container_id if container is None else container.name


def _size(node: FileNode) -> int | None:
    layer = state.uploading(node.state) or state.due(node.state)
    with suppress(types.FsError):
        return None if layer is None else layer.version.content.size
    return None


def _size_on_disk(path: Path | None) -> int | None:
    with suppress(FileNotFoundError):
        return None if path is None else path.stat().st_size
    return None


def _version(node: FileNode) -> state.Version | None:
    layer = state.due(node.state) or state.uploading(node.state)
    return None if layer is None else layer.version
