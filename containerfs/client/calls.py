"""The endpoints, each described once: what to send, and how to read the answer.

Every function here is pure and returns a ``Call``; both clients offer it as a method with this signature and docstring.
All of them accept what ``RequestOptions`` lists, raise the errors of ``containerfs.api.errors``, and raise
``ValueError`` for an id that is empty, ``.`` or ``..`` before anything is sent.

Source: the seed document's "Capabilities", and the published spec of ``/v1/containers`` and ``/v1/files``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, Unpack

from containerfs.api.dialect import Dialect
from containerfs.api.models import Container, ContainerFile, Deletion, File, ListPage, Order
from containerfs.api.paths import url_path
from containerfs.client.answers import Answer, deleted, model
from containerfs.client.body import Body, FormBody, JsonBody
from containerfs.client.content import ContentInfo
from containerfs.client.parameters import given
from containerfs.client.types import (
    ContainerExpiry,
    FileExpiry,
    FileTypes,
    MemoryLimit,
    NetworkAccess,
    Omit,
    Progress,
    RequestOptions,
    T,
    omit,
)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request, and how to read its answer.

    Attributes:
        method: GET, HEAD, POST or DELETE.
        path: below the base URL, with ids percent-encoded.
        parse: turns the answer into the result; raises APIResponseValidationError.
        options: added by the caller.
        query: query parameters; omitted ones are not sent.
        body: None if nothing is sent.
        headers: in addition to those of the client.
    """

    method: str
    path: str
    parse: Callable[[Answer], T]
    options: RequestOptions
    query: Mapping[str, object] = field(default_factory=dict)
    body: Body | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def with_query(self, **parameters: object) -> "Call[T]":
        """Return the same call with further query parameters, which take precedence over all others."""
        options = self.options.copy()
        options["extra_query"] = {**(options.get("extra_query") or {}), **parameters}
        return replace(self, options=options)


def create_container(
    *,
    name: str,
    expires_after: ContainerExpiry | Omit = omit,
    file_ids: list[str] | Omit = omit,
    memory_limit: MemoryLimit | Omit = omit,
    network_policy: NetworkAccess | Omit = omit,
    skills: Sequence[Mapping[str, object]] | Omit = omit,
    **options: Unpack[RequestOptions],
) -> Call[Container]:
    """Create a container. ``POST /containers``

    Args:
        name: its name, which need not be unique.
        expires_after: ``{"anchor": "created_at", "days": 7}`` or ``{"anchor": "last_active_at", "minutes": 20}``.
            If it is left out, the service decides.
        file_ids: ids of files to copy into it.
        memory_limit: ``1g``, ``4g``, ``16g`` or ``64g``, for programs that run in it.
        network_policy: ``{"type": "disabled"}``, or ``{"type": "allowlist", "allowed_domains": [...]}``.
        skills: skills to make available in it.

    Returns:
        The container.
    """
    fields = {
        "name": name,
        "expires_after": expires_after,
        "file_ids": file_ids,
        "memory_limit": memory_limit,
        "network_policy": network_policy,
        "skills": skills,
    }
    return Call("POST", "/containers", model(Container), options, body=_json(fields, options))


def retrieve_container(container_id: str, **options: Unpack[RequestOptions]) -> Call[Container]:
    """Retrieve a container. ``GET /containers/{container_id}``

    Args:
        container_id: the container's id.

    Raises:
        NotFoundError: if there is none, or it has expired.
    """
    return Call("GET", _container(container_id), model(Container), options)


def list_containers(
    *,
    after: str | Omit = omit,
    limit: int | Omit = omit,
    name: str | Omit = omit,
    order: Order | Omit = omit,
    **options: Unpack[RequestOptions],
) -> Call[ListPage[Container]]:
    """List containers. The page iterates over all further pages too. ``GET /containers``

    Args:
        after: the id after which the page begins.
        limit: page size, 1 to 100; 20 if left out.
        name: only containers with this name.
        order: by time of creation: ``asc`` or ``desc`` (newest first, if left out).

    Returns:
        A page with ``data`` and ``has_more``, iterable across pages.
    """
    query = {"after": after, "limit": limit, "name": name, "order": order}
    return Call("GET", "/containers", model(ListPage[Container]), options, query=given(query))


def dialect(**options: Unpack[RequestOptions]) -> Call[Dialect]:
    """What the service can do beyond the published API. ``GET /containers?limit=1``

    Returns:
        The dialect that the service advertises; for services other than ``containerfs serve``, a cautious default.

    Raises:
        APIStatusError: as for a listing; what an error's ``headers`` advertise is as good: ``Dialect.of(headers)``.
    """
    return Call("GET", "/containers", _dialect, options, query={"limit": 1})


def rename_container(container_id: str, *, name: str, **options: Unpack[RequestOptions]) -> Call[Container]:
    """Rename a container. Only ``containerfs serve`` can do this. ``POST /containers/{container_id}``

    Args:
        container_id: the container's id.
        name: its name, which need not be unique.

    Raises:
        NotFoundError: if there is none, it has expired, or the service has no such operation.
    """
    body = _json({"name": name}, options)
    return Call("POST", _container(container_id), model(Container), options, body=body)


def delete_container(container_id: str, **options: Unpack[RequestOptions]) -> Call[None]:
    """Delete a container and the files in it permanently. ``DELETE /containers/{container_id}``

    The files in ``/files`` that were copied into it stay.

    Args:
        container_id: the container's id.

    Raises:
        NotFoundError: if there is none, or it has expired.
    """
    return _deletion(_container(container_id), options)


def create_container_file(
    container_id: str,
    *,
    file: FileTypes | Omit = omit,
    file_id: str | Omit = omit,
    progress: Progress | None = None,
    **options: Unpack[RequestOptions],
) -> Call[ContainerFile]:
    """Add a file to a container: upload one, or copy one from ``/files``. ``POST /containers/{container_id}/files``

    Args:
        container_id: the container's id.
        file: what to upload: bytes, a binary file, a path, an ``UploadSource``, or ``(name, content[, content
            type[, headers]])``. It is streamed; files and paths are sent from their start. The name may be a relative
            path, ``a/b.txt``.
        file_id: the id of the file to copy; instead of ``file``.
        progress: called with the bytes sent and their total during the upload.

    Returns:
        The file in the container.

    Raises:
        SourceChangedError: if the file became shorter or longer while it was sent.
        TypeError: unless exactly one of ``file`` and ``file_id`` is given.
    """
    if isinstance(file, Omit) == isinstance(file_id, Omit):
        raise TypeError("Expected exactly one of `file` and `file_id`")
    upload = _json({"file_id": file_id}, options) if isinstance(file, Omit) else _form({}, file, progress, options)
    return Call("POST", f"{_container(container_id)}/files", model(ContainerFile), options, body=upload)


def update_container_file(
    container_id: str, file_id: str, *, attributes: Mapping[str, int], **options: Unpack[RequestOptions]
) -> Call[ContainerFile]:
    """Replace the attributes of a file. Only ``containerfs serve`` can do this.
    ``POST /containers/{container_id}/files/{file_id}``

    Args:
        container_id: the container's id.
        file_id: the file's id, which stays.
        attributes: of ``mode``, ``uid``, ``gid`` and ``mtime_ns``.

    Raises:
        NotFoundError: if there is no such container or file, or the service has no such operation.
    """
    path, body = _container_file(container_id, file_id), _json({"attributes": attributes}, options)
    return Call("POST", path, model(ContainerFile), options, body=body)


def retrieve_container_file(container_id: str, file_id: str, **options: Unpack[RequestOptions]) -> Call[ContainerFile]:
    """Retrieve the metadata of a file in a container. ``GET /containers/{container_id}/files/{file_id}``

    Args:
        container_id: the container's id.
        file_id: the file's id.

    Raises:
        NotFoundError: if there is no such container or file.
    """
    return Call("GET", _container_file(container_id, file_id), model(ContainerFile), options)


def list_container_files(
    container_id: str,
    *,
    after: str | Omit = omit,
    limit: int | Omit = omit,
    order: Order | Omit = omit,
    **options: Unpack[RequestOptions],
) -> Call[ListPage[ContainerFile]]:
    """List the files in a container. The page iterates over all pages. ``GET /containers/{container_id}/files``

    Args:
        container_id: the container's id.
        after: the id after which the page begins.
        limit: page size, 1 to 100; 20 if left out.
        order: by time of creation: ``asc`` or ``desc`` (newest first, if left out).

    Returns:
        A page with ``data`` and ``has_more``, iterable across pages.

    Raises:
        NotFoundError: if there is no such container.
    """
    path = f"{_container(container_id)}/files"
    query = {"after": after, "limit": limit, "order": order}
    return Call("GET", path, model(ListPage[ContainerFile]), options, query=given(query))


def delete_container_file(container_id: str, file_id: str, **options: Unpack[RequestOptions]) -> Call[None]:
    """Delete a file from a container permanently. ``DELETE /containers/{container_id}/files/{file_id}``

    The file in ``/files`` that it was copied from stays.

    Args:
        container_id: the container's id.
        file_id: the file's id.

    Raises:
        NotFoundError: if there is no such container or file.
    """
    return _deletion(_container_file(container_id, file_id), options)


def retrieve_container_file_content(
    file_id: str, *, container_id: str, **options: Unpack[RequestOptions]
) -> Call[ContentInfo]:
    """The content of a file in a container. ``GET /containers/{container_id}/files/{file_id}/content``

    It is streamed: only the headers are read at first. ``extra_headers={"Range": "bytes=0-99"}`` requests a part; if
    the service supports that, ``status_code`` is 206.

    Args:
        file_id: the file's id.
        container_id: the container's id.

    Returns:
        The content, to be read once.

    Raises:
        NotFoundError: if there is no such container or file.
    """
    return _content("GET", f"{_container_file(container_id, file_id)}/content", options)


def head_container_file_content(
    file_id: str, *, container_id: str, **options: Unpack[RequestOptions]
) -> Call[ContentInfo]:
    """What retrieving the content would say, without it. ``HEAD /containers/{container_id}/files/{file_id}/content``

    Not in the published API: services other than ``containerfs serve`` may refuse it.

    Args:
        file_id: the file's id.
        container_id: the container's id.

    Returns:
        The status, the headers, and the content's length.

    Raises:
        APIStatusError: if there is no such container or file, or the service does not offer this.
    """
    return _content("HEAD", f"{_container_file(container_id, file_id)}/content", options)


def create_file(
    *,
    file: FileTypes,
    purpose: str,
    expires_after: FileExpiry | Omit = omit,
    progress: Progress | None = None,
    **options: Unpack[RequestOptions],
) -> Call[File]:
    """Upload a file that can be copied into containers. ``POST /files``

    Args:
        file: bytes, a binary file, a path, or ``(name, content[, content type[, headers]])``. It is streamed; files and
            paths are sent from their start.
        purpose: ``assistants``, ``user_data`` and the like.
        expires_after: ``{"anchor": "created_at", "seconds": 3600}``; 3600 to 2592000 seconds.
        progress: called with the bytes sent and their total during the upload.

    Returns:
        The file.

    Raises:
        SourceChangedError: if the file became shorter or longer while it was sent.
    """
    fields = given({"purpose": purpose, "expires_after": expires_after})
    return Call("POST", "/files", model(File), options, body=_form(fields, file, progress, options))


def retrieve_file(file_id: str, **options: Unpack[RequestOptions]) -> Call[File]:
    """Retrieve the metadata of a file. ``GET /files/{file_id}``

    Args:
        file_id: the file's id.

    Raises:
        NotFoundError: if there is no such file.
    """
    return Call("GET", _file(file_id), model(File), options)


def list_files(
    *,
    after: str | Omit = omit,
    limit: int | Omit = omit,
    order: Order | Omit = omit,
    purpose: str | Omit = omit,
    **options: Unpack[RequestOptions],
) -> Call[ListPage[File]]:
    """List files. The page iterates over all further pages too. ``GET /files``

    Args:
        after: the id after which the page begins.
        limit: page size, 1 to 10000; 10000 if left out.
        order: by time of creation: ``asc`` or ``desc`` (newest first, if left out).
        purpose: only files with this purpose.

    Returns:
        A page with ``data`` and ``has_more``, iterable across pages.
    """
    query = {"after": after, "limit": limit, "order": order, "purpose": purpose}
    return Call("GET", "/files", model(ListPage[File]), options, query=given(query))


def delete_file(file_id: str, **options: Unpack[RequestOptions]) -> Call[Deletion]:
    """Delete a file permanently. Its copies in containers stay. ``DELETE /files/{file_id}``

    Args:
        file_id: the file's id.

    Returns:
        The id, and that it is deleted.

    Raises:
        NotFoundError: if there is no such file.
    """
    parse = model(Deletion)

    def deletion(answer: Answer) -> Deletion:
        return parse(answer) if answer.body.strip() else Deletion(id=file_id, object="file")

    return Call("DELETE", _file(file_id), deletion, options, body=_extra(options))


def file_content(file_id: str, **options: Unpack[RequestOptions]) -> Call[ContentInfo]:
    """The content of a file. ``GET /files/{file_id}/content``

    It is streamed: only the headers are read at first.

    Args:
        file_id: the file's id.

    Returns:
        The content, to be read once.

    Raises:
        NotFoundError: if there is no such file.
    """
    return _content("GET", f"{_file(file_id)}/content", options)


def _container(container_id: str) -> str:
    return url_path("/containers/{container_id}", container_id=container_id)


def _container_file(container_id: str, file_id: str) -> str:
    return url_path("/containers/{container_id}/files/{file_id}", container_id=container_id, file_id=file_id)


def _file(file_id: str) -> str:
    return url_path("/files/{file_id}", file_id=file_id)


def _content(method: str, path: str, options: RequestOptions) -> Call[ContentInfo]:
    # Of a compressed answer, a range would not be one of the file, and Content-Length not its size.
    headers = {"accept": "application/binary", "accept-encoding": "identity"}
    return Call(method, path, _content_info, options, headers=headers)


def _dialect(answer: Answer) -> Dialect:
    model(ListPage[Container])(answer)
    return Dialect.of(answer.headers)


def _content_info(answer: Answer) -> ContentInfo:
    return ContentInfo(answer.status_code, answer.headers)


def _deletion(path: str, options: RequestOptions) -> Call[None]:
    return Call("DELETE", path, deleted, options, body=_extra(options), headers={"accept": "*/*"})


def _json(fields: Mapping[str, object], options: RequestOptions) -> JsonBody:
    return JsonBody(given({**fields, **(options.get("extra_body") or {})}))


def _extra(options: RequestOptions) -> JsonBody | None:
    extra = options.get("extra_body")
    return JsonBody(extra) if extra else None


def _form(
    fields: Mapping[str, object], file: FileTypes, progress: Progress | None, options: RequestOptions
) -> FormBody:
    return FormBody({**fields, **(options.get("extra_body") or {})}, file, progress)
