"""Connections are closed if more has arrived on them than the answers to what was asked.

A proxy that sends an answer twice would have its copy taken for the answer to the next request. httpcore looks whether
something waits in the socket of a connection before it uses that again, but not at what it has read already: the copy
may have come together with the end of the answer.
"""

from typing import Any

import httpx


def close_on_leftovers(http: httpx.Client | httpx.AsyncClient) -> None:
    """Let no connection that a client will open be used again after it brought what nobody asked for.

    httpx and httpcore offer no hook for that, so the connections that the pools make are given a further reason to
    count as expired.
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
    """Whether a connection that waits for a request has read something that no request has asked for."""
    while connection is not None:
        exchange = getattr(connection, "_h11_state", None)
        if exchange is not None:
            return bool(exchange.trailing_data[0])
        connection = getattr(connection, "_connection", None)
    return False
