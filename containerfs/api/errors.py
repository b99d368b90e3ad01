"""The errors of the API, and how a response becomes one.

    ContainerFSError
    ├── SourceChangedError              the file became shorter or longer while it was uploaded
    ├── ContentConsumedError            streamed content was read a second time
    └── APIError                        message, code, param, type, body
        ├── APIConnectionError          no answer: refused, reset, cut short
        │   └── APITimeoutError
        ├── APIResponseValidationError  a response that does not match the API
        └── APIStatusError              status_code, request_id, headers
            ├── BadRequestError            400
            ├── AuthenticationError        401
            ├── PermissionDeniedError      403
            ├── NotFoundError              404, 410
            ├── ConflictError              409
            ├── UnprocessableEntityError   422
            ├── RateLimitError             429
            └── InternalServerError        >= 500

The names and attributes are those of the ``openai`` SDK, so that ``except`` clauses need only a new import.
"""

import re
from collections.abc import Mapping

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "ConflictError",
    "ContainerFSError",
    "ContentConsumedError",
    "InternalServerError",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitError",
    "SourceChangedError",
    "UnprocessableEntityError",
]


class ContainerFSError(Exception):
    """Base of every error that containerfs raises itself."""


class SourceChangedError(ContainerFSError):
    """The file being uploaded does not have the size it had at the start. Nothing was stored.

    Attributes:
        announced: its size at the start, in bytes.
        found: where it ended, in bytes; None if it goes on beyond ``announced``.
    """

    def __init__(self, announced: int, found: int | None) -> None:
        what = "has grown" if found is None else f"ended after {found} bytes"
        super().__init__(f"the file being uploaded had {announced} bytes when the upload began, and {what}")
        self.announced = announced
        self.found = found


class ContentConsumedError(ContainerFSError):
    """Streamed content can be read once, and was already read or closed. ``read()`` keeps it, if called first."""


class APIError(ContainerFSError):
    """A request failed.

    Attributes:
        message: what happened, in the service's words if it gave any.
        code, param, type: the fields of the service's ``error`` object; None if missing.
        body: the decoded JSON body, the text of another body, or None.
    """

    def __init__(self, message: str, *, body: object = None) -> None:
        super().__init__(message)
        self.message = message
        self.body = body
        details = _error_object(body)
        self.code = _text(details.get("code"))
        self.param = _text(details.get("param"))
        self.type = _text(details.get("type"))


class APIConnectionError(APIError):
    """The service gave no answer, or the connection broke.

    Attributes:
        sent: whether any of the request may have reached the service; False if it certainly did not, because there was
            no connection.
    """

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class APITimeoutError(APIConnectionError):
    """The service did not answer in time."""


class APIResponseValidationError(APIError):
    """The response does not match the API: it is not JSON, or lacks required fields."""


class APIStatusError(APIError):
    """The service answered with an error status.

    Attributes:
        status_code: the HTTP status.
        request_id: the service's ``x-request-id``; None if it sent none.
        headers: the headers of the answer, names in lower case.
    """

    def __init__(self, message: str, *, status_code: int, headers: Mapping[str, str], body: object = None) -> None:
        super().__init__(message, body=body)
        self.status_code = status_code
        self.headers = headers
        self.request_id = headers.get("x-request-id")


class BadRequestError(APIStatusError):
    """400: the request is malformed, or asks for something the service does not allow."""


class AuthenticationError(APIStatusError):
    """401: no API key, or an unknown one."""


class PermissionDeniedError(APIStatusError):
    """403: the key is known but may not do this."""


class NotFoundError(APIStatusError):
    """404 or 410: there is no such container or file, or it has expired."""


class ConflictError(APIStatusError):
    """409: the request contradicts another one."""


class UnprocessableEntityError(APIStatusError):
    """422: well-formed but not acceptable."""


class RateLimitError(APIStatusError):
    """429: too many requests."""


class InternalServerError(APIStatusError):
    """500 and above: the service failed."""


_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    410: NotFoundError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}


_PAGE = re.compile(r"(?:\s|\ufeff|<!--.*?-->|<\?xml[^>]*>)*<(?:!doctype\s+html|html|head)\b", re.I | re.S)
_TITLE = re.compile(r"<title[^>]*>([^<]*)</title", re.I)


def from_response(status_code: int, headers: Mapping[str, str], body: object) -> APIStatusError:
    """Return the error for an answer with an error status.

    Args:
        status_code: 400 or above.
        headers: of the answer, with names in lower case.
        body: the decoded JSON body, or the text of any other.
    """
    kind = _BY_STATUS.get(status_code, InternalServerError if status_code >= 500 else APIStatusError)
    return kind(_message(status_code, body), status_code=status_code, headers=headers, body=body)


def _message(status_code: int, body: object) -> str:
    details = _error_object(body)
    said = details.get("message") or (_said(body) if isinstance(body, str) else None)
    return f"{status_code}: {str(said).strip()[:500]}" if said else f"{status_code}: the service gave no reason"


def _said(text: str) -> str | None:
    """Return the message in a body that is not JSON; of a page of HTML, its title."""
    if not _PAGE.match(text):
        return text
    from html import unescape  # it takes 0.3 MB, and is hardly ever needed

    title = _TITLE.search(text)
    return " ".join(unescape(title[1]).split()) if title else None


def _error_object(body: object) -> Mapping[str, object]:
    """Return the ``error`` object of a body. Some proxies send a bare string, or leave out the wrapping."""
    if not isinstance(body, Mapping):
        return {}
    error = body.get("error", body)
    return error if isinstance(error, Mapping) else {"message": error}


def _text(value: object) -> str | None:
    return None if value is None else str(value)
