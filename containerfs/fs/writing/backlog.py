"""The backlog: what is not on the service yet, for everybody who asks or waits.

Nothing of it is ever dropped silently: it is in the journal, and listed here with the reason.
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
        reason: why not.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that is being uploaded, or is about to be.

    Attributes:
        name: ``CONTAINER/PATH``.
        size: in bytes; None where that is not known.
        sent: bytes of it; None while it waits for its turn.
        rate: bytes a second.
    """

    name: str
    size: int | None
    sent: int | None
    rate: float


@dataclass(frozen=True, slots=True)
class FailedUpload(Unfinished):
    """A file whose upload failed.

    Attributes:
        size: in bytes; None where that is not known.
        retry_in: seconds until it is tried again by itself; None if it is not.
        remedy: what would help.
        set_aside: whether it can never be uploaded as it is.
    """

    size: int | None
    retry_in: float | None
    remedy: str
    set_aside: bool = False


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A file that another process has to upload, which uses the same journal: of a mount that was detached, say.

    Attributes:
        pid: None where that is not known.
    """

    name: str
    size: int | None
    pid: int | None


@dataclass(frozen=True, slots=True)
class Outstanding:
    """All that is not on the service at one moment: each file is in one of the lists, once.

    Attributes:
        streaming: files that are uploaded while they are written; none of them is due, and none is counted.
        elsewhere: files that are another mount's to upload.
    """

    uploads: list[Upload]
    streaming: list[Upload]
    failed: list[FailedUpload]
    elsewhere: list[Elsewhere]

    @property
    def pending(self) -> int:
        """How many files are being uploaded, or are about to be."""
        return len(self.uploads) + sum(failed.retry_in == 0 for failed in self.failed)

    @property
    def set_aside(self) -> list[FailedUpload]:
        """What waits for somebody's decision."""
        return [failed for failed in self.failed if failed.set_aside]


class Backlog:
    """What is due. Thread-safe."""

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
        """What is not on the service now."""
        uploads, failed = [], []
        with self._tree.lock:  # with which every change of a file's state, and of what is set aside, is made
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
        """Try now whatever is due (of ``within``), without waiting for it; returns what that is.

        A service that is down may have just come back: it is looked for.
        """
        self._remote.seek()
        nodes = [node for node in self._due() if within is None or node in within]
        self._uploader.ask(nodes)
        if within is None:
            self._schedule.expedite(lambda key: not isinstance(key, FileNode))
        return nodes

    def drain_files(self, directory: Directory, timeout: float) -> list[Unfinished]:
        """Try now, once, what is due of the files below a directory; returns those of them that are not on the service
        then, or after ``timeout`` seconds. Attributes that were set in its container are waited for, too."""
        deadline = time.monotonic() + timeout
        with self._tree.lock:
            files, containers = set(directory.files()), self._containers(directory)
        left = self._drain_files(deadline, files)
        self._updates.drain(deadline, containers)
        return left

    def _containers(self, directory: Directory) -> set[str]:
        """The ids of the containers that a directory is in or has. Wants the tree's lock held."""
        if directory is self._tree.root:
            return {container.remote.id for container in self._tree.containers()}
        with suppress(types.NotFound):
            return {directory.container.remote.id}
        return set()

    def _drain_files(self, deadline: float, within: set[FileNode] | None = None) -> list[Unfinished]:
        under_way = self._uploader.under_way()
        for node in self.expedite(within):
            self._await(node, deadline)
            if node in under_way and self._failure(node) is not None:  # that attempt had begun before
                self._uploader.ask([node])
                self._await(node, deadline)
        return [self._unfinished(node) for node in self._due() if within is None or node in within]

    def drain(self, timeout: float) -> list[Unfinished]:
        """Try now whatever is due, once; returns what is not on the service then, or after ``timeout`` seconds."""
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
        """Wait until nothing is due of a file, an attempt fails, or the time is over."""
        try:
            while self._failure(node) is None and (version := _version(node)) is not None:
                self._uploader.wait(node, version, deadline)
        except types.Interrupted:
            raise
        except Exception:  # why it failed is noted in its state, and logged
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
        """Files that are still open, and of which something was synced: the next mount uploads them."""
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
