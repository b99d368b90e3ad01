"""A file system as programs use it: by paths, whose names are looked up, as the kernel does, and forgotten."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from containerfs.fs import types
from containerfs.fs.filesystem import FileSystem
from containerfs.fs.namespace.nodes import Directory, FileNode, Link, Node
from containerfs.fs.types import Attr


class Paths:
    """The methods of a ``FileSystem`` that take nodes, with paths from the root in their place. The others are as they
    are."""

    def __init__(self, filesystem: FileSystem) -> None:
        self.filesystem = filesystem

    def __getattr__(self, name: str) -> Any:
        return getattr(self.filesystem, name)

    @contextmanager
    def found(self, path: str) -> Iterator[Node]:
        """What is at a path; the kernel knows it within the block."""
        found: list[Node] = [self.filesystem.top]
        try:
            for name in filter(None, path.split("/")):
                if not isinstance(found[-1], Directory):
                    raise types.NotADirectory(path)
                found.append(self.filesystem.lookup(found[-1], name))
            yield found[-1]
        finally:
            for node in found[1:]:
                self.filesystem.forget(node)

    @contextmanager
    def parent(self, path: str) -> Iterator[tuple[Directory, str]]:
        """The directory that a path's last name is in, and that name."""
        above, _, name = path.rpartition("/")
        with self.found(above) as directory:
            if not isinstance(directory, Directory):
                raise types.NotADirectory(above)
            yield directory, name

    @contextmanager
    def file(self, path: str) -> Iterator[FileNode]:
        with self.found(path) as node:
            if not isinstance(node, FileNode):
                raise types.IsADirectory(path)
            yield node

    def getattr(self, path: str) -> Attr:
        with self.found(path) as node:
            return self.filesystem.getattr(node)

    def fgetattr(self, fh: int) -> Attr:
        return self.filesystem.getattr(self.filesystem._files.handle(fh).node)

    def opendir(self, path: str) -> int:
        with self.found(path) as node:
            if not isinstance(node, Directory):
                raise types.NotADirectory(path)
            return self.filesystem.opendir(node)

    def open(self, path: str, flags: int, pid: int = 0) -> tuple[int, bool]:
        with self.file(path) as node:
            return self.filesystem.open(node, flags, pid)

    def create(self, path: str, flags: int, mode: int, pid: int = 0, owner: tuple[int, int] | None = None) -> int:
        with self.parent(path) as (directory, name):
            node, fh = self.filesystem.create(directory, name, flags, mode, pid, owner)
            self.filesystem.forget(node)
            return fh

    def truncate(self, path: str, size: int) -> None:
        with self.file(path) as node:
            self.filesystem.truncate(node, size)

    def mkdir(self, path: str, mode: int, owner: tuple[int, int] | None = None) -> None:
        with self.parent(path) as (directory, name):
            self.filesystem.forget(self.filesystem.mkdir(directory, name, mode, owner))

    def symlink(self, path: str, target: bytes, owner: tuple[int, int] | None = None) -> None:
        with self.parent(path) as (directory, name):
            self.filesystem.forget(self.filesystem.symlink(directory, name, target, owner))

    def readlink(self, path: str) -> bytes:
        with self.found(path) as node:
            assert isinstance(node, Link)
            return self.filesystem.readlink(node)

    def rmdir(self, path: str) -> None:
        with self.parent(path) as (directory, name):
            self.filesystem.rmdir(directory, name)

    def unlink(self, path: str) -> None:
        with self.parent(path) as (directory, name):
            self.filesystem.unlink(directory, name)

    def rename(self, old: str, new: str, *, replace: bool = True) -> None:
        with self.parent(old) as (old_directory, old_name), self.parent(new) as (directory, name):
            self.filesystem.rename(old_directory, old_name, directory, name, replace=replace)

    def chmod(self, path: str, mode: int) -> None:
        with self.found(path) as node:
            self.filesystem.chmod(node, mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        with self.found(path) as node:
            self.filesystem.chown(node, uid, gid)

    def utimens(self, path: str, atime: int | None, mtime: int | None) -> None:
        with self.found(path) as node:
            self.filesystem.utimens(node, atime, mtime)

    def getxattr(self, path: str, name: str) -> bytes:
        with self.found(path) as node:
            return self.filesystem.getxattr(node, name)

    def setxattr(self, path: str, name: str, value: bytes) -> None:
        with self.found(path) as node:
            self.filesystem.setxattr(node, name, value)

    def sync(self, path: str, timeout: float = 300.0) -> None:
        with self.found(path) as node:
            assert isinstance(node, Directory)
            self.filesystem.sync(node, timeout)
