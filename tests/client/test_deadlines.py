"""A content that does not come in time is an error, though each read of it is in time."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from containerfs import APITimeoutError, AsyncClient, AsyncContent, Client, Content
from tests.client.service import CONTENT, Service

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"


@pytest.fixture(params=[0.01, None], ids=["dripping", "silent"])
def slow(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a service that sends a byte every so often, or none."""
    ended = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(HEAD)
            while not ended.wait(request.param):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        ended.set()
        thread.join(60)


READERS: list[Callable[[Content], object]] = [
    lambda content: content.read(timeout=0.1),
    lambda content: list(content.iter_bytes(timeout=0.1)),
    lambda content: list(content.iter_bytes(1 << 20, timeout=0.1)),
    lambda content: content.write_to_file("/dev/null", timeout=0.1),
]


@pytest.mark.parametrize("read", READERS)
def test_a_content_has_a_time_out_of_its_own(slow: str, read: Callable[[Content], object]) -> None:
    with Client(base_url=slow) as client:
        content = client.files.content("f")
        with pytest.raises(APITimeoutError, match="in time"):
            read(content)


async def iterate(content: AsyncContent) -> None:
    async for _ in content.iter_bytes(1 << 20, timeout=0.1):
        pass


ASYNC_READERS: list[Callable[[AsyncContent], Awaitable[object]]] = [
    lambda content: content.read(timeout=0.1),
    iterate,
    lambda content: content.write_to_file("/dev/null", timeout=0.1),
]


@pytest.mark.parametrize("read", ASYNC_READERS)
def test_so_has_an_async_one(slow: str, read: Callable[[AsyncContent], Awaitable[object]]) -> None:
    async def go() -> None:
        async with AsyncClient(base_url=slow) as client:
            content = await client.files.content("f")
            with pytest.raises(APITimeoutError, match="in time"):
                await read(content)

    asyncio.run(go())


def test_what_comes_in_time_is_read(service: Service, client: Client, tmp_path: Path) -> None:
    assert client.files.content("f").read(timeout=60) == CONTENT
    assert b"".join(client.files.content("f").iter_bytes(100, timeout=60)) == CONTENT
    client.files.content("f").write_to_file(tmp_path / "out", timeout=60)
    assert (tmp_path / "out").read_bytes() == CONTENT
    assert service.connections == 1
