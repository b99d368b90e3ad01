"""The contents of files of attributes: their format, and how they are merged. Decisions only.

Merging keeps the latest of everything, and remembers which directories were removed. So the result is the same in
whatever order files are merged, and an old one that comes along again does no harm.
"""

import json
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from heapq import nlargest
from operator import itemgetter
from typing import Any, NamedTuple

from containerfs.api import models
from containerfs.fs.types import FileAttributes

_FORM = 1
_DIRECTORY = "directory:"  # prefix of the ids of directories that are kept here, and not on the service
_REMOVED = 1000  # removed directories that are remembered, for machines that have not heard of it


class Kept(NamedTuple):
    """Attributes, and when they were set, in nanoseconds since 1970."""

    set_at: int
    attributes: FileAttributes


@dataclass(frozen=True, slots=True)
class Contents:
    """What one file of attributes holds, or several that were merged.

    Attributes:
        written_at: in nanoseconds since 1970; nothing was set or removed later.
        files: attributes of files, by id.
        directories: attributes of directories, by path; directories without files exist only here.
        removed: by path, when the directory was set that was removed there last. Nothing older is a directory.
    """

    written_at: int = 0
    files: Mapping[str, Kept] = field(default_factory=dict)
    directories: Mapping[str, Kept] = field(default_factory=dict)
    removed: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, text: bytes) -> "Contents":
        """Parse a file. Raises ValueError, TypeError, KeyError or AttributeError if it is none."""
        read: dict[str, Any] = json.loads(text)
        if read["containerfs_attributes"] != _FORM:
            raise ValueError("unknown format")
        at = int(read["written_at"])
        files, directories = (
            {key: Kept(int(told.get("set_at", at)), _attributes(told)) for key, told in read[kind].items()}
            for kind in ("files", "directories")
        )
        removed = {str(path): int(when) for path, when in read.get("removed", {}).items()}
        return cls(at, files, {path: kept for path, kept in directories.items() if _is_path(path)}, removed)

    def text(self) -> bytes:
        read = {
            "containerfs_attributes": _FORM,
            "written_at": self.written_at,
            "files": {id_: _told(kept) for id_, kept in self.files.items()},
            "directories": {path: _told(kept) for path, kept in self.directories.items()},
            "removed": self.removed,
        }
        return json.dumps(read, separators=(",", ":")).encode()

    def without(self, living: Set[str], before: int) -> "Contents":
        """Leave out files that are not ``living`` and whose attributes were set before a time."""
        return replace(
            self,
            files={id_: kept for id_, kept in self.files.items() if id_ in living or kept.set_at >= before},
        )


@dataclass(slots=True)
class Changes:
    """What to write. ``removed`` are the ids of directories."""

    files: dict[str, FileAttributes] = field(default_factory=dict)
    directories: dict[str, FileAttributes] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)

    def add(self, later: "Changes") -> None:
        self.files.update(later.files)
        self.directories.update(later.directories)
        self.removed |= later.removed


def merged(some: Iterable[Contents]) -> Contents:
    """Merge contents: of everything the latest."""
    written_at, files, directories, removed = 0, dict[str, Kept](), dict[str, Kept](), dict[str, int]()
    for each in some:
        written_at = max(written_at, each.written_at)
        _add(files, each.files)
        _add(directories, each.directories)
        removed |= {path: at for path, at in each.removed.items() if removed.get(path, 0) < at}
    left = {path: kept for path, kept in directories.items() if removed.get(path, 0) < kept.set_at}
    return Contents(written_at, files, left, dict(nlargest(_REMOVED, removed.items(), key=itemgetter(1))))


def changed(known: Contents, changes: Changes, now: int) -> Contents:
    """Return what is known once changes are made.

    Args:
        now: in nanoseconds since 1970; later than everything that is known.
    """
    files, directories = (
        {key: Kept(now, attributes) for key, attributes in told.items()}
        for told in (changes.files, changes.directories)
    )
    made = merged([known, Contents(now, files, directories)])
    removed = {
        path: kept.set_at
        for path, kept in made.directories.items()
        if directory_id(path, kept.attributes) in changes.removed
    }
    return merged([made, Contents(removed=removed)]) if removed else made


def kept_attributes(told: models.FileAttributes) -> FileAttributes:
    """Return attributes as the API has them."""
    return FileAttributes(told.mode, told.uid, told.gid, told.mtime_ns)


def directory_id(path: str, attributes: FileAttributes) -> str:
    """Return an id that differs for a directory and one that is created in its place, so that deleting one keeps the
    other."""
    return f"{_DIRECTORY}{attributes.mtime}:{path}"


def is_directory_id(id_: str) -> bool:
    """Tell whether ``directory_id`` has made an id."""
    return id_.startswith(_DIRECTORY)


def _add(found: dict[str, Kept], more: Mapping[str, Kept]) -> None:
    for key, kept in more.items():
        there = found.get(key)
        if there is None or there.set_at < kept.set_at:
            found[key] = kept


def _is_path(path: str) -> bool:
    """Tell whether a path leads to a directory below the container."""
    return path == path.encode("utf-8", "replace").decode() and all(
        segment not in ("", ".", "..") and "\0" not in segment for segment in path.split("/")
    )


def _attributes(told: Mapping[str, Any]) -> FileAttributes:
    """Return attributes as they are in a file. Whatever else it has in their place counts as not set."""
    return kept_attributes(models.FileAttributes.model_validate({**told, "mtime_ns": told.get("mtime")}))


def _told(kept: Kept) -> dict[str, int]:
    attributes = kept.attributes
    fields = {"mode": attributes.mode, "uid": attributes.uid, "gid": attributes.gid, "mtime": attributes.mtime}
    return {"set_at": kept.set_at} | {name: value for name, value in fields.items() if value is not None}
