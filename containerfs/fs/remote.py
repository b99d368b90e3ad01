"""What the file system needs of a service, and its one implementation, over the API client.

Everything that crosses the network passes here, so here it is counted against the circuit breaker, and here the
client's errors become the file system's, once.
"""

import logging
import random
import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import BinaryIO, Protocol

from containerfs.api import errors
from containerfs.api.models import Container, ContainerFile
from containerfs.api.paths import encode_name, relative_path, upload_name
from containerfs.client import Client, Timeout
from containerfs.client.content import Content
from containerfs.client.exchange import Policy, Send, Steps, Wait, exchange
from containerfs.fs import types
from containerfs.fs.types import RemoteContainer, RemoteFile

log = logging.getLogger(__name__)

_PAGE = 100  # the most that the API gives at once
_CHECK_TIMEOUT = Timeout(8.0, connect=4.0)  # seconds; who mounts is waiting
_UPLOAD_ATTEMPTS = 3
_LATER = Policy(max_retries=8, clock=time.time, chance=random.random)  # for uploads that come too fast
_CLOCK_SKEW = 300  # seconds by which the service's clock may be behind ours
_GONE_STATES = ("deleted", "expired")


@dataclass(frozen=True, slots=True)
class Stream:
    """Content on its way.

    Attributes:
        start: the offset of its first byte: as asked for, or 0 where the service ignores ranges.
        size: of the whole file in bytes; None where the service does not say.
        chunks: the bytes; raises ``FsError`` where they break off early.
    """

    start: int
    size: int | None
    chunks: Iterable[bytes]


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """Content to store.

    Attributes:
        path: below the container.
        content: seekable; read from its start, and again where a first attempt failed.
        size: in bytes; what ``content`` has beyond it is not sent.
        key: the same for each attempt to store this content.
        known: ids of files that are there already; what an attempt stored is none of these.
        since: Unix seconds of an earlier attempt that may have got through; None if there was none.
    """

    container_id: str
    path: str
    content: BinaryIO
    size: int
    key: str
    known: frozenset[str] = frozenset()
    since: int | None = None


class Remote(Protocol):
    """A service that holds containers. Safe to call from any thread. Every method raises ``FsError``."""

    service: str
    """Names the service across mounts: caches are keyed by it."""

    def check(self) -> None:
        """Whether the service answers, and takes the key; finds out soon. Raises FsError."""

    def containers(self) -> list[RemoteContainer]:
        """All containers that have not expired, newest first."""

    def container(self, container_id: str) -> RemoteContainer:
        """One container, also where the listing leaves it out. Raises NotFound."""

    def create_container(self, name: str) -> RemoteContainer: ...

    def delete_container(self, container_id: str) -> None:
        """Succeeds where it is gone already."""

    def files(self, container_id: str) -> list[RemoteFile]:
        """All files of a container, newest first. Raises NotFound if the container is gone."""

    def upload(self, upload: "UploadRequest") -> RemoteFile:
        """Store content, exactly once.

        Returns:
            What the service stored, of the size that was asked for. Its path may differ: some services rename uploads.
        """

    def copy(self, file: RemoteFile, path: str) -> RemoteFile | None:
        """Store the same content under another path without moving it; None where the service cannot."""

    def delete_file(self, container_id: str, file_id: str) -> None:
        """Succeeds where it is gone already."""

    def size(self, file: RemoteFile) -> int | None:
        """The size where the listing leaves it out, without downloading; None where that cannot be had."""

    def content(self, file: RemoteFile, start: int = 0) -> AbstractContextManager[Stream]:
        """The content from ``start`` on. Raises NotFound if the service has dropped it."""


class CircuitBreaker:
    """Fails at once what would only wait again for a service that did not answer a moment ago.

    One connection that breaks says little. After a second failure in a row, calls are refused for ``pause`` seconds,
    and for twice as long after each further one, 30 seconds at most.
    """

    def __init__(self, pause: float = 1.0) -> None:
        self._pause = pause
        self._failures = 0
        self._open_until = 0.0
        self._lock = threading.Lock()  # guards the two above

    def check(self) -> None:
        """Raises Unreachable while the service is believed to be down."""
        if time.monotonic() < self._open_until:
            raise types.Unreachable("the service did not answer a moment ago; trying again shortly")

    def failed(self) -> None:
        with self._lock:
            self._failures += 1
            if self._failures > 1:
                pause = min(self._pause * 2 ** min(self._failures - 2, 10), 30.0)
                self._open_until = time.monotonic() + pause

    def answered(self) -> None:
        with self._lock:
            self._failures, self._open_until = 0, 0.0


_BY_API_ERROR: list[tuple[type[errors.APIError], type[types.FsError]]] = [
    (errors.NotFoundError, types.NotFound),
    (errors.AuthenticationError, types.AccessDenied),
    (errors.PermissionDeniedError, types.AccessDenied),
    (errors.APIConnectionError, types.Unreachable),
    (errors.InternalServerError, types.Unreachable),  # a proxy's, often, that has lost the service behind it
]
_BY_STATUS = {413: types.TooLarge, 507: types.NoSpace}


def translate(error: errors.APIError) -> types.FsError:
    """The file system's error for the client's."""
    if isinstance(error, errors.APIStatusError):
        if error.status_code in _BY_STATUS:
            return _BY_STATUS[error.status_code](error.message)
        if error.status_code == 400 and "expired" in error.message.lower():
            return types.NotFound(error.message)
    kind = next((kind for api, kind in _BY_API_ERROR if isinstance(error, api)), types.Failed)
    return kind(error.message)


class ApiRemote:
    """The service behind an API client.

    Args:
        client: for everything that may be sent twice.
        single_shot: the same service without retries, for uploads: what happened to one whose answer was lost is
            looked up before it is sent again.
        service: names the service across mounts.
    """

    def __init__(self, client: Client, single_shot: Client, service: str) -> None:
        self.service = service
        self._client = client
        self._single_shot = single_shot
        self._breaker = CircuitBreaker()
        self._copies_by_path: bool | None = None  # an extension of our server; None until it was tried
        self._tells_size = True  # until a HEAD brings none

    def check(self) -> None:
        with self._call(), suppress(errors.RateLimitError):  # it answers, and knows the key
            self._single_shot.containers.list(limit=1, timeout=_CHECK_TIMEOUT)

    def containers(self) -> list[RemoteContainer]:
        with self._call():
            listed = list(self._client.containers.list(limit=_PAGE))
        return [_container(container) for container in listed if container.status not in _GONE_STATES]

    def container(self, container_id: str) -> RemoteContainer:
        with self._call():
            container = self._client.containers.retrieve(container_id)
        if container.status in _GONE_STATES:
            raise types.NotFound(f"container {container_id} is {container.status}")
        return _container(container)

    def create_container(self, name: str) -> RemoteContainer:
        with self._call():
            return _container(self._client.containers.create(name=name))

    def delete_container(self, container_id: str) -> None:
        with suppress(types.NotFound), self._call():
            self._client.containers.delete(container_id)

    def files(self, container_id: str) -> list[RemoteFile]:
        with self._call():
            listed = list(self._client.containers.files.list(container_id, limit=_PAGE))
        return [_file(file, container_id) for file in listed]

    def upload(self, upload: UploadRequest) -> RemoteFile:
        since = upload.since
        for _ in range(_UPLOAD_ATTEMPTS - 1):
            stored = self._stored(upload, since) if since is not None else None
            if stored:
                return stored
            since = since or int(time.time())
            with suppress(types.Unreachable):
                return self._upload_once(upload)
        return self._stored(upload, since or 0) or self._upload_once(upload)

    def copy(self, file: RemoteFile, path: str) -> RemoteFile | None:
        if self._copies_by_path is False:
            return None
        try:
            with self._call():
                copied = self._client.containers.files.create(
                    file.container_id, file_id=file.id, extra_body={"path": upload_name(path)}
                )
        except (types.NotFound, types.Failed):
            self._copies_by_path = bool(self._copies_by_path)
            return None
        stored = _file(copied, file.container_id)
        self._copies_by_path = stored.path == path
        if self._copies_by_path:
            return stored
        self.delete_file(stored.container_id, stored.id)  # it made a copy under a name of its own
        return None

    def delete_file(self, container_id: str, file_id: str) -> None:
        with suppress(types.NotFound), self._call():
            self._client.containers.files.delete(file_id, container_id=container_id)

    def size(self, file: RemoteFile) -> int | None:
        if self._tells_size:
            with suppress(types.Failed), self._call():
                length = self._client.containers.files.content.head(
                    file.id, container_id=file.container_id
                ).content_length
                if length is not None:
                    return length
            self._tells_size = False
        with self.content(file) as stream:
            return stream.size

    @contextmanager
    def content(self, file: RemoteFile, start: int = 0) -> Iterator[Stream]:
        headers = {"Range": f"bytes={start}-"} if start else None
        with self._call():
            body = self._client.containers.files.content.retrieve(
                file.id, container_id=file.container_id, extra_headers=headers
            )
        with body:
            begin = _range_start(body) if body.status_code == 206 else 0
            length = body.content_length
            yield Stream(begin, None if length is None else begin + length, _chunks(body))

    def _upload_once(self, upload: UploadRequest) -> RemoteFile:
        with self._call():
            answer = self._send(upload)
        stored = _file(answer, upload.container_id)
        if stored.size is None:
            return replace(stored, size=upload.size)
        if stored.size != upload.size:
            self.delete_file(upload.container_id, stored.id)
            raise types.Failed(f"the service stored {stored.size} of {upload.size} bytes of {upload.path!r}: removed")
        return stored

    def _send(self, upload: UploadRequest) -> ContainerFile:
        """Send an upload. Where the service asks to come back later, which says that it stored nothing, do so."""
        steps: Steps[errors.RateLimitError] = exchange(_LATER, lambda: True)
        step: Send | Wait = next(steps)
        while True:
            upload.content.seek(0)
            try:
                return self._single_shot.containers.files.create(
                    upload.container_id,
                    file=(upload_name(upload.path), upload.content),
                    extra_headers={"Idempotency-Key": upload.key},
                )
            except errors.RateLimitError as error:
                try:
                    step = steps.send(error)
                except StopIteration:
                    raise error from None
                if isinstance(step, Wait):
                    time.sleep(step.seconds)
                    step = steps.send(error)

    def _stored(self, upload: UploadRequest, since: int) -> RemoteFile | None:
        """What an attempt whose answer was lost has left on the service, if it got through."""
        with self._call():
            page = self._client.containers.files.list(upload.container_id, limit=_PAGE, order="desc")
        newest = (_file(file, upload.container_id) for file in page.data if file.created_at >= since - _CLOCK_SKEW)
        wanted = (upload.path, upload.size)
        return next((file for file in newest if (file.path, file.size) == wanted and file.id not in upload.known), None)

    @contextmanager
    def _call(self) -> Iterator[None]:
        """Around everything that is sent: the circuit breaker, and the translation of errors."""
        self._breaker.check()
        try:
            yield
        except errors.APIConnectionError as error:
            self._breaker.failed()
            raise types.Unreachable(error.message) from error
        except errors.APIError as error:
            self._breaker.answered()
            raise translate(error) from error
        self._breaker.answered()


def _container(container: Container) -> RemoteContainer:
    return RemoteContainer(container.id, container.name, container.created_at, container.expires_at, container.status)


def _file(file: ContainerFile, container_id: str) -> RemoteFile:
    path = relative_path(file.path) if file.path else encode_name(file.file_id or file.id)
    return RemoteFile(file.id, container_id, path, file.bytes, file.created_at, file.replaced_id)


def _range_start(body: Content) -> int:
    """Where a partial answer begins, which need not be where it was asked to. Source: RFC 9110, 14.4."""
    said = re.match(r"bytes (\d+)-", body.headers.get("content-range", ""))
    if said is None:
        raise types.Failed("the service sent a part of the file without saying which")
    return int(said[1])


def _chunks(body: Content) -> Iterator[bytes]:
    """The bytes of an answer. That it breaks off says nothing about the service: it did answer."""
    try:
        yield from body.iter_bytes()
    except errors.APIError as error:
        raise translate(error) from error
