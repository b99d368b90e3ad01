"""Sends attributes that were set after the service got the file, to services that store them.

An upload includes the attributes that its file has when it begins. Later changes, and attributes of directories, follow
a moment later, together. Until the service has them, the database on this machine says so, and the next mount
continues.
"""

import logging
import threading
import time
from collections.abc import Iterable, Set
from contextlib import suppress
from dataclasses import dataclass, replace

from containerfs.fs import deadline, transitions, types
from containerfs.fs.namespace.attributes import Attributes, AttributeStore, directory_key, directory_path, file_id
from containerfs.fs.namespace.nodes import ContainerDirectory, Directory
from containerfs.fs.namespace.tree import Tree
from containerfs.fs.remote import Remote
from containerfs.fs.types import RemoteFile
from containerfs.fs.writing.backoff import pause
from containerfs.fs.writing.deletions import Deletions
from containerfs.fs.writing.journal import Journal
from containerfs.fs.writing.schedule import Schedule

log = logging.getLogger(__name__)

_DELAY = 0.5  # seconds to wait for more, because programs set mode, owner and times one after the other


@dataclass(frozen=True, slots=True)
class Subject:
    """A file or directory of a container, by the key of its attributes."""

    container_id: str
    key: str


class AttributeUpdates:
    """Sends attributes. Thread-safe. Only ``drain`` waits for the service."""

    def __init__(
        self,
        remote: Remote,
        tree: Tree,
        attributes: AttributeStore,
        journal: Journal,
        deletions: Deletions,
        schedule: Schedule,
    ) -> None:
        self._remote = remote
        self._tree = tree
        self._attributes = attributes
        self._journal = journal
        self._deletions = deletions
        self._schedule = schedule
        self._changed = threading.Condition()  # guards everything below; notified when an attempt has ended
        self._unsent: dict[Subject, Attributes] = {}
        self._failures: dict[Subject, int] = {}
        self._sending: set[Subject] = set()

    def set(self, container_id: str, key: str, attributes: Attributes) -> None:
        """Keep attributes here, and send them soon. If they change again before that, they are sent once."""
        if self._is_sent(key):
            subject = Subject(container_id, key)
            with self._changed:
                self._unsent[subject] = attributes
                self._failures.pop(subject, None)
            self._submit(subject, _DELAY)

    def removed(self, container: ContainerDirectory, path: str) -> None:
        """Handle the removal of a directory: nothing of it is sent, and the service deletes what it has of it."""
        subject = Subject(container.remote.id, directory_key(path))
        with self._changed:
            self._unsent.pop(subject, None)
        self._schedule.cancel(subject)
        with self._tree.lock:
            there = container.directories.pop(path, None)
        if there is not None:
            self._delete(there)

    def replay(self) -> None:
        """Continue what earlier mounts left."""
        for container_id, key, attributes in self._attributes.unsent():
            self.set(container_id, key, attributes)

    def drain(self, until: float, containers: Set[str] | None = None) -> list[Subject]:
        """Send now, once, everything that is not sent, and return what is left.

        Args:
            until: monotonic time when to give up.
            containers: the ids of the containers that matter.
        """

        def wanted(subjects: Iterable[Subject]) -> set[Subject]:
            return {subject for subject in subjects if containers is None or subject.container_id in containers}

        with self._changed:
            before = {subject: self._failures.get(subject, 0) for subject in wanted(self._unsent)}
            under_way = wanted(self._sending)
        for subject in before:
            self._submit(subject, 0.0)

        def is_tried() -> bool:
            return not under_way & self._sending and all(
                subject not in self._unsent or self._failures.get(subject, 0) > failures
                for subject, failures in before.items()
            )

        with self._changed:
            with suppress(types.Unreachable):
                deadline.wait_for(self._changed, is_tried, until)
            return [subject for subject in before if subject in self._unsent]

    def _is_sent(self, key: str) -> bool:
        path = directory_path(key)
        return self._remote.dialect.attributes if path is None else self._remote.dialect.directories and path != ""

    def _submit(self, subject: Subject, delay: float) -> None:
        self._schedule.submit(
            subject, delay, lambda _: self._attempt(subject), lambda error: self._failed(subject, error)
        )

    def _attempt(self, subject: Subject) -> None:
        with self._changed:
            batch = self._batch(subject)
            self._sending |= batch.keys()
        if not batch:
            return
        try:
            self._deliver(subject, batch)
        finally:
            with self._changed:
                self._sending -= batch.keys()
                late = [each for each, sent in batch.items() if self._unsent.get(each) not in (None, sent)]
                self._changed.notify_all()
        for each in late:
            self._submit(each, 0.0)

    def _batch(self, subject: Subject) -> dict[Subject, Attributes]:
        """Return what to send together; nothing if that is being sent, or was. The lock must be held."""
        if subject not in self._unsent or subject in self._sending:
            return {}
        if not self._remote.keeps_many_at_once:
            return {subject: self._unsent[subject]}
        return {
            each: attributes
            for each, attributes in self._unsent.items()
            if each.container_id == subject.container_id and each not in self._sending
        }

    def _deliver(self, subject: Subject, batch: dict[Subject, Attributes]) -> None:
        try:
            self._send(subject.container_id, batch)
        except types.NotFound:  # the file or its container is gone
            self._sent(batch)
        except types.FsError as error:
            self._failed(subject, error, batch)
        else:
            self._sent(batch)

    def _send(self, container_id: str, batch: dict[Subject, Attributes]) -> None:
        files: dict[str, types.FileAttributes] = {}
        directories: dict[str, types.FileAttributes] = {}
        for subject, attributes in batch.items():
            path = directory_path(subject.key)
            if path is None:
                files[file_id(subject.key)] = attributes.carried()
            else:
                directories[path] = attributes.carried()
        begun = time.monotonic()
        made = self._remote.keep_attributes(container_id, files, directories)
        for id_, carried in files.items():
            self._note_file(container_id, id_, carried)
        for path, directory in made.items():
            self._note_directory(container_id, path, directory, begun)

    def _note_directory(self, container_id: str, path: str, made: RemoteFile, begun: float) -> None:
        with self._tree.lock:
            container = self._tree.container(container_id)
            with self._changed:
                is_wanted = Subject(container_id, directory_key(path)) in self._unsent
            if container is not None and is_wanted:
                container.directories[path] = made
                there = self._tree.find_in(container, path)
                if there is not None:
                    there.changed_at = time.monotonic()  # listings that were requested earlier do not have it
            elif container is not None:
                self._unlist(container, path, begun)
        if not is_wanted:  # removed in the meantime
            self._delete(made)

    def _unlist(self, container: ContainerDirectory, path: str, begun: float) -> None:
        """Forget a listed directory that is being deleted, unless it was created again here since ``begun``."""
        container.directories.pop(path, None)
        there = self._tree.find_in(container, path)
        if isinstance(there, Directory) and not there.children and there.changed_at < begun:
            there.kept = False
            self._tree.remove_with_empty_parents(there)

    def _note_file(self, container_id: str, id_: str, carried: types.FileAttributes) -> None:
        with self._tree.lock:
            container = self._tree.container(container_id)
            node = None if container is None else container.by_id.get(id_)
            if node is not None and node.remote is not None and node.remote.id == id_:
                remote = replace(node.remote, attributes=carried)
                self._tree.change(node, transitions.listed, remote, held=node.opens > 0)

    def _sent(self, batch: dict[Subject, Attributes]) -> None:
        with self._changed:
            latest = {each: sent for each, sent in batch.items() if self._unsent.get(each) is sent}
            for subject in batch:
                self._failures.pop(subject, None)
            for subject in latest:
                del self._unsent[subject]
            self._changed.notify_all()
        for subject, attributes in latest.items():
            self._note_sent(subject, attributes)

    def _note_sent(self, subject: Subject, attributes: Attributes) -> None:
        with self._tree.lock:
            container = self._tree.container(subject.container_id)
            if container is not None and container.kept_attributes.get(subject.key) == attributes:
                if directory_path(subject.key) is None:
                    container.kept_attributes[subject.key] = replace(attributes, sent=True)
                else:
                    del container.kept_attributes[subject.key]  # as the service will list it
        self._attributes.note_sent(subject.container_id, subject.key, attributes)

    def _failed(self, subject: Subject, error: types.FsError, batch: Iterable[Subject] = ()) -> None:
        with self._changed:
            for each in {subject, *batch}:
                self._failures[each] = self._failures.get(each, 0) + 1
            failures = self._failures[subject]
            self._changed.notify_all()
        log.warning("The attributes of %s could not be sent, attempt %d: %s", subject.key, failures, error)
        if not error.lasting:
            for each in {subject, *batch}:
                self._submit(each, pause(failures))

    def _delete(self, directory: RemoteFile) -> None:
        """Make the service delete a directory, whatever happens in the meantime."""
        with self._tree.lock, self._journal.transaction() as tx:
            tx.delete_later(directory.container_id, [directory.id])
            self._tree.hide_ids(directory.container_id, [directory.id])
        self._deletions.carry_out_later(directory.container_id, [directory.id])
