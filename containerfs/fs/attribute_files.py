"""Keeps modes, owners, times and empty directories on services without a place for them: in a file of each container.

A file of attributes is never changed. Instead, a new one with the merged content of the existing ones is stored under a
name of its own, and then those are deleted. So several machines can write at the same time without losing each other's
attributes: each deletes what it has read, the others read all files that exist, and the next one that writes merges
them.

No lock is held during a request. Listings wait for nobody. Those that write in one container take turns, and what comes
while one of them writes is written next, all at once.
"""

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace

from containerfs.api.dialect import Dialect
from containerfs.fs import types
from containerfs.fs.attribute_contents import Changes, Contents, changed, directory_id, is_directory_id, merged
from containerfs.fs.remote import Arriving, BytesSource, ForwardingRemote, Remote, UploadRequest, ignored
from containerfs.fs.types import FileAttributes, RemoteFile

log = logging.getLogger(__name__)

_NAME, _SUFFIX = ".containerfs-attributes-", ".json"
_LARGEST = 64 << 20  # bytes; a larger file is somebody's own
_READINGS = 3  # attempts to read what others are replacing
_DELETED = 100  # files deleted here that are remembered, because a listing may still have them
_GRACE = 600 * 10**9  # nanoseconds for which the attributes of a file that is not listed are kept


@dataclass(slots=True, eq=False)
class _Write:
    """Changes that are written together. All who made one of them wait for ``done``."""

    changes: Changes = field(default_factory=Changes)
    done: "Future[None]" = field(default_factory=Future)
    has_writer: bool = False


@dataclass(slots=True, eq=False)
class _Container:
    """What is known of one container. Guarded by the lock of all.

    Attributes:
        known: what all files of attributes held that were ever read or written.
        there: the ids of those that have to be deleted once others count in their place.
        stored: the id of the last one that was stored here.
        deleted: the ids of those that were deleted here last.
        files: the ids of the other files when they were listed.
        listed_at: when that began, in nanoseconds since 1970; 0 before the first listing.
        ordinary: the ids of files that have the name of a file of attributes, and hold something else.
        is_being_written: whether it is somebody's turn to write.
        next: what is written next.
    """

    known: Contents = field(default_factory=Contents)
    there: frozenset[str] = frozenset()
    stored: str | None = None
    deleted: "deque[str]" = field(default_factory=lambda: deque(maxlen=_DELETED))
    files: Set[str] = frozenset()
    listed_at: int = 0
    ordinary: set[str] = field(default_factory=set)
    is_being_written: bool = False
    next: _Write = field(default_factory=_Write)

    def take_over(self, began: int, there: Set[str], files: Set[str]) -> None:
        """Note what a listing has found, unless a later one is known."""
        if began > self.listed_at:
            self.listed_at, self.files = began, files
            self.there = frozenset(there) - {*self.deleted} | ({self.stored} if self.stored else set())


class AttributeFiles(ForwardingRemote):
    """Implements ``Remote`` over another one. If that keeps attributes itself, calls are passed on to it."""

    def __init__(self, remote: Remote) -> None:
        super().__init__(remote)
        self._containers: dict[str, _Container] = {}
        self._lock = threading.Lock()  # guards _containers, and what is in them; never held during a request
        self._turn_ended = threading.Condition(self._lock)

    @property
    def dialect(self) -> Dialect:
        return replace(self._remote.dialect, attributes=True, directories=True)

    @property
    def keeps_many_at_once(self) -> bool:
        return self._remote.keeps_many_at_once or not self._is_able

    def files(self, container_id: str, arriving: Arriving = ignored) -> list[RemoteFile]:
        if self._is_able:
            return self._remote.files(container_id, arriving)
        return self._list(
            container_id,
            self._container(container_id),
            lambda files: arriving([file for file in files if not _may_hold_attributes(file)]),
        )

    def newest(self, container_id: str, since: int) -> list[RemoteFile]:
        found = self._remote.newest(container_id, since)
        return found if self._is_able else [file for file in found if not _may_hold_attributes(file)]

    def keep_attributes(
        self, container_id: str, files: Mapping[str, FileAttributes], directories: Mapping[str, FileAttributes]
    ) -> dict[str, RemoteFile]:
        if self._is_able:
            return self._remote.keep_attributes(container_id, files, directories)
        self._change(container_id, Changes(dict(files), dict(directories)))
        return {path: _directory(container_id, path, told) for path, told in directories.items()}

    def delete_file(self, container_id: str, file_id: str) -> None:
        if is_directory_id(file_id):
            with suppress(types.NotFound):
                self._change(container_id, Changes(removed={file_id}))
        else:
            self._remote.delete_file(container_id, file_id)

    def delete_container(self, container_id: str) -> None:
        super().delete_container(container_id)
        with self._lock:
            self._containers.pop(container_id, None)

    @property
    def _is_able(self) -> bool:
        return self._remote.dialect.attributes

    def _container(self, container_id: str) -> _Container:
        with self._lock:
            return self._containers.setdefault(container_id, _Container())

    # Reading

    def _list(self, container_id: str, container: _Container, arriving: Arriving = ignored) -> list[RemoteFile]:
        """List a container's files together with their attributes."""
        began = time.time_ns()
        listed = self._remote.files(container_id, arriving)
        there = self._read_all(container_id, container, listed)
        others = [file for file in listed if file.id not in there]
        with self._lock:
            container.take_over(began, there, {file.id for file in others})
            known = container.known
        attributes = {id_: kept.attributes for id_, kept in known.files.items()}
        found = [replace(file, attributes=attributes.get(file.id)) for file in others]
        return found + [_directory(container_id, path, kept.attributes) for path, kept in known.directories.items()]

    def _read_all(self, container_id: str, container: _Container, listed: Sequence[RemoteFile]) -> set[str]:
        """Learn what the files of attributes among some files hold, and return their ids."""
        there: set[str] = set()
        for _ in range(_READINGS):
            gone = []
            for file in filter(_may_hold_attributes, listed):
                if self._is_known(container, file):
                    there.add(file.id)
                    continue
                try:
                    contents = self._read(container, file)
                except types.NotFound:
                    gone.append(file.created_at)
                    there.add(file.id)
                else:
                    if contents is not None:
                        self._learn(container, contents)
                        there.add(file.id)
            if not gone:
                return there
            listed = self._remote.newest(container_id, min(gone))  # others have put a later one in its place
        raise types.Failed("the file of attributes is replaced again and again")

    def _is_known(self, container: _Container, file: RemoteFile) -> bool:
        with self._lock:
            return file.id in container.there or file.id in container.deleted

    def _read(self, container: _Container, file: RemoteFile) -> Contents | None:
        """Read a file of attributes; None if it is somebody's own file. Raises NotFound."""
        if file.id in container.ordinary or (file.size is not None and file.size > _LARGEST):
            return None
        with self._remote.content(file) as stream:
            text = b"".join(stream.chunks)
        try:
            return Contents.read(text)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("%r does not hold attributes, and is shown as it is: %s", file.path, error)
        with self._lock:
            container.ordinary.add(file.id)
        return None

    def _learn(self, container: _Container, contents: Contents) -> None:
        """Add what a file of attributes holds. Merging takes too long for holding the lock."""
        while True:
            before = container.known
            after = merged([before, contents])
            with self._lock:
                if container.known is before:
                    container.known = after
                    return

    # Writing

    def _change(self, container_id: str, changes: Changes) -> None:
        """Write changes. Those that come while others are being written are written next, all at once."""
        container = self._container(container_id)
        with self._lock:
            write = container.next
            write.changes.add(changes)
            is_writer, write.has_writer = not write.has_writer, True
        if is_writer:
            self._take_turn(container_id, container, write)
        write.done.result()

    def _take_turn(self, container_id: str, container: _Container, write: _Write) -> None:
        with self._lock:
            self._turn_ended.wait_for(lambda: not container.is_being_written)
            container.is_being_written, container.next = True, _Write()
        try:
            self._write(container_id, container, write.changes)
        except BaseException as error:
            write.done.set_exception(error)
        else:
            write.done.set_result(None)
        finally:
            with self._lock:
                container.is_being_written = False
                self._turn_ended.notify_all()

    def _write(self, container_id: str, container: _Container, changes: Changes) -> None:
        if not container.listed_at:
            self._list(container_id, container)
        with self._lock:
            before, known = container.there, container.known
            living, listed_at = container.files, container.listed_at
        now = max(time.time_ns(), known.written_at + 1)
        contents = changed(known, changes, now).without(living, before=listed_at - _GRACE)
        name, text = f"{_NAME}{secrets.token_hex(4)}{_SUFFIX}", contents.text()
        stored = self._remote.upload(UploadRequest(container_id, name, BytesSource(text), secrets.token_hex(16)))
        if not _may_hold_attributes(stored):
            self._remote.delete_file(container_id, stored.id)
            raise types.Refused(f"the service stores {name!r} as {stored.path!r}, where it cannot be found again")
        self._learn(container, contents)
        with self._lock:
            container.stored = stored.id
            container.there |= {stored.id}
        try:
            for old in before:
                self._delete(container_id, container, old)
        except types.FsError as error:
            log.info("An older file of attributes is deleted with the next change: %s", error)

    def _delete(self, container_id: str, container: _Container, old: str) -> None:
        self._remote.delete_file(container_id, old)
        with self._lock:
            container.there -= {old}
            container.deleted.append(old)


def _may_hold_attributes(file: RemoteFile) -> bool:
    return _NAME in file.path and file.path.endswith(_SUFFIX)  # some services add a prefix to names


def _directory(container_id: str, path: str, attributes: FileAttributes) -> RemoteFile:
    """Return a directory as a service would describe it."""
    return RemoteFile(
        directory_id(path, attributes), container_id, path + "/", 0, int(time.time()), attributes=attributes
    )
