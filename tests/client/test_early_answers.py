"""A refusal that comes while an upload is sent ends it, over every kind of connection."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import containerfs
from containerfs import AsyncClient, Client
from containerfs.client.async_early_answers import notice_early_answers as async_notice_early_answers
from containerfs.client.early_answers import notice_early_answers
from containerfs.server.auth import KeyFile
from tests.client.service import Service
from tests.server.live import LiveServer, running_server

SIZE = 256 << 20
FEW = 64 << 20  # what may be on its way: some 10 MiB in the kernel, and what is sent until a busy machine looks

REFUSED = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}"
TAKEN = b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"id":"cfile_1"}'
CERTIFICATE = Path(__file__).with_name("localhost.pem")  # of localhost, signed by its own key, for a hundred years


class Zeros:
    """Content that counts what is read of it."""

    size = SIZE

    def __init__(self) -> None:
        self.read = 0

    def read_at(self, offset: int, size: int) -> bytes:
        self.read += size
        return bytes(size)


Serve = Callable[[socket.socket], object]


class Peer:
    """A server that accepts one connection, and does with it what the test says."""

    def __init__(self, listener: socket.socket, serve: Serve, context: ssl.SSLContext | None) -> None:
        self._listener, self._serve, self._context = listener, serve, context
        self.done = threading.Event()  # set by the test, to end a connection that is kept open
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        connection, _ = self._listener.accept()
        with contextlib.ExitStack() as stack:
            stack.enter_context(connection)
            if self._listener.family == socket.AF_INET:
                # Else the answer may wait for the client's ACK until the connection is closed, and is lost then.
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context:
                connection = stack.enter_context(self._context.wrap_socket(connection, server_side=True))
            received = b""
            while b"\r\n\r\n" not in received:
                received += connection.recv(1024)
            self._serve(connection)

    def end(self) -> None:
        self.done.set()
        self._thread.join(60)
        self._listener.close()


class Uploader:
    """Uploads from a client of either colour."""

    def __init__(self, colour: str, **settings: Any) -> None:
        self._colour, self._settings = colour, settings

    def upload(self, content: object, container: str = "c", **options: Any) -> containerfs.ContainerFile:
        if self._colour == "sync":
            with Client(max_retries=0, http_client=self._http(httpx.Client), **self._settings) as client:
                return client.containers.files.create(container, file=("a", content), **options)
        return asyncio.run(self._upload(content, container, options))

    async def _upload(self, content: object, container: str, options: Any) -> containerfs.ContainerFile:
        async with AsyncClient(max_retries=0, http_client=self._http(httpx.AsyncClient), **self._settings) as client:
            return await client.containers.files.create(container, file=("a", content), **options)

    def _http(self, colour: Callable[..., Any]) -> Any:
        if not str(self._settings.get("base_url")).startswith("https:"):
            return None
        http = colour(verify=ssl.create_default_context(cafile=str(CERTIFICATE)))
        (notice_early_answers if colour is httpx.Client else async_notice_early_answers)(http)
        return http


Connect = Callable[[Serve], tuple[Uploader, Peer]]


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["TCP", "Unix", "TLS"])
def connected(request: pytest.FixtureRequest, colour: str, tmp_path: Path) -> Iterator[Connect]:
    """Starts a peer that serves as it is told, and a client of it."""
    with contextlib.ExitStack() as stack:

        def connect(serve: Serve) -> tuple[Uploader, Peer]:
            settings, listener, context = {"TCP": over_tcp, "Unix": over_unix, "TLS": over_tls}[request.param](tmp_path)
            peer = Peer(listener, serve, context)
            stack.callback(peer.end)
            return Uploader(colour, **settings), peer

        yield connect


Ends = tuple[dict[str, Any], socket.socket, ssl.SSLContext | None]


def over_tcp(_: Path) -> Ends:
    listener = socket.create_server(("127.0.0.1", 0))
    return {"base_url": f"http://127.0.0.1:{listener.getsockname()[1]}/v1"}, listener, None


def over_unix(directory: Path) -> Ends:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / "socket"))
    listener.listen()
    return {"uds": directory / "socket"}, listener, None


def over_tls(_: Path) -> Ends:
    listener = socket.create_server(("127.0.0.1", 0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return {"base_url": f"https://localhost:{listener.getsockname()[1]}/v1"}, listener, context


def refused(client: Uploader) -> Zeros:
    source = Zeros()
    with pytest.raises(containerfs.APIStatusError) as raised:
        client.upload(source, timeout=30)
    assert raised.value.status_code == 413
    return source


def test_a_refusal_of_the_head_ends_the_upload(connected: Connect) -> None:
    client, _ = connected(lambda connection: connection.sendall(REFUSED))
    assert refused(client).read < FEW


def test_a_service_that_refuses_and_reads_no_more_is_not_waited_for(
    connected: Connect,
) -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(REFUSED)
        assert peer.done.wait(60)

    client, peer = connected(serve)
    assert refused(client).read < FEW


def test_a_refusal_that_comes_in_pieces_is_whole(connected: Connect) -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(REFUSED[:5])
        connection.recv(1024)
        connection.sendall(REFUSED[5:30])
        connection.sendall(REFUSED[30:])
        assert peer.done.wait(60)

    client, peer = connected(serve)
    assert refused(client).read < FEW


def test_a_refusal_is_noticed_while_the_service_goes_on_reading(connected: Connect) -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(REFUSED)
        while connection.recv(1 << 20):
            pass

    client, _ = connected(serve)
    assert refused(client).read < FEW


def test_an_answer_that_does_not_refuse_ends_nothing(connected: Connect) -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(TAKEN[:30])
        received = b""
        while not received.endswith(b"--\r\n"):
            received = received[-4:] + connection.recv(1 << 20)
        connection.sendall(TAKEN[30:])

    client, _ = connected(serve)
    source = Zeros()
    assert client.upload(source, timeout=30).id == "cfile_1"
    assert source.read == SIZE


def test_a_connection_that_ends_meanwhile_is_an_error(connected: Connect) -> None:
    client, _ = connected(lambda connection: None)
    source = Zeros()
    with pytest.raises(containerfs.APIConnectionError) as raised:
        client.upload(source, timeout=30)
    assert raised.value.sent
    assert source.read < FEW


def test_a_service_that_neither_reads_nor_answers_is_given_up(
    connected: Connect,
) -> None:
    client, peer = connected(lambda connection: peer.done.wait(60))
    source = Zeros()
    with pytest.raises(containerfs.APITimeoutError):
        client.upload(source, timeout=containerfs.Timeout(30, write=0.1))
    assert source.read < FEW


@pytest.fixture(scope="module", params=["TCP", "Unix"])
def strict(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Our server, which takes 1 MiB at most, and one key."""
    home = tmp_path_factory.mktemp("strict")
    keys = KeyFile(home / "keys.json")
    (home / "key").write_text(keys.add("alice")[1])
    uds = home / "socket" if request.param == "Unix" else None
    with running_server(
        home / "store", "--max-upload-size", "1M", "--api-keys", str(home / "keys.json"), uds=uds
    ) as server:
        yield server


def test_our_server_refuses_what_is_too_large_before_it_is_sent(strict: LiveServer, colour: str) -> None:
    key = strict.data_dir.with_name("key").read_text()
    settings = {"base_url": strict.base_url, "uds": strict.uds, "api_key": key}
    with Client(**settings) as client:
        container = client.containers.create(name="strict").id
    uploader, source = Uploader(colour, **settings), Zeros()
    with pytest.raises(containerfs.APIStatusError, match="larger than this server accepts"):
        uploader.upload(source, container)
    assert source.read < FEW
    assert uploader.upload(b"12345", container).bytes == 5


def test_our_server_refuses_an_unknown_key_before_the_content_is_sent(strict: LiveServer, colour: str) -> None:
    source = Zeros()
    with pytest.raises(containerfs.AuthenticationError):
        Uploader(colour, base_url=strict.base_url, uds=strict.uds, api_key="sk-unknown").upload(source)
    assert source.read < FEW


def test_async_connections_are_kept_where_nothing_came_early() -> None:
    async def upload(url: str) -> None:
        async with AsyncClient(base_url=url) as client:
            for _ in range(3):
                await client.containers.files.create("c", file=("a", bytes(3 << 20)))
                await client.containers.retrieve("c")

    with Service() as service:
        asyncio.run(upload(service.url))
        assert service.connections == 1
        assert [len(request.body) > 3 << 20 for request in service.requests] == [True, False] * 3


def test_connections_are_kept_where_nothing_came_early() -> None:
    with Service() as service, Client(base_url=service.url) as client:
        for _ in range(3):
            client.containers.files.create("c", file=("a", bytes(3 << 20)))
            client.containers.retrieve("c")
        assert service.connections == 1
