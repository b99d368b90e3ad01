"""A proxy on loopback between a mount and its server, which fails as a test tells it to.

Faults are set for the requests that match, a number of them; all others pass.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.faults.exchange import Exchange, Fault, Gate, Match, passes
from tests.faults.manners import Manner
from tests.faults.wire import Request, Stream

_LIMIT = 60.0  # seconds for which a test waits for a request


@dataclass
class Rule:
    """A fault for the requests that match, after ``skip`` of them, for ``times``."""

    fault: Fault
    match: Match
    times: float
    skip: int
    met: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)  # guards the three above

    def takes(self, exchange: Exchange) -> bool:
        if not self.times or not self.match(exchange):
            return False
        with self._changed:
            if self.skip:
                self.skip -= 1
                return False
            if self.times < 1:
                return False
            self.times -= 1
            self.met += 1
            self._changed.notify_all()
            return True

    def reached(self, times: int = 1) -> None:
        """Wait until it was met as often."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.met >= times, _LIMIT), f"met {self.met} times of {times}"

    def stop(self) -> None:
        with self._changed:
            self.times = 0


class Proxy:
    """The proxy. Its ``url`` is the service's for a mount; ``exchanges`` are all that it has seen."""

    def __init__(self, upstream: tuple[str, int], manner: Manner) -> None:
        self.upstream = upstream
        self.manner = manner
        self.exchanges: list[Exchange] = []
        self._rules: list[Rule] = []
        self._gates: list[Gate] = []
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()  # guards the four lists
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._accept()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def on(self, match: Match, fault: Fault, *, times: float = 1, skip: int = 0) -> Rule:
        """Set a fault; of several that match, the one that was set last."""
        rule = Rule(fault, match, times, skip)
        with self._lock:
            self._rules.insert(0, rule)
        return rule

    def gate(self) -> Gate:
        """A gate that the proxy's end opens."""
        self._gates.append(Gate())
        return self._gates[-1]

    def mend(self) -> None:
        """From now on everything passes, held requests too."""
        with self._lock:
            self._rules.clear()
        for gate in self._gates:
            gate.open()

    def uploads(self, name: str | None = None) -> list[Exchange]:
        """The uploads seen so far, of one file or of all."""
        seen = [exchange for exchange in list(self.exchanges) if exchange.is_upload]
        return [exchange for exchange in seen if name is None or exchange.name == name]

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Connections are refused within the block, and those that are open are cut."""
        self.go_down()
        try:
            yield
        finally:
            self.come_back()

    def go_down(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # which wakes who waits in accept()
        self._listener.close()
        self._thread.join()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def come_back(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._accept()

    def close(self) -> None:
        self.mend()
        self.go_down()

    def _accept(self) -> None:
        self._thread = threading.Thread(target=self._serve, args=[self._listener], name="proxy", daemon=True)
        self._thread.start()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._connections.add(connection)
            threading.Thread(target=self._talk, args=[connection], name="connection", daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            stream = Stream(connection)
            while request := stream.request():
                self._exchange(request, connection)
        with self._lock:
            self._connections.discard(connection)

    def _exchange(self, request: Request, connection: socket.socket) -> None:
        with self._lock:
            exchange = Exchange(self, request, connection, len(self.exchanges) + 1)
            self.exchanges.append(exchange)
        try:
            fault = self._fault_of(exchange)
            fault(exchange)
        finally:
            exchange.ended.set()
        if not request.complete and (request.length or "transfer-encoding" in request.headers):
            exchange.request.read_all()

    def _fault_of(self, exchange: Exchange) -> Fault:
        """What befalls a request by the rules of this moment: none is set while one is chosen."""
        _ = exchange.name  # waits for the start of the content; nothing is waited for below
        with self._lock:
            return next((rule.fault for rule in self._rules if rule.takes(exchange)), passes)
