"""Without keys: programs of this machine are answered, and web pages in its browser are not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.live import LiveServer, running_server
from tests.server.raw import connect
from tests.server.test_connections import refusal


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with running_server(tmp_path_factory.mktemp("server") / "store") as live:
        yield live


def asked(server: LiveServer, path: str, *headers: str) -> bytes:
    """The answer to a request with exactly these headers."""
    with connect(server) as connection:
        head = "".join(f"{line}\r\n" for line in (f"GET {path} HTTP/1.1", *headers, "Connection: close", ""))
        connection.send(head.encode("latin-1"))
        return connection.receive()


OURS = [
    ["Host: 127.0.0.1"],
    ["Host: localhost:8080"],
    ["Host: LocalHost"],
    ["Host: 127.1.2.3:1"],
    ["Host: [::1]:8080", "Origin: http://127.0.0.1:3000"],
    ["Host: localhost", "Origin: https://localhost"],
]

OTHERS = [
    ["Host:"],
    ["Host: evil.example:8080"],
    ["Host: x@127.0.0.1"],
    ["Host: 127.0.0.1@evil.example"],
    ["Host: 127.0.0.1.evil.example"],
    ["Host: 127.0.0.1:80:80"],
    ["Host: 127.0.0.1/evil.example"],
    ["Host: [nonsense"],
    ["Host: [::1].evil.example"],
    ["Host: http://127.0.0.1"],
    ["Host: 127.0.0.1", "Origin: https://evil.example"],
    ["Host: 127.0.0.1", "Origin: null"],
    ["Host: 127.0.0.1", "Origin:"],
    ["Host: 127.0.0.1", "Origin: file://"],
    ["Host: 127.0.0.1", "Origin: file://localhost"],
    ["Host: 127.0.0.1", "Origin: chrome-extension://localhost"],
    ["Host: 127.0.0.1", "Origin: localhost"],
    ["Host: 127.0.0.1", "Origin: http://x@localhost"],
    ["Host: 127.0.0.1", "Origin: http://localhost", "Origin: https://evil.example"],
    ["Host: 127.0.0.1", "Origin: https://evil.example", "Origin: http://localhost"],
]

SEVERAL = [
    ["Host: 127.0.0.1", "Host: evil.example"],
    ["Host: evil.example", "Host: 127.0.0.1"],
    ["Host: 127.0.0.1", "Host: 127.0.0.1"],
]

GUARDED = ["/v1/containers", "/v1/files", "/metrics", "/docs", "/openapi.json"]


@pytest.mark.parametrize("path", GUARDED)
@pytest.mark.parametrize("headers", OURS)
def test_programs_of_this_machine(server: LiveServer, path: str, headers: list[str]) -> None:
    assert asked(server, path, *headers).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", GUARDED)
@pytest.mark.parametrize("headers", OTHERS)
def test_web_pages(server: LiveServer, path: str, headers: list[str]) -> None:
    said = refusal(asked(server, path, *headers), 403)
    assert said["code"] == "host_not_allowed"
    assert "--allowed-host" in str(said["message"])


@pytest.mark.parametrize("headers", [[], *SEVERAL])
def test_requests_without_one_host(server: LiveServer, headers: list[str]) -> None:
    refusal(asked(server, "/v1/containers", *headers), 400)


def test_health_is_for_all(server: LiveServer) -> None:
    assert asked(server, "/healthz", "Host: balancer.example").startswith(b"HTTP/1.1 200 ")


def test_names_of_a_proxy(tmp_path: Path) -> None:
    allowed = ["--allowed-host", "files.example", "--allowed-host", "Upstream"]
    with running_server(tmp_path / "store", *allowed) as server:
        for headers in (
            ["Host: files.example"],
            ["Host: upstream:8080"],
            ["Host: localhost"],
            ["Host: files.example", "Origin: https://files.example"],
        ):
            assert asked(server, "/v1/containers", *headers).startswith(b"HTTP/1.1 200 "), headers
        for headers in (["Host: evil.files.example"], ["Host: files.example", "Origin: https://evil.example"]):
            refusal(asked(server, "/v1/containers", *headers), 403)
