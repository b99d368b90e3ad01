"""The transfer of one file: downloaded, uploaded, or copied within the service. ``get``, ``put`` and ``cp`` use these.

The size of each file is verified before it counts. An interrupted transfer is resumed within the patience for the
service, and each file is stored once: if the answer to an upload is lost, the file is looked for, and recognised by its
content.
"""

import os
import secrets
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

from containerfs.client.types import UploadSource
from containerfs.fs import types
from containerfs.fs.disk import disk_errors
from containerfs.fs.remote import Remote, UploadRequest
from containerfs.fs.staged import new_hash
from containerfs.fs.types import FileAttributes, RemoteFile
from containerfs.transfer.links import make_link
from containerfs.transfer.partial import Partial, partial

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 4.0  # seconds between attempts
_BLOCK = 1 << 20  # bytes read at a time


class Meter(Protocol):
    """Watches a transfer."""

    def at(self, done: int, size: int | None) -> None:
        """Called when ``done`` of ``size`` bytes have been transferred. After a retry, ``done`` may be smaller than
        before.

        What this raises ends the transfer.
        """


class Transfers:
    """Transfers files to and from one service. Thread-safe. Every method raises ``FsError``, and what its meter raises.

    Args:
        patience: how many seconds a transfer waits for a service that does not answer.
        remember_name: called with a file that the service has stored under another name than requested.
    """

    def __init__(self, remote: Remote, patience: float, remember_name: Callable[[RemoteFile, str], None]) -> None:
        self._remote = remote
        self._patience = patience
        self._remember_name = remember_name

    def download(self, file: RemoteFile, target: Path, meter: Meter) -> int:
        """Download a file, replacing what has its name, and return its size in bytes."""
        with partial(file, target) as there:
            self._fetch(file, there, meter)
        return there.size

    def link(self, file: RemoteFile, path: Path, meter: Meter) -> None:
        """Create the symbolic link that a file is stored for, replacing what has its name."""
        make_link(path, self._content(file, meter))

    def target(self, file: RemoteFile) -> str:
        """Return the target of the symbolic link that a file is stored for."""
        return os.fsdecode(self._content(file, Unwatched()))

    def write_to(self, file: RemoteFile, output: int, meter: Meter) -> int:
        """Write a file to a descriptor that cannot seek, such as a pipe, and return its size in bytes."""
        written = _Once(lambda data: _write(output, data))
        self._fetch(file, written, meter)
        return written.size

    def upload(
        self,
        source: UploadSource,
        container_id: str,
        path: str,
        meter: Meter,
        replaced: str = "",
        attributes: FileAttributes | None = None,
    ) -> RemoteFile:
        """Store content at a path of a container.

        Args:
            replaced: the id of the file at that path, which is deleted once the new one is stored.
            attributes: to be kept with it, if the service keeps any.
        """
        request = UploadRequest(container_id, path, _Metered(source, meter), secrets.token_hex(16), attributes)
        begun = int(time.time())
        stored = self._again(lambda: self._store(request, begun), lambda: 0)
        return self._settled(stored, path, replaced)

    def verify(self, stored: RemoteFile, source: UploadSource, meter: Meter) -> None:
        """Read back what was stored. Raises Damaged if it differs from ``source``."""
        if self._digest(stored, meter) != _digest_of(source):
            raise types.Damaged("the service's content differs from what was uploaded")

    def copy(self, file: RemoteFile, container_id: str, path: str, meter: Meter, replaced: str = "") -> RemoteFile:
        """Store the same content elsewhere: within the service if it can copy, and otherwise through this machine."""
        if self._remote.dialect.copies_once:
            key, there = (
                secrets.token_hex(16),
                replace(file, container_id=container_id),
            )  # an id can be found from anywhere
            stored = self._again(lambda: self._remote.copy(there, path, key), lambda: 0)
            meter.at(stored.size or 0, stored.size)
            return self._settled(stored, path, replaced)
        with tempfile.TemporaryDirectory(prefix="containerfs-") as directory:
            spool = Path(directory, "spool")
            self.download(file, spool, meter)
            with opened(spool) as source:
                return self.upload(source, container_id, path, meter, replaced, file.attributes)

    def keep_directory(self, container_id: str, path: str, attributes: FileAttributes) -> None:
        """Make the service keep a directory, if it can. Other services have no directories without files."""
        if path and self._remote.dialect.directories:
            self._again(lambda: self._remote.keep_attributes(container_id, {}, {path: attributes}), lambda: 0)

    def remove(self, file: RemoteFile) -> None:
        """Delete a file of the service."""
        self._again(lambda: self._remote.delete_file(file.container_id, file.id), lambda: 0)

    # Downloads

    def _fetch(self, file: RemoteFile, there: "Partial | _Once", meter: Meter) -> None:
        if there.size != file.size or not there.size:
            self._again(lambda: self._receive(file, there, meter), lambda: there.size)

    def _receive(self, file: RemoteFile, there: "Partial | _Once", meter: Meter) -> None:
        """Receive the missing bytes. Raises Unreachable if the stream ends early, Failed if the size differs."""
        with self._remote.content(file, there.size) as stream:
            size = file.size if stream.size is None else stream.size
            if stream.start < there.size:
                there.go_back(stream.start)
            meter.at(there.size, size)
            for chunk in stream.chunks:
                there.write(chunk)
                meter.at(there.size, size)
        if size is not None and there.size < size:
            raise types.Unreachable(f"it ended after {there.size} of {size} bytes")
        if file.size is not None and there.size != file.size:
            raise types.Failed(f"the service sent {there.size} bytes, and lists {file.size}")

    def _content(self, file: RemoteFile, meter: Meter) -> bytes:
        """Return the content of a small file."""
        content = bytearray()
        self._fetch(file, _Once(content.extend), meter)
        return bytes(content)

    def _digest(self, file: RemoteFile, meter: Meter) -> bytes:
        """Return the digest of what the service has."""
        hashed = new_hash()
        self._fetch(file, _Once(hashed.update), meter)
        return hashed.digest()

    # Uploads

    def _store(self, request: UploadRequest, begun: int) -> RemoteFile:
        """Upload, or find the file that an attempt with a lost answer has stored. Raises AnswerLost to be tried
        again."""
        try:
            return self._remote.upload(request)
        except types.AnswerLost:
            found = None if self._remote.dialect.idempotency else self._find(request, begun)
            if found is None:
                raise
            return found

    def _find(self, request: UploadRequest, begun: int) -> RemoteFile | None:
        """Return the newest file with the content, among those that may have been stored since."""
        for file in self._remote.newest(request.container_id, begun):
            is_like = file.size in (None, request.source.size) and request.path.rpartition("/")[2] in file.path
            if is_like and self._digest(file, Unwatched()) == _digest_of(request.source):
                return file
        return None

    def _settled(self, stored: RemoteFile, path: str, replaced: str) -> RemoteFile:
        if stored.path != path:
            self._remember_name(stored, path)
        if replaced and replaced not in (stored.id, stored.replaced_id):
            self._again(lambda: self._remote.delete_file(stored.container_id, replaced), lambda: 0)
        return stored

    def _again(self, attempt: Callable[[], T], progress: Callable[[], int]) -> T:
        """Retry while the service may come back: until ``patience`` has passed since the last progress."""
        reached, since, pause = progress(), time.monotonic(), _FIRST_PAUSE
        while True:
            try:
                return attempt()
            except types.Down:
                raise
            except types.Unreachable:
                if progress() > reached:
                    reached, since, pause = progress(), time.monotonic(), _FIRST_PAUSE
                if time.monotonic() + pause > since + self._patience:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


class FileSource:
    """A local file as content to upload."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        found = os.fstat(fd)
        self.size = found.st_size
        self.attributes = FileAttributes(stat.S_IMODE(found.st_mode), mtime=found.st_mtime_ns)

    def read_at(self, offset: int, size: int) -> bytes:
        with disk_errors():
            return os.pread(self._fd, size, offset)


@contextmanager
def opened(path: Path) -> Iterator[FileSource]:
    """Yield a local file to upload. Raises FsError if it cannot be opened, or is a pipe, a device or the like."""
    with disk_errors():
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # this does not wait for the other end of a pipe
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise types.Failed(f"{path} is no regular file")
        yield FileSource(fd)
    finally:
        os.close(fd)


class _Metered:
    """Content to upload that reports how much of it was read."""

    def __init__(self, source: UploadSource, meter: Meter) -> None:
        self._source = source
        self._meter = meter
        self.size = source.size

    def read_at(self, offset: int, size: int) -> bytes:
        data = self._source.read_at(offset, size)
        self._meter.at(offset + len(data), self.size)
        return data


class _Once:
    """A destination that cannot seek back: repeated bytes are skipped."""

    def __init__(self, take: Callable[[memoryview], object]) -> None:
        self._take = take
        self._again = 0
        self.size = 0

    def go_back(self, offset: int) -> None:
        self._again = self.size - offset

    def write(self, chunk: bytes) -> None:
        new = memoryview(chunk)[self._again :]
        self._again -= len(chunk) - len(new)
        self.size += len(new)
        self._take(new)


class Unwatched:
    """A meter for a transfer that nobody watches."""

    def at(self, done: int, size: int | None) -> None:
        pass


def _write(output: int, data: memoryview) -> None:
    while data:
        data = data[os.write(output, data) :]


def _digest_of(source: UploadSource) -> bytes:
    hashed, offset = new_hash(), 0
    while block := source.read_at(offset, _BLOCK):
        hashed.update(block)
        offset += len(block)
    return hashed.digest()
