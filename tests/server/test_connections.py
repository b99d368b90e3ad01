"""What one connection may cost: the size of a head, the pauses in both directions, descriptors."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from containerfs.server.protocol import HEAD_MAX_BYTES
from tests.server.live import LiveServer, running_server
from tests.server.raw import Connection, connect


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with running_server(tmp_path_factory.mktemp("server") / "store") as live:
        yield live


@pytest.fixture
def connection(server: LiveServer) -> Iterator[Connection]:
    with connect(server) as open_connection:
        yield open_connection


def refusal(answer: bytes, status: int) -> dict[str, str | None]:
    """The error of a raw answer after which the server closes the connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), head
    assert b"connection: close" in head.lower()
    error: dict[str, str | None] = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


ENDLESS = {
    "a line": b"GET /" + b"x" * HEAD_MAX_BYTES,
    "a header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * HEAD_MAX_BYTES,
    "many headers": b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * (HEAD_MAX_BYTES // 6),
    "a complete head": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * HEAD_MAX_BYTES + b"\r\n\r\n",
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_head_is_at_most_as_large_as_said(connection: Connection, kind: str) -> None:
    connection.send(ENDLESS[kind])
    assert str(HEAD_MAX_BYTES) in str(refusal(connection.receive(), 431)["message"])


def test_a_client_that_sends_on_sees_the_refusal_all_the_same(connection: Connection) -> None:
    connection.send(b"GET / HTTP/1.1\r\nX: " + b"x" * 1_000_000)
    refusal(connection.receive(), 431)


def test_so_is_each_later_head(connection: Connection) -> None:
    good = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    connection.send(good)
    connection.receive_until(b'{"status":"ok"}')
    connection.send(ENDLESS["a header"])
    refusal(connection.receive(), 431)


def test_so_are_trailers(connection: Connection) -> None:
    connection.send(
        b"POST /v1/containers HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: " + b"x" * 2 * HEAD_MAX_BYTES
    )
    refusal(connection.receive(), 431)


def test_a_large_head_is_no_trouble(connection: Connection) -> None:
    padding = b"x" * (HEAD_MAX_BYTES - 200)
    connection.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: " + padding + b"\r\n\r\n")
    assert connection.receive().startswith(b"HTTP/1.1 200 OK")


def test_what_is_no_http_is_refused_in_the_apis_form(connection: Connection) -> None:
    connection.send(b"nonsense\r\n\r\n")
    assert refusal(connection.receive(), 400)["type"] == "invalid_request_error"
