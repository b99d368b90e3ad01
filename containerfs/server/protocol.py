"""HTTP as uvicorn speaks it, within limits that uvicorn does not have.

- The head of a request must arrive in time, and within 64 KiB and 256 headers. The same holds for everything else that
  is not body, such as the trailers of a chunked body, because the parser keeps it in memory.
- A request to upgrade the connection is carried out as if it did not ask for that. Source: RFC 9110, section 7.8.
- A request names one host. Source: RFC 9112, section 3.2.
- A client that receives nothing of its answer for longer than a request may pause is disconnected.
- Connections above the limit are refused, because open files need descriptors too.
- Errors before there is a request for the application are answered in the API's form.
- After the last answer on a connection, what its client still sends is read and dropped for a moment. Otherwise the
  kernel would reset the connection, and the client might never receive the answer. Source: RFC 9112, section 9.6.
- A client that has only closed its own direction of the connection gets the answers to its complete requests.
"""

import asyncio
import fcntl
import struct
import termios
from typing import Any

import httptools
import uvicorn
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from containerfs.server.answering import AnswerTransport
from containerfs.server.errors import HeadTooLarge, InvalidRequest, Overloaded, ServiceError
from containerfs.server.observation import marks, new_request_id
from containerfs.server.routes.answers import error_answer

HEAD_MAX_BYTES = 64 * 1024
"""For the request line and all headers. nginx allows 32 KiB in all, and Apache 8 KiB for each line."""

HEADERS_MAX = 256
"""A small header takes about 25 times its length in memory (two bytes objects and a tuple). Apache allows 100."""

_LINGER_S = 2.0
"""How long a client may go on sending after the last answer, in seconds."""

_LOOKS_PER_PAUSE = 4
"""How often a connection is checked during the longest pause. So a stall is noticed at most a quarter of the pause
late."""


class _Refused(Exception):
    """Passes through the parser, which reports it as a request that it cannot parse."""


class BoundedConfig(uvicorn.Config):
    """uvicorn's settings, and the limits.

    Args:
        longest_pause: how long a head may take, and how long a client may receive nothing, in seconds.
        most_connections: how many connections there may be.
    """

    def __init__(self, longest_pause: float, most_connections: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.longest_pause, self.most_connections = longest_pause, most_connections


class BoundedProtocol(HttpToolsProtocol):
    """A connection with limits."""

    config: BoundedConfig
    _timer: asyncio.TimerHandle | None = None
    """Runs while a head is expected, and after the last answer."""
    _watch: asyncio.TimerHandle | None = None
    """Runs as long as the connection is open."""
    _pending = 0
    """Bytes given to the parser since it last completed a head or a part of a body."""
    _unsent = 0
    """Bytes that the client had not acknowledged at the last check."""
    _stalled_looks = 0
    _repeats_head = False
    """Whether the parser reads a head again that asked for an upgrade, without that."""
    _is_half_closed = False
    """Whether the client sends nothing more."""
    _is_over = False
    """Whether the last answer was given, so that whatever arrives is dropped."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch_later()
        excess = len(self.connections) - self.config.most_connections
        if excess <= 0:
            self._await_head()
            return
        self._refuse(Overloaded("The server has too many connections.", code="overloaded"))
        if excess > self.config.most_connections // 4:
            transport.close()  # lingering takes a descriptor

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    # Receiving

    def data_received(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest and not self._is_over:
            piece, rest = rest[: HEAD_MAX_BYTES - self._pending], rest[HEAD_MAX_BYTES - self._pending :]
            self._pending += len(piece)
            self._parse(piece)
            if self._pending >= HEAD_MAX_BYTES:
                self._refuse(HeadTooLarge(f"The head of the request is larger than {HEAD_MAX_BYTES} bytes."))
        if self._timer is None and not self._is_over and (self.cycle is None or self.cycle.response_complete):
            self._await_head()

    def _parse(self, data: memoryview) -> None:
        """Give bytes to the parser. It stops behind a head that asks for an upgrade, and takes it for a whole request.
        What follows is its body, or the next request."""
        self._unset_keepalive_if_required()
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as stop:
                data = data[stop.args[0] :]
                if framing := self._framing():
                    self._repeats_head = True
                    self.parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n\r\n")
            except httptools.HttpParserError:
                self.logger.warning("Invalid HTTP request received.")
                self.send_400_response("Invalid HTTP request received.")
                return
            else:
                return

    def _framing(self) -> bytes | None:
        """Return the header by which the length of the last request's body is known; None if it has no body."""
        for name, value in self.headers:
            if name in (b"content-length", b"transfer-encoding"):
                return name + b": " + value
        return None

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio.Protocol has it
        """Keep the connection for the answers that are still due."""
        self._is_half_closed = True
        return self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body

    def on_message_begin(self) -> None:
        if not self._repeats_head:
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._repeats_head:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._repeats_head:
            return
        if len(self.headers) == HEADERS_MAX:
            self._refuse(HeadTooLarge(f"The head of the request has more than {HEADERS_MAX} headers."))
            raise _Refused  # the parser stops here
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._repeats_head:
            self._repeats_head = False
            return
        self._stop_timer()
        self._pending = 0
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() != "1.0"):
            self._refuse(InvalidRequest("The request must have one Host header."))
            raise _Refused
        super().on_headers_complete()
        self.cycle.transport = AnswerTransport(self.transport, self.loop, self._end)

    def on_body(self, body: bytes) -> None:
        self._pending = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._pending = 0
        if not self.parser.should_upgrade() or not self._framing():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        if not self._is_over:
            super().on_response_complete()
            if self._is_half_closed and self.cycle.response_complete:
                self.transport.close()

    def send_400_response(self, msg: str) -> None:
        if not self._is_over:
            self._refuse(InvalidRequest(msg))

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(self.config.longest_pause, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Ending

    def _end(self) -> None:
        """Close the connection after an answer."""
        if self.cycle.more_body:
            self._linger()
        else:
            self.transport.close()

    def _refuse(self, error: ServiceError) -> None:
        """Send a refusal, unless another answer has begun, and close the connection."""
        self._is_over = True
        self._stop_timer()
        if not self._abandon_request():
            self.transport.close()
            return
        self.transport.write(_rendered(error_answer(error, {"connection": "close"})))
        self._linger()

    def _linger(self) -> None:
        """Say that there are no more answers, and close the connection a moment later."""
        self._is_over = True
        self.flow.resume_reading()
        self.transport.write_eof()
        self._timer = self.loop.call_later(_LINGER_S, self.transport.close)

    def _abandon_request(self) -> bool:
        """Drop a request that is not answered yet, as if its client had disconnected.

        Returns:
            False if its answer has begun.
        """
        if self.pipeline:
            return False
        if self.cycle is not None and not self.cycle.response_complete:
            if self.cycle.response_started:
                return False
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        return True

    # Sending

    def _watch_later(self) -> None:
        self._watch = self.loop.call_later(self.config.longest_pause / _LOOKS_PER_PAUSE, self._look)

    def _look(self) -> None:
        """Disconnect a client that has received nothing since the last checks. The kernel's send queue counts as not
        received."""
        unsent = self.transport.get_write_buffer_size() + _unacknowledged(self.transport)
        self._stalled_looks = self._stalled_looks + 1 if unsent and unsent == self._unsent else 0
        self._unsent = unsent
        if self._stalled_looks >= _LOOKS_PER_PAUSE:
            self.transport.abort()
        else:
            self._watch_later()


def _unacknowledged(transport: asyncio.Transport) -> int:
    """Return the number of bytes in the kernel's send queue; 0 once the socket is closed. Source: tcp(7) and unix(7),
    SIOCOUTQ."""
    fd = transport.get_extra_info("socket").fileno()
    if fd < 0:
        return 0
    (count,) = struct.unpack("i", fcntl.ioctl(fd, termios.TIOCOUTQ, struct.pack("i", 0)))
    return int(count)


def _rendered(answer: Response) -> bytes:
    """Render an answer as HTTP/1.1."""
    all_headers = [*answer.raw_headers, *marks(new_request_id())]
    headers = b"".join(name + b": " + value + b"\r\n" for name, value in all_headers)
    return STATUS_LINE[answer.status_code] + headers + b"\r\n" + bytes(answer.body)
