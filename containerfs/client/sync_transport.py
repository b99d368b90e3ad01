"""The transport of the synchronous client."""

import time
import weakref
from typing import Self

import httpx

from containerfs.api.models import Item, ListPage
from containerfs.client.body import FormBody
from containerfs.client.calls import Call
from containerfs.client.content import Content, ContentInfo
from containerfs.client.coroutines import run
from containerfs.client.early_answers import notice_early_answers
from containerfs.client.network import LIMITS, build_request, keep_no_cookies, proxy_blamed, route, tls
from containerfs.client.options import ClientOptions
from containerfs.client.pages import SyncCursorPage
from containerfs.client.reuse import choose_connections
from containerfs.client.transport import Transport
from containerfs.client.types import T


class SyncTransport(Transport[httpx.Client]):
    """Sends calls on the thread that makes them. None of its coroutines suspends."""

    @classmethod
    def connect(cls, options: ClientOptions, http: httpx.Client | None) -> Self:
        """Prepare to send; the first request connects."""
        if http is not None:
            return cls(options, http)
        verify = tls(options.base_url, options.uds, options.ca_file)
        wire = httpx.HTTPTransport(uds=options.uds, limits=LIMITS, verify=verify) if options.uds else None
        with proxy_blamed(options.proxy):
            own = httpx.Client(transport=wire, limits=LIMITS, verify=verify, trust_env=False, **route(options.proxy))
        notice_early_answers(own)
        choose_connections(own)
        keep_no_cookies(own)
        transport = cls(options, own, build_request)
        weakref.finalize(transport, own.close)
        return transport

    def fetch(self, call: Call[T]) -> T:
        """Send a call, and return the parsed answer."""
        return run(self._fetch(call))

    def list(self, call: Call[ListPage[Item]]) -> SyncCursorPage[Item]:
        """Send a call for a page."""
        return self.page(call, run(self.perform(call)))

    def stream(self, call: Call[ContentInfo]) -> Content:
        """Send a call for content, and return before the content is read."""
        return self.content(run(self.perform(call, stream=True)))

    def page(self, call: Call[ListPage[Item]], response: httpx.Response) -> SyncCursorPage[Item]:
        """Make the page from an answer."""
        return SyncCursorPage(self.parsed(call, response), call, self._fetch)

    def content(self, response: httpx.Response) -> Content:
        """Make the content from an answer."""
        return Content(response, self._abandon, self._options.proxy)

    def close(self) -> None:
        self._http.close()

    def is_closed(self) -> bool:
        return self._http.is_closed

    async def _send(self, request: httpx.Request) -> httpx.Response:
        return self._http.send(request, stream=True, follow_redirects=False)

    async def _read(self, response: httpx.Response) -> bytes:
        return response.read()

    async def _close(self, response: httpx.Response) -> None:
        response.close()

    async def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - this colour blocks

    def _stream(self, form: FormBody) -> FormBody:
        return form
