"""The asynchronous client."""

import httpx

from containerfs.client.async_transport import AsyncTransport
from containerfs.client.base import BaseClient
from containerfs.client.closing import AsyncClosing
from containerfs.client.options import ClientOptions
from containerfs.client.resources import Resources
from containerfs.client.senders import AsyncRawSender, AsyncStreamingSender


class AsyncClient(AsyncClosing, BaseClient[AsyncTransport, httpx.AsyncClient]):
    """The asynchronous client, for all tasks of one event loop. Use it as an async context manager, or call
    ``close()``."""

    def _connect(self, options: ClientOptions, http_client: httpx.AsyncClient | None) -> AsyncTransport:
        return AsyncTransport.connect(options, http_client)

    @property
    def with_raw_response(self) -> Resources[AsyncRawSender]:
        """The same methods, returning responses that have been read: ``RawResponse``."""
        return Resources(AsyncRawSender(self._transport))

    @property
    def with_streaming_response(self) -> Resources[AsyncStreamingSender]:
        """The same methods, returning context managers for responses that have not been read yet."""
        return Resources(AsyncStreamingSender(self._transport))

    async def close(self) -> None:
        """Close the connections. The client cannot be used afterwards."""
        await self._transport.close()
