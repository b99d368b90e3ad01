"""Sends calls; written once for both clients.

A transport knows how to send one request, read one answer, and wait. ``sync_transport`` and ``async_transport`` supply
these, and what is built on them here serves both (see ``coroutines``). ``exchange`` decides on retries.
"""

import json
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from queue import Empty, SimpleQueue
from random import random
from typing import Any, Generic, Self, TypeVar
from urllib.parse import urlencode

import httpx

from containerfs.api.dialect import AUTH_HEADERS
from containerfs.api.errors import APIConnectionError, APIResponseValidationError, from_response
from containerfs.client.answers import Answer
from containerfs.client.body import FormBody
from containerfs.client.calls import Call
from containerfs.client.decoding import decode
from containerfs.client.exchange import Policy, Send, Steps, Wait, exchange
from containerfs.client.failures import translated
from containerfs.client.options import ClientOptions, merged
from containerfs.client.parameters import flattened
from containerfs.client.responses import RETRIES
from containerfs.client.types import NOT_GIVEN, NotGiven, T

H = TypeVar("H", httpx.Client, httpx.AsyncClient)

MAX_REDIRECTS = 20


class Pause:
    """A time in which a service wants no requests: until ``ends_at``, a monotonic time.

    Threads may overwrite each other's value: delays that are requested at the same time are about the same.
    """

    ends_at = 0.0


class Transport(ABC, Generic[H]):
    """Sends calls to one service.

    Args:
        options: the service, and how patiently to talk to it.
        http: sends the requests.
        build: builds the requests; the method of ``http`` if its settings may matter.
    """

    def __init__(self, options: ClientOptions, http: H, build: Callable[..., httpx.Request] | None = None) -> None:
        self._http: H = http
        self._build = build or http.build_request
        self.use(options)
        # Contents that were dropped unread. The next request closes them, because garbage collection, which finds them,
        # may run anywhere, and closing takes the connection pool's lock.
        self._abandoned: SimpleQueue[httpx.Response] = SimpleQueue()
        self._pause = Pause()
        self._origin: object = None  # keeps the connections open

    def use(self, options: ClientOptions) -> None:
        """Use other settings from the next call on."""
        self._options = options
        self._policy = Policy(options.max_retries, time.time, random, options.retry_for)

    def with_options(self, options: ClientOptions) -> Self:
        """Return a transport with other settings over the same connections. Both wait together if the service asks for
        a pause."""
        other = type(self)(options, self._http, self._build)
        other._abandoned, other._pause, other._origin = self._abandoned, self._pause, self
        return other

    @abstractmethod
    async def _send(self, request: httpx.Request) -> httpx.Response:
        """Send one request, and read the head of its answer."""

    @abstractmethod
    async def _read(self, response: httpx.Response) -> bytes:
        """Read an answer to its end, which returns its connection."""

    @abstractmethod
    async def _close(self, response: httpx.Response) -> None:
        """Return the connection of an answer."""

    @abstractmethod
    async def _sleep(self, seconds: float) -> None:
        """Wait."""

    @abstractmethod
    def _stream(self, form: FormBody) -> Any:
        """Return a form as httpx accepts it."""

    async def _fetch(self, call: Call[T]) -> T:
        """Send a call, read the answer, and return the result."""
        return self.parsed(call, await self.perform(call))

    def parsed(self, call: Call[T], response: httpx.Response) -> T:
        """Return the result in an answer that has been read. Raises APIResponseValidationError."""
        try:
            return call.parse(Answer(response.status_code, response.headers, response.content))
        except APIResponseValidationError as error:
            raise APIResponseValidationError(f"{call.method} {call.path}: {error.message}") from error.__cause__

    async def perform(self, call: Call[Any], *, stream: bool = False) -> httpx.Response:
        """Send a call until its outcome is final.

        Args:
            call: what to send.
            stream: whether to leave the content of a success unread.

        Raises:
            APIStatusError: if the final answer is an error.
            APIConnectionError: if there is finally no answer.
        """
        await self._close_abandoned()
        request = self._request(call)
        steps: Steps[httpx.Response] = exchange(self._policy, lambda: call.body is None or call.body.replayable)
        outcome = await self._walk(steps, request, stream=stream)
        if isinstance(outcome, APIConnectionError):
            raise outcome
        if not outcome.is_success:
            raise from_response(outcome.status_code, dict(outcome.headers), self._error_body(outcome))
        return outcome

    async def _walk(
        self, steps: Steps[httpx.Response], request: httpx.Request, *, stream: bool
    ) -> httpx.Response | APIConnectionError:
        """Do what an exchange decides."""
        step = next(steps)
        outcome: httpx.Response | APIConnectionError
        try:
            while True:
                match step:
                    case Send(retries):
                        await self._hold()
                        outcome = await self._attempt(request, stream=stream)
                        if isinstance(outcome, httpx.Response):
                            outcome.extensions[RETRIES] = retries
                    case Wait(seconds, for_all):
                        if for_all:
                            self._pause.ends_at = max(self._pause.ends_at, time.monotonic() + seconds)
                        await self._sleep(seconds)
                step = steps.send(outcome)
        except StopIteration as end:
            stands: httpx.Response | APIConnectionError = end.value
            return stands

    async def _hold(self) -> None:
        """Wait while the service wants no requests."""
        seconds = self._pause.ends_at - time.monotonic()
        if seconds > 0:
            await self._sleep(seconds)

    async def _attempt(self, request: httpx.Request, *, stream: bool) -> httpx.Response | APIConnectionError:
        """Send a request once, following redirects. With ``stream``, the content of a success is left unread."""
        try:
            with translated(self._options.proxy):
                response = await self._send_through_redirects(request)
                await self._decode(response)
                if not (stream and response.is_success):
                    await self._read(response)
                return response
        except APIConnectionError as error:
            return error

    async def _decode(self, response: httpx.Response) -> None:
        try:
            decode(response)
        except httpx.DecodingError:
            await self._close(response)
            raise

    async def _send_through_redirects(self, request: httpx.Request) -> httpx.Response:
        # httpx says where to go, but would send an ``api-key`` header to any host that a redirect names.
        for _ in range(MAX_REDIRECTS):
            response = await self._send(request)
            if response.next_request is None:
                return response
            await self._read(response)
            origin, request = request.url, response.next_request
            if (request.url.scheme, request.url.netloc) != (origin.scheme, origin.netloc):
                request.headers.pop(AUTH_HEADERS["api-key"][0], None)
        raise httpx.TooManyRedirects("redirected too often", request=request)

    def _abandon(self, response: httpx.Response) -> None:
        """Take an answer whose content was dropped unread. Contents hold this method, and so their transport."""
        self._abandoned.put(response)

    async def _close_abandoned(self) -> None:
        while not self._abandoned.empty():
            try:
                await self._close(self._abandoned.get_nowait())
            except Empty:  # another thread was faster
                return

    def _request(self, call: Call[Any]) -> httpx.Request:
        body = call.body
        timeout = call.options.get("timeout", NOT_GIVEN)
        return self._build(
            call.method,
            self._url(call),
            headers=self._headers(call),
            content=self._stream(body) if isinstance(body, FormBody) else body.encoded if body else None,
            timeout=self._options.timeout if isinstance(timeout, NotGiven) else timeout,
        )

    def _url(self, call: Call[Any]) -> str:
        """Return the whole URL. The caller's parameters take precedence over the method's, and these over the
        client's."""
        extra = call.options.get("extra_query") or {}
        if not (self._options.query or call.query or extra):
            return self._options.base_url + call.path
        query = flattened({**self._options.query, **call.query, **extra})
        return f"{self._options.base_url}{call.path}?{urlencode(list(query))}"

    def _headers(self, call: Call[Any]) -> dict[str, str]:
        headers: dict[str, str] = {}
        if call.body is not None:
            headers["content-type"] = call.body.content_type
            if call.body.length is not None:
                headers["content-length"] = str(call.body.length)
        extra = call.options.get("extra_headers") or {}
        if call.method == "POST" and not any(name.lower() == "idempotency-key" for name in extra):
            # One key for all attempts, so that the service can tell a retry from a second request.
            headers["idempotency-key"] = f"containerfs-{uuid.uuid4()}"
        return merged(self._options.headers, call.headers, headers, extra)

    def _error_body(self, response: httpx.Response) -> object:
        """Return the body of an error: decoded if it is JSON, or as text, or None."""
        text = response.text
        if self._options.secret:
            # Some services quote the key that they refuse.
            text = text.replace(self._options.secret, "[API key]")
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text or None
