"""The content of a file: a stream of bytes that is read once, with one chunk in memory.

Invariants: a body that is shorter than its Content-Length is an error, never a short success. The connection is
returned when the content is read to its end or closed; if the content was forgotten, with the next request.
"""

# ruff: noqa: ASYNC109 - a time-out is an argument in both colours

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import anyio.to_thread
import httpx

from containerfs.client.closing import AsyncClosing, Closing
from containerfs.client.deadlines import limit
from containerfs.client.failures import translated
from containerfs.client.network import Proxy

Abandon = Callable[[httpx.Response], None]
"""Takes a response whose content was dropped unread."""

WRITE_SIZE = 1024 * 1024
"""Bytes that the asynchronous client writes to a file at a time, each time in a thread."""


class ContentInfo:
    """What the head of an answer says about a content.

    Attributes:
        status_code: 200, or 206 for a part.
        headers: of the answer, looked up case-insensitively.
    """

    def __init__(self, status_code: int, headers: Mapping[str, str]) -> None:
        self.status_code = status_code
        self.headers = headers

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status_code}, {self.content_length} bytes>"

    @property
    def content_length(self) -> int | None:
        """How many bytes will follow; None if the service does not say, or compresses them."""
        length = self.headers.get("content-length", "")
        if (
            not (length.isascii() and length.isdigit())
            or self.headers.get("content-encoding", "identity") != "identity"
        ):
            return None
        return int(length)


class StreamedContent(ContentInfo):
    """A content that is still being received."""

    def __init__(self, response: httpx.Response, abandon: Abandon, proxy: Proxy | None) -> None:
        super().__init__(response.status_code, response.headers)
        self._response = response
        self._abandon = abandon
        self._proxy = proxy

    def _limit(self, timeout: float | None) -> None:
        if timeout is not None:
            limit(self._response, timeout)

    def __del__(self) -> None:
        if not self._response.is_closed:
            self._abandon(self._response)


class Content(Closing, StreamedContent):
    """The content of a file. Read it once, whole or in chunks. A context manager, which closes it."""

    def read(self, *, timeout: float | None = None) -> bytes:
        """Return all of it. It is kept in memory, so that it may be read again.

        Args:
            timeout: for all of it, in seconds, in addition to the timeout of each read; None for no limit.

        Raises:
            APIConnectionError: if the connection breaks, or ends too early.
            APITimeoutError: if it is not complete in time. Silence is noticed after at most twice the time.
            ContentConsumedError: if the content was streamed or closed before.
        """
        self._limit(timeout)
        with translated(self._proxy):
            return self._response.read()

    def iter_bytes(self, chunk_size: int | None = None, *, timeout: float | None = None) -> Iterator[bytes]:
        """Yield the bytes as they arrive, once.

        Args:
            chunk_size: the size of each chunk but the last, in bytes. If left out, chunks are yielded as they arrive,
                which is twice as fast.
            timeout: for all of it, in seconds, including the time that the caller takes; as for ``read``.

        Raises:
            APIConnectionError: if the connection breaks, or ends too early.
            APITimeoutError: if it is not complete in time.
            ContentConsumedError: if the content was streamed or closed before.
        """
        self._limit(timeout)
        with translated(self._proxy):
            yield from self._response.iter_bytes(chunk_size)

    def iter_text(self, chunk_size: int | None = None) -> Iterator[str]:
        """Yield the text as it arrives, decoded by its content type, or as UTF-8. Raises as ``iter_bytes`` does."""
        with translated(self._proxy):
            yield from self._response.iter_text(chunk_size)

    def iter_lines(self) -> Iterator[str]:
        """Yield the lines of the text as they arrive, without line ends. Raises as ``iter_bytes`` does."""
        with translated(self._proxy):
            yield from self._response.iter_lines()

    def whole(self) -> httpx.Response:
        """Read the answer to its end, and return it. Raises as ``read`` does."""
        self.read()
        return self._response

    def write_to_file(self, path: str | os.PathLike[str], *, timeout: float | None = None) -> None:
        """Write it to a file, which is replaced. After an error, the file contains what had arrived.

        Args:
            path: of the file.
            timeout: for all of it, in seconds; as for ``read``.
        """
        with open(path, "wb") as file:
            file.writelines(self.iter_bytes(timeout=timeout))

    stream_to_file = write_to_file

    @property
    def content(self) -> bytes:
        """All of it, as ``read()`` returns it."""
        return self.read()

    @property
    def text(self) -> str:
        """All of it, decoded by its content type, or as UTF-8."""
        self.read()
        return self._response.text

    def close(self) -> None:
        """Return the connection. May be called more than once."""
        self._response.close()


class AsyncContent(AsyncClosing, StreamedContent):
    """The content of a file. Read it once, whole or in chunks. An async context manager, which closes it."""

    async def read(self, *, timeout: float | None = None) -> bytes:
        """Return all of it. It is kept in memory, so that it may be read again. As ``Content.read``."""
        self._limit(timeout)
        with translated(self._proxy):
            return await self._response.aread()

    async def iter_bytes(self, chunk_size: int | None = None, *, timeout: float | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes as they arrive, once. Arguments and errors are those of ``Content.iter_bytes``."""
        self._limit(timeout)
        with translated(self._proxy):
            async for chunk in self._response.aiter_bytes(chunk_size):
                yield chunk

    async def iter_text(self, chunk_size: int | None = None) -> AsyncIterator[str]:
        """Yield the text as it arrives. As ``Content.iter_text``."""
        with translated(self._proxy):
            async for text in self._response.aiter_text(chunk_size):
                yield text

    async def iter_lines(self) -> AsyncIterator[str]:
        """Yield the lines of the text as they arrive. As ``Content.iter_lines``."""
        with translated(self._proxy):
            async for line in self._response.aiter_lines():
                yield line

    async def whole(self) -> httpx.Response:
        """Read the answer to its end, and return it. Raises as ``read`` does."""
        await self.read()
        return self._response

    async def write_to_file(self, path: str | os.PathLike[str], *, timeout: float | None = None) -> None:
        """Write it to a file, which is replaced. As ``Content.write_to_file``."""
        with await anyio.to_thread.run_sync(open, path, "wb") as file:
            async for chunk in self.iter_bytes(WRITE_SIZE, timeout=timeout):
                await anyio.to_thread.run_sync(file.write, chunk)

    async def close(self) -> None:
        """Return the connection. May be called more than once."""
        await self._response.aclose()

    # The SDK's names, for programs written for the SDK.
    aread, aiter_bytes, aiter_text, aiter_lines = read, iter_bytes, iter_text, iter_lines
    stream_to_file = astream_to_file = write_to_file
    aclose = close
