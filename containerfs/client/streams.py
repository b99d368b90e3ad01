"""Bodies that are filtered as they are read, in either colour."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Iterator

import httpx

Body = httpx.SyncByteStream | httpx.AsyncByteStream


class FilteredBody(httpx.SyncByteStream, httpx.AsyncByteStream, ABC):
    """A body that passes through a filter. If the filter raises an error of httpx, the connection is closed."""

    def __init__(self, body: Body) -> None:
        self._body = body

    @abstractmethod
    def _feed(self, data: bytes) -> Iterable[bytes]:
        """Return what to yield for the next bytes of the body."""

    @abstractmethod
    def _finish(self) -> None:
        """Called at the end of the body; may raise."""

    def __iter__(self) -> Iterator[bytes]:
        assert isinstance(self._body, httpx.SyncByteStream)
        try:
            for data in self._body:
                yield from self._feed(data)
            self._finish()
        except httpx.RequestError:
            self.close()
            raise

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert isinstance(self._body, httpx.AsyncByteStream)
        try:
            async for data in self._body:
                for piece in self._feed(data):
                    yield piece
            self._finish()
        except httpx.RequestError:
            await self.aclose()
            raise

    def close(self) -> None:
        assert isinstance(self._body, httpx.SyncByteStream)
        self._body.close()

    async def aclose(self) -> None:
        assert isinstance(self._body, httpx.AsyncByteStream)
        await self._body.aclose()
