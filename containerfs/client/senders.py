"""Ways to send a call, beside the transports' own: what comes back is the answer rather than what it means.

A resource over one of these has the methods of any other resource, and returns what they return here.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from containerfs.api.models import Item, ListPage
from containerfs.client.async_transport import AsyncTransport
from containerfs.client.calls import Call
from containerfs.client.content import AsyncContent, Content, ContentInfo
from containerfs.client.coroutines import run
from containerfs.client.pages import AsyncCursorPage, SyncCursorPage
from containerfs.client.responses import (
    APIResponse,
    AsyncAPIResponse,
    AsyncStreamed,
    R,
    RawResponse,
    Streamed,
)
from containerfs.client.sync_transport import SyncTransport
from containerfs.client.types import T


class RawSender:
    """Returns responses that have been read."""

    def __init__(self, transport: SyncTransport) -> None:
        self._transport = transport

    def fetch(self, call: Call[T]) -> RawResponse[T]:
        return RawResponse(run(self._transport.perform(call)), partial(self._transport.parsed, call))

    def list(self, call: Call[ListPage[Item]]) -> RawResponse[SyncCursorPage[Item]]:
        return RawResponse(run(self._transport.perform(call)), partial(self._transport.page, call))

    def stream(self, call: Call[ContentInfo]) -> RawResponse[Content]:
        return RawResponse(run(self._transport.perform(call)), self._transport.content)


class AsyncRawSender:
    """Returns responses that have been read."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def fetch(self, call: Call[T]) -> RawResponse[T]:
        return RawResponse(await self._transport.perform(call), partial(self._transport.parsed, call))

    async def list(self, call: Call[ListPage[Item]]) -> RawResponse[AsyncCursorPage[Item]]:
        return RawResponse(await self._transport.perform(call), partial(self._transport.page, call))

    async def stream(self, call: Call[ContentInfo]) -> RawResponse[AsyncContent]:
        return RawResponse(await self._transport.perform(call), self._transport.content)


class StreamingSender:
    """Returns context managers for responses that have not been read yet."""

    def __init__(self, transport: SyncTransport) -> None:
        self._transport = transport

    def fetch(self, call: Call[T]) -> Streamed[T]:
        return self._request(call, lambda content: self._transport.parsed(call, content.whole()))

    def list(self, call: Call[ListPage[Item]]) -> Streamed[SyncCursorPage[Item]]:
        return self._request(call, lambda content: self._transport.page(call, content.whole()))

    def stream(self, call: Call[ContentInfo]) -> Streamed[Content]:
        return self._request(call, lambda content: content)

    def _request(self, call: Call[Any], parse: Callable[[Content], R]) -> Streamed[R]:
        def send() -> APIResponse[R]:
            response = run(self._transport.perform(call, stream=True))
            return APIResponse(response, self._transport.content(response), parse)

        return Streamed(send)


class AsyncStreamingSender:
    """Returns async context managers for responses that have not been read yet."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    def fetch(self, call: Call[T]) -> AsyncStreamed[T]:
        async def parse(content: AsyncContent) -> T:
            return self._transport.parsed(call, await content.whole())

        return self._request(call, parse)

    def list(self, call: Call[ListPage[Item]]) -> AsyncStreamed[AsyncCursorPage[Item]]:
        async def parse(content: AsyncContent) -> AsyncCursorPage[Item]:
            return self._transport.page(call, await content.whole())

        return self._request(call, parse)

    def stream(self, call: Call[ContentInfo]) -> AsyncStreamed[AsyncContent]:
        async def parse(content: AsyncContent) -> AsyncContent:
            return content

        return self._request(call, parse)

    def _request(self, call: Call[Any], parse: Callable[[AsyncContent], Awaitable[R]]) -> AsyncStreamed[R]:
        async def send() -> AsyncAPIResponse[R]:
            response = await self._transport.perform(call, stream=True)
            return AsyncAPIResponse(response, self._transport.content(response), parse)

        return AsyncStreamed(send)
