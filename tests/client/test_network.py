"""Proxies and certificates: what the environment names is used, named in errors, and blamed where it cannot be used."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from containerfs import APIConnectionError, AsyncClient, Client, ContainerFSError, Content
from containerfs.cli.service import service_settings
from containerfs.client.network import Proxy, authorities, route
from containerfs.config import load
from containerfs.mount.service import connect as connect_mount
from tests.client.service import CONTENT, Reply, Service

CERTIFICATE = Path(__file__).with_name("localhost.pem")
PROXIES = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]
UNUSABLE = ["nonsense://x", "http://[::1", "http://x:port"]


def connect(colour: type[Client] | type[AsyncClient], url: str) -> None:
    colour(base_url=url)


@pytest.mark.parametrize("name", PROXIES)
def test_no_proxy_for_loopback_addresses(service: Service, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    for url in (service.url, service.url.replace("127.0.0.1", "localhost")):
        with Client(base_url=url, max_retries=0) as client:
            client.containers.retrieve("c")
    assert len(service.requests) == 2


@pytest.mark.parametrize("name", PROXIES)
def test_an_error_names_the_proxys_variable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "http://user:secret@127.0.0.1:1")
    with (
        Client(base_url="http://service.invalid/v1", max_retries=0) as client,
        pytest.raises(APIConnectionError, match=name) as raised,
    ):
        client.containers.retrieve("c")
    assert "secret" not in str(raised.value)

    async def retrieve() -> None:
        async with AsyncClient(base_url="http://service.invalid/v1", max_retries=0) as client:
            await client.containers.retrieve("c")

    with pytest.raises(APIConnectionError, match=name):
        asyncio.run(retrieve())


def test_a_host_that_no_proxy_lists_is_reached_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "service.invalid")
    with (
        Client(base_url="http://service.invalid/v1", max_retries=0) as client,
        pytest.raises(APIConnectionError) as raised,
    ):
        client.containers.retrieve("c")
    assert "PROXY" not in str(raised.value)


@pytest.mark.parametrize("colour", [Client, AsyncClient])
@pytest.mark.parametrize("proxy", UNUSABLE)
def test_a_proxy_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, colour: type[Client] | type[AsyncClient], proxy: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(ContainerFSError, match="HTTP_PROXY"):
        connect(colour, "http://service.invalid/v1")


@pytest.mark.parametrize("colour", [Client, AsyncClient])
def test_certificates_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, colour: type[Client] | type[AsyncClient]
) -> None:
    (tmp_path / "no.pem").write_text("no certificate")
    with pytest.raises(ContainerFSError, match="ca_file"):
        colour(base_url="https://x/v1", ca_file=tmp_path / "no.pem")
    with pytest.raises(ContainerFSError, match="ca_file"):
        colour(base_url="https://x/v1", ca_file=tmp_path / "missing.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "no.pem"))
    authorities.cache_clear()
    with pytest.raises(ContainerFSError, match="SSL_CERT_FILE"):
        connect(colour, "https://x/v1")


def test_a_mount_has_these_settings_from_the_environment(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CONTAINERFS_DEFAULT_HEADERS", '{"X-Gateway": "yes"}')
    client, single_shot = connect_mount(service_settings(load(url=service.url)), None)
    with client:
        for each in (client, single_shot):
            each.containers.retrieve("c")
            assert service.requests[-1].headers["x-gateway"] == "yes"
    assert service.connections == 1
    monkeypatch.setenv("CONTAINERFS_CA_FILE", str(tmp_path / "missing.pem"))
    with pytest.raises(ContainerFSError, match="ca_file"):
        connect_mount(service_settings(load(url=service.url)), None)


@pytest.mark.parametrize("colour", [Client, AsyncClient])
def test_a_proxy_of_no_concern_is_not_looked_at(
    monkeypatch: pytest.MonkeyPatch, colour: type[Client] | type[AsyncClient]
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "127.0.0.1:1")  # as curl, without a scheme
    monkeypatch.setenv("HTTPS_PROXY", "nonsense://x")
    connect(colour, "http://service.invalid/v1")
    with pytest.raises(ContainerFSError, match="HTTPS_PROXY"):
        connect(colour, "https://service.invalid/v1")


def test_content_that_breaks_names_the_proxy(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", service.url.removesuffix("/v1"))
    service.respond = lambda _: Reply(CONTENT, sent=5)
    url = "http://service.invalid/v1"
    with Client(base_url=url) as client:
        for read in (Content.read, lambda content: list(content.iter_bytes())):
            with pytest.raises(APIConnectionError, match="HTTP_PROXY"):
                read(client.files.content("f"))

    async def async_read() -> None:
        async with AsyncClient(base_url=url) as client:
            with pytest.raises(APIConnectionError, match="HTTP_PROXY"):
                await (await client.files.content("f")).read()
            with pytest.raises(APIConnectionError, match="HTTP_PROXY"):
                async for _ in (await client.files.content("f")).iter_bytes():
                    pass

    asyncio.run(async_read())
    assert service.requests[0].target == "http://service.invalid/v1/files/f/content"


def test_a_redirect_to_what_no_proxy_lists_is_followed_directly(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", service.url.removesuffix("/v1"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Service() as storage, Client(base_url="http://service.invalid/v1") as client:
        service.replies(Reply(b"", 302, {"Location": f"{storage.url}/files/f/content"}))
        assert client.files.content("f").read() == CONTENT
        assert [request.target for request in storage.requests] == ["/v1/files/f/content"]


def test_what_no_proxy_lists_is_named_as_httpx_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "a.example, .b.example,,10.0.0.1,::2,[::3],http://c.example")
    listed = {
        "all://*a.example",
        "all://*.b.example",
        "all://10.0.0.1",
        "all://[::2]",
        "all://[::3]",
        "http://c.example",
    }
    loopback = {"all://*localhost", "all://127.0.0.1", "all://[::1]"}
    route_taken = route(Proxy("HTTP_PROXY", "http://proxy"))
    assert route_taken == {"proxy": "http://proxy", "mounts": dict.fromkeys(listed | loopback)}
    assert route(None) == {}
    httpx.Client(**route_taken).close()


@pytest.fixture
def secure_storage() -> Iterator[str]:
    """A server that answers over TLS with CONTENT, with a certificate that nobody accepts by default."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with (
                    connection,
                    contextlib.suppress(OSError),
                    context.wrap_socket(connection, server_side=True) as secured,
                ):
                    secured.recv(65536)
                    secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(CONTENT), CONTENT))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://localhost:{listener.getsockname()[1]}/content"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def redirected_content(colour: type[Client] | type[AsyncClient], service: Service, to: str) -> bytes:
    service.replies(Reply(b"", 302, {"Location": to}))
    if colour is Client:
        with Client(base_url=service.url, max_retries=0) as client:
            assert authorities.cache_info().currsize == 0, "they are not read before they are needed"
            return client.files.content("f").read()

    async def read() -> bytes:
        async with AsyncClient(base_url=service.url, max_retries=0) as client:
            assert authorities.cache_info().currsize == 0
            return await (await client.files.content("f")).read()

    return asyncio.run(read())


@pytest.mark.parametrize("colour", [Client, AsyncClient])
def test_a_redirect_to_https_is_followed_with_the_usual_authorities(
    service: Service, secure_storage: str, monkeypatch: pytest.MonkeyPatch, colour: type[Client] | type[AsyncClient]
) -> None:
    authorities.cache_clear()
    with pytest.raises(APIConnectionError, match="certificate"):
        redirected_content(colour, service, secure_storage)
    authorities.cache_clear()
    monkeypatch.setattr(httpx, "create_ssl_context", lambda: ssl.create_default_context(cafile=CERTIFICATE))
    assert redirected_content(colour, service, secure_storage) == CONTENT
    authorities.cache_clear()
