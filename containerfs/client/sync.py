"""The synchronous client."""

import httpx

from containerfs.client.base import BaseClient
from containerfs.client.closing import Closing
from containerfs.client.options import ClientOptions
from containerfs.client.sync_transport import SyncTransport


class Client(Closing, BaseClient[SyncTransport, httpx.Client]):
    """The synchronous client. Thread-safe; a context manager, which closes it."""

    def _connect(self, options: ClientOptions, http_client: httpx.Client | None) -> SyncTransport:
        return SyncTransport.connect(options, http_client)

    def close(self) -> None:
        """Close its connections. It cannot be used afterwards."""
        self._transport.close()
