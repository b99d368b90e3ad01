"""An answer that comes twice on a kept connection is not taken for the answer to the next request."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator

import pytest

from containerfs import AsyncClient, Client


class Doubling:
    """A service, or a proxy before it, that sends every answer twice, at once, and keeps the connection."""

    def __init__(self) -> None:
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._opened: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._opened:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._opened.append(connection)
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as received:
            try:
                while line := received.readline():
                    while received.readline().strip():
                        pass
                    name = line.split()[1].rpartition(b"/")[2].decode()
                    body = json.dumps({"id": name, "name": name}).encode()
                    kind, length = b"Content-Type: application/json\r\n", b"Content-Length: %d\r\n" % len(body)
                    connection.sendall((b"HTTP/1.1 200 OK\r\n" + kind + length + b"\r\n" + body) * 2)
            except OSError:
                return


@pytest.fixture
def service() -> Iterator[Doubling]:
    service = Doubling()
    yield service
    service.close()


def test_each_request_gets_its_own_answer(service: Doubling) -> None:
    with Client(base_url=service.url, api_key="-") as client:
        assert [client.containers.retrieve(name).id for name in "abc"] == ["a", "b", "c"]
    assert service.connections == 3


async def _ids(service: Doubling) -> list[str]:
    async with AsyncClient(base_url=service.url, api_key="-") as client:
        return [(await client.containers.retrieve(name)).id for name in "abc"]


def test_each_asynchronous_request_gets_its_own_answer(service: Doubling) -> None:
    assert asyncio.run(_ids(service)) == ["a", "b", "c"]
    assert service.connections == 3
