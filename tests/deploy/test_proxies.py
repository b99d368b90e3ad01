"""nginx and Caddy, as deploy/ configures them, in front of a real server: all of the API passes, as it streams."""

import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from containerfs import APIStatusError, Client
from tests.deploy.proxies import CERTIFICATE, NAME, Configured, Proxy, caddy, nginx, running
from tests.server.conftest import answered
from tests.server.live import eventually, running_server
from tests.server.raw import Connection

OPTIONS = ("--allowed-host", NAME, "--max-upload-size", "16M")


@pytest.fixture(scope="module", params=[nginx, caddy], ids=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    configured: Configured = request.param
    directory = tmp_path_factory.mktemp("proxy")
    with (
        running_server(directory / "store", *OPTIONS) as server,
        running(configured, directory, server) as running_proxy,
    ):
        yield running_proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[Client]:
    headers = {"Host": NAME}
    with Client(base_url=proxy.url, ca_file=CERTIFICATE, default_headers=headers, max_retries=0) as client:
        yield client


def http(proxy: Proxy, transport: httpx.HTTPTransport | None = None) -> httpx.Client:
    verify = ssl.create_default_context(cafile=str(CERTIFICATE))
    return httpx.Client(
        transport=transport or httpx.HTTPTransport(verify=verify),
        base_url=proxy.url.removesuffix("/v1"),
        headers={"Host": NAME},
        timeout=60,
    )


def test_all_of_the_api(client: Client) -> None:
    content = os.urandom(12 << 20)
    container = client.containers.create(name="behind a proxy")
    file = client.containers.files.create(container.id, file=("a b/ü%41.bin", content))
    assert file.path == "/mnt/data/a b/ü%41.bin"
    retrieve = client.containers.files.content.retrieve
    assert retrieve(file.id, container_id=container.id).read() == content
    part = retrieve(file.id, container_id=container.id, extra_headers={"Range": "bytes=5-9999999"})
    assert (part.status_code, part.read()) == (206, content[5:10_000_000])
    assert client.containers.files.content.head(file.id, container_id=container.id).content_length == len(content)
    assert [each.id for each in client.containers.files.list(container.id)] == [file.id]
    client.containers.delete(container.id)
    with pytest.raises(APIStatusError) as raised:
        client.containers.retrieve(container.id)
    assert f"Container with id '{container.id}' not found." in raised.value.message


def test_an_upload_is_at_the_server_while_it_is_sent(proxy: Proxy, client: Client) -> None:
    container = client.containers.create(name="streamed").id
    verify = ssl.create_default_context(cafile=str(CERTIFICATE))
    with (
        socket.create_connection(("127.0.0.1", proxy.port), timeout=60) as plain,
        verify.wrap_socket(plain, server_hostname="localhost") as stream,
    ):
        connection = Connection(proxy.server, stream)
        size = 8 << 20
        head = b'--B\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        connection.send(
            f"POST /v1/containers/{container}/files HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n"
            "Content-Type: multipart/form-data; boundary=B\r\n"
            f"Content-Length: {len(head) + size + len(Connection.tail)}\r\n\r\n".encode()
        )
        connection.send(head + bytes(size // 2))
        unfinished = proxy.server.data_dir / "tmp"
        eventually(lambda: any(path.stat().st_size >= size // 4 for path in unfinished.iterdir()))
        connection.send(bytes(size // 2) + Connection.tail)
        assert connection.receive().startswith(b"HTTP/1.1 200 ")


class Growing:
    """Content whose size nobody knows, and whose upload is abandoned in place of its end, if it is."""

    size = None

    def __init__(self, content: bytes, *, abandoned: bool) -> None:
        self._content = content
        self._abandoned = abandoned

    def read_at(self, offset: int, size: int) -> bytes:
        if self._abandoned and offset + size > len(self._content):
            raise InterruptedError
        return self._content[offset : offset + size]


def test_an_upload_of_unknown_length_is_stored_whole_or_not_at_all(proxy: Proxy, client: Client) -> None:
    container, content = client.containers.create(name="chunked").id, os.urandom(5 << 20)
    with pytest.raises(InterruptedError):
        client.containers.files.create(container, file=("file", Growing(content, abandoned=True)))
    unfinished = proxy.server.data_dir / "tmp"
    eventually(lambda: not any(unfinished.iterdir()))
    assert list(client.containers.files.list(container)) == []
    file = client.containers.files.create(container, file=("file", Growing(content, abandoned=False)))
    assert client.containers.files.content.retrieve(file.id, container_id=container).read() == content


def test_what_is_too_large_is_refused_by_the_server(client: Client) -> None:
    container = client.containers.create(name="too large").id
    with pytest.raises(APIStatusError) as raised:
        client.containers.files.create(container, file=("f", bytes(17 << 20)))
    assert raised.value.status_code == 413
    assert "16777216" in raised.value.message


def test_connections_to_the_server_are_kept(proxy: Proxy) -> None:
    port = urlsplit(proxy.server.address).port
    with http(proxy) as asking:
        for _ in range(50):
            answered(asking.get("/v1/containers"))
    table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    accepted = [row for row in table if row[2].endswith(f":{port:04X}")]
    assert len(accepted) < 20


def test_what_is_for_the_machine_stays_there(proxy: Proxy) -> None:
    with http(proxy) as asking:
        assert asking.get("/metrics").status_code == 404
        assert asking.get("/healthz").status_code == 200


def test_the_log_has_the_clients_address(proxy: Proxy) -> None:
    verify = ssl.create_default_context(cafile=str(CERTIFICATE))
    with http(proxy, httpx.HTTPTransport(verify=verify, local_address="127.0.0.5")) as asking:
        request_id = asking.get("/v1/containers").headers["x-request-id"]
    eventually(lambda: request_id in proxy.server.log.read_text())
    line = next(line for line in proxy.server.log.read_text().splitlines() if request_id in line)
    assert '"client": "127.0.0.5"' in line


@pytest.mark.parametrize("configured", [nginx, caddy])
def test_a_name_that_the_server_is_not_told_of(configured: Configured, tmp_path: Path) -> None:
    with (
        running_server(tmp_path / "store") as server,
        running(configured, tmp_path, server) as proxy,
        http(proxy) as asking,
    ):
        assert "--allowed-host" in answered(asking.get("/v1/containers"), 403)["error"]["message"]
