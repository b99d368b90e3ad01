"""Answers with a file's content: all of it or a range, conditional, sent in large pieces.

The content of a file id never changes, so the id is a strong ETag, and a range continues exactly what an earlier answer
began. Source: RFC 9110, sections 8.8.3 (ETag), 13 (conditional requests) and 14 (range requests).
"""

import asyncio
import contextlib
import mimetypes
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from starlette.types import Receive, Scope, Send

from containerfs.server.service import Content

_PIECE_MAX = 1024 * 1024
"""Bytes that are read and sent at a time. docs/SERVER.md has the measurements."""

_PIECE_MIN = 64 * 1024

_PIECES = 16 * 1024 * 1024
"""Bytes for the pieces of all answers together, as pieces that slow clients have not received stay in memory."""

_ADDRESS_S = 900
"""How long the address that a client is redirected to is valid, in seconds. Downloads that have begun are not cut off.
"""

_TYPES = mimetypes.MimeTypes()
"""Only Python's own table, so that answers do not depend on the machine's /etc/mime.types."""

_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from ``start`` up to but not including ``stop``."""

    start: int
    stop: int


class UnsatisfiableRange(Exception):
    """The range starts at or after the end of the content."""


def requested_span(header: str | None, size: int) -> Span | None:
    """Parse a Range header.

    Args:
        header: the header's value, if the request has one.
        size: of the content, in bytes.

    Returns:
        The bytes to send, or None to send all of them, as for headers that are not understood.

    Raises:
        UnsatisfiableRange: if no byte of the content is in the range.
    """
    match = _RANGE.fullmatch(header.replace(" ", "")) if header else None
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        span = Span(max(0, size - int(last)), size)
    elif last and int(last) < int(first):
        return None
    else:
        span = Span(int(first), min(size, int(last) + 1) if last else size)
    if span.start >= span.stop:
        raise UnsatisfiableRange
    return span


class Turns:
    """Lets downloads send one piece at a time, and gives the event loop a turn for other requests in between.

    Otherwise hundreds of clients that are ready for more data would be served in one turn, and a small request would
    wait for several such turns.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._senders = 0

    @contextlib.contextmanager
    def sending(self) -> Iterator[None]:
        """Count the caller among the downloads that share the memory for pieces."""
        self._senders += 1
        try:
            yield
        finally:
            self._senders -= 1

    async def next(self) -> int:
        """Wait for the caller's turn, and return how many bytes it may send."""
        async with self._lock:
            await asyncio.sleep(0)
        return max(_PIECE_MIN, min(_PIECE_MAX, _PIECES // self._senders))


class ContentResponse:
    """Sends a content, or redirects to it, and closes it."""

    def __init__(self, content: Content, turns: Turns, *, redirects: bool = False) -> None:
        self._content, self._turns, self._redirects = content, turns, redirects
        self._etag = f'"{content.id}"'

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._answer(scope, receive, send)
        finally:
            await self._content.blob.close()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = {name: value.decode("latin-1") for name, value in scope["headers"]}
        size = self._content.blob.size
        if self._matches(asked.get(b"if-none-match")):
            return await self._begin(send, 304, {})
        if self._redirects and scope["method"] == "GET" and (address := await self._content.blob.address(_ADDRESS_S)):
            return await self._begin(send, 302, {"location": address, "content-length": "0"})
        range_header = asked.get(b"range") if asked.get(b"if-range", self._etag) == self._etag else None
        try:
            span = requested_span(range_header, size)
        except UnsatisfiableRange:
            return await self._begin(send, 416, {"content-range": f"bytes */{size}", "content-length": "0"})
        described = self._describe()
        if span is not None:
            described["content-range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
        status, span = (200, Span(0, size)) if span is None else (206, span)
        described["content-length"] = str(span.stop - span.start)
        wanted = span if scope["method"] == "GET" else Span(0, 0)
        if wanted.start < wanted.stop:
            await self._content.blob.seek(wanted.start, wanted.stop)
        await self._begin(send, status, described, more=True)
        if wanted.stop - wanted.start <= _PIECE_MIN:
            return await self._short_body(send, wanted)
        gone = asyncio.create_task(_client_gone(receive))
        try:
            return await self._body(send, wanted, gone)
        finally:
            gone.cancel()

    async def _begin(self, send: Send, status: int, headers: dict[str, str], *, more: bool = False) -> None:
        headers = {"etag": self._etag, "accept-ranges": "bytes", **headers}
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        if not more:
            await send({"type": "http.response.body", "body": b""})

    async def _short_body(self, send: Send, span: Span) -> None:
        position = span.start
        while position < span.stop:
            position += await self._piece(send, position, span.stop - position, span.stop)
        if span.start == span.stop:
            await send({"type": "http.response.body", "body": b""})

    async def _body(self, send: Send, span: Span, gone: "asyncio.Task[None]") -> None:
        position = span.start
        with self._turns.sending():
            while position < span.stop:
                await send(
                    {"type": "http.response.body", "body": b"", "more_body": True}
                )  # returns once the client has received enough for more to be buffered
                size = await self._turns.next()
                if gone.done():  # otherwise the rest would be read from the disk for nobody
                    return
                position += await self._piece(send, position, size, span.stop)

    async def _piece(self, send: Send, position: int, size: int, stop: int) -> int:
        """Send up to ``size`` bytes; returns how many."""
        piece = await self._content.blob.read(position, min(size, stop - position))
        if not piece:
            raise OSError(
                f"the stored content of {self._content.id} ends after {position} bytes, before its recorded size"
            )
        await send({"type": "http.response.body", "body": piece, "more_body": position + len(piece) < stop})
        return len(piece)

    def _describe(self) -> dict[str, str]:
        name = self._content.name.rpartition("/")[2]
        kind, encoding = _TYPES.guess_type("/" + name, strict=False)
        return {
            "content-type": kind if kind and not encoding else "application/octet-stream",
            "content-disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
            "x-content-type-options": "nosniff",
        }

    def _matches(self, header: str | None) -> bool:
        tags = [tag.strip().removeprefix("W/") for tag in (header or "").split(",")]
        return "*" in tags or self._etag in tags


async def _client_gone(receive: Receive) -> None:
    """Return once the client has disconnected. Source: the ASGI specification, http.disconnect."""
    while (await receive())["type"] != "http.disconnect":
        pass
