"""What is recorded of each request: its id, its line in the access log, and the counts.

Neither the log nor the counts contain keys, contents or file names. Counts use the template of a route, not the path.
"""

import json
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from containerfs.api.dialect import FEATURES, FEATURES_HEADER
from containerfs.server.tally import Tally

if TYPE_CHECKING:
    from prometheus_client import Metric

access_log = logging.getLogger("containerfs.access")
"""Gets one line of JSON for each request, at level INFO."""

_UNROUTED = "(none)"


def new_request_id() -> str:
    """Make up an id for a request."""
    return f"req_{secrets.token_hex(16)}"


def marks(request_id: str) -> list[tuple[bytes, bytes]]:
    """Return the headers that every answer has."""
    return [(b"x-request-id", request_id.encode()), (FEATURES_HEADER.encode(), FEATURES.encode())]


_FAMILIES: dict[str, tuple[str, list[str]]] = {
    "requests": ("Requests answered.", ["method", "route", "status"]),
    "request_seconds": ("Time spent on requests.", ["method", "route"]),
    "received_bytes": ("Bytes of request bodies.", ["method", "route"]),
    "sent_bytes": ("Bytes of answers' bodies.", ["method", "route"]),
    "sweeps": ("Sweeps that were finished.", []),
    "sweep_failures": ("Sweeps that failed.", []),
    "expired_rows": ("Rows that sweeps have removed, of what expired or was deleted.", []),
    "deleted_blobs": ("Contents that sweeps have removed because nothing named them any more.", []),
}
"""The metrics that are counted, each with its description and labels."""


class Counts:
    """Counts requests, seconds, bytes and the work of sweeps, over all processes that share the tally."""

    def __init__(self, tally: Tally | None = None) -> None:
        self._tally = tally or Tally()

    def add(self, method: str, route: str, status: int, seconds: float, received: int, sent: int) -> None:
        """Count one request.

        Args:
            route: the template of its path.
            seconds: how long it took.
            received: bytes of its body.
            sent: bytes of the answer's body.
        """
        self._tally.add(1, "requests", method, route, str(status))
        self._tally.add(seconds, "request_seconds", method, route)
        self._tally.add(received, "received_bytes", method, route)
        self._tally.add(sent, "sent_bytes", method, route)

    def count(self, name: str, amount: float) -> None:
        """Add an amount to a metric that is not about requests."""
        self._tally.add(amount, name)

    def collect(self) -> Iterable["Metric"]:
        """Yield the counts in the form that prometheus_client wants from a collector."""
        from prometheus_client.core import CounterMetricFamily

        sums = self._tally.sums()
        for name, (documentation, labels) in _FAMILIES.items():
            family = CounterMetricFamily(f"containerfs_{name}", documentation, labels=labels)
            for (family_name, *values), value in sums.items():
                if family_name == name:
                    family.add_metric(values, value)
            yield family


class Observed:
    """Wraps the application: records every request, and adds the common headers to every answer."""

    def __init__(self, app: ASGIApp, counts: Counts, templates: dict[Callable[..., Any], str]) -> None:
        self._app, self._counts, self._templates = app, counts, templates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        seen = _Seen(receive, send)
        try:
            return await self._app(scope, seen.receive, seen.send)
        finally:
            self._record(scope, seen)

    def _record(self, scope: Scope, seen: "_Seen") -> None:
        seconds = time.perf_counter() - seen.began
        route = self._templates.get(scope.get("endpoint", _UNROUTED), _UNROUTED)
        self._counts.add(scope["method"], route, seen.status, seconds, seen.received, seen.sent)
        if access_log.isEnabledFor(logging.INFO):
            line = {
                "time": round(time.time(), 3),
                "request_id": seen.request_id,
                "client": scope["client"][0] if scope.get("client") else None,
                "method": scope["method"],
                "path": scope["path"],
                "status": seen.status,
                "seconds": round(seconds, 6),
                "received": seen.received,
                "sent": seen.sent,
            }
            access_log.info("%s", json.dumps(line))


class _Seen:
    """Observes one request. Its status is 499 until it is answered, as for a client that disconnects first."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.request_id = new_request_id()
        self.began = time.perf_counter()
        self.status, self.received, self.sent = 499, 0, 0

    async def receive(self) -> Message:
        message = await self._receive()
        self.received += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *marks(self.request_id)]
        else:
            self.sent += len(message.get("body", b""))
        await self._send(message)
