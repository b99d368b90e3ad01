"""What the file system needs of a service: the interface, and code that implementations over another one share.

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
    """Content that is being downloaded.

    Attributes:
        start: the offset of its first byte: the requested one, or 0 if the service ignores ranges and sends everything.
        size: of the whole file in bytes; None if the service does not say.
        chunks: the bytes. Raises ``FsError`` if they end early.
        is_part: whether the service sent the requested range.
    """

    start: int
    size: int | None
    chunks: Iterable[bytes]
    is_part: bool = False


Arriving = Callable[[list[RemoteFile]], None]
"""Called with files of an incomplete listing, in no certain order; some files may come twice."""


def ignored(_: list[RemoteFile]) -> None:
    """Do nothing, if nobody looks at an incomplete listing."""


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """Content to store.

    Attributes:
        path: below the container.
        source: the content. It may raise ``FsError`` to abandon the upload. If the service stores ``whole_uploads``,
            its size need not be known before it was read.
        key: the idempotency key, the same for each attempt to store this content at this path.
        attributes: stored with it, if the service keeps any; or a function that returns them once the content was read.
    """

    container_id: str
    path: str
    source: UploadSource
    key: str
    attributes: FileAttributes | Callable[[], FileAttributes | None] | None = None


class Remote(Protocol):
    """A service that holds containers. May be called from any thread. Every method raises ``FsError``."""

    service: str
    """Names the service across mounts: caches are keyed by it."""

    @property
    def dialect(self) -> Dialect:
        """What the service can do: the cautious default until ``check`` has found out."""

    def check(self) -> list[RemoteContainer] | None:
        """Find out, soon, whether the service answers and accepts the key, and what it can do.

        Returns:
            What ``containers`` returns, if the answer has all of it; otherwise None.
        """

    def now(self) -> float:
        """Return the time by the service's clock, in Unix seconds."""

    def unanswered(self, since: float) -> None:
        """Called when an operation has waited since ``since``, a monotonic time, and gives up."""

    def silent_since(self) -> float | None:
        """Return the monotonic time since which it has not answered, if it is known to be down; otherwise None."""

    def seek(self) -> None:
        """Check now whether a service that is known to be down is back. Calls wait a moment for the result."""

    def containers(self) -> list[RemoteContainer]:
        """Return all containers that have not expired, newest first."""

    def container(self, container_id: str) -> RemoteContainer:
        """Return a container, even if the listing leaves it out. Raises NotFound."""

    def create_container(self, name: str) -> RemoteContainer:
        """Create a container, at most once. Raises AnswerLost if it may or may not have been created."""

    def rename_container(self, container_id: str, name: str) -> RemoteContainer:
        """Rename a container, if the service ``renames``. Raises NotFound."""

    def delete_container(self, container_id: str) -> None:
        """Delete a container. Succeeds if it is gone already."""

    def files(self, container_id: str, arriving: Arriving = ignored) -> list[RemoteFile]:
        """Return all files of a container, newest first.

        Args:
            arriving: called on this thread with the files that have arrived, while more will follow.

        Raises:
            NotFound: if the container is gone.
        """

    def newest(self, container_id: str, since: int) -> list[RemoteFile]:
        """Return the files of a container that were created at or after ``since``, newest first.

        Args:
            since: in Unix seconds, as ``now`` returns them.

        Raises:
            NotFound: if the container is gone.
        """

    def upload(self, request: UploadRequest) -> RemoteFile:
        """Store content, in one attempt.

        Returns:
            What the service stored. Its size is that of the request; its path may differ, because some services rename
            uploads.

        Raises:
            AnswerLost: if the content may or may not have been stored.
            FsError: any other error: it was certainly not stored. Errors of the source are raised unchanged.
        """

    def copy(self, file: RemoteFile, path: str, key: str) -> RemoteFile:
        """Store the same content at another path without sending it, in one attempt, if the service ``copies_by_path``.

        Args:
            key: the idempotency key.

        Raises:
            AnswerLost: if the copy may or may not have been made.
            FsError: any other error: it was certainly not made.
        """

    @property
    def keeps_many_at_once(self) -> bool:
        """Whether ``keep_attributes`` costs the same for many files as for one, so that they are better sent
        together."""

    def keep_attributes(
        self, container_id: str, files: Mapping[str, FileAttributes], directories: Mapping[str, FileAttributes]
    ) -> dict[str, RemoteFile]:
        """Replace the attributes of files, and keep directories, replacing those that are kept.

        For services that keep ``attributes`` and ``directories``.

        Args:
            files: by id.
            directories: by path below the container.

        Returns:
            The directories as the service keeps them, by path.

        Raises:
            NotFound: if the container or one of the files is gone.
        """

    def delete_file(self, container_id: str, file_id: str) -> None:
        """Delete a file. Succeeds if it is gone already."""

    def size(self, file: RemoteFile) -> int | None:
        """Return a size in bytes that the listing left out, without downloading; None if the service does not
        tell it."""

    def content(self, file: RemoteFile, start: int = 0, stop: int | None = None) -> AbstractContextManager[Stream]:
        """Download the content from ``start`` up to ``stop``, or to the end. Raises NotFound if the service no longer
        has it."""


class BytesSource:
    """Content in memory to upload. Implements ``UploadSource``."""

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self._content = content

    def read_at(self, offset: int, size: int) -> bytes:
        return self._content[offset : offset + size]


class ForwardingRemote:
    """Implements ``Remote`` by passing everything on to another one. Subclasses override what they change."""

    def __init__(self, remote: Remote) -> None:
        self.service = remote.service
        self._remote = remote

    @property
    def dialect(self) -> Dialect:
        return self._remote.dialect

    @property
    def keeps_many_at_once(self) -> bool:
        return self._remote.keeps_many_at_once

    def check(self) -> list[RemoteContainer] | None:
        return self._remote.check()

    def now(self) -> float:
        return self._remote.now()

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
