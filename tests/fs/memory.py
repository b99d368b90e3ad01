"""A service in memory, behind the interface that the file system has for one: for faults, dialects and waiting.

It keeps what a service keeps, notes what it is asked, and fails where a test says.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from containerfs.api.dialect import Dialect
from containerfs.client import UploadSource
from containerfs.fs import types
from containerfs.fs.remote import Arriving, Stream, UploadRequest, ignored
from containerfs.fs.types import FileAttributes, RemoteContainer, RemoteFile

Fault = Callable[[str, str], None]


def chunks_to_the_end(source: UploadSource, size: int) -> Iterator[bytes]:
    """What a source has, as long as its size is not known."""
    offset = 0
    while chunk := source.read_at(offset, size):
        yield chunk
        offset += len(chunk)


def no_fault(operation: str, subject: str) -> None:
    """All goes well."""


class MemoryRemote:
    """Holds containers and files. Thread-safe.

    Attributes:
        dialect: what it says that it can do; where it honours idempotency keys, it does so.
        requests: what was asked: the operation, and the container, path or file id that it is about.
        before: called with each request before it has an effect; may raise, or wait.
        after: called once it has had its effect. Where it raises ``Unreachable`` for an upload or a copy, its answer is
            lost.
        ranges: whether content can be had from an offset on.
        lengths: whether content is announced with its size.
        tells_sizes: whether listings have sizes.
        chunk: bytes in each piece of content.
        replaces: what an upload makes of a file of that path: ``nothing`` (two of them), ``new id`` or ``same id``.
        tells_replaced: whether the answer to an upload names the file that it replaced.
        page: how many files of a listing come at a time; ``before`` is called for each page after the first, as "page".
    """

    service = "memory"

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.before: Fault = no_fault
        self.after: Fault = no_fault
        self.ranges = self.lengths = self.tells_sizes = True
        self.chunk, self.page = 64 * 1024, 100
        self.replaces = "nothing"
        self.tells_replaced = False
        self.dialect = Dialect()
        self.contents: dict[str, bytes] = {}
        self._containers: dict[str, RemoteContainer] = {}
        self._files: dict[str, RemoteFile] = {}
        self._expired: dict[str, tuple[RemoteContainer, dict[str, RemoteFile]]] = {}
        self._answers: dict[str, tuple[tuple[str, str, bytes], RemoteFile]] = {}
        self._count = int(time.time())  # created_at is a right time, which never stands still
        self._lock = threading.RLock()

    # What tests ask and arrange

    def now(self) -> float:
        return time.time()

    def made(self, name: str = "box") -> str:
        """Make a container; returns its id."""
        with self._lock:
            container = RemoteContainer(self._id("cntr"), name, self._count)
            self._containers[container.id] = container
            return container.id

    def put(self, container_id: str, path: str, content: bytes) -> str:
        """Make a file, as another client would; returns its id."""
        with self._lock:
            return self._keep(container_id, path, content).id

    def take_away(self, file_id: str) -> None:
        """Delete a file, as another client would."""
        with self._lock:
            del self._files[file_id]

    def expire(self, container_id: str) -> None:
        with self._lock:
            files = {id_: file for id_, file in self._files.items() if file.container_id == container_id}
            self._expired[container_id] = self._containers[container_id], files
            self._drop(container_id)

    def revive(self, container_id: str) -> None:
        """Say again that a container is there that was said to have ended."""
        with self._lock:
            self._containers[container_id], files = self._expired.pop(container_id)
            self._files.update(files)

    def stored(self, container_id: str) -> dict[str, bytes]:
        """Path -> content. Several files of one path fail the test."""
        with self._lock:
            files = [file for file in self._files.values() if file.container_id == container_id]
            assert max(Counter(file.path for file in files).values(), default=1) == 1, files
            return {file.path: self.contents[file.id] for file in files}

    def stored_all(self, container_id: str) -> list[tuple[str, bytes]]:
        """Paths and contents, of each file one."""
        with self._lock:
            files = [file for file in self._files.values() if file.container_id == container_id]
            return sorted((file.path, self.contents[file.id]) for file in files)

    def asked(self, operation: str) -> list[str]:
        """What the requests of one kind were about."""
        with self._lock:
            return [subject for asked, subject in self.requests if asked == operation]

    # The interface

    def check(self) -> list[RemoteContainer] | None:
        with self._request("check", ""):
            return self._newest_first()

    def unanswered(self, since: float) -> None:
        """Nobody is told that it is down: each request is asked of it."""

    def silent_since(self) -> float | None:
        return None

    def seek(self) -> None:
        """It is not known to be down."""

    def containers(self) -> list[RemoteContainer]:
        with self._request("containers", ""):
            return self._newest_first()

    def _newest_first(self) -> list[RemoteContainer]:
        return sorted(self._containers.values(), key=lambda container: -container.created_at)

    def container(self, container_id: str) -> RemoteContainer:
        with self._request("container", container_id):
            return self._container(container_id)

    def create_container(self, name: str) -> RemoteContainer:
        with self._storing("create", name):
            return self._containers[self.made(name)]

    def rename_container(self, container_id: str, name: str) -> RemoteContainer:
        with self._request("rename container", container_id):
            renamed = self._containers[container_id] = replace(self._container(container_id), name=name)
            return renamed

    def delete_container(self, container_id: str) -> None:
        with self._request("delete container", container_id):
            self._drop(container_id)

    def files(self, container_id: str, arriving: Arriving = ignored) -> list[RemoteFile]:
        with self._request("files", container_id):
            found = self._found(container_id)
        for start in range(0, len(found) - self.page, self.page):
            arriving(found[start : start + self.page])
            self.before("page", container_id)
        return found

    def newest(self, container_id: str, since: int) -> list[RemoteFile]:
        """Its clock counts what it makes, so ``since`` is not looked at: all files."""
        with self._request("newest", container_id):
            return self._found(container_id)

    def upload(self, request: UploadRequest) -> RemoteFile:
        content = self._read(request.source)
        assert len(content) == request.source.size
        with self._storing("upload", request.path):
            self._container(request.container_id)
            return self._once(request.key, (request.container_id, request.path, content))

    def _read(self, source: UploadSource) -> bytes:
        if source.size is None:
            assert self.dialect.whole_uploads
            return b"".join(chunks_to_the_end(source, self.chunk))
        pieces = range(0, source.size, self.chunk)
        return b"".join(source.read_at(offset, min(self.chunk, source.size - offset)) for offset in pieces)

    def copy(self, file: RemoteFile, path: str, key: str) -> RemoteFile:
        assert self.dialect.copies_by_path
        with self._storing("copy", path):
            if file.id not in self._files and not self._is_answered(key):
                raise types.NotFound(file.id)
            return self._once(key, (file.container_id, path, self.contents[file.id]))

    @property
    def keeps_many_at_once(self) -> bool:
        return False

    def keep_attributes(
        self, container_id: str, files: Mapping[str, FileAttributes], directories: Mapping[str, FileAttributes]
    ) -> dict[str, RemoteFile]:
        for file_id, attributes in files.items():
            self.set_attributes(container_id, file_id, attributes)
        return {path: self.make_directory(container_id, path, told) for path, told in directories.items()}

    def set_attributes(self, container_id: str, file_id: str, attributes: FileAttributes) -> None:
        with self._request("attributes", file_id):
            if file_id not in self._files:
                raise types.NotFound(file_id)
            self._files[file_id] = replace(self._files[file_id], attributes=attributes)

    def make_directory(self, container_id: str, path: str, attributes: FileAttributes) -> RemoteFile:
        with self._request("directory", path):
            self._container(container_id)
            made = self._keep(container_id, f"{path}/", b"")
            self._files[made.id] = replace(made, attributes=attributes)
            return self._files[made.id]

    def delete_file(self, container_id: str, file_id: str) -> None:
        with self._request("delete", file_id):
            self._files.pop(file_id, None)

    def size(self, file: RemoteFile) -> int | None:
        with self._request("size", file.id):
            return len(self.contents[file.id]) if self.lengths else None

    @contextmanager
    def content(self, file: RemoteFile, start: int = 0, stop: int | None = None) -> Iterator[Stream]:
        with self._request("content", f"{file.id}@{start}" + ("" if stop is None else f"-{stop}")):
            if file.id not in self._files:
                raise types.NotFound(file.id)
            content = self.contents[file.id]
        begin, end = (start, stop) if self.ranges else (0, None)
        size, is_part = len(content) if self.lengths else None, self.ranges and bool(start or stop)
        yield Stream(begin, size, self._chunks(file.id, content[:end], begin), is_part)

    def _chunks(self, file_id: str, content: bytes, begin: int) -> Iterator[bytes]:
        for offset in range(begin, len(content), self.chunk):
            self.before("chunk", f"{file_id}@{offset}")
            yield content[offset : offset + self.chunk]

    @contextmanager
    def _request(self, operation: str, subject: str) -> Iterator[None]:
        with self._lock:
            self.requests.append((operation, subject))
        self.before(operation, subject)
        with self._lock:
            yield
        self.after(operation, subject)

    @contextmanager
    def _storing(self, operation: str, subject: str) -> Iterator[None]:
        done = False
        try:
            with self._request(operation, subject):
                yield
                done = True
        except types.Unreachable as error:
            if not done:
                raise
            raise types.AnswerLost(str(error)) from error

    def _once(self, key: str, asked: tuple[str, str, bytes]) -> RemoteFile:
        """Store, or give a key's answer of the last time, where keys are honoured; also if that file is gone since."""
        if not self._is_answered(key):
            self._answers[key] = asked, self._keep(*asked)
        before, answer = self._answers[key]
        if before != asked:
            raise types.KeyConflict("this key was used with a different request")
        return answer

    def _is_answered(self, key: str) -> bool:
        return self.dialect.idempotency and key in self._answers

    def _found(self, container_id: str) -> list[RemoteFile]:
        """The files of a container, newest first."""
        self._container(container_id)
        found = [file for file in self._files.values() if file.container_id == container_id]
        return sorted(map(self._listed, found), key=lambda file: -file.created_at)

    def _container(self, container_id: str) -> RemoteContainer:
        if container_id not in self._containers:
            raise types.NotFound(container_id)
        return self._containers[container_id]

    def _drop(self, container_id: str) -> None:
        self._containers.pop(container_id, None)
        self._files = {file.id: file for file in self._files.values() if file.container_id != container_id}

    def _keep(self, container_id: str, path: str, content: bytes) -> RemoteFile:
        there = [file for file in self._files.values() if (file.container_id, file.path) == (container_id, path)]
        file = RemoteFile(self._id("cfile"), container_id, path, len(content), self._count)
        if there and self.replaces != "nothing":
            replaced = there[-1].id
            del self._files[replaced]
            if self.replaces == "same id":
                file = replace(file, id=replaced)
            elif self.tells_replaced:
                file = replace(file, replaced_id=replaced)
        self._files[file.id], self.contents[file.id] = file, content
        return file

    def _listed(self, file: RemoteFile) -> RemoteFile:
        if self.tells_sizes:
            return replace(file, replaced_id=None)
        return replace(file, size=None, replaced_id=None)

    def _id(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count:032x}"
