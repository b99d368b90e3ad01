"""A service as operations use it: each call is a task, and an operation may end before its task does."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TypeVar

from containerfs.fs.pace import Pace, PacedSource
from containerfs.fs.remote import Arriving, ForwardingRemote, Remote, Stream, UploadRequest, ignored
from containerfs.fs.tasks import Workers
from containerfs.fs.types import FileAttributes, RemoteContainer, RemoteFile

T = TypeVar("T")


class AwaitedRemote(ForwardingRemote):
    """Implements ``Remote`` over another one. Methods that transfer content must not run on threads that serve
    operations.

    Args:
        up: limits how fast content is sent; None for no limit.
        down: limits how fast content is fetched; None for no limit.
    """

    def __init__(self, remote: Remote, workers: Workers, up: Pace | None = None, down: Pace | None = None) -> None:
        super().__init__(remote)
        self._workers = workers
        self._up = up
        self._down = down
        self._used_at: dict[str, float] = {}

    def used_at(self, container_id: str) -> float:
        """Return when a container was last used from here, in Unix seconds; 0 if never. Listing does not count."""
        return self._used_at.get(container_id, 0.0)

    def containers(self) -> list[RemoteContainer]:
        return self._await(self._remote.containers)

    def container(self, container_id: str) -> RemoteContainer:
        return self._await(lambda: self._remote.container(container_id))

    def create_container(self, name: str) -> RemoteContainer:
        return self._await(lambda: self._remote.create_container(name))

    def rename_container(self, container_id: str, name: str) -> RemoteContainer:
        return self._await(lambda: self._remote.rename_container(container_id, name))

    def delete_container(self, container_id: str) -> None:
        self._await(lambda: self._remote.delete_container(container_id))

    def files(self, container_id: str, arriving: Arriving = ignored) -> list[RemoteFile]:
        return self._await(lambda: self._remote.files(container_id, arriving))

    def newest(self, container_id: str, since: int) -> list[RemoteFile]:
        return self._await(lambda: self._remote.newest(container_id, since))

    def upload(self, request: UploadRequest) -> RemoteFile:
        self._use(request.container_id)
        if self._up is not None:
            request = replace(request, source=PacedSource(request.source, self._up))
        return self._remote.upload(request)

    def copy(self, file: RemoteFile, path: str, key: str) -> RemoteFile:
        self._use(file.container_id)
        return self._await(lambda: self._remote.copy(file, path, key))

    def keep_attributes(
        self, container_id: str, files: Mapping[str, FileAttributes], directories: Mapping[str, FileAttributes]
    ) -> dict[str, RemoteFile]:
        self._use(container_id)
        return self._await(lambda: self._remote.keep_attributes(container_id, files, directories))

    def delete_file(self, container_id: str, file_id: str) -> None:
        self._use(container_id)
        self._await(lambda: self._remote.delete_file(container_id, file_id))

    def size(self, file: RemoteFile) -> int | None:
        return self._await(lambda: self._remote.size(file))

    def content(self, file: RemoteFile, start: int = 0, stop: int | None = None) -> AbstractContextManager[Stream]:
        self._use(file.container_id)
        content = self._remote.content(file, start, stop)
        return content if self._down is None else _paced(content, self._down)

    def _use(self, container_id: str) -> None:
        self._used_at[container_id] = self._remote.now()

    def _await(self, ask: Callable[[], T]) -> T:
        return self._workers.do(ask)


@contextmanager
def _paced(content: AbstractContextManager[Stream], pace: Pace) -> Iterator[Stream]:
    with content as stream:
        yield replace(stream, chunks=pace.chunks(stream.chunks))
