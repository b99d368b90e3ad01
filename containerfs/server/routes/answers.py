"""How results and errors are rendered.

The functions that answer errors are asynchronous. Starlette would run others in a thread, and there may be no more
threads.
"""

import errno
import logging
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from containerfs.api.base import ApiModel
from containerfs.api.models import ListPage
from containerfs.server import errors
from containerfs.server.storage.failures import QuotaExceededError

logger = logging.getLogger("containerfs.server")

_STATUS: dict[type[errors.ServiceError], int] = {
    errors.InvalidRequest: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.NotAllowed: 405,
    errors.TimedOut: 408,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.HeadTooLarge: 431,
    errors.Overloaded: 503,
    errors.OutOfSpace: 507,
}

_FROM_STATUS = {status: kind for kind, status in _STATUS.items()}


def json_answer(model: ApiModel) -> Response:
    """Render a result. Fields without a value are left out."""
    return _json(model.model_dump_json(exclude_none=True))


def page_answer(page: ListPage[Any]) -> Response:
    """Render a page. ``first_id`` and ``last_id`` are included even if they are null."""
    text = page.model_dump_json(exclude_none=True)
    if not page.data:
        text = text.removesuffix("}") + ',"first_id":null,"last_id":null}'
    return _json(text)


def error_answer(error: errors.ServiceError, headers: Mapping[str, str] | None = None) -> Response:
    """Render a refusal in the API's form.

    Args:
        headers: headers to add to the answer.
    """
    status = _STATUS[type(error)]
    kind = "server_error" if status >= 500 else "invalid_request_error"
    body = _ErrorBody(message=error.message, type=kind, param=error.param, code=error.code)
    response = _json(_Error(error=body).model_dump_json(), status)
    response.headers.update(headers or {})
    if status == 401:
        response.headers["www-authenticate"] = "Bearer"
    if status == 408:
        response.headers["connection"] = "close"
    if status == 503:
        response.headers["retry-after"] = "1"
    if status in (409, 507):
        response.headers["x-should-retry"] = "false"  # otherwise clients repeat the request twice
    return response


async def service_error(request: Request, error: Exception) -> Response:
    """Answer a refusal of the service."""
    assert isinstance(error, errors.ServiceError)
    return error_answer(error)


async def out_of_space(request: Request, error: Exception) -> Response:
    """Answer that the disk is full."""
    logger.error("no space left in the store: %s", error)
    return error_answer(errors.OutOfSpace("The server has no space left to store this.", code="insufficient_storage"))


async def quota_exceeded(request: Request, error: Exception) -> Response:
    """Answer that the namespace has reached its quota: 413 if the file can never fit, and otherwise 507."""
    assert isinstance(error, QuotaExceededError)
    quota, size = error.quota, error.size
    if quota.max_files == 0:
        return error_answer(errors.TooLarge("The quota allows no files.", code="file_quota_exceeded"))
    if quota.max_bytes is not None and size > quota.max_bytes:
        message = f"This file is larger than the whole quota ({quota.max_bytes} bytes)."
        return error_answer(errors.TooLarge(message, code="byte_quota_exceeded"))
    if quota.max_files is not None and quota.files > quota.max_files:
        message = f"The quota of {quota.max_files} files is reached: delete some first."
        return error_answer(errors.OutOfSpace(message, code="file_quota_exceeded"))
    message = f"This would exceed the quota of {quota.max_bytes} bytes: delete some files first."
    return error_answer(errors.OutOfSpace(message, code="byte_quota_exceeded"))


async def blob_not_found(request: Request, error: Exception) -> Response:
    """Answer for a content that is not in the store: its file was deleted since its row was read, or the store has lost
    it."""
    logger.error("the content %s is not in the store: unless its file was deleted just now, it is lost", error)
    return error_answer(errors.NotFound("The content of this file is not in the store."))


async def store_unavailable(request: Request, error: Exception) -> Response:
    """Answer that the database or object store does not respond."""
    logger.error("the store does not answer: %s", error)
    return error_answer(errors.Overloaded("The server's store does not answer; try again.", code="store_unavailable"))


async def system_error(request: Request, error: Exception) -> Response:
    """Answer that the process has no descriptors left. Other system errors are raised again."""
    assert isinstance(error, OSError)
    if error.errno not in (errno.EMFILE, errno.ENFILE):
        raise error
    logger.error("too many open files: %s", error)
    return error_answer(errors.Overloaded("The server has too many files and connections open.", code="overloaded"))


async def http_error(request: Request, error: Exception) -> Response:
    """Answer for paths and methods that the router does not know."""
    assert isinstance(error, HTTPException)
    kind = _FROM_STATUS.get(error.status_code, errors.InvalidRequest)
    path = f"{request.method} {request.url.path}"
    message = {404: f"Invalid URL ({path})", 405: f"Not allowed to {path}"}.get(error.status_code, str(error.detail))
    return error_answer(kind(message), error.headers)


async def internal_error(request: Request, error: Exception) -> Response:
    """Answer for errors that nobody expected; they are logged elsewhere, with a traceback."""
    body = _ErrorBody(message="The server had an error while processing your request.", type="server_error")
    return _json(_Error(error=body).model_dump_json(), 500)


class _ErrorBody(ApiModel):
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class _Error(ApiModel):
    error: _ErrorBody


def _json(text: str, status: int = 200) -> Response:
    return Response(text, status, media_type="application/json")
