"""Which files a copy consists of, and their names at the destination.

As with cp(1), a file copied into a directory keeps its name, and a file copied to an unused name gets that name. A
directory is copied with everything in it, if that was asked for.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_IMODE
from typing import TypeVar

from containerfs.fs import types
from containerfs.fs.disk import disk_errors
from containerfs.fs.namespace.links import link_path
from containerfs.fs.namespace.lookup import check_length, check_path
from containerfs.fs.namespace.nodes import ContainerDirectory, Directory, FileNode, Link, Node
from containerfs.fs.types import FileAttributes, RemoteFile
from containerfs.transfer.catalog import Catalog, below, full_name, remote_file


@dataclass(frozen=True, slots=True)
class Download:
    """A file to download, and its place on this machine.

    Attributes:
        top: the directory that was named; directories between it and ``target`` are created.
        is_link: whether it becomes a symbolic link.
    """

    name: str
    file: RemoteFile
    target: Path
    top: Path
    is_link: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """A destination in a container; ``replaced`` is the id of the file there, or empty."""

    container: ContainerDirectory
    path: str
    replaced: str = ""

    @property
    def name(self) -> str:
        return f"{self.container.name}/{self.path}"


@dataclass(frozen=True, slots=True)
class Upload:
    """A local file to upload, and its destination.

    Attributes:
        is_link: whether it is a symbolic link, to be stored as one.
        keeps: whether its mode and time are uploaded too.
    """

    source: Path
    place: Place
    is_link: bool = False
    keeps: bool = True

    @property
    def name(self) -> str:
        return os.fspath(self.source)


@dataclass(frozen=True, slots=True)
class LocalDirectory:
    """A directory to create on this machine; ``top`` as in ``Download``."""

    target: Path
    top: Path
    attributes: FileAttributes


@dataclass(frozen=True, slots=True)
class StoredDirectory:
    """A directory for the service to keep."""

    container: ContainerDirectory
    path: str
    attributes: FileAttributes


@dataclass(frozen=True, slots=True)
class Copy:
    """A file of the service to copy, and its destination."""

    name: str
    file: RemoteFile
    place: Place


@dataclass(frozen=True, slots=True)
class Removal:
    """A file of the service to delete."""

    name: str
    file: RemoteFile


S = TypeVar("S", Download, Upload, Copy)


class Planner:
    """Makes plans. Every method raises ``FsError``.

    Args:
        recursive: whether directories are copied as well.
    """

    def __init__(self, catalog: Catalog, *, recursive: bool) -> None:
        self._catalog = catalog
        self._recursive = recursive

    def downloads(self, names: list[str], destination: str) -> list[Download]:
        """Return the steps for downloading names or patterns to a local path."""
        steps = []
        for node, target, above in self._local_targets(names, destination):
            steps += [self._download(file, target / path, above) for path, file in self._files(node)]
        return _distinct(steps, lambda step: step.target)

    def local_directories(self, names: list[str], destination: str) -> list[LocalDirectory]:
        """Return the directories that the service keeps among what is downloaded, deepest first: empty ones, and those
        with times."""
        return [
            LocalDirectory(target / path, above, kept.attributes or FileAttributes())
            for node, target, above in self._local_targets(names, destination)
            for path, kept in self._kept_directories(node)
        ]

    def uploads(self, sources: list[str], destination: str) -> list[Upload]:
        """Return the steps for uploading local files to a name."""
        target = self._target(destination, several=len(sources) > 1)
        steps = []
        for source in sources:
            for path, file, kind in self._local_files(source):
                place = self._place(target, os.path.basename(source.rstrip("/")), path, kind)
                steps.append(Upload(file, place, kind is Link))
        return _distinct(steps, lambda step: step.place.name)

    def directories_to_store(self, sources: list[str], destination: str) -> list[StoredDirectory]:
        """Return the empty directories among what is uploaded."""
        target = self._target(destination, several=len(sources) > 1)
        return [
            self._stored_directory(target, os.path.basename(source.rstrip("/")), path, attributes)
            for source in sources
            for path, attributes in _empty_directories(Path(source))
        ]

    def directories_to_copy(self, names: list[str], destination: str) -> list[StoredDirectory]:
        """Return the directories that the service keeps among what is copied."""
        nodes = self._nodes(names)
        target = self._target(destination, several=len(nodes) > 1)
        return [
            self._stored_directory(target, node.name, path, kept.attributes or FileAttributes())
            for node in nodes
            for path, kept in self._kept_directories(node)
        ]

    def place(self, destination: str, name: str) -> Place:
        """Return the place for a single file with a name."""
        return self._place(self._target(destination, several=False), name, "")

    def copies(self, names: list[str], destination: str) -> list[Copy]:
        """Return the steps for copying names or patterns to another name."""
        nodes = self._nodes(names)
        target = self._target(destination, several=len(nodes) > 1)
        steps = []
        for node in nodes:
            for path, file in self._files(node):
                steps.append(_copy(file, self._place(target, node.name, path, type(file))))
        return _distinct(steps, lambda step: step.place.name)

    def moves(self, node: Node, name: str) -> list[Copy]:
        """Return the copies for renaming a file or directory, which come before the old names are deleted."""
        first, *segments = _segments(name)
        container, path = self._catalog.container(first), "/".join(segments)
        if container is not node.container:
            raise types.CrossDevice(f"{name} is in another container: copy it, then delete it")
        if not path or isinstance(self._catalog.inside(container, path), Directory):
            raise types.IsADirectory(f"{name} is a directory")
        if isinstance(node, Directory) and f"{path}/".startswith(f"{node.path}/"):
            raise types.NotPermitted(f"{full_name(node)} cannot be moved into itself")
        place = (container, path, False)
        return [_copy(file, self._place(place, "", inner, type(file))) for inner, file in self._files(node)]

    # Sources

    def _nodes(self, names: list[str]) -> list[Node]:
        nodes = [node for name in names for node in self._catalog.match(name)]
        for node in nodes:
            if isinstance(node, Directory) and not self._recursive:
                raise types.IsADirectory(f"{full_name(node)} is a directory: --recursive copies it")
        return nodes

    def _local_targets(self, names: list[str], destination: str) -> Iterator[tuple[Node, Path, Path]]:
        """Yield what is downloaded, its target, and the directory that was named."""
        nodes = self._nodes(names)
        top = Path(destination)
        into = top.is_dir() or destination.endswith("/") or len(nodes) > 1
        if into and top.exists() and not top.is_dir():
            raise types.NotADirectory(f"{destination} is not a directory")
        for node in nodes:
            yield (node, top / node.name, top) if into else (node, top, top.parent)

    def _kept_directories(self, node: Node) -> Iterator[tuple[str, RemoteFile]]:
        """Return the directories at and below one that the service keeps, deepest first, with their paths in it."""
        if isinstance(node, Directory):
            for kept in self._catalog.directories(node):
                yield kept.path.rstrip("/")[len(node.path) :].lstrip("/"), kept

    def _files(self, node: Node) -> Iterator[tuple[str, FileNode]]:
        """Return a file, or all files below a directory, with their paths in it."""
        if isinstance(node, Directory):
            yield from below(node, self._catalog.files(node))
        elif isinstance(node, FileNode):
            yield "", node

    @staticmethod
    def _download(file: FileNode, target: Path, top: Path) -> Download:
        return Download(full_name(file), remote_file(file), target, top, isinstance(file, Link))

    def _local_files(self, source: str) -> Iterator[tuple[str, Path, type[FileNode]]]:
        """Yield local files, each with its path and what to do with it. A link is followed if it was named, and stored
        otherwise."""
        path = Path(source)
        if not path.exists():
            raise types.NotFound(f"there is no {source}")
        if not path.is_dir():
            yield "", path, FileNode
        elif not self._recursive:
            raise types.IsADirectory(f"{source} is a directory: --recursive copies it")
        else:
            for directory, subdirectories, names in os.walk(path):
                subdirectories.sort()
                links = [name for name in subdirectories if Path(directory, name).is_symlink()]
                for name in sorted(names + links):
                    file = Path(directory, name)
                    yield os.fspath(file.relative_to(path)), file, Link if file.is_symlink() else FileNode

    # Destinations

    def _target(self, destination: str, *, several: bool) -> tuple[ContainerDirectory, str, bool]:
        """Return a container, a path in it, and whether what is copied goes into that path, rather than being stored
        under it."""
        first, *segments = _segments(destination)
        container, path = self._catalog.container(first), "/".join(segments)
        there = self._catalog.inside(container, path)
        into = several or not path or destination.endswith("/") or isinstance(there, Directory)
        if into and isinstance(there, FileNode):
            raise types.NotADirectory(f"{full_name(there)} is not a directory")
        return container, path, into

    def _place(
        self,
        target: tuple[ContainerDirectory, str, bool],
        name: str,
        path: str,
        kind: type[FileNode] = FileNode,
    ) -> Place:
        container, whole = target[0], _whole(target, name, path)
        stored = kind.stored_name(whole)
        _check(stored)
        there = self._catalog.inside(container, whole) or self._link_stored_at(container, whole)
        if isinstance(there, Directory):
            raise types.IsADirectory(f"{full_name(there)} is a directory")
        self._check_parents(container, whole)
        return Place(container, stored, remote_file(there).id if isinstance(there, FileNode) else "")

    def _stored_directory(
        self, target: tuple[ContainerDirectory, str, bool], name: str, path: str, attributes: FileAttributes
    ) -> StoredDirectory:
        container, whole = target[0], _whole(target, name, path)
        _check(whole)
        self._check_parents(container, f"{whole}/")
        return StoredDirectory(container, whole, attributes)

    def _link_stored_at(self, container: ContainerDirectory, path: str) -> Node | None:
        """Return the link that is stored as a file at this path."""
        there = self._catalog.inside(container, link_path(path))
        return there if isinstance(there, Link) and there.stored_path == path else None

    def _check_parents(self, container: ContainerDirectory, path: str) -> None:
        while path := path.rpartition("/")[0]:
            there = self._catalog.inside(container, path)
            if isinstance(there, FileNode):
                raise types.NotADirectory(f"{full_name(there)} is not a directory")
            if there is not None:
                return


def _whole(target: tuple[ContainerDirectory, str, bool], name: str, path: str) -> str:
    """Return the path in its container of something with a name, and a path below that."""
    _, top, into = target
    parts = [top, name if into and name not in ("", ".", "..") else "", path]
    return "/".join(part for part in parts if part)


def _empty_directories(top: Path) -> Iterator[tuple[str, FileAttributes]]:
    """Yield the empty local directories at and below a path, with their paths below it."""
    if top.is_dir():
        for directory, subdirectories, names in os.walk(top):
            if not subdirectories and not names:
                with disk_errors():
                    found = os.stat(directory)
                path = os.path.relpath(directory, top)
                yield "" if path == "." else path, FileAttributes(S_IMODE(found.st_mode), mtime=found.st_mtime_ns)


def _copy(file: FileNode, place: Place) -> Copy:
    """Make the step for a copy. Raises AlreadyExists if the file would replace itself."""
    if place.replaced == remote_file(file).id:
        raise types.AlreadyExists(f"{full_name(file)} and {place.name} are the same file")
    return Copy(full_name(file), remote_file(file), place)


def _distinct(steps: list[S], target: Callable[[S], object]) -> list[S]:
    """Return each step once. Raises AlreadyExists if two files would get the same name."""
    by_target: dict[object, S] = {}
    for step in steps:
        other = by_target.setdefault(target(step), step)
        if other != step:
            raise types.AlreadyExists(f"{other.name} and {step.name} would both become {target(step)}")
    return list(by_target.values())


def _segments(name: str) -> list[str]:
    return [segment for segment in name.split("/") if segment] or [""]


def _check(path: str) -> None:
    """Raise InvalidName or NameTooLong if a path cannot be used."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise types.InvalidName(f"{path!r} is not UTF-8") from None
    for segment in path.split("/"):
        if segment in (".", ".."):
            raise types.InvalidName(f"{path!r}: a name in a container cannot be {segment!r}")
        check_length(segment)
    check_path(path)
