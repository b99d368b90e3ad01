"""A request at the proxy, and the means to answer it well or badly.

What is done with a request is a *fault*: a function of the exchange, which reads, forwards, answers and cuts as it
likes. ``faults`` has the usual ones.
"""

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from tests.faults.manners import Manner
from tests.faults.wire import Answer, Request, forward, forward_part

_LIMIT = 60.0  # seconds for which a test waits for a request, or a request for a test
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST; socket(7)

Fault = Callable[["Exchange"], None]
Match = Callable[["Exchange"], bool]


class Behind(Protocol):
    """What an exchange needs of the proxy: where the server is, and how it is to seem."""

    upstream: tuple[str, int]
    manner: Manner


@dataclass
class Exchange:
    """A request, and what becomes of it.

    Attributes:
        number: of the request at this proxy, from 1.
        committed: what the server answered; None if it was not asked, or has not answered.
        answered: what the client was sent; None if nothing was.
        ended: whether the proxy is done with it.
    """

    proxy: Behind
    request: Request
    connection: socket.socket
    number: int
    committed: Answer | None = None
    answered: Answer | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def method(self) -> str:
        return self.request.method

    @property
    def path(self) -> str:
        return self.request.path

    @property
    def name(self) -> str | None:
        """Of the file that is uploaded."""
        return self.request.upload_name

    @property
    def is_upload(self) -> bool:
        return self.method == "POST" and self.path.endswith("/files") and not self.is_copy

    @property
    def is_copy(self) -> bool:
        kind = self.request.headers.get("content-type", "")
        return self.method == "POST" and self.path.endswith("/files") and kind.startswith("application/json")

    @property
    def is_change(self) -> bool:
        return self.method not in ("GET", "HEAD")

    @property
    def is_of_attributes(self) -> bool:
        """Whether it sends modes and times, or a directory, which nobody waits for."""
        if self.method != "POST":
            return False
        return "/files/" in self.path or (self.is_upload and (self.name or "").endswith("/"))

    def __str__(self) -> str:
        committed, answered = (each.status if each else "-" for each in (self.committed, self.answered))
        name = self.request.upload_name if b"\r\n\r\n" in self.request.received else None
        what = f"{self.method} {self.request.target} {name or ''}".strip()
        return f"{self.number}: {what}, {len(self.request.received)} bytes: {committed} at the server, {answered} here"

    def forward(self, body: bytes | None = None) -> Answer:
        """Have the server answer, of which the client hears nothing yet."""
        self.request.read_all()
        content = self.request.received if body is None else body
        manner = self.proxy.manner
        if refused := manner.refusal(self.request):
            return refused
        self.committed = manner.answer(forward(self.request, self.proxy.upstream, manner.body(self.request, content)))
        return self.committed

    def forward_half(self) -> None:
        """Have the server see half of the content, and no end."""
        forward_part(self.request, self.proxy.upstream, self.proxy.manner.body(self.request, self.request.read_half()))

    def answer(self, answer: Answer) -> None:
        self.answered = answer
        self.request.stream.send(answer.encoded())

    def left(self) -> None:
        """Wait until the client closes the connection."""
        poll = select.poll()
        poll.register(self.connection, select.POLLRDHUP)
        poll.poll(_LIMIT * 1000)

    def cut(self) -> None:
        """Break the connection to the client."""
        with contextlib.suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        raise ConnectionAbortedError


def passes(exchange: Exchange) -> None:
    exchange.answer(exchange.forward())


class Gate:
    """Where requests wait until the test lets them go on."""

    def __init__(self) -> None:
        self.arrived = 0
        self._open = False
        self._changed = threading.Condition()  # guards the two above

    def wait(self) -> None:
        with self._changed:
            self.arrived += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._open, _LIMIT)

    def reached(self, times: int = 1) -> None:
        """Wait until as many requests have come here."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.arrived >= times, _LIMIT), f"{self.arrived} of {times} came"

    def open(self) -> None:
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def before(self, fault: Fault = passes) -> Fault:
        """Requests wait here, and the server sees them only then."""

        def held(exchange: Exchange) -> None:
            exchange.request.read_all()
            self.wait()
            fault(exchange)

        return held

    def unread(self, fault: Fault = passes) -> Fault:
        """Requests wait here before their content is read."""

        def held(exchange: Exchange) -> None:
            self.wait()
            fault(exchange)

        return held

    def in_answer(self, part: float) -> Fault:
        """The server has answered; of the content of the answer only a part has come, and the rest waits here."""

        def held(exchange: Exchange) -> None:
            answer = exchange.forward()
            whole = answer.encoded()
            sent = len(whole) - len(answer.body) + int(len(answer.body) * part)
            exchange.request.stream.send(whole[:sent])
            self.wait()
            exchange.request.stream.send(whole[sent:])

        return held

    def after(self) -> Fault:
        """The server has answered; the answer waits here."""

        def held(exchange: Exchange) -> None:
            answer = exchange.forward()
            self.wait()
            exchange.answer(answer)

        return held
