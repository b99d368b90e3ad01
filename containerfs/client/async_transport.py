"""The transport of the asynchronous client. It runs in every event loop that httpx supports."""

from collections.abc import AsyncIterator
from contextlib import closing
from typing import Self

import anyio
import anyio.to_thread
import httpx

from containerfs.api.models import Item, ListPage
from containerfs.client.async_early_answers import notice_early_answers
from containerfs.client.body import FormBody
from containerfs.client.calls import Call
from containerfs.client.content import AsyncContent, ContentInfo
from containerfs.client.network import LIMITS, build_request, keep_no_cookies, proxy_blamed, route, tls
from containerfs.client.options import ClientOptions
from containerfs.client.pages import AsyncCursorPage, AsyncPaginator
from containerfs.client.reuse import choose_connections
from containerfs.client.transport import Transport
from containerfs.client.types import T


class AsyncTransport(Transport[httpx.AsyncClient]):
    """Sends calls in the task that makes them; files are read in threads."""

    @classmethod
    def connect(cls, options: ClientOptions, http: httpx.AsyncClient | None) -> Self:
        """Prepare to send; the first request connects."""
        if http is not None:
            return cls(options, http)
        verify = tls(options.base_url, options.uds, options.ca_file)
        wire = httpx.AsyncHTTPTransport(uds=options.uds, limits=LIMITS, verify=verify) if options.uds else None
        with proxy_blamed(options.proxy):
            own = httpx.AsyncClient(
                transport=wire, limits=LIMITS, verify=verify, trust_env=False, **route(options.proxy)
            )
        notice_early_answers(own)
        choose_connections(own)
        keep_no_cookies(own)
        return cls(options, own, build_request)

    async def fetch(self, call: Call[T]) -> T:
        """Send a call, and return the parsed answer."""
        return await self._fetch(call)

    def list(self, call: Call[ListPage[Item]]) -> AsyncPaginator[Item]:
        """Prepare a call for a page. It is sent when the result is awaited or iterated over."""

        async def first() -> AsyncCursorPage[Item]:
            return self.page(call, await self.perform(call))

        return AsyncPaginator(first)

    async def stream(self, call: Call[ContentInfo]) -> AsyncContent:
        """Send a call for content, and return before the content is read."""
        return self.content(await self.perform(call, stream=True))

    def page(self, call: Call[ListPage[Item]], response: httpx.Response) -> AsyncCursorPage[Item]:
        """Make the page from an answer."""
        return AsyncCursorPage(self.parsed(call, response), call, self._fetch)

    def content(self, response: httpx.Response) -> AsyncContent:
        """Make the content from an answer."""
        return AsyncContent(response, self._abandon, self._options.proxy)

    async def close(self) -> None:
        await self._http.aclose()

    def is_closed(self) -> bool:
        return self._http.is_closed

    async def _send(self, request: httpx.Request) -> httpx.Response:
        return await self._http.send(request, stream=True, follow_redirects=False)

    async def _read(self, response: httpx.Response) -> bytes:
        return await response.aread()

    async def _close(self, response: httpx.Response) -> None:
        await response.aclose()

    async def _sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    def _stream(self, form: FormBody) -> "AsyncForm":
        return AsyncForm(form)


class AsyncForm:
    """A form whose file is read in a thread, so that a slow disk does not block other tasks."""

    def __init__(self, form: FormBody) -> None:
        self._form = form

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with closing(self._form.chunks()) as chunks:
            while piece := await anyio.to_thread.run_sync(next, chunks, None):
                chunk, sent = piece
                yield chunk
                self._form.report(sent)
