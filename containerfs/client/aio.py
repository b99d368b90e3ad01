"""The asynchronous client."""

import httpx

from containerfs.client.async_transport import AsyncTransport
from containerfs.client.base import BaseClient
from containerfs.client.closing import AsyncClosing
from containerfs.client.options import ClientOptions
from containerfs.client.resources import Resources
from containerfs.client.senders import AsyncRawSender, AsyncStreamingSender


class AsyncClient(AsyncClosing, BaseClient[AsyncTransport, httpx.AsyncClient]):
    """The asynchronous client. Task-safe, in one event loop; an async context manager, which closes it."""

    def _connect(self, options: ClientOptions, http_client: httpx.AsyncClient | None) -> AsyncTransport:
        return AsyncTransport.connect(options, http_client)

    @property
    def with_raw_response(self) -> Resources[AsyncRawSender]:
        """The same methods, which return answers that have been read: ``RawResponse``."""
        return Resources(AsyncRawSender(self._transport))

    @property
    def with_streaming_response(self) -> Resources[AsyncStreamingSender]:
        """The same methods, which return context managers of answers that are still to be read."""
        return Resources(AsyncStreamingSender(self._transport))

    async def close(self) -> None:
        """Close its connections. It cannot be used afterwards."""
        await self._transport.close()
