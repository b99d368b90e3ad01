"""How a service behaves apart from its failures: ours, and foreign ones, made of ours on its way through the proxy.

A foreign service advertises nothing, honours no ``Idempotency-Key``, does not say what an upload replaced, and copies
nothing. One replaces a file by path, as ours does; another keeps a second upload of a path as a second file.
"""

import json
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from tests.faults.wire import Answer, Request

_PLAIN = {
    "content-type", "content-length", "content-range", "content-disposition", "accept-ranges", "etag", "date",
    "last-modified", "retry-after", "location",
}  # fmt: skip
_PREFIX = 33  # characters of the directory that each upload has to itself below a service that keeps all
_DATA = "/mnt/data/"
_LATE = 3 * 3600  # seconds


class Manner:
    """Our own."""

    name = "ours"

    def refusal(self, request: Request) -> Answer | None:
        """An answer without the server."""
        return None

    def body(self, request: Request, body: bytes) -> bytes:
        """The content as the server is to have it."""
        return body

    def answer(self, answer: Answer) -> Answer:
        return answer

    def path(self, stored: str) -> str:
        """The path as this service would show it, of one that the server shows."""
        return stored


class Replacing(Manner):
    """A foreign service that replaces by path."""

    name = "foreign, replaces"

    def refusal(self, request: Request) -> Answer | None:
        request.headers.pop("idempotency-key", None)
        copies = request.method == "POST" and request.path.endswith("/files") and request.upload_name is None
        if not copies:
            return None
        request.read_all()
        message = {"error": {"message": "Unknown parameter: 'path'.", "type": "invalid_request_error"}}
        return Answer(400, "Bad Request", [("content-type", "application/json")], json.dumps(message).encode())

    def answer(self, answer: Answer) -> Answer:
        headers = [(name, value) for name, value in answer.headers if name.lower() in _PLAIN]
        if ("content-type", "application/json") not in [(name.lower(), value) for name, value in headers]:
            return Answer(answer.status, answer.reason, headers, answer.body)
        shown = json.loads(answer.body)
        for found in shown["data"] if shown.get("object") == "list" else [shown]:
            self._show(found)
        return Answer(answer.status, answer.reason, headers, json.dumps(shown).encode())

    def _show(self, found: dict[str, Any]) -> None:
        found.pop("replaced_id", None)
        if "path" in found:
            found["path"] = self.path(found["path"])


class Piling(Replacing):
    """A foreign service on which uploads of one path pile up. At the server each has a directory of its own."""

    name = "foreign, keeps all"

    _uploads = 0

    def body(self, request: Request, body: bytes) -> bytes:
        if request.upload_name is None:
            return body
        Piling._uploads += 1
        return body.replace(b'filename="', b'filename="%032d/' % Piling._uploads, 1)

    def path(self, stored: str) -> str:
        return _DATA + stored.removeprefix(_DATA)[_PREFIX:]


class Late(Piling):
    """One that keeps all, and whose clock is three hours slow."""

    name = "foreign, late"

    def answer(self, answer: Answer) -> Answer:
        answer = super().answer(answer)
        headers = [(name, _earlier(value) if name.lower() == "date" else value) for name, value in answer.headers]
        return Answer(answer.status, answer.reason, headers, answer.body)

    def _show(self, found: dict[str, Any]) -> None:
        super()._show(found)
        if "created_at" in found:
            found["created_at"] -= _LATE


def _earlier(date: str) -> str:
    return format_datetime(parsedate_to_datetime(date) - timedelta(seconds=_LATE), usegmt=True)
