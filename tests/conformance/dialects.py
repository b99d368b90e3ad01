"""What other services do differently, each as a small ASGI wrapper around our server. Source: docs/SERVER.md's table.

A dialect may change a request on its way in, and an answer on its way out; contents pass as they come.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

from containerfs.api.dialect import FEATURES_HEADER

Json = dict[str, Any]
Message = dict[str, Any]
Scope = dict[str, Any]


class Dialect:
    """Our own; the others override what they do differently.

    ``client`` are the settings that a client needs to speak it; ``advertises`` is whether it lists our extensions.
    """

    client: Json = {}
    advertises = True

    def __init__(self, app: Callable[..., Any]) -> None:
        self._app = app

    def refuse(self, scope: Scope, body: bytes) -> tuple[int, Json] | None:
        """An answer given instead of ours."""
        return None

    def path(self, segments: list[str]) -> list[str]:
        return segments

    def query(self, query: dict[str, str]) -> dict[str, str]:
        return query

    def body(self, scope: Scope, body: bytes) -> bytes:
        return body

    def answer(self, scope: Scope, status: int, answer: Json) -> tuple[int, Json]:
        return status, answer

    async def __call__(self, scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        body = b""
        while (message := await receive()).get("more_body"):
            body += message.get("body", b"")
        body += message.get("body", b"")
        if refused := self.refuse(scope, body):
            await _send_json(send, *refused, {b"retry-after-ms": b"1"})
            return
        body = self.body(scope, body)
        await self._app(self._asked(scope, body), _replay(body, receive), _Rewriting(self, scope, send))

    async def content(self, message: Message, send: Callable[..., Any]) -> None:
        """A message of an answer that is not JSON."""
        await send(message)

    def _asked(self, scope: Scope, body: bytes) -> Scope:
        raw = scope["raw_path"].decode().partition("?")[0]
        segments = self.path([unquote(segment) for segment in raw.split("/")])
        query = self.query(dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True)))
        path = "/".join(quote(segment, safe="") for segment in segments)
        headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
        return {
            **scope,
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": urlencode(query).encode(),
            "headers": [*headers, (b"content-length", str(len(body)).encode())],
        }


class _Rewriting:
    """Gathers an answer in JSON, has it rewritten, and sends that."""

    def __init__(self, dialect: Dialect, scope: Scope, send: Callable[..., Any]) -> None:
        self._dialect, self._scope, self._send = dialect, scope, send
        self._start: Message = {}
        self._json, self._body = False, b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if not self._dialect.advertises:
                features = FEATURES_HEADER.encode()
                message["headers"] = [item for item in message["headers"] if item[0] != features]
            self._start = message
            self._json = dict(message["headers"]).get(b"content-type") == b"application/json"
        if not self._json:
            await self._dialect.content(message, self._send)
            return
        self._body += message.get("body", b"")
        if message["type"] == "http.response.body" and not message.get("more_body"):
            status, answer = self._dialect.answer(self._scope, self._start["status"], json.loads(self._body))
            headers = {name: value for name, value in self._start["headers"] if name != b"content-length"}
            await _send_json(self._send, status, answer, headers)


async def _send_json(send: Callable[..., Any], status: int, answer: Json, headers: dict[bytes, bytes]) -> None:
    body = json.dumps(answer).encode() if status != 204 else b""
    fields = {**headers, b"content-type": b"application/json", b"content-length": str(len(body)).encode()}
    await send({"type": "http.response.start", "status": status, "headers": list(fields.items())})
    await send({"type": "http.response.body", "body": body})


def _replay(body: bytes, receive: Callable[..., Any]) -> Callable[..., Any]:
    """The body once more; after it whatever comes next, which is the client's leaving."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed


def objects(answer: Json) -> Iterator[Json]:
    """The objects that an answer is, or lists."""
    yield from answer["data"] if answer.get("object") == "list" else [answer]


class Foreign(Dialect):
    """A service of others, which says nothing of extensions."""

    advertises = False


class BytesMissing(Foreign):
    def answer(self, scope: Scope, status: int, answer: Json) -> tuple[int, Json]:
        for found in objects(answer):
            if found.get("object") == "container.file":
                found["bytes"] = None
        return status, answer


class SeedSchema(Foreign):
    """The seed document's fields, and no others; a deletion has no body."""

    _FIELDS = {
        "container": {"id", "created_at", "name", "object", "expires_at", "file_count"},
        "container.file": {"id", "container_id", "file_id", "created_at", "object"},
    }

    def answer(self, scope: Scope, status: int, answer: Json) -> tuple[int, Json]:
        if answer.get("deleted"):
            return 204, {}
        for found in objects(answer):
            for field in set(found) - self._FIELDS.get(found.get("object", ""), set(found)):
                del found[field]
        if answer.get("object") == "list":
            answer = {"data": answer["data"], "has_more": answer["has_more"]}
        return status, answer


class RenamesUploads(Foreign):
    def answer(self, scope: Scope, status: int, answer: Json) -> tuple[int, Json]:
        for found in objects(answer):
            if path := found.get("path"):
                name = path.removeprefix("/mnt/data/")
                found["path"] = f"/mnt/data/{hashlib.sha256(found['id'].encode()).hexdigest()[:16]}-{name}"
        return status, answer


class KeepsDuplicates(Foreign):
    """A second upload of a name is a second file. Below, each has a directory of its own, which is not shown."""

    _uploads = 0

    def body(self, scope: Scope, body: bytes) -> bytes:
        self._uploads += 1
        return body.replace(b'filename="', b'filename="%032d/' % self._uploads)

    def answer(self, scope: Scope, status: int, answer: Json) -> tuple[int, Json]:
        for found in objects(answer):
            if "path" in found:
                found["path"] = "/mnt/data/" + found["path"].removeprefix("/mnt/data/")[33:]
        return status, answer


class Identities(Foreign, ABC):
    """Ids that are not those below: subclasses say which."""

    def __init__(self, app: Callable[..., Any]) -> None:
        super().__init__(app)
        self._inner: dict[str, str] = {}

    @abstractmethod
    def outer_id(self, found: Json, field: str) -> str:
        """The id that is shown, in a field of an object."""

    def path(self, segments: list[str]) -> list[str]:
        return [self._inner.get(segment, segment) for segment in segments]

    def query(self, query: dict[str, str]) -> dict[str, str]:
        return {name: self._inner.get(value, value) for name, value in query.items()}

    def body(self, scope: Scope, body: bytes) -> bytes:
        for outer, inner in self._inner.items():
            body = body.replace(json.dumps(outer).encode(), json.dumps(inner).encode())
            body = body.replace(json.dumps(outer, ensure_ascii=False).encode(), json.dumps(inner).encode())
        return body

    def answer(self, scope: Scope, status: int, answer: Json) -> tuple[int, Json]:
        for found in objects(answer):
            for field in {"id", "container_id", "file_id"} & set(found):
                inner = found[field]
                outer = self.outer_id(found, field)
                self._inner[outer] = inner
                found[field] = outer
        if answer.get("data"):
            answer["first_id"], answer["last_id"] = answer["data"][0]["id"], answer["data"][-1]["id"]
        return status, answer


class SameIdOnUpload(Identities):
    """A file keeps its id when it is uploaded again: the id is of the path."""

    def outer_id(self, found: Json, field: str) -> str:
        if field == "id" and found.get("path"):
            return "cfile_" + hashlib.sha256(f"{found['container_id']}{found['path']}".encode()).hexdigest()
        return str(found[field])


class StrangeIds(Identities):
    """Long ones, in an alphabet that has to be quoted in a URL."""

    def outer_id(self, found: Json, field: str) -> str:
        return f"{'x' * 200}:é /?#%&+{found[field]}"


class NoRanges(Foreign):
    """Neither ranges nor lengths nor tags: one pass, until the end."""

    _HIDDEN = {b"content-length", b"etag", b"accept-ranges"}

    def _asked(self, scope: Scope, body: bytes) -> Scope:
        asked = super()._asked(scope, body)
        asked["headers"] = [item for item in asked["headers"] if item[0] != b"range"]
        return asked

    async def content(self, message: Message, send: Callable[..., Any]) -> None:
        if "headers" in message:
            message["headers"] = [item for item in message["headers"] if item[0] not in self._HIDDEN]
        await send(message)


class CutsShort(Foreign):
    """Contents end before their length."""

    async def content(self, message: Message, send: Callable[..., Any]) -> None:
        if message["type"] == "http.response.body" and message["body"]:
            await send({**message, "body": message["body"][: len(message["body"]) // 2], "more_body": True})
            raise ConnectionError("cut short, as this dialect does")
        await send(message)


class OpaqueCursors(Foreign):
    """``last_id`` is no item's id; pages may be empty and yet not the last."""

    _CURSOR = "cursor:"

    def query(self, query: dict[str, str]) -> dict[str, str]:
        return {name: value.removeprefix(self._CURSOR).removesuffix("+") for name, value in query.items()}

    def answer(self, scope: Scope, status: int, answer: Json) -> tuple[int, Json]:
        if answer.get("object") == "list" and answer["data"]:
            after = dict(parse_qsl(scope["query_string"].decode())).get("after", "")
            if after.startswith(self._CURSOR) and not after.endswith("+"):
                return status, {**answer, "data": [], "has_more": True, "last_id": after + "+"}
            answer["last_id"] = self._CURSOR + answer["last_id"]
        return status, answer


class NoHasMore(Foreign):
    def answer(self, scope: Scope, status: int, answer: Json) -> tuple[int, Json]:
        answer.pop("has_more", None)
        return status, answer


class NoPages(Foreign):
    """Everything at once, and the same again for whoever asks for the next page."""

    def query(self, query: dict[str, str]) -> dict[str, str]:
        return {**{name: value for name, value in query.items() if name != "after"}, "limit": "100"}

    def answer(self, scope: Scope, status: int, answer: Json) -> tuple[int, Json]:
        if answer.get("object") == "list":
            answer["has_more"] = True
        return status, answer


class Azure(Foreign):
    """The key in a header of its own, and a version in the query."""

    client = {"auth_header": "api-key", "default_query": {"api-version": "preview"}}

    def refuse(self, scope: Scope, body: bytes) -> tuple[int, Json] | None:
        query = dict(parse_qsl(scope["query_string"].decode()))
        if dict(scope["headers"]).get(b"api-key") == b"sk-test" and query.get("api-version") == "preview":
            return None
        return 401, {"error": {"message": "Access denied", "code": "401"}}


class RateLimited(Foreign):
    """Every other request is one too many."""

    _asked_before = 0

    def refuse(self, scope: Scope, body: bytes) -> tuple[int, Json] | None:
        self._asked_before += 1
        if self._asked_before % 2:
            return None
        return 429, {
            "error": {"message": "Rate limit reached", "type": "requests", "param": None, "code": "rate_limit"}
        }


class RefusesTypes(Foreign):
    def refuse(self, scope: Scope, body: bytes) -> tuple[int, Json] | None:
        if b".svg" not in body:
            return None
        return 400, {"error": {"message": "Invalid file type", "type": "invalid_request_error", "param": "file"}}


class BogusEntry(Foreign):
    """Each listing of files has one that is none."""

    def answer(self, scope: Scope, status: int, answer: Json) -> tuple[int, Json]:
        if scope["path"].endswith("/files") and answer.get("object") == "list":
            container = scope["path"].split("/")[-2]
            bogus = {"id": "cfile_bogus", "object": "container.file", "container_id": container}
            answer["data"].append({**bogus, "created_at": 0, "bytes": None, "path": "a.txt /mnt/data/b.txt"})
        return status, answer


class ExpiresAs(Foreign):
    """A container that is gone has expired: with a status, and words, of the service's own."""

    status, message = 410, "Container is gone."

    def answer(self, scope: Scope, status: int, answer: Json) -> tuple[int, Json]:
        return (self.status, {"error": {"message": self.message}}) if status == 404 else (status, answer)


class ExpiresAsBadRequest(ExpiresAs):
    status, message = 400, "Container is expired."
