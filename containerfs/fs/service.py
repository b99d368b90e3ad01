"""The service behind the API client.

Everything that crosses the network passes through here. So this is where the circuit breaker counts it, and where the
client's errors are translated.
"""

import json
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TypeVar

from containerfs.api import errors, models
from containerfs.api.dialect import FEATURES_HEADER, Dialect
from containerfs.api.expiry import ends_at, idle_limit, unix_seconds
from containerfs.api.models import Container, ContainerFile, Item, Order
from containerfs.api.paths import encode_name, relative_path, upload_name
from containerfs.client import Client, Timeout
from containerfs.client.content import Content, ContentInfo
from containerfs.client.exchange import Policy, Send, Steps, Wait, exchange
from containerfs.client.pages import SyncCursorPage
from containerfs.fs import types
from containerfs.fs.attribute_contents import kept_attributes
from containerfs.fs.breaker import CircuitBreaker
from containerfs.fs.clock import ServiceClock
from containerfs.fs.remote import Arriving, Stream, UploadRequest, ignored
from containerfs.fs.tasks import moved
from containerfs.fs.translation import translate, translate_storing
from containerfs.fs.types import FileAttributes, RemoteContainer, RemoteFile
from containerfs.fs.walk import Walker

S = TypeVar("S")

_PAGE = 100  # the largest page of the API
_CHECK_TIMEOUT = Timeout(8.0, connect=4.0)  # seconds; the user is waiting for the mount
_CONNECT_TIMEOUT = 3.0  # seconds
_ANSWER_TIMEOUT, _STORED_PER_SECOND = 60.0, 10 << 20  # seconds for the answer to an upload; bytes that add one
_LONG_ANSWER_TIMEOUT = 600.0  # seconds for the answer to an upload whose size is not known when it begins
_PATIENCE = Policy(max_retries=8, clock=time.time, chance=random.random)  # for a service that gets too many requests
_ENOUGH = 0.8  # part of the patience after which retries give up, because the next attempt would be too late
_CLOCK_SKEW = 300  # seconds by which the service's clock may have changed, or be behind one that it does not tell
_GONE_STATES = ("deleted", "expired")
_NO_HEAD = (405, 501)
_OF_A_PROXY = (502, 503, 504)  # statuses of proxies whose service may be down


class ApiRemote:
    """Implements ``Remote``.

    Args:
        client: for all requests that may be repeated.
        single_shot: the same service without retries, for requests that store something. If an answer is lost, the
            caller has to find out the result before the next attempt.
        service: names the service across mounts.
        patience: after how many seconds without an answer the service is considered down.
        new_containers: fields of each container that is created, unless the call sets them.
    """

    def __init__(
        self,
        client: Client,
        single_shot: Client,
        service: str,
        patience: float,
        new_containers: Mapping[str, object] | None = None,
    ) -> None:
        self.service = service
        self._new_containers = new_containers
        self.dialect = Dialect()
        self._client = client
        self._single_shot = single_shot
        self._walker = Walker()
        self._clock = ServiceClock()
        self.breaker = CircuitBreaker(_ENOUGH * patience, self.check)

    def check(self) -> list[RemoteContainer] | None:
        try:
            answer = self._single_shot.with_raw_response.containers.list(limit=_PAGE, timeout=_CHECK_TIMEOUT)
            page = answer.parse()
            self.dialect = Dialect.of(answer.headers)
            self._clock.set(answer.headers.get("date"))
        except errors.APIStatusError as error:
            if FEATURES_HEADER in error.headers:
                self.dialect = Dialect.of(error.headers)
            if not isinstance(error, errors.RateLimitError):  # it answers, and knows the key
                raise translate(error) from error
            return None
        except errors.APIError as error:
            raise translate(error) from error
        return None if page.has_next_page() else _containers(page.data)

    def now(self) -> float:
        return self._clock.now()

    def unanswered(self, since: float) -> None:
        self.breaker.unanswered(since)

    def silent_since(self) -> float | None:
        return self.breaker.silent_since()

    def seek(self) -> None:
        self.breaker.seek()

    def containers(self) -> list[RemoteContainer]:
        with self._call():
            pages = self._arriving(self._client.containers.list(limit=_PAGE).iter_pages())
            listed = [container for page in pages for container in page.data]
        return _containers(listed)

    def container(self, container_id: str) -> RemoteContainer:
        with self._call():
            container = self._client.containers.retrieve(container_id)
        if container.status in _GONE_STATES:
            raise types.NotFound(f"container {container_id} is {container.status}")
        return _container(container)

    def create_container(self, name: str, fields: Mapping[str, object] | None = None) -> RemoteContainer:
        client = self._client if self.dialect.idempotency else self._single_shot
        body = self._new_containers if fields is None else fields
        return _container(self._store(lambda: client.containers.create(name=name, extra_body=body)))

    def rename_container(self, container_id: str, name: str) -> RemoteContainer:
        with self._call():
            return _container(self._client.containers.rename(container_id, name=name))

    def delete_container(self, container_id: str) -> None:
        with suppress(types.NotFound), self._call():
            self._client.containers.delete(container_id)

    def files(self, container_id: str, arriving: Arriving = ignored) -> list[RemoteFile]:
        with self._call():
            return self._walker.files(
                lambda order: self._pages(container_id, order), lambda file: self._file(file, container_id), arriving
            )

    def newest(self, container_id: str, since: int) -> list[RemoteFile]:
        found: list[ContainerFile] = []
        with self._call():
            for page in self._pages(container_id, "desc"):
                new = [file for file in page.data if _is_since(file, since)]
                found += new
                if len(new) < len(page.data):
                    break
        return [self._file(file, container_id) for file in found]

    def upload(self, request: UploadRequest) -> RemoteFile:
        file = (upload_name(request.path), request.source)
        headers = {"Idempotency-Key": request.key}
        create, timeout = self._single_shot.containers.files.create, _upload_timeout(request.source.size)
        fields = self._attributes_field(request.attributes)
        try:
            answer = self._store(
                lambda: create(
                    request.container_id, file=file, extra_headers=headers, extra_body=fields, timeout=timeout
                ),
                long=True,
            )
        except errors.SourceChangedError as error:
            raise types.Failed(str(error)) from error
        return self._verified(self._file(answer, request.container_id), request.source.size)

    def copy(self, file: RemoteFile, path: str, key: str) -> RemoteFile:
        headers, body = {"Idempotency-Key": key}, {"path": upload_name(path)}
        create = self._single_shot.containers.files.create
        answer = self._store(lambda: create(file.container_id, file_id=file.id, extra_headers=headers, extra_body=body))
        return self._verified(self._file(answer, file.container_id), file.size)

    @property
    def keeps_many_at_once(self) -> bool:
        return False

    def keep_attributes(
        self, container_id: str, files: Mapping[str, FileAttributes], directories: Mapping[str, FileAttributes]
    ) -> dict[str, RemoteFile]:
        for file_id, attributes in files.items():
            self._set_attributes(container_id, file_id, attributes)
        return {path: self.make_directory(container_id, path, told) for path, told in directories.items()}

    def _set_attributes(self, container_id: str, file_id: str, attributes: FileAttributes) -> None:
        with self._call():
            self._client.containers.files.update(container_id, file_id, attributes=_on_the_wire(attributes))

    def make_directory(self, container_id: str, path: str, attributes: FileAttributes) -> RemoteFile:
        """Keep a directory, replacing one that is kept, if the service keeps ``directories``."""
        file, fields = (upload_name(path) + "/", b""), self._attributes_field(attributes)
        with self._call():
            made = self._client.containers.files.create(container_id, file=file, extra_body=fields)
        return self._file(made, container_id)

    def _attributes_field(
        self, attributes: FileAttributes | Callable[[], FileAttributes | None] | None
    ) -> dict[str, object]:
        """Return the field of a form, if the service keeps attributes."""
        if attributes is None or not self.dialect.attributes:
            return {}
        return {"attributes": (lambda: _as_json(attributes())) if callable(attributes) else _as_json(attributes)}

    def delete_file(self, container_id: str, file_id: str) -> None:
        with suppress(types.NotFound), self._call():
            self._client.containers.files.delete(file_id, container_id=container_id)

    def size(self, file: RemoteFile) -> int | None:
        if self.dialect.tells_sizes is not False:
            length = self._head(file)
            if length is not None:
                return length
        with self.content(file) as stream:
            return stream.size

    @contextmanager
    def content(self, file: RemoteFile, start: int = 0, stop: int | None = None) -> Iterator[Stream]:
        last = "" if stop is None else str(stop - 1)
        headers = {"Range": f"bytes={start}-{last}"} if start or last else None
        with self._call():
            body = self._client.containers.files.content.retrieve(
                file.id, container_id=file.container_id, extra_headers=headers
            )
        with body:  # closing an unread answer closes its connection
            self._check_content(body, file)
            is_part = body.status_code == 206
            begin, size = _range(body, start, file.size) if is_part else (0, body.content_length)
            yield Stream(begin, size, self._chunks(body), is_part)

    def _pages(self, container_id: str, order: Order) -> Iterator[SyncCursorPage[ContainerFile]]:
        return self._arriving(self._client.containers.files.list(container_id, limit=_PAGE, order=order).iter_pages())

    def _arriving(self, pages: Iterator[SyncCursorPage[Item]]) -> Iterator[SyncCursorPage[Item]]:
        """Yield pages, each of which shows that the service is there."""
        for page in pages:
            self.breaker.heard()
            moved()
            yield page

    def _check_content(self, answer: ContentInfo, file: RemoteFile) -> None:
        """Raise Unreachable for an answer to another request, as far as that can be told."""
        etag = answer.headers.get("etag", "").removeprefix("W/")
        told_by_service = FEATURES_HEADER in answer.headers  # and not by the server that it redirects to
        if self.dialect.etags and told_by_service and etag not in ("", f'"{file.id}"'):
            raise types.Unreachable(f"the service sent {etag} instead of {file.id}")

    def _head(self, file: RemoteFile) -> int | None:
        """Return the size that HEAD tells. Remembers if the service has no HEAD, or does not tell sizes in it."""
        head = self._client.containers.files.content.head
        with self._call():
            try:
                answer = head(file.id, container_id=file.container_id)
                self._check_content(answer, file)
                length = answer.content_length
            except errors.APIStatusError as error:
                if error.status_code not in _NO_HEAD:
                    raise
                length = None
        if length is None:
            self.dialect = replace(self.dialect, tells_sizes=False)
        return length

    def _store(self, send: Callable[[], S], *, long: bool = False) -> S:
        """Send a request that stores something."""
        with self._call(translate_storing, long=long):
            return _patiently(send)

    def _verified(self, stored: RemoteFile, size: int | None) -> RemoteFile:
        """Return what was stored if it has the expected size; otherwise delete it."""
        if size is None or stored.size == size:
            return stored
        if stored.size is None:
            return replace(stored, size=size)
        complaint = f"the service stored {stored.size} of {size} bytes of {stored.path!r}"
        try:
            self.delete_file(stored.container_id, stored.id)
        except types.FsError as error:
            raise types.AnswerLost(f"{complaint}, and does not remove them: {error}") from error
        raise types.Failed(f"{complaint}: removed")

    def _file(self, file: ContainerFile, container_id: str) -> RemoteFile:
        path = self._path(file.path) if file.path else encode_name(file.file_id or file.id)
        created_at, attributes = unix_seconds(file.created_at), _kept(file.attributes)
        return RemoteFile(file.id, container_id, path, file.bytes, created_at, file.replaced_id, attributes=attributes)

    def _path(self, path: str) -> str:
        if self.dialect.directories and path.endswith("/"):
            return relative_path(path[:-1], self.dialect.data_root) + "/"
        return relative_path(path, self.dialect.data_root)

    @contextmanager
    def _call(
        self, translated: Callable[[errors.APIError], types.FsError] = translate, *, long: bool = False
    ) -> Iterator[None]:
        """Surround every request with the circuit breaker and the translation of errors.

        Args:
            long: whether much may have been sent before the connection breaks, which says little about the time before.
        """
        self.breaker.check()
        begun = time.monotonic()
        try:
            yield
        except errors.APIError as error:
            if _is_answer(error):
                self.breaker.heard()
            elif long and not isinstance(error, errors.APITimeoutError):
                self.breaker.unanswered(time.monotonic())
            else:
                self.breaker.unanswered(begun)
            raise translated(error) from error
        self.breaker.heard()

    def _chunks(self, body: Content) -> Iterator[bytes]:
        """Yield the bytes of an answer, each of which shows that the service is there."""
        try:
            for chunk in body.iter_bytes():
                self.breaker.heard()
                yield chunk
        except errors.APIError as error:
            raise translate(error) from error


def _patiently(send: Callable[[], S]) -> S:
    """Send a request, and again if the service asks to come back later, which means that it stored nothing."""
    steps: Steps[errors.RateLimitError] = exchange(_PATIENCE, lambda: True)
    step: Send | Wait = next(steps)
    while True:
        try:
            return send()
        except errors.RateLimitError as error:
            try:
                step = steps.send(error)
            except StopIteration:
                raise error from None
            if isinstance(step, Wait):
                time.sleep(step.seconds)
                step = steps.send(error)


def _containers(listed: list[Container]) -> list[RemoteContainer]:
    return [_container(container) for container in listed if container.status not in _GONE_STATES]


def _container(container: Container) -> RemoteContainer:
    created_at = unix_seconds(container.created_at)
    return RemoteContainer(container.id, container.name, created_at, ends_at(container), idle_limit(container))


def _on_the_wire(attributes: FileAttributes) -> dict[str, int]:
    fields = {"mode": attributes.mode, "uid": attributes.uid, "gid": attributes.gid, "mtime_ns": attributes.mtime}
    return {name: value for name, value in fields.items() if value is not None}


def _as_json(attributes: FileAttributes | None) -> str | None:
    return None if attributes is None else json.dumps(_on_the_wire(attributes))


def _kept(attributes: models.FileAttributes | None) -> FileAttributes | None:
    return None if attributes is None else kept_attributes(attributes)


def _is_since(file: ContainerFile, since: int) -> bool:
    """Tell whether a file may have been created at or after a time. A service that does not tell times says 0."""
    return not file.created_at or unix_seconds(file.created_at) >= since - _CLOCK_SKEW


def _range(body: Content, wanted: int, size: int | None) -> tuple[int, int | None]:
    """Return the start of a partial answer, which may be before the requested one, and the size of the file if it is
    told.

    Source: RFC 9110, section 14.4.

    Raises:
        Failed: if the answer does not say which part it is.
        Unreachable: if it is the answer to another request.
    """
    told = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", body.headers.get("content-range", ""))
    if told is None:
        raise types.Failed("the service sent a part of the file without saying which")
    start, last, whole = int(told[1]), int(told[2]), told[3]
    other_size = size is not None and whole not in ("*", str(size))
    other_length = body.content_length not in (None, last - start + 1)
    if not start <= wanted <= last or other_size or other_length:
        raise types.Unreachable(f"the service sent bytes from {told[0]} on instead of {wanted}, of {size}")
    return start, int(whole) if whole != "*" else size


def _is_answer(error: errors.APIError) -> bool:
    """Tell whether an error comes from the service itself."""
    if isinstance(error, errors.APIStatusError):
        return error.status_code not in _OF_A_PROXY
    return not isinstance(error, errors.APIConnectionError)


def _upload_timeout(size: int | None) -> Timeout:
    """Return how long an upload may pause, and its answer may take, because storing much takes long."""
    if size is None:
        return Timeout(_ANSWER_TIMEOUT, read=_LONG_ANSWER_TIMEOUT, connect=_CONNECT_TIMEOUT)
    return Timeout(_ANSWER_TIMEOUT + size / _STORED_PER_SECOND, connect=_CONNECT_TIMEOUT)
