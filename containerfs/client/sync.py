"""The synchronous client."""

import httpx

from containerfs.client.base import BaseClient
from containerfs.client.closing import Closing
from containerfs.client.options import ClientOptions
from containerfs.client.resources import Resources
from containerfs.client.senders import RawSender, StreamingSender
from containerfs.client.sync_transport import SyncTransport


class Client(Closing, BaseClient[SyncTransport, httpx.Client]):
    """The synchronous client. Thread-safe. Use it as a context manager, or call ``close()``."""

    def _connect(self, options: ClientOptions, http_client: httpx.Client | None) -> SyncTransport:
        return SyncTransport.connect(options, http_client)

    @property
    def with_raw_response(self) -> Resources[RawSender]:
        """The same methods, returning responses that have been read: ``RawResponse``."""
        return Resources(RawSender(self._transport))

    @property
    def with_streaming_response(self) -> Resources[StreamingSender]:
        """The same methods, returning context managers for responses that have not been read yet."""
        return Resources(StreamingSender(self._transport))

    def close(self) -> None:
        """Close the connections. The client cannot be used afterwards."""
        self._transport.close()
