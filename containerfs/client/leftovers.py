"""Closes connections on which more has arrived than the answers to the requests.

If a proxy sends an answer twice, the copy would be taken for the answer to the next request. Before reusing a
connection, httpcore checks whether something waits in its socket, but not what it has read already; and the copy may
have arrived together with the end of the answer.
"""

from typing import Any

import httpx


def close_on_leftovers(http: httpx.Client | httpx.AsyncClient) -> None:
    """Keep a client from reusing connections on which something unrequested has arrived.

    httpx and httpcore have no hook for that, so the connections in the pools get a further reason to count as expired.
    """
    for transport in (http._transport, *http._mounts.values()):
        if isinstance(transport, httpx.HTTPTransport | httpx.AsyncHTTPTransport):
            _watch(transport._pool)


def _watch(pool: Any) -> None:
    create = pool.create_connection

    def create_connection(origin: object) -> Any:
        connection = create(origin)
        has_expired = connection.has_expired

        def has_expired_or_leftovers() -> bool:
            return bool(has_expired()) or (connection.is_idle() and _has_leftovers(connection))

        connection.has_expired = has_expired_or_leftovers
        return connection

    pool.create_connection = create_connection


def _has_leftovers(connection: Any) -> bool:
    """Tell whether an idle connection has read something that no request has asked for."""
    while connection is not None:
        exchange = getattr(connection, "_h11_state", None)
        if exchange is not None:
            return bool(exchange.trailing_data[0])
        connection = getattr(connection, "_connection", None)
    return False
