"""What the file system needs of a service: the interface, and what those that implement it over another one share.

``service.ApiRemote`` implements it over the API client.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from containerfs.api.dialect import Dialect
from containerfs.client.types import UploadSource
from containerfs.fs.types import FileAttributes, RemoteContainer, RemoteFile


@dataclass(frozen=True, slots=True)
class Stream:
    """Content on its way.

    Attributes:
        start: the offset of its first byte: as asked for, or 0 where the service ignores ranges, and sends all.
        size: of the whole file in bytes; None where the service does not say.
        chunks: the bytes; raises ``FsError`` where they break off early.
        is_part: whether the service heeded the range that it was asked for.
    """

    start: int
    size: int | None
    chunks: Iterable[bytes]
    is_part: bool = False


Arriving = Callable[[list[RemoteFile]], None]
"""Takes files of a listing of which more is to come, in no certain order; some perhaps twice."""


def ignored(_: list[RemoteFile]) -> None:
    """Nobody looks before a listing is complete."""


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """Content to store.

    Attributes:
        path: below the container.
        source: the content. It may raise ``FsError`` to abandon the upload. Where the service stores ``whole_uploads``,
            its size need not be known before it was read.
        key: the idempotency key: the same for each attempt to store this content under this path.
        attributes: to be kept with it, where the service keeps any; or what tells them once the content was read.
    """

    container_id: str
    path: str
    source: UploadSource
    key: str
    attributes: FileAttributes | Callable[[], FileAttributes | None] | None = None


class Remote(Protocol):
    """A service that holds containers. Safe to call from any thread. Every method raises ``FsError``."""

    service: str
    """Names the service across mounts: caches are keyed by it."""

    @property
    def dialect(self) -> Dialect:
        """What the service can do: the cautious default until ``check`` has found it out."""

    def check(self) -> None:
        """Find out, soon, whether the service answers and takes the key, and how it speaks."""

    def unanswered(self, since: float) -> None:
        """An operation has waited since then, by the monotonic clock, and gives up."""

    def silent_since(self) -> float | None:
        """Since when, by the monotonic clock, it has not answered, if it is known to be down; else None."""

    def seek(self) -> None:
        """Look now for a service that is known to be down. What is asked then waits a moment for what that finds."""

    def containers(self) -> list[RemoteContainer]:
        """All containers that have not expired, newest first."""

    def container(self, container_id: str) -> RemoteContainer:
        """One container, also where the listing leaves it out. Raises NotFound."""

    def create_container(self, name: str) -> RemoteContainer:
        """Create a container, once at most. Raises AnswerLost where it may or may not have been created."""

    def rename_container(self, container_id: str, name: str) -> RemoteContainer:
        """Give a container another name; where the service ``renames``. Raises NotFound."""

    def delete_container(self, container_id: str) -> None:
        """Succeeds where it is gone already."""

    def files(self, container_id: str, arriving: Arriving = ignored) -> list[RemoteFile]:
        """All files of a container, newest first. Raises NotFound if the container is gone.

        Args:
            arriving: is called on this thread with what has come, while more is to come.
        """

    def newest(self, container_id: str, since: int) -> list[RemoteFile]:
        """The files of a container that were created at or after ``since``, newest first.

        Args:
            since: Unix seconds by this machine's clock; the service's may be behind it by five minutes.

        Raises:
            NotFound: if the container is gone.
        """

    def upload(self, request: UploadRequest) -> RemoteFile:
        """Store content, in one attempt.

        Returns:
            What the service stored; its size is that of the request. Its path may differ: some services rename uploads.

        Raises:
            AnswerLost: the content may or may not have been stored.
            FsError: any other: it was certainly not stored. What the source raises comes through unchanged.
        """

    def copy(self, file: RemoteFile, path: str, key: str) -> RemoteFile:
        """Store the same content under another path without moving it, in one attempt; where ``copies_by_path``.

        Args:
            key: the idempotency key.

        Raises:
            AnswerLost: the copy may or may not have been made.
            FsError: any other: it was certainly not made.
        """

    @property
    def keeps_many_at_once(self) -> bool:
        """Whether ``keep_attributes`` of many costs what it costs of one, so that they are better sent together."""

    def keep_attributes(
        self, container_id: str, files: Mapping[str, FileAttributes], directories: Mapping[str, FileAttributes]
    ) -> dict[str, RemoteFile]:
        """Have files keep these attributes, and no others, and keep directories, in place of those that are kept.

        Where the service keeps ``attributes``, and ``directories``.

        Args:
            files: by id.
            directories: by path below the container.

        Returns:
            The directories as the service keeps them, by path.

        Raises:
            NotFound: the container is gone, or one of the files.
        """

    def delete_file(self, container_id: str, file_id: str) -> None:
        """Succeeds where it is gone already."""

    def size(self, file: RemoteFile) -> int | None:
        """The size where the listing leaves it out, without downloading; None where that cannot be had."""

    def content(self, file: RemoteFile, start: int = 0, stop: int | None = None) -> AbstractContextManager[Stream]:
        """The content from ``start`` on, up to ``stop`` or the end. Raises NotFound if the service has dropped it."""


class BytesSource:
    """Content to upload that is in memory. Implements ``UploadSource``."""

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self._content = content

    def read_at(self, offset: int, size: int) -> bytes:
        return self._content[offset : offset + size]


class ForwardingRemote:
    """Implements ``Remote`` by another one. Subclasses change what they are for."""

    def __init__(self, remote: Remote) -> None:
        self.service = remote.service
        self._remote = remote

    @property
    def dialect(self) -> Dialect:
        return self._remote.dialect

    @property
    def keeps_many_at_once(self) -> bool:
        return self._remote.keeps_many_at_once

    def check(self) -> None:
        self._remote.check()

    def unanswered(self, since: float) -> None:
        self._remote.unanswered(since)

    def silent_since(self) -> float | None:
        return self._remote.silent_since()

    def seek(self) -> None:
        self._remote.seek()

    def containers(self) -> list[RemoteContainer]:
        return self._remote.containers()

    def container(self, container_id: str) -> RemoteContainer:
        return self._remote.container(container_id)

    def create_container(self, name: str) -> RemoteContainer:
        return self._remote.create_container(name)

    def rename_container(self, container_id: str, name: str) -> RemoteContainer:
        return self._remote.rename_container(container_id, name)

    def delete_container(self, container_id: str) -> None:
        self._remote.delete_container(container_id)

    def upload(self, request: UploadRequest) -> RemoteFile:
        return self._remote.upload(request)

    def copy(self, file: RemoteFile, path: str, key: str) -> RemoteFile:
        return self._remote.copy(file, path, key)

    def size(self, file: RemoteFile) -> int | None:
        return self._remote.size(file)

    def content(self, file: RemoteFile, start: int = 0, stop: int | None = None) -> AbstractContextManager[Stream]:
        return self._remote.content(file, start, stop)
