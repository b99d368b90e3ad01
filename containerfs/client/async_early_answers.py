"""Connections of the asynchronous client that notice an answer while they send; ``early_answers`` says why.

An event loop does not share its sockets, so the connection is read while it is written to. A cancelled read loses
nothing: what has arrived stays in the stream.
"""

# ruff: noqa: ASYNC109 - httpcore's interface has time-outs

from collections.abc import Iterable
from contextlib import suppress
from ssl import SSLContext

import anyio
import httpcore
import httpx
from anyio.lowlevel import checkpoint

from containerfs.client.early_answers import READ_SIZE, STATUS_LINE, refuses

_WATCHED_SIZE = 16 * 1024
"""Smaller writes (heads and JSON) are not watched, because they fit into the socket's buffer."""


def notice_early_answers(http: httpx.AsyncClient) -> None:
    """Make all connections of a client notice answers while they send, like those of the synchronous client."""
    for transport in (http._transport, *http._mounts.values()):
        if isinstance(transport, httpx.AsyncHTTPTransport):
            pool = transport._pool
            pool._network_backend = _Backend(pool._network_backend)


class _Backend(httpcore.AsyncNetworkBackend):
    """Opens such connections."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        self._backend = backend

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._backend.connect_tcp(host, port, timeout, local_address, socket_options))

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._backend.connect_unix_socket(path, timeout, socket_options))

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    """A connection. What arrived while it was sending is read first."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._received = b""
        self._refused = False
        self._held: bytes | None = b""  # the head of a request; None once it is sent

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._held:
            with suppress(httpcore.WriteError):  # as in httpcore: reading tells the reason
                await self.write(b"", timeout)
        self._held = b""
        if not self._received:
            return await self._stream.read(max(max_bytes, READ_SIZE), timeout)
        data, self._received = self._received[:max_bytes], self._received[max_bytes:]
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send data. What is written first after a read is held until the next write, as in the synchronous client."""
        if self._held == b"":
            self._held = buffer
            return
        if self._held:
            buffer, self._held = self._held + buffer, None
        if buffer:
            await self._send_all(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)

    async def _send_all(self, buffer: bytes, timeout: float | None) -> None:
        if len(buffer) < _WATCHED_SIZE or len(self._received) >= STATUS_LINE:
            await self._stream.write(buffer, timeout)
            return
        failure: httpcore.WriteError | httpcore.WriteTimeout | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, tasks.cancel_scope)
            try:
                await self._catch_up()  # a failed write closes the socket, and loses what was not read
                await self._stream.write(buffer, timeout)
                await self._catch_up()  # a write that does not wait gives the watch no time
            except (httpcore.WriteError, httpcore.WriteTimeout) as error:
                failure = error
            tasks.cancel_scope.cancel()
        if self._refused:
            raise httpcore.WriteError("the service has answered already")
        if failure:
            raise failure

    async def _watch(self, writing: anyio.CancelScope) -> None:
        """Receive what the service sends, and end the writing if it refuses the request or closes the connection."""
        while len(self._received) < STATUS_LINE:
            data = await self._receive()
            self._received += data
            if not data or refuses(self._received):
                self._refused = True
                writing.cancel()
                return

    async def _catch_up(self) -> None:
        """Wait until the watch has received what has arrived."""
        while len(self._received) < STATUS_LINE and self.get_extra_info("is_readable"):
            await checkpoint()

    async def _receive(self) -> bytes:
        try:
            return await self._stream.read(READ_SIZE)
        except httpcore.ReadError:
            return b""
