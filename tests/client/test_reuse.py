"""Which connection a request gets."""

import threading
from typing import Any

import pytest

from containerfs import Client
from containerfs.client import reuse
from tests.client.service import Reply, Request, Service, canned

_MANY = 12


def _pool(client: Client) -> Any:
    return client._transport._http._transport._pool  # type: ignore[attr-defined]


def _together(service: Service, client: Client, count: int) -> None:
    """Send so many requests at once, each on a connection of its own."""
    all_there = threading.Barrier(count)

    def respond(request: Request) -> Reply:
        all_there.wait(30)
        return canned(request)

    service.respond = respond
    threads = [threading.Thread(target=client.containers.retrieve, args=["c"]) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    service.respond = canned


def test_a_request_looks_at_no_more_connections_than_it_needs(
    service: Service, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    _together(service, client, _MANY)
    looked_at = []
    is_spent = reuse._is_spent

    def recorded(connection: object) -> bool:
        looked_at.append(connection)
        return is_spent(connection)

    monkeypatch.setattr(reuse, "_is_spent", recorded)
    monkeypatch.setattr(reuse, "_SWEEP", 1e9)
    for _ in range(3):
        client.containers.retrieve("c")
    assert len(looked_at) == 3
    assert len(_pool(client).connections) == service.connections == _MANY


def test_connections_that_were_idle_for_too_long_are_closed(
    service: Service, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    _together(service, client, _MANY)
    for connection in _pool(client).connections:
        connection._connection._expire_at = 0.0
    monkeypatch.setattr(reuse, "_SWEEP", -1.0)
    client.containers.retrieve("c")
    assert len(_pool(client).connections) == 1
    assert service.connections == _MANY + 1


def test_no_more_connections_are_kept_than_allowed(
    service: Service, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pool(client)._max_keepalive_connections = 3
    _together(service, client, _MANY)
    monkeypatch.setattr(reuse, "_SWEEP", -1.0)
    client.containers.retrieve("c")
    assert len(_pool(client).connections) == 3


def test_requests_wait_for_a_connection_of_a_full_pool(service: Service, client: Client) -> None:
    _pool(client)._max_connections = 2
    threads = [threading.Thread(target=client.containers.retrieve, args=["c"]) for _ in range(_MANY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(service.requests) == _MANY
    assert service.connections <= 2
