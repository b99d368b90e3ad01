"""HTTP/1.1 on a socket, as far as a proxy needs it: requests are read in pieces, so that a proxy can fail between them.

Source: RFC 9112.
"""

import re
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from socket import socket

_HEAD_LIMIT = 1 << 18
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect", "te", "upgrade", "host"}

Headers = list[tuple[str, str]]

_FILE_PART = re.compile(rb'filename="([^"]*)"[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n')
"""The head of the part of a form that has the file, which comes last."""

_FIELDS = 4096  # bytes of the fields before it, at most


class Disconnected(ConnectionError):
    """The other side left in the middle of a message."""


@dataclass(frozen=True)
class Answer:
    """A whole answer. ``headers`` are without those of framing, but for the length of an answer to HEAD."""

    status: int
    reason: str = ""
    headers: Headers = field(default_factory=list)
    body: bytes = b""

    def encoded(self) -> bytes:
        length = [] if any(name.lower() == "content-length" for name, _ in self.headers) else [self._length]
        lines = [f"HTTP/1.1 {self.status} {self.reason}", *(f"{name}: {value}" for name, value in self.headers)]
        return "\r\n".join([*lines, *length, "", ""]).encode("latin-1") + self.body

    @property
    def _length(self) -> str:
        return f"Content-Length: {len(self.body)}"


@dataclass
class Request:
    """A request on its way in.

    Attributes:
        headers: by their names in lower case.
        received: the content that has arrived so far, without the framing of chunks.
    """

    stream: "Stream"
    method: str
    target: str
    headers: dict[str, str]
    received: bytes = b""
    complete: bool = False

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def length(self) -> int | None:
        """Of the content, where it was announced."""
        return int(self.headers["content-length"]) if "content-length" in self.headers else None

    @property
    def upload_name(self) -> str | None:
        """The name of the file that it uploads. Reads the start of the content."""
        if "multipart/form-data" not in self.headers.get("content-type", ""):
            return None
        while not (name := _FILE_PART.search(self.received)) and len(self.received) < _FIELDS and self.read():
            pass
        return name[1].decode() if name else None

    def read(self) -> bool:
        """Read a further piece of the content; returns whether there was one."""
        if self.complete:
            return False
        if self.headers.pop("expect", "").lower() == "100-continue":
            self.stream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            piece = self.stream.chunk()
        else:
            piece = self.stream.some((self.length or 0) - len(self.received))
        self.complete = not piece
        self.received += piece
        return bool(piece)

    def read_all(self) -> bytes:
        while self.read():
            pass
        return self.received

    def read_half(self) -> bytes:
        """About half of the content."""
        while len(self.received) < (self.length or 0) // 2 and self.read():
            pass
        return self.received[: (self.length or len(self.received)) // 2]


class Stream:
    """The bytes of a connection."""

    def __init__(self, connection: socket) -> None:
        self._connection = connection
        self._buffer = bytearray()

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def request(self) -> Request | None:
        """The next request, up to its content; None where the other side has left instead."""
        head = self._until(b"\r\n\r\n", first=True)
        if not head:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        fields = (line.partition(":") for line in lines if line)
        return Request(self, method, target, {name.lower(): value.strip() for name, _, value in fields})

    def chunk(self) -> bytes:
        """A chunk of a content; nothing at its end."""
        size = int(self._until(b"\r\n").partition(b";")[0], 16)
        while len(self._buffer) < size + 2:
            self._receive()
        return self._take(size + 2)[:size]

    def some(self, limit: int) -> bytes:
        """What has arrived, at least a byte, unless ``limit`` is 0."""
        if limit and not self._buffer:
            self._receive()
        return self._take(limit)

    def _until(self, end: bytes, *, first: bool = False) -> bytes:
        while end not in self._buffer:
            if first and not self._buffer and not self._received():
                return b""
            if end not in self._buffer:
                assert len(self._buffer) < _HEAD_LIMIT
                self._receive()
        return self._take(self._buffer.index(end) + len(end))[: -len(end)]

    def _receive(self) -> None:
        if not self._received():
            raise Disconnected

    def _received(self) -> int:
        data = self._connection.recv(1 << 20)
        self._buffer += data
        return len(data)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


def forward(request: Request, address: tuple[str, int], body: bytes) -> Answer:
    """Have a server answer a request. Raises OSError where it does not."""
    connection = HTTPConnection(*address, timeout=60)
    try:
        connection.request(request.method, request.target, body or None, _sent(request))
        answer = connection.getresponse()
        content = answer.read()
        length = {"content-length"} if request.method == "HEAD" else set()
        headers = [item for item in answer.getheaders() if item[0].lower() not in _HOP_BY_HOP - length]
        return Answer(answer.status, answer.reason, headers, content)
    except HTTPException as error:
        raise Disconnected from error
    finally:
        connection.close()


def forward_part(request: Request, address: tuple[str, int], body: bytes) -> None:
    """Begin a request to a server, and leave in the middle of its content."""
    connection = HTTPConnection(*address, timeout=60)
    headers = _sent(request) | {"Content-Length": str(2 * len(body))}
    connection.request(request.method, request.target, headers=headers)
    connection.send(body)
    connection.close()


def _sent(request: Request) -> dict[str, str]:
    return {name: value for name, value in request.headers.items() if name not in _HOP_BY_HOP}
