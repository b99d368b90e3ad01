"""The asynchronous client."""

import httpx

from containerfs.client.async_transport import AsyncTransport
from containerfs.client.base import BaseClient
from containerfs.client.closing import AsyncClosing
from containerfs.client.options import ClientOptions


class AsyncClient(AsyncClosing, BaseClient[AsyncTransport, httpx.AsyncClient]):
    """The asynchronous client. Task-safe, in one event loop; an async context manager, which closes it."""

    def _connect(self, options: ClientOptions, http_client: httpx.AsyncClient | None) -> AsyncTransport:
        return AsyncTransport.connect(options, http_client)

    async def close(self) -> None:
        """Close its connections. It cannot be used afterwards."""
        await self._transport.close()
