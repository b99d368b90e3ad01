"""``writer SEED TOP LOG SECONDS``: works on files of its own in a mount, and writes down what it was told.

Each line of its log is an operation and how it ended: ``done``; ``failed``, so that it may have happened or not; or
``misread``, where a file was not what it had just been written to be. After a failure it writes the files concerned
until that is done, so that doubts do not pile up. It ends when its time is over or the mount dies.
"""

import errno
import hashlib
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DIRECTORIES = ("a", "b")
NAMES = ("x", "y", "z.tmp", "long name.txt")
PATHS = [f"{directory}/{name}" for directory in DIRECTORIES for name in NAMES]
_PAGE = 4096  # bytes
_LINES = [1, 1, 10, 10, 400, 4000]  # of a content
_LARGE, _RARELY = 400_000, 0.03  # lines that are uploaded while they are written; how many contents have as many
_PAUSE = 0.1  # seconds between two tries to end a doubt
_DEAD = {errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV}
_REFUSALS = {errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.ENOTDIR}  # nothing was done


class MountIsGone(Exception):
    """There is nothing more to do."""


class Writer:
    """Works below ``top``, which no other writer touches."""

    def __init__(self, seed: int, top: Path, log: Path) -> None:
        self._random = random.Random(seed)
        self._top = top
        self._log = log.open("a", buffering=1)
        self._name, self._number = f"{top.name} {seed}", 0
        self._in_doubt: list[str] = []

    def work(self, seconds: float) -> None:
        actions = (self.write, self.append, self.patch, self.sync, self.unlink, self.rename, self.rename_directory)
        chances = (4, 3, 2, 2, 1, 2, 1)
        deadline = time.monotonic() + seconds
        with suppress(MountIsGone):
            while time.monotonic() < deadline:
                self._random.choices(actions, chances)[0]()
                self._end_doubts(deadline)

    def write(self) -> None:
        """Create, or overwrite."""
        large = self._random.random() < _RARELY
        self._store(self._path(), os.O_CREAT | os.O_TRUNC, self._content(_LARGE if large else None), b"")

    def append(self) -> None:
        path = self._path()
        if old := self._read(path):
            self._store(path, os.O_APPEND, self._content(), old)

    def patch(self) -> None:
        """Overwrite the beginning, and keep the size."""
        path = self._path()
        if old := self._read(path):
            new = self._content()[: len(old)]
            with self._told("write", path, digest=digest(new + old[len(new) :])), self._opened(path, 0) as descriptor:
                os.write(descriptor, new)

    def sync(self) -> None:
        """Overwrite, sync, write more, and close."""
        path, first, second = self._path(), self._content(), self._content()
        with (
            self._told("write", path, digest=digest(first + second)),
            self._opened(path, os.O_CREAT | os.O_TRUNC) as descriptor,
        ):
            with self._told("write", path, digest=digest(first), again=True):
                os.write(descriptor, first)
                os.fsync(descriptor)
            started = second[: _PAGE - len(first) % _PAGE]  # which the kernel sends on its own
            with self._told("write", path, digest=digest(first + started), again=True):
                os.write(descriptor, second)

    def unlink(self) -> None:
        path = self._path()
        with self._told("unlink", path):
            os.unlink(self._top / path)

    def rename(self) -> None:
        path, target = self._path(), self._path()
        if path != target:
            with self._told("rename", path, target=target):
                os.rename(self._top / path, self._top / target)

    def rename_directory(self) -> None:
        source, target = self._random.sample(DIRECTORIES, 2)
        with suppress(OSError):
            os.rmdir(self._top / target)
        with self._told("rename directory", source, target=target):
            os.rename(self._top / source, self._top / target)

    def _end_doubts(self, deadline: float) -> None:
        while self._in_doubt and time.monotonic() < deadline:
            path, content = self._in_doubt[-1], self._content()
            while path in self._in_doubt and time.monotonic() < deadline:
                self._store(path, os.O_CREAT | os.O_TRUNC, content, b"")
                if self._succeeded:
                    self._in_doubt = [other for other in self._in_doubt if other != path]
                else:
                    time.sleep(_PAUSE)

    def _store(self, path: str, flags: int, content: bytes, before: bytes) -> None:
        whole = before + content
        with self._told("write", path, digest=digest(whole)), self._opened(path, flags) as descriptor:
            half = len(content) // 2
            os.write(descriptor, content[:half])
            os.write(descriptor, content[half:])
        if self._random.random() < 0.3 and self._succeeded and self._read(path) not in (whole, None):
            self._write_down("misread", "write", path, digest=digest(whole))

    @contextmanager
    def _told(self, kind: str, path: str, *, again: bool = False, **more: str) -> Iterator[None]:
        """Around an operation: writes down how it ended. ``again`` lets an error pass, to end what is around it."""
        self._succeeded = False
        try:
            yield
        except OSError as error:
            if error.errno not in _REFUSALS:
                self._write_down("failed", kind, path, **more)
                self._in_doubt += PATHS if kind == "rename directory" else [path, more.get("target", path)]
            if error.errno in _DEAD:
                raise MountIsGone from error
            if again:
                raise
        except MountIsGone:
            self._write_down("failed", kind, path, **more)
            raise
        else:
            self._succeeded = True
            self._write_down("done", kind, path, **more)

    @contextmanager
    def _opened(self, path: str, flags: int) -> Iterator[int]:
        with suppress(FileExistsError):
            os.mkdir((self._top / path).parent)
        descriptor = os.open(self._top / path, os.O_WRONLY | flags)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _read(self, path: str) -> bytes | None:
        try:
            return (self._top / path).read_bytes()
        except OSError:
            return None

    def _path(self) -> str:
        return self._random.choice(PATHS)

    def _content(self, lines: int | None = None) -> bytes:
        """That no other operation has written; often of the same size as another's."""
        self._number += 1
        line = f"{self._name}, operation {self._number:06}\n".encode()
        return line * (lines or self._random.choice(_LINES))

    def _write_down(self, outcome: str, kind: str, path: str, **more: str) -> None:
        self._log.write(json.dumps({"outcome": outcome, "kind": kind, "path": path, **more}) + "\n")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    seed, top, log, seconds = sys.argv[1:]
    Writer(int(seed), Path(top), Path(log)).work(float(seconds))
