"""The backlog: what is not on the service yet, for whoever asks or waits.

Nothing of it is ever dropped silently: it is in the journal, and it is listed here with the reason.
"""

import time
from contextlib import suppress
from dataclasses import dataclass

from containerfs.fs import state, types
from containerfs.fs.namespace.nodes import FileNode
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.state import Staged
from containerfs.fs.writing.deletions import Deletions
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.records import Deletion
from containerfs.fs.writing.schedule import Schedule
from containerfs.fs.writing.settlement import Settlement
from containerfs.fs.writing.uploads import Uploader


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


class Backlog:
    """What is due. Thread-safe."""

    def __init__(
        self,
        tree: Tree,
        journal: Journal,
        uploader: Uploader,
        deletions: Deletions,
        settlement: Settlement,
        schedule: Schedule,
    ) -> None:
        self._tree = tree
        self._journal = journal
        self._uploader = uploader
        self._deletions = deletions
        self._settlement = settlement
        self._schedule = schedule

    def pending(self) -> int:
        """How many files are being uploaded, or are about to be."""
        return sum(not self._uploader.is_waiting(node) for node in self._due())

    def failed(self) -> list[Unfinished]:
        """Files whose upload failed, and those that were set aside."""
        waiting = [node for node in self._due() if self._failure(node) is not None]
        return [self._unfinished(node) for node in waiting] + self.set_aside()

    def set_aside(self) -> list[Unfinished]:
        """What waits for somebody's decision."""
        rows = [Unfinished(row.name, row.reason) for row in self._journal.all_set_aside()]
        lost = [Unfinished(str(path), "its journal was damaged") for path in self._journal.unlisted_data()]
        return rows + lost

    def expedite(self, within: set[FileNode] | None = None) -> list[FileNode]:
        """Try now whatever is due (of ``within``), without waiting for it; returns what that is."""
        nodes = [node for node in self._due() if within is None or node in within]
        self._uploader.ask(nodes)
        if within is None:
            self._schedule.expedite(lambda key: not isinstance(key, FileNode))
        return nodes

    def drain(self, timeout: float, within: set[FileNode] | None = None) -> list[Unfinished]:
        """Try now whatever is due (of ``within``), once; returns what is not on the service then, or after ``timeout``
        seconds."""
        deadline = time.monotonic() + timeout
        for node in self.expedite(within):
            self._await(node, deadline)
        left = [self._unfinished(node) for node in self._due() if within is None or node in within]
        if within is not None:
            return left
        with suppress(types.Unreachable):
            self._uploader.wait_for_deleted(deadline)
            self._settlement.wait(deadline)
        undeleted = [self._undeleted(deletion) for deletion in self._deletions.retry_pending(deadline)]
        return left + self._recorded() + undeleted + self.set_aside()

    def _due(self) -> list[FileNode]:
        return [
            node
            for node in self._uploader.due()
            if state.due(node.state) is not None or state.uploading(node.state) is not None
        ]

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

    def _undeleted(self, deletion: Deletion) -> Unfinished:
        name = f"{self._container_name(deletion.container_id)}/{deletion.file_id}"
        return Unfinished(name, "it is still to be deleted")

    def _container_name(self, container_id: str) -> str:
        with self._tree.lock:
            container = self._tree.container(container_id)
            return container_id if container is None else container.name


def _version(node: FileNode) -> state.Version | None:
    layer = state.due(node.state) or state.uploading(node.state)
    return None if layer is None else layer.version
