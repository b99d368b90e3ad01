"""Answers with their status, headers and bytes, for programs that want more than the result.

The names are the SDK's, used by ``with_raw_response`` and ``with_streaming_response``. A raw response has been read, in
either colour. A streamed one is read on demand, and once, unless ``read`` has kept it.
"""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import cached_property
from typing import Any, Generic, TypeVar

import httpx

from containerfs.client.closing import AsyncClosing, Closing
from containerfs.client.content import AsyncContent, Content

R = TypeVar("R")

RETRIES = "containerfs.retries"
"""The extension of a response that holds the number of retries."""


class ResponseHead:
    """The head of an answer.

    Attributes:
        http_response: the answer as httpx's object.
    """

    def __init__(self, response: httpx.Response) -> None:
        self.http_response = response

    def __repr__(self) -> str:
        return f"<{type(self).__name__} [{self.status_code} {self.http_response.reason_phrase}]>"

    @property
    def status_code(self) -> int:
        return self.http_response.status_code

    @property
    def headers(self) -> httpx.Headers:
        return self.http_response.headers

    @property
    def request_id(self) -> str | None:
        """The service's id for this exchange, to be quoted in questions about it."""
        id: str | None = self.headers.get("x-request-id")
        return id

    @property
    def retries_taken(self) -> int:
        """How often the request was retried."""
        retries: int = self.http_response.extensions[RETRIES]
        return retries

    @property
    def http_request(self) -> httpx.Request:
        return self.http_response.request

    @property
    def url(self) -> httpx.URL:
        return self.http_response.url

    @property
    def method(self) -> str:
        return self.http_request.method

    @property
    def http_version(self) -> str:
        return self.http_response.http_version

    @property
    def elapsed(self) -> timedelta:
        """The time from the request to the end of the answer. Raises RuntimeError before that."""
        return self.http_response.elapsed

    @property
    def is_closed(self) -> bool:
        return self.http_response.is_closed


class RawResponse(ResponseHead, Generic[R]):
    """An answer that has been read."""

    def __init__(self, response: httpx.Response, parse: Callable[[httpx.Response], R]) -> None:
        super().__init__(response)
        self._parse = parse

    @property
    def content(self) -> bytes:
        return self.http_response.content

    @property
    def text(self) -> str:
        return self.http_response.text

    def json(self) -> Any:
        """Return the content as JSON. Raises ValueError if it is not JSON."""
        return self.http_response.json()

    def parse(self) -> R:
        """Return what the method returns without ``with_raw_response``. Raises APIResponseValidationError."""
        return self._parsed

    @cached_property
    def _parsed(self) -> R:
        return self._parse(self.http_response)


class APIResponse(Closing, ResponseHead, Generic[R]):
    """An answer whose body was not read yet. A context manager, which closes it."""

    def __init__(self, response: httpx.Response, content: Content, parse: Callable[[Content], R]) -> None:
        super().__init__(response)
        self._content, self._parse = content, parse
        self.read = content.read
        self.iter_bytes, self.iter_text, self.iter_lines = content.iter_bytes, content.iter_text, content.iter_lines
        self.write_to_file = self.stream_to_file = content.write_to_file

    def text(self) -> str:
        """Return the whole content, decoded by its content type, or as UTF-8."""
        return self._content.text

    def json(self) -> Any:
        """Return the whole content as JSON. Raises ValueError if it is not JSON."""
        return json.loads(self.read())

    def parse(self) -> R:
        """Return what the method returns by itself. Reads the answer to its end, unless the result is a content."""
        return self._parse(self._content)

    def close(self) -> None:
        self._content.close()


class AsyncAPIResponse(AsyncClosing, ResponseHead, Generic[R]):
    """An answer whose body was not read yet. An async context manager, which closes it."""

    def __init__(
        self, response: httpx.Response, content: AsyncContent, parse: Callable[[AsyncContent], Awaitable[R]]
    ) -> None:
        super().__init__(response)
        self._content, self._parse = content, parse
        self.read = content.read
        self.iter_bytes, self.iter_text, self.iter_lines = content.iter_bytes, content.iter_text, content.iter_lines
        self.write_to_file = self.stream_to_file = content.write_to_file

    async def text(self) -> str:
        """The whole content, decoded according to the content type, or as UTF-8."""
        await self.read()
        return self.http_response.text

    async def json(self) -> Any:
        """The whole content as JSON. Raises ValueError if it is not JSON."""
        return json.loads(await self.read())

    async def parse(self) -> R:
        """Return what the method returns by itself. Reads the answer to its end, unless the result is a content."""
        return await self._parse(self._content)

    async def close(self) -> None:
        await self._content.close()


class Streamed(Generic[R]):
    """A context manager that sends a request when it is entered, and closes the answer."""

    def __init__(self, send: Callable[[], APIResponse[R]]) -> None:
        self._send = send

    def __enter__(self) -> APIResponse[R]:
        self._response = self._send()
        return self._response

    def __exit__(self, *_: object) -> None:
        self._response.close()


class AsyncStreamed(Generic[R]):
    """An async context manager that sends a request when it is entered, and closes the answer."""

    def __init__(self, send: Callable[[], Awaitable[AsyncAPIResponse[R]]]) -> None:
        self._send = send

    async def __aenter__(self) -> AsyncAPIResponse[R]:
        self._response = await self._send()
        return self._response

    async def __aexit__(self, *_: object) -> None:
        await self._response.close()
