"""Operations as the kernel asks for them: nodes by their numbers, found by their names, and answers read."""

import errno
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from containerfs.fuse.answers import Answer
from containerfs.fuse.nodes import ROOT
from containerfs.fuse.operations import Changes, ContainerOperations

_ENTRY, _ATTR, _OPEN = struct.Struct("=QQQQII"), struct.Struct("=QQQQQQIIIIIIIIII"), struct.Struct("=QII")
_DIRENT = struct.Struct("=QQII")
_VALIDITY = 16
_PAGE = 4096


@dataclass
class Program:
    """Who asks. Source: fuse_ctx, libfuse."""

    owner: tuple[int, int] = (11, 22)
    pid: int = os.getpid()

    def interrupted(self) -> bool:
        return False


@dataclass(frozen=True)
class Stat:
    """What the kernel is told of a node."""

    ino: int
    size: int
    blocks: int
    atime: int
    mtime: int
    mode: int
    nlink: int
    uid: int
    gid: int

    @classmethod
    def read(cls, answer: bytes | memoryview, offset: int) -> "Stat":
        (ino, size, blocks, atime, mtime, _, atime_rest, mtime_rest, _, mode, nlink, uid, gid, _, _, _) = (
            _ATTR.unpack_from(answer, offset)
        )
        seconds = 1_000_000_000
        return cls(ino, size, blocks, atime * seconds + atime_rest, mtime * seconds + mtime_rest, mode, nlink, uid, gid)


class Kernel:
    """Asks for operations by path, as the kernel does for a program."""

    def __init__(self, operations: ContainerOperations, program: Program | None = None) -> None:
        self.operations = operations
        self.program = program or Program()

    def lookup(self, parent: int, name: str) -> tuple[int, Stat]:
        answer = self.operations.lookup(self.program, parent, os.fsencode(name))
        return _ENTRY.unpack_from(answer.payload)[0], Stat.read(answer.payload, _ENTRY.size)

    def at(self, path: str) -> int:
        node = ROOT
        for name in filter(None, path.split("/")):
            node = self.lookup(node, name)[0]
        return node

    def place(self, path: str) -> tuple[int, bytes]:
        above, _, name = path.rpartition("/")
        return self.at(above), os.fsencode(name)

    def stat(self, path: str) -> Stat:
        return self.stat_node(self.at(path))

    def stat_node(self, node: int) -> Stat:
        return Stat.read(self.operations.getattr(self.program, node).payload, _VALIDITY)

    def create(self, path: str, mode: int = 0o644, flags: int = os.O_RDWR) -> int:
        answer = self.operations.create(self.program, *self.place(path), mode, flags)
        return int(_OPEN.unpack_from(answer.payload, _ENTRY.size + _ATTR.size)[0])

    def open(self, path: str, flags: int = os.O_RDONLY) -> int:
        return self.open_node(self.at(path), flags)[0]

    def open_node(self, node: int, flags: int = os.O_RDONLY) -> tuple[int, bool]:
        """Returns the handle as well, and whether the kernel keeps its pages."""
        fh, opened, _ = _OPEN.unpack(self.operations.open(self.program, node, flags).payload)
        return fh, bool(opened & 2)

    def read(self, fh: int, size: int, offset: int = 0) -> bytes:
        return bytes(self.operations.read(self.program, fh, size, offset).payload)

    def write(self, fh: int, data: bytes, offset: int = 0) -> int:
        answer = self.operations.write(self.program, fh, memoryview(data), offset)
        return int(struct.unpack("=II", answer.payload)[0])

    def close(self, fh: int) -> None:
        self.operations.flush(self.program, fh)
        self.operations.release(self.program, fh)

    def set(self, path: str, fh: int | None = None, **values: int) -> Stat:
        answer = self.operations.setattr(self.program, self.at(path), Changes(**values), fh)
        return Stat.read(answer.payload, _VALIDITY)

    def mkdir(self, path: str, mode: int = 0o755) -> None:
        self.operations.mkdir(self.program, *self.place(path), mode)

    def rmdir(self, path: str) -> None:
        self.operations.rmdir(self.program, *self.place(path))

    def unlink(self, path: str) -> None:
        self.operations.unlink(self.program, *self.place(path))

    def rename(self, old: str, new: str, flags: int = 0) -> None:
        self.operations.rename(self.program, *self.place(old), *self.place(new), flags)

    def getxattr(self, path: str, name: str, size: int = 65536) -> bytes:
        return bytes(self.operations.getxattr(self.program, self.at(path), os.fsencode(name), size).payload)

    def listed(self, path: str, *, plus: bool = False) -> list[tuple[str, int, Stat | None]]:
        """Name, type bits and, where they were told, attributes of what is in a directory."""
        node = self.at(path)
        fh = int(_OPEN.unpack(self.operations.opendir(self.program, node).payload)[0])
        found: list[tuple[str, int, Stat | None]] = []
        read = self.operations.readdirplus if plus else self.operations.readdir
        offset = 0
        while answer := read(self.program, node, fh, _PAGE, offset).payload:
            place = 0
            while place < len(answer):
                number = 0
                if plus:
                    number, stat = _ENTRY.unpack_from(answer, place)[0], Stat.read(answer, place + _ENTRY.size)
                    place += _ENTRY.size + _ATTR.size
                _, offset, length, kind = _DIRENT.unpack_from(answer, place)
                name = bytes(answer[place + _DIRENT.size :][:length]).decode()
                found.append((name, kind << 12, stat if number else None))
                place += _DIRENT.size + length + -length % 8
        self.operations.releasedir(self.program, fh)
        return found


def number(call: Callable[..., Answer | object], *arguments: object, **values: object) -> str:
    """The name of the error number that a call ends in."""
    with pytest.raises(OSError) as caught:  # noqa: PT011  (the number is what the tests compare)
        call(*arguments, **values)
    return errno.errorcode[caught.value.errno or 0]
