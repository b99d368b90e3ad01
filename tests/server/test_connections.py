"""What one connection may cost: the size of a head, the pauses in both directions, descriptors."""

import asyncio
import contextlib
import gc
import json
import os
import select
import signal
import socket
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from uvicorn.server import ServerState

from containerfs.api.dialect import FEATURES, FEATURES_HEADER
from containerfs.server.protocol import HEAD_MAX_BYTES, HEADERS_MAX, BoundedConfig, BoundedProtocol
from tests.server.conftest import answered, create
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
    assert b"\r\nx-request-id: req_" in head
    assert f"\r\n{FEATURES_HEADER}: {FEATURES}".encode() in head
    error: dict[str, str | None] = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


ENDLESS = {
    "a line": b"GET /" + b"x" * HEAD_MAX_BYTES,
    "a header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * HEAD_MAX_BYTES,
    "some headers": b"GET / HTTP/1.1\r\nHost: localhost\r\n"
    + (b"X: " + b"y" * 1000 + b"\r\n") * (HEAD_MAX_BYTES // 1000 + 1),
    "a complete head": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * HEAD_MAX_BYTES + b"\r\n\r\n",
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_head_is_at_most_as_large_as_said(connection: Connection, kind: str) -> None:
    connection.send(ENDLESS[kind])
    assert str(HEAD_MAX_BYTES) in str(refusal(connection.receive(), 431)["message"])


def test_a_head_has_at_most_as_many_headers_as_said(connection: Connection) -> None:
    connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * (HEAD_MAX_BYTES // 6))
    assert f"more than {HEADERS_MAX} headers" in str(refusal(connection.receive(), 431)["message"])


def test_a_request_with_too_many_headers_is_not_carried_out(connection: Connection) -> None:
    with httpx.Client(base_url=connection.server.base_url) as http:
        container = create(http)["id"]
        for length, body in (
            (b"", b""),
            (b"Content-Length: 2\r\n", b"{}"),
            (b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        ):
            with connect(connection.server) as other:
                head = f"DELETE /v1/containers/{container} HTTP/1.1\r\nHost: localhost\r\n".encode()
                other.send(head + length + b"X: y\r\n" * HEADERS_MAX + b"\r\n" + body)
                refusal(other.receive(), 431)
        answered(http.get(f"/containers/{container}"))


@pytest.mark.parametrize("hosts", [b"", b"Host: localhost\r\nHost: localhost\r\n", b"Host: a\r\nX: y\r\nhost: b\r\n"])
def test_a_request_names_one_host(connection: Connection, hosts: bytes) -> None:
    with httpx.Client(base_url=connection.server.base_url) as http:
        container = create(http)["id"]
        connection.send(f"DELETE /v1/containers/{container} HTTP/1.1\r\n".encode() + hosts + b"\r\n")
        assert "Host header" in str(refusal(connection.receive(), 400)["message"])
        answered(http.get(f"/containers/{container}"))


def test_a_request_of_http_1_0_needs_no_host(connection: Connection) -> None:
    connection.send(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert connection.receive().startswith(b"HTTP/1.1 200 ")


def test_a_client_that_sends_on_sees_the_refusal_all_the_same(connection: Connection) -> None:
    connection.send(b"GET / HTTP/1.1\r\nX: " + b"x" * 1_000_000)
    refusal(connection.receive(), 431)


@pytest.mark.parametrize("last", [b"Connection: close\r\n", b""], ids=["one request", "HTTP/1.0"])
def test_a_client_that_sends_on_gets_the_last_answer_all_the_same(server: LiveServer, last: bytes) -> None:
    version = b"1.1" if last else b"1.0"
    for _ in range(20):
        with connect(server) as other:
            head = b"POST /v1/containers/none/files HTTP/" + version + b"\r\nHost: localhost\r\n" + last
            other.send(head + b"Content-Type: multipart/form-data; boundary=B\r\nContent-Length: 9000000\r\n\r\n")
            other.send(bytes(1_000_000))
            answer = other.receive_until(b"}}")
            assert refusal(answer, 404)["message"]
            other.send(bytes(1_000_000))
            assert other.receive() == b""


def test_an_answer_is_one_piece(connection: Connection) -> None:
    with httpx.Client(base_url=connection.server.base_url) as http:
        path = f"/containers/{create(http)['id']}/files"
        file = answered(http.post(path, files={"file": ("f", b"x" * 4096)}))["id"]
    for _ in range(20):
        connection.send(f"GET /v1{path}/{file}/content HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        answer = connection.stream.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"\r\n\r\n" + b"x" * 4096)


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


UPGRADES = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
    "websocket": b"Connection: upgrade\r\nUpgrade: websocket\r\n",
}
FORM = b'--B\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nGET / HTTP/1.1\r\n\r\n\r\n--B--\r\n'
FRAMED = {
    "by length": (b"Content-Length: %d\r\n" % len(FORM), FORM),
    "in chunks": (
        b"Transfer-Encoding: chunked\r\n",
        b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (FORM[:5], len(FORM) - 5, FORM[5:]),
    ),
}


def uploading(container: str, headers: bytes) -> bytes:
    """The head of an upload."""
    head = f"POST /v1/containers/{container}/files HTTP/1.1\r\nHost: localhost\r\n".encode()
    return head + b"Content-Type: multipart/form-data; boundary=B\r\n" + headers + b"\r\n"


@pytest.mark.parametrize("framed", FRAMED)
@pytest.mark.parametrize("upgrade", UPGRADES)
def test_an_upgrade_is_ignored_and_nothing_else_of_the_request(
    connection: Connection, upgrade: str, framed: str
) -> None:
    """Java's client asks for one with every request to a server that it does not know."""
    with httpx.Client(base_url=connection.server.base_url) as http:
        container = create(http)["id"]
    connection.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    framing, body = FRAMED[framed]
    whole = uploading(container, UPGRADES[upgrade] + framing) + body
    for pieces in ([whole], [whole[: -len(body)], body], [whole[: 30 - len(body)], body[30:]], [whole * 2]):
        for piece in pieces:
            connection.send(piece)
        count = len(b"".join(pieces)) // len(whole)
        answers = receive_objects(connection, count)
        assert answers.count(b"HTTP/1.1 200 ") == answers.count(b'"bytes":18,') == count, answers
    get = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + UPGRADES[upgrade] + b"\r\n"
    connection.send(get * 2000)
    assert receive_objects(connection, 2000).count(b"HTTP/1.1 200 ") == 2000


def receive_objects(connection: Connection, count: int) -> bytes:
    received = b""
    while received.count(b"}") < count:
        data = connection.stream.recv(1 << 20)
        assert data, received
        received += data
    return received


def test_a_request_whose_client_sends_nothing_more_is_answered(connection: Connection) -> None:
    """It has closed its direction of the connection, as ``nc -N`` does, and may receive."""
    with httpx.Client(base_url=connection.server.base_url) as http:
        container = create(http)["id"]
        content = os.urandom(20_000_000)
        file = answered(http.post(f"/containers/{container}/files", files={"file": ("large", content)}))["id"]
    framing, body = FRAMED["by length"]
    connection.send(uploading(container, framing) + body)
    connection.send(f"GET /v1/containers/{container}/files/{file}/content HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    connection.stream.shutdown(socket.SHUT_WR)
    uploaded, _, downloaded = connection.receive().partition(b"}")
    assert uploaded.startswith(b"HTTP/1.1 200 ")
    assert downloaded.startswith(b"HTTP/1.1 200 ")
    assert downloaded.endswith(content)


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"nonsense\r\n\r\n"])
def test_nothing_is_left_of_a_connection_that_is_closed(sent: bytes) -> None:
    """No timer, above all: it would keep all that the connection had."""
    config = BoundedConfig(3600, 10, nothing, ws="none", lifespan="off", log_config=None)
    left: weakref.WeakSet[BoundedProtocol] = weakref.WeakSet()
    made = asyncio.Event()

    def protocol() -> BoundedProtocol:
        left.add(connection := BoundedProtocol(config, ServerState(), {}))
        made.set()
        return connection

    async def scenario() -> None:
        server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
        async with server, asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(sent)
            if sent:
                assert await reader.read(1)
            await made.wait()
            writer.close()
            while left:
                gc.collect()
                await asyncio.sleep(0.01)

    asyncio.run(scenario())


def limited(tmp_path: Path, descriptors: int) -> contextlib.AbstractContextManager[LiveServer]:
    return running_server(tmp_path / "store", within=["sh", "-c", f'ulimit -n {descriptors} && exec "$@"', "sh"])


def test_more_connections_than_descriptors(tmp_path: Path) -> None:
    """Those that there are go on, files included; the others are told."""
    with (
        limited(tmp_path, 256) as server,
        httpx.Client(base_url=server.base_url, timeout=60) as http,
        contextlib.ExitStack() as stack,
    ):
        container = create(http)["id"]
        stuck = [stack.enter_context(connect(server)) for _ in range(300)]
        answers = stuck[140].receive(), stuck[299].receive()
        assert {refusal(answer, 503)["code"] for answer in answers} == {"overloaded"}
        files = f"/containers/{container}/files"
        file = answered(http.post(files, files={"file": ("f", b"content")}))["id"]
        assert http.get(f"{files}/{file}/content").content == b"content"
        answered(http.delete(f"{files}/{file}"))


def test_more_uploads_than_descriptors(tmp_path: Path) -> None:
    with (
        limited(tmp_path, 64) as server,
        httpx.Client(base_url=server.base_url, timeout=60) as http,
        contextlib.ExitStack() as stack,
    ):
        container = create(http)["id"]
        head = (
            f"POST /v1/containers/{container}/files HTTP/1.1\r\nHost: localhost\r\n"
            "Content-Type: multipart/form-data; boundary=B\r\nContent-Length: 10000000\r\n\r\n"
            '--B\r\nContent-Disposition: form-data; name="file"; filename="large"\r\n\r\n'
        )
        uploading = [stack.enter_context(connect(server)) for _ in range(30)]
        for each in uploading:
            each.send(head.encode() + bytes(3 << 20))  # by then it has a file
        answer = b""
        while uploading and not answer:
            ready, _, _ = select.select([each.stream for each in uploading], [], [], 60)
            refused = next(each for each in uploading if each.stream in ready)
            uploading.remove(refused)
            with contextlib.suppress(ConnectionResetError):  # it was still sending when the server closed
                answer = refused.receive_until(b"}}")
        assert answer.startswith(b"HTTP/1.1 503 "), answer
        assert b"retry-after" in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "overloaded"


LARGE = 32 * 1024 * 1024
"""More than the kernel takes for a client that does not read."""


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[LiveServer]:
    with running_server(tmp_path / "store", "--timeout", "0.4") as live:
        yield live


def content_request(server: LiveServer) -> bytes:
    with httpx.Client(base_url=server.base_url, timeout=60) as http:
        container = create(http)["id"]
        files = f"/containers/{container}/files"
        file = answered(http.post(files, files={"file": ("large", b"x" * LARGE)}))["id"]
    return f"GET /v1{files}/{file}/content HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()


def logged(server: LiveServer, ending: str) -> list[dict[str, object]]:
    lines = map(json.loads, server.log.read_text().splitlines())
    return [line for line in lines if line["path"].endswith(ending)]


def test_a_reader_that_stalls_is_disconnected(impatient: LiveServer) -> None:
    """Its request is over long before the client's own time-out, and the stop that waits for it is, too."""
    request = content_request(impatient)
    with connect(impatient) as stalled:
        stalled.send(request)
        assert stalled.stream.recv(1)
        impatient.process.send_signal(signal.SIGTERM)
        assert impatient.process.wait(30) == 0
    [line] = logged(impatient, "/content")
    assert isinstance(line["sent"], int)
    assert line["sent"] < LARGE
    assert "Traceback" not in impatient.log.read_text()


def test_a_reader_that_stalls_at_the_very_end_is_disconnected(impatient: LiveServer) -> None:
    """Its answer is complete, and lies in buffers of the server and of the kernel."""
    requests = b"GET /docs HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500_000
    with connect(impatient) as stalled:
        stalled.stream.settimeout(0.1)
        with pytest.raises(TimeoutError):
            stalled.send(requests)
        assert impatient.stop() == 0


def test_a_slow_reader_is_served_to_the_end(impatient: LiveServer) -> None:
    """As long as it takes something in time, however long it takes in all: here five times the longest pause."""
    request = content_request(impatient)
    with connect(impatient) as slow:
        slow.send(request)
        received = 0
        for _ in range(20):
            received += len(slow.stream.recv(200_000))
            time.sleep(0.1)  # its pace
        received += len(slow.receive())
    assert received > LARGE
