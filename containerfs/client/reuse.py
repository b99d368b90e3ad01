"""Which connection a request gets: an idle one that is still good, or a new one.

httpcore looks at every idle connection at the beginning and at the end of each request, and counts all of them for each
of them: with thirty, that took longer than the rest of the client. Here a connection is looked at when it is about to
be reused, and all of them once a second.

Before reusing a connection, httpcore checks whether something waits in its socket, but not what it has read already. If
a proxy sends an answer twice, the copy may have arrived together with the end of the answer, and would be taken for the
answer to the next request.
"""

import time
from typing import Any

import httpx

_SWEEP = 1.0  # seconds between looking at all connections


def choose_connections(http: httpx.Client | httpx.AsyncClient) -> None:
    """Make a client choose its connections like this.

    httpx and httpcore have no hook for that, so the method of the pools that does it is replaced.
    """
    for transport in (http._transport, *http._mounts.values()):
        if isinstance(transport, httpx.HTTPTransport | httpx.AsyncHTTPTransport):
            pool: Any = transport._pool
            pool._assign_requests_to_connections = _Choice(pool)


class _Choice:
    """Chooses the connections of a pool, whose lock is held.

    A connection that a request was given is left alone: the request may begin on it at any moment.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._swept_at = time.monotonic()

    def __call__(self) -> list[Any]:
        """Give each waiting request a connection if there is one for it. Returns those that have to be closed."""
        pool = self._pool
        closing: list[Any] = []
        pool._connections[:] = [each for each in pool._connections if not each.is_closed()]
        if time.monotonic() > self._swept_at + _SWEEP:
            self._sweep(closing)
        for request in pool._requests:
            if request.is_queued():
                origin = request.request.url.origin
                connection = self._idle(origin, closing) or self._new(origin, closing)
                if connection is not None:
                    request.assign_to_connection(connection)
        return closing

    def _idle(self, origin: object, closing: list[Any]) -> Any:
        """Return an idle connection to a service; None if there is none that is good."""
        for connection in self._unused():
            if connection.can_handle_request(origin):
                if not _is_spent(connection):
                    return connection
                self._remove(connection, closing)
        return None

    def _new(self, origin: object, closing: list[Any]) -> Any:
        """Return a new connection, in place of an idle one to another service if the pool is full; None if all are in
        use."""
        connections, most = self._pool._connections, self._pool._max_connections
        if len(connections) >= most and (idle := self._unused()):
            self._remove(idle[0], closing)
        if len(connections) >= most:
            return None
        connection = self._pool.create_connection(origin)
        connections.append(connection)
        return connection

    def _sweep(self, closing: list[Any]) -> None:
        """Remove the connections that cannot be reused, and those that are too many to be kept idle."""
        self._swept_at = time.monotonic()
        for connection in filter(_is_spent, self._unused()):
            self._remove(connection, closing)
        for connection in self._unused()[self._pool._max_keepalive_connections :]:
            self._remove(connection, closing)

    def _unused(self) -> list[Any]:
        """Return the connections that are idle, and that no request was given."""
        used = {request.connection for request in self._pool._requests}
        return [each for each in self._pool._connections if each not in used and each.is_idle()]

    def _remove(self, connection: Any, closing: list[Any]) -> None:
        self._pool._connections.remove(connection)
        closing.append(connection)


def _is_spent(connection: Any) -> bool:
    """Tell whether an idle connection cannot be reused: it was idle for too long, or something unrequested has come."""
    return bool(connection.has_expired()) or _has_leftovers(connection)


def _has_leftovers(connection: Any) -> bool:
    """Tell whether an idle connection has read something that no request has asked for."""
    while connection is not None:
        exchange = getattr(connection, "_h11_state", None)
        if exchange is not None:
            return bool(exchange.trailing_data[0])
        connection = getattr(connection, "_connection", None)
    return False
