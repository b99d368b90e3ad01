"""``/files``. Source: the published spec of ``/v1/files``."""

import re

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from containerfs.server.errors import InvalidRequest, UnsupportedMediaType
from containerfs.server.multipart import Form
from containerfs.server.requests import FileExpiry, FileListing
from containerfs.server.routes.answers import json_answer, page_answer
from containerfs.server.routes.asked import Endpoint, content_answer, namespace, page_query, service
from containerfs.server.routes.bodies import media_type, parsed, read_upload

_PURPOSE_MAX_LENGTH = 64

_EXPIRY_PART = re.compile(r"expires_after\[(\w+)\]")


async def create(request: Request) -> Response:
    if media_type(request) != "multipart/form-data":
        raise UnsupportedMediaType("Send the file as multipart/form-data.")

    async def expect(name: str | None, size: int, key: str | None) -> None:
        await service(request).files.expect(namespace(request), size, key)

    async with service(request).contents.receive() as blob:
        form, once = await read_upload(request, blob, expect)
        if form.filename is None:
            raise InvalidRequest("Give a file, with its file name.", param="file")
        created = service(request).files.create(
            namespace(request), form.filename, _purpose(form), blob, _lifetime(form), once
        )
        return json_answer(await created)


async def listing(request: Request) -> Response:
    purpose = request.query_params.get("purpose")
    return page_answer(await service(request).files.page(namespace(request), page_query(request, FileListing), purpose))


async def retrieve(request: Request) -> Response:
    return json_answer(await service(request).files.retrieve(namespace(request), request.path_params["file_id"]))


async def delete(request: Request) -> Response:
    return json_answer(await service(request).files.delete(namespace(request), request.path_params["file_id"]))


async def content(request: Request) -> ASGIApp:
    return content_answer(
        request, await service(request).files.content(namespace(request), request.path_params["file_id"])
    )


def _purpose(form: Form) -> str:
    purpose = form.fields.get("purpose", "")
    if not 0 < len(purpose) <= _PURPOSE_MAX_LENGTH or "\0" in purpose:
        raise InvalidRequest(f"Give a purpose of 1 to {_PURPOSE_MAX_LENGTH} characters.", param="purpose")
    return purpose


def _lifetime(form: Form) -> int | None:
    """Return the seconds in ``expires_after``, sent as one part with JSON, or as one part for each of its fields."""
    whole = form.fields.get("expires_after")
    parts = {match[1]: value for name, value in form.fields.items() if (match := _EXPIRY_PART.fullmatch(name))}
    if whole is None:
        return parsed(FileExpiry, parts, within="expires_after").seconds if parts else None
    if parts:
        raise InvalidRequest("Give 'expires_after' once, whole or in parts.", param="expires_after")
    return parsed(FileExpiry, whole.encode(), within="expires_after").seconds


routes: list[Endpoint] = [
    ("POST", "/files", create),
    ("GET", "/files", listing),
    ("GET", "/files/{file_id}", retrieve),
    ("DELETE", "/files/{file_id}", delete),
    ("GET", "/files/{file_id}/content", content),
]
