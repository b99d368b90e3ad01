"""Keeps modes, owners, times and empty directories on services without a place for them: in a file of each container.

A file of attributes is never changed. Instead, a new one with the merged content of the existing ones is stored under a
name of its own, and then those are deleted. So several machines can write at the same time without losing each other's
attributes: each deletes what it has read, the others read all files that exist, and the next one that writes merges
them.
"""

import json
import logging
import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

from containerfs.api.dialect import Dialect
from containerfs.fs import types
from containerfs.fs.remote import Arriving, BytesSource, ForwardingRemote, Remote, UploadRequest, ignored
from containerfs.fs.types import FileAttributes, RemoteFile

log = logging.getLogger(__name__)

_NAME, _SUFFIX = ".containerfs-attributes-", ".json"
_FORM = 1
_LARGEST = 64 << 20  # bytes; a larger file is somebody's own
_DIRECTORY = "directory:"  # prefix of the ids of directories that are kept here, and not on the service
_READINGS = 3  # attempts to read what others are replacing


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of files of attributes.

    Attributes:
        files: attributes of files, by id.
        directories: attributes of directories, by path; directories without files exist only here.
    """

    written_at: int = 0
    files: Mapping[str, FileAttributes] = field(default_factory=dict)
    directories: Mapping[str, FileAttributes] = field(default_factory=dict)

    @classmethod
    def read(cls, text: bytes) -> "Contents":
        """Parse a file. Raises ValueError, TypeError, KeyError or AttributeError if it is none."""
        read: dict[str, Any] = json.loads(text)
        if read["containerfs_attributes"] != _FORM:
            raise ValueError("unknown format")
        files = {id_: FileAttributes(**told) for id_, told in read["files"].items()}
        directories = {path: FileAttributes(**told) for path, told in read["directories"].items()}
        return cls(int(read["written_at"]), files, directories)

    def text(self) -> bytes:
        read = {
            "containerfs_attributes": _FORM,
            "written_at": self.written_at,
            "files": {id_: _told(attributes) for id_, attributes in self.files.items()},
            "directories": {path: _told(attributes) for path, attributes in self.directories.items()},
        }
        return json.dumps(read, separators=(",", ":")).encode()


@dataclass(slots=True)
class Changes:
    """What to write. ``removed`` are the ids of directories."""

    files: dict[str, FileAttributes] = field(default_factory=dict)
    directories: dict[str, FileAttributes] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.files or self.directories or self.removed)

    def add(self, later: "Changes") -> None:
        self.files.update(later.files)
        self.directories.update(later.directories)
        self.removed |= later.removed


@dataclass(slots=True, eq=False)
class _Container:
    """What is known of one container.

    Attributes:
        lock: held while its files are listed or written; guards ``there`` and ``files``.
        there: its files of attributes, by id.
        files: the ids of its other files, including those that were stored since the listing; None before the first
            listing.
        changes: guarded by the lock of all containers.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    there: dict[str, Contents] = field(default_factory=dict)
    files: set[str] | None = None
    changes: Changes = field(default_factory=Changes)


class AttributeFiles(ForwardingRemote):
    """Implements ``Remote`` over another one. If that keeps attributes itself, calls are passed on to it."""

    def __init__(self, remote: Remote) -> None:
        super().__init__(remote)
        self._lock = threading.Lock()  # guards _containers, and the changes of each container
        self._containers: dict[str, _Container] = {}

    @property
    def dialect(self) -> Dialect:
        return replace(self._remote.dialect, attributes=True, directories=True)

    @property
    def keeps_many_at_once(self) -> bool:
        return self._remote.keeps_many_at_once or not self._is_able

    def files(self, container_id: str, arriving: Arriving = ignored) -> list[RemoteFile]:
        if self._is_able:
            return self._remote.files(container_id, arriving)
        container = self._container(container_id)
        with container.lock:
            return self._list(
                container_id,
                container,
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
        if file_id.startswith(_DIRECTORY):
            with suppress(types.NotFound):
                self._change(container_id, Changes(removed={file_id}))
        else:
            self._remote.delete_file(container_id, file_id)

    def delete_container(self, container_id: str) -> None:
        super().delete_container(container_id)
        with self._lock:
            self._containers.pop(container_id, None)

    # Files of attributes

    @property
    def _is_able(self) -> bool:
        return self._remote.dialect.attributes

    def _container(self, container_id: str) -> _Container:
        with self._lock:
            return self._containers.setdefault(container_id, _Container())

    def _list(self, container_id: str, container: _Container, arriving: Arriving = ignored) -> list[RemoteFile]:
        """List a container's files together with their attributes. The container's lock must be held."""
        for _ in range(_READINGS):
            listed = self._remote.files(container_id, arriving)
            try:
                there = {file.id: self._read(container, file) for file in listed if _may_hold_attributes(file)}
            except types.NotFound:  # replaced by others
                continue
            container.there = {id_: contents for id_, contents in there.items() if contents is not None}
            others = [file for file in listed if file.id not in container.there]
            container.files = {file.id for file in others}
            kept = _merged(container.there.values())
            found = [replace(file, attributes=kept.files.get(file.id)) for file in others]
            return found + [_directory(container_id, path, told) for path, told in kept.directories.items()]
        raise types.Failed("the file of attributes is replaced again and again")

    def _read(self, container: _Container, file: RemoteFile) -> Contents | None:
        """Read a file of attributes; None if it is somebody's own file. Raises NotFound."""
        if file.id in container.there:
            return container.there[file.id]
        if file.size is not None and file.size > _LARGEST:
            return None
        with self._remote.content(file) as stream:
            text = b"".join(stream.chunks)
        try:
            return Contents.read(text)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("%r does not hold attributes, and is shown as it is: %s", file.path, error)
            return None

    def _change(self, container_id: str, changes: Changes) -> None:
        """Write changes. Those that come in the meantime are written next, all at once."""
        container = self._container(container_id)
        with self._lock:
            container.changes.add(changes)
        with container.lock:
            with self._lock:
                due, container.changes = container.changes, Changes()
            if not due:
                return  # another thread has written it
            try:
                self._write(container_id, container, due)
            except BaseException:
                with self._lock:
                    due.add(container.changes)
                    container.changes = due
                raise

    def _write(self, container_id: str, container: _Container, due: Changes) -> None:
        if container.files is None:
            self._list(container_id, container)
        before, kept = dict(container.there), _merged(container.there.values())
        files = {**_pruned(kept.files, container.files or set()), **due.files}
        directories = {**kept.directories, **due.directories}
        contents = Contents(
            max(time.time_ns(), kept.written_at + 1),
            files,
            {path: told for path, told in directories.items() if _directory_id(path, told) not in due.removed},
        )
        name, text = f"{_NAME}{secrets.token_hex(4)}{_SUFFIX}", contents.text()
        stored = self._remote.upload(UploadRequest(container_id, name, BytesSource(text), secrets.token_hex(16)))
        if not _may_hold_attributes(stored):
            self._remote.delete_file(container_id, stored.id)
            raise types.Refused(f"the service stores {name!r} as {stored.path!r}, where it cannot be found again")
        container.there[stored.id] = contents
        container.files = (container.files or set()) | due.files.keys()
        for old in before:
            self._remote.delete_file(container_id, old)
            container.there.pop(old, None)


def _may_hold_attributes(file: RemoteFile) -> bool:
    return _NAME in file.path and file.path.endswith(_SUFFIX)  # some services add a prefix to names


def _directory(container_id: str, path: str, attributes: FileAttributes) -> RemoteFile:
    return RemoteFile(
        _directory_id(path, attributes), container_id, path + "/", 0, int(time.time()), attributes=attributes
    )


def _directory_id(path: str, attributes: FileAttributes) -> str:
    """Return an id that differs for a directory and one that is created in its place, so that deleting one keeps the
    other."""
    return f"{_DIRECTORY}{attributes.mtime}:{path}"


def _merged(there: Iterable[Contents]) -> Contents:
    """Merge files of attributes. If they differ, the last one written counts."""
    found = Contents()
    for each in sorted(there, key=attrgetter("written_at")):
        found = Contents(each.written_at, {**found.files, **each.files}, {**found.directories, **each.directories})
    return found


def _pruned(kept: Mapping[str, FileAttributes], there: set[str]) -> Mapping[str, FileAttributes]:
    """Leave out files that no longer exist, if they are the majority. A few may just have been stored by others."""
    living = {id_: told for id_, told in kept.items() if id_ in there}
    return living if len(living) < len(kept) / 2 else kept


def _told(attributes: FileAttributes) -> dict[str, int]:
    fields = {"mode": attributes.mode, "uid": attributes.uid, "gid": attributes.gid, "mtime": attributes.mtime}
    return {name: value for name, value in fields.items() if value is not None}
