"""A real HTTP service under a test's control: it records what it is sent, and answers what the test says."""

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Request:
    """A request as it came in. Header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)


@dataclass(frozen=True)
class Reply:
    """What to answer.

    Attributes:
        body: bytes as they are, anything else as JSON.
        sent: how many bytes of the body to send before the connection is dropped; all, and keep it, if None.
        length: whether to announce the body's length; if not, its end is the connection's.
        dropped: drop the connection without an answer.
    """

    body: object = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: int | None = None
    length: bool = True
    dropped: bool = False


Respond = Callable[[Request], Reply]


class Service:
    """Serves on a free port of 127.0.0.1 until it is closed."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.respond: Respond = canned
        service = self

        class Exchange(_Exchange):
            def setup(self) -> None:
                service.connections += 1
                super().setup()

            def reply(self, request: Request) -> Reply:
                service.requests.append(request)
                return service.respond(request)

        self._server = _Server(("127.0.0.1", 0), Exchange)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def replies(self, *replies: Reply) -> None:
        """Answer with these, one after the other, and then as usual."""
        remaining = iter(replies)
        self.respond = lambda request: next(remaining, None) or canned(request)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Connections that tests break on purpose are no errors."""


class _Exchange(BaseHTTPRequestHandler, ABC):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    @abstractmethod
    def reply(self, request: Request) -> Reply:
        """The answer to a request."""

    def _serve(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.reply(Request(self.command, self.path, headers, self._body()))
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        if reply.dropped:
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.length and reply.status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: reply.sent])
        self.wfile.flush()
        self.close_connection = self.close_connection or reply.sent is not None or not reply.length

    do_GET = do_HEAD = do_POST = do_DELETE = _serve

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            return b"".join(iter(self._chunk, b""))
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline(), 16)
        chunk = self.rfile.read(size)
        self.rfile.readline()
        return chunk

    def log_message(self, *_: object) -> None:
        """Requests are recorded, not logged."""


CONTAINER = {"id": "cntr_1", "object": "container", "created_at": 1700000000, "name": "n", "status": "running"}
CONTAINER_FILE = {
    "id": "cfile_1",
    "object": "container.file",
    "created_at": 1700000001,
    "bytes": 5,
    "container_id": "cntr_1",
    "path": "/mnt/data/a.txt",
    "source": "user",
}
FILE = {
    "id": "file-1",
    "object": "file",
    "created_at": 1700000002,
    "bytes": 5,
    "filename": "a.txt",
    "purpose": "assistants",
    "status": "processed",
}
CONTENT = bytes(range(256)) * 4


def page(items: Iterable[Mapping[str, object]], *, has_more: bool | None = False, **more: object) -> Reply:
    """A page of a listing. ``first_id`` and ``last_id`` follow from the items unless they are given."""
    data = list(items)
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {}
    said = {} if has_more is None else {"has_more": has_more}
    return Reply({"object": "list", "data": data, **ends, **said, **more})


def canned(request: Request) -> Reply:
    """The answer of a service that holds one of everything."""
    *_, last = request.path.split("/")
    kind = CONTAINER_FILE if "/containers/" in request.path and "/files" in request.path else FILE
    kind = CONTAINER if "/files" not in request.path else kind
    if last == "content":
        return Reply(CONTENT, headers={"Content-Type": "application/octet-stream"})
    if request.method == "DELETE":
        return Reply({"id": last, "object": f"{kind['object']}.deleted", "deleted": True})
    if request.method == "GET" and last in ("containers", "files"):
        return page([kind])
    return Reply(kind)
