"""Connections that notice an answer while they send.

A service may refuse an upload by its head alone: because of its length (413), its key (401), or a full disk (507).
httpx reads the answer only after it has sent the whole body; if the service stops reading, it waits for the write
timeout. Here every write first checks, without waiting, whether the service has sent something. If that is a refusal,
or the end of the connection, the write fails. Then httpcore reads the answer, and closes the connection after it,
because the request on it is incomplete. An answer that is not a refusal changes nothing.

The head of a request, which httpcore writes separately, is sent together with what follows it, because each separate
piece wakes the service up.
"""

import select
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress

import httpcore
import httpx

STATUS_LINE = len(b"HTTP/1.1 200")
READ_SIZE = 256 * 1024
"""In bytes. httpcore reads 64 KiB at a time, with which a download over a fast line takes half as long again."""
_NOTHING_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""Raised by a socket that does not wait. In TLS, what arrived may not have been data but, for example, session
tickets."""


def refuses(received: bytes) -> bool:
    """Tell whether an answer that begins like this refuses the request."""
    return received[9:STATUS_LINE] >= b"300"


def notice_early_answers(http: httpx.Client) -> None:
    """Make all connections of a client notice answers while they send.

    httpx has no way to choose the network backend of its connection pools, so it is replaced within them.
    """
    for transport in (http._transport, *http._mounts.values()):
        if isinstance(transport, httpx.HTTPTransport):
            pool = transport._pool
            pool._network_backend = _Backend(pool._network_backend)


class _Backend(httpcore.NetworkBackend):
    """Opens such connections."""

    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._backend.connect_tcp(host, port, timeout, local_address, socket_options))

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._backend.connect_unix_socket(path, timeout, socket_options))


class _Stream(httpcore.NetworkStream):
    """A connection. What arrived while it was sending is read first.

    A read may return more than was requested; httpcore passes that on to h11 without counting it.
    """

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream
        self._socket: socket.socket = stream.get_extra_info("socket")
        self._received = b""
        self._held: bytes | None = b""  # the head of a request; None once it is sent

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._held:
            with suppress(httpcore.WriteError):  # as httpcore does: what is to be read tells why
                self.write(b"", timeout)
        self._held = b""
        if not self._received:
            return self._stream.read(max(max_bytes, READ_SIZE), timeout)
        data, self._received = self._received[:max_bytes], self._received[max_bytes:]
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send data. What is written first after a read is held until the next write, which httpcore may make without
        data.

        This never waits for long, because a body begins with what is already there.
        """
        if self._held == b"":
            self._held = buffer
            return
        if self._held:
            buffer, self._held = self._held + buffer, None
        if buffer:
            self._send_all(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secured = self._stream.start_tls(ssl_context, server_hostname, timeout)
        # TLS within the TLS of a proxy has no socket to check.
        return _Stream(secured) if isinstance(secured.get_extra_info("socket"), ssl.SSLSocket) else secured

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)

    def _send_all(self, buffer: bytes, timeout: float | None) -> None:
        left = memoryview(buffer)
        try:
            self._socket.setblocking(False)
            while left:
                left = left[self._send(left, timeout) :]
        except (OSError, ValueError) as error:  # ValueError: another thread has closed the socket
            raise httpcore.WriteError(str(error)) from error

    def _send(self, data: memoryview, timeout: float | None) -> int:
        """Send some of the data once the service accepts it, and return how many bytes. Raises WriteError if it
        refuses."""
        readable, writable = self._wait(timeout)
        if readable and self._is_refused():
            raise httpcore.WriteError("the service has answered already")
        try:
            return self._socket.send(data) if writable else 0
        except _NOTHING_YET:
            return 0

    def _wait(self, timeout: float | None) -> tuple[bool, bool]:
        """Wait until something can be read or sent."""
        poll = select.poll()
        interest = select.POLLOUT if len(self._received) >= STATUS_LINE else select.POLLOUT | select.POLLIN
        poll.register(self._socket, interest)
        ready = poll.poll(None if timeout is None else timeout * 1000)
        if not ready:
            raise httpcore.WriteTimeout("the service takes no more")
        events = ready[0][1]
        return bool(events & ~select.POLLOUT), bool(events & select.POLLOUT)

    def _is_refused(self) -> bool:
        """Receive what the service has sent, and tell whether it refuses the request, or has closed the connection."""
        try:
            data = self._socket.recv(READ_SIZE)
        except _NOTHING_YET:
            return False
        self._received += data
        return not data or refuses(self._received)
