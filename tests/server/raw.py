"""HTTP by hand, for requests that no client would send."""

import contextlib
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from tests.server.live import LiveServer


class Connection:
    """A connection to a server, and the bytes on it."""

    tail = b"\r\n--B--\r\n"

    def __init__(self, server: LiveServer, stream: socket.socket) -> None:
        self.server, self.stream = server, stream

    def send(self, data: bytes) -> None:
        self.stream.sendall(data)

    def receive(self) -> bytes:
        """All that comes until the server closes the connection."""
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while data := self.stream.recv(65536):
                received += data
        return received

    def receive_until(self, end: bytes | tuple[bytes, ...]) -> bytes:
        received = b""
        while not received.endswith(end):
            data = self.stream.recv(65536)
            assert data, received
            received += data
        return received

    def begin_upload(self, container: str, content: bytes) -> None:
        """Send an upload up to its content, of which ``tail`` must follow; it waits until the server began with it."""
        head = b'--B\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        self.send(
            f"POST /v1/containers/{container}/files HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            f"Content-Type: multipart/form-data; boundary=B\r\n"
            f"Content-Length: {len(head) + len(content) + len(self.tail)}\r\n\r\n".encode()
        )
        assert self.receive_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        self.send(head)


@contextlib.contextmanager
def connect(server: LiveServer) -> Iterator[Connection]:
    address = urlsplit(server.address)
    assert address.hostname
    assert address.port
    with socket.create_connection((address.hostname, address.port), timeout=60) as stream:
        yield Connection(server, stream)
