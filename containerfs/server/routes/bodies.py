"""Reads request bodies, as JSON or as forms, within limits of size and time."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from containerfs.server.errors import InvalidRequest, TimedOut, TooLarge, UnsupportedMediaType
from containerfs.server.multipart import Form, boundary_of, read_form
from containerfs.server.options import Limits
from containerfs.server.service import Once
from containerfs.server.storage.blob_store import BlobWriter

Model = TypeVar("Model", bound=BaseModel)

_JSON_MAX_BYTES = 1024 * 1024

_FORM_OVERHEAD = 128 * 1024
"""How much larger than its file a form may be, in bytes. What exceeds this by Content-Length must be the file's."""

_KEY_MAX_LENGTH = 255

Expect = Callable[[str | None, int, str | None], Awaitable[None]]
"""Called for a file before it arrives, with its name (None while it is not known), its size in bytes at least, and the
idempotency key of the request. Raises an error to refuse the file."""


class ClientGone(Exception):
    """The client disconnected before its request was complete, so there is nobody to answer."""


def media_type(request: Request) -> str:
    """Return the media type of the body, in lower case and without parameters; "" if the request names none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_json(request: Request, kind: type[Model]) -> tuple[Model, Once | None]:
    """Read the body as JSON.

    Returns:
        The body as a model, and the request's idempotency key if it has one.

    Raises:
        UnsupportedMediaType: if the body is not JSON, or is compressed.
        TooLarge: if it is larger than 1 MiB.
        InvalidRequest: if it does not fit the model.
        TimedOut: if it does not arrive in time.
    """
    if media_type(request) not in ("application/json", ""):
        raise UnsupportedMediaType("Send the body as application/json.")
    body = bytearray()
    async for chunk in body_chunks(request):
        body += chunk
        if len(body) > _JSON_MAX_BYTES:
            raise TooLarge(f"The body is larger than {_JSON_MAX_BYTES} bytes.")
    return parsed(kind, bytes(body)), _once(request, hashlib.sha256(body).hexdigest())


async def read_upload(request: Request, blob: BlobWriter, expect: Expect) -> tuple[Form, Once | None]:
    """Read the body as a form whose file is written to ``blob``.

    A file that may be too large is refused before any of it is read, or, if that depends on its name, as soon as the
    name is known. Short bodies are read first, since that takes no longer than the check.

    Returns:
        The form, and the request's idempotency key if it has one.

    Raises:
        InvalidRequest: if the form is malformed.
        TooLarge: if the file or the other fields exceed their limits.
        OutOfSpaceError: if there is no space for the file.
        UnsupportedMediaType: if the body is compressed.
        TimedOut: if it does not arrive in time.
    """
    file_max = limits(request).max_upload_size
    boundary = boundary_of(request.headers["content-type"])
    key, size = _idempotency_key(request), _announced_size(request)

    async def expect_named(name: str | None) -> None:
        if size != 0:
            await expect(name, size or 0, key)

    await expect_named(None)  # a container that is gone is the answer to a file of any size
    if file_max is not None and size is not None and size > file_max:
        raise TooLarge(f"The file is larger than this server accepts ({file_max} bytes).", param="file")
    blob.expect(size or 0)
    form = await read_form(
        body_chunks(request), boundary, blob, file_max=file_max, hashed=key is not None, expect=expect_named
    )
    return form, _once(request, form.digest)


def _announced_size(request: Request) -> int | None:
    """Return the least size of a form's file in bytes, by the body's Content-Length; None if there is none."""
    length = request.headers.get("content-length", "")
    return max(0, int(length) - _FORM_OVERHEAD) if length.isdecimal() else None


async def body_chunks(request: Request) -> AsyncIterator[bytes]:
    """Yield the body as it arrives.

    Raises:
        UnsupportedMediaType: if it is compressed.
        TimedOut: if nothing arrives within the receive timeout.
        ClientGone: if the client disconnects.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("Send the body without a Content-Encoding; this server does not decode bodies.")
    timeout = limits(request).receive_timeout
    while True:
        try:
            async with asyncio.timeout(timeout):
                message = await request.receive()
        except TimeoutError as error:
            raise TimedOut(f"The request's body did not arrive: no data for {timeout:g} s.") from error
        if message["type"] == "http.disconnect":
            raise ClientGone
        if chunk := message.get("body"):
            yield chunk
        if not message.get("more_body"):
            return


def limits(request: Request) -> Limits:
    """Return the limits of this server."""
    found: Limits = request.app.state.limits
    return found


def parsed(kind: type[Model], data: bytes | dict[str, str], *, within: str = "") -> Model:
    """Parse JSON, or the strings of a query or form, into a model.

    Args:
        within: the parameter whose value this is, if it is not a whole body; it is part of the names in errors.

    Raises:
        InvalidRequest: if the data does not fit the model; names the first wrong parameter.
    """
    try:
        return kind.model_validate_json(data) if isinstance(data, bytes) else kind.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        param = ".".join(part for part in (within, *map(str, first["loc"])) if part) or None
        problem = first["msg"].removeprefix("Value error, ")
        raise InvalidRequest(
            f"Invalid '{param}': {problem}." if param else f"Invalid body: {problem}.", param=param
        ) from error


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key and len(key) > _KEY_MAX_LENGTH:
        raise InvalidRequest(f"The Idempotency-Key is longer than {_KEY_MAX_LENGTH} characters.")
    return key or None


def _once(request: Request, body_digest: str) -> Once | None:
    key = _idempotency_key(request)
    if key is None:
        return None
    return Once(key, hashlib.sha256(f"{request.method} {request.scope['path']} {body_digest}".encode()).hexdigest())
