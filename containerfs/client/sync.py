"""The synchronous client."""

from types import TracebackType
from typing import Self

import httpx

from containerfs.client.base import BaseClient
from containerfs.client.options import ClientOptions
from containerfs.client.sync_transport import SyncTransport


class Client(BaseClient[SyncTransport, httpx.Client]):
    """The synchronous client. Thread-safe; a context manager, which closes it."""

    def _connect(self, options: ClientOptions, http_client: httpx.Client | None) -> SyncTransport:
        return SyncTransport.connect(options, http_client)

    def close(self) -> None:
        """Close its connections. It cannot be used afterwards."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
