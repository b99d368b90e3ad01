"""Answers with what came with them, for programs that want more than their meaning: status, headers, bytes.

The names are the SDK's, where ``with_raw_response`` and ``with_streaming_response`` lead to them. A raw answer has been
read, in either colour; a streamed one is read as it is asked for, once, unless ``read`` has kept it.
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
"""The extension of a response that has the number of retries."""


class ResponseHead:
    """What an answer's head says.

    Attributes:
        http_response: the answer as httpx has it.
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
        """What the service calls this exchange, to be named when one asks about it."""
        id: str | None = self.headers.get("x-request-id")
        return id

    @property
    def retries_taken(self) -> int:
        """How often the request was sent again."""
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
        """From the request to the end of the answer. Raises RuntimeError before that."""
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
        """Raises ValueError if the answer is no JSON."""
        return self.http_response.json()

    def parse(self) -> R:
        """What the method returns without ``with_raw_response``. Raises APIResponseValidationError."""
        return self._parsed

    @cached_property
    def _parsed(self) -> R:
        return self._parse(self.http_response)


class APIResponse(Closing, ResponseHead, Generic[R]):
    """An answer whose body is still to come. A context manager, which closes it."""

    def __init__(self, response: httpx.Response, content: Content, parse: Callable[[Content], R]) -> None:
        super().__init__(response)
        self._content, self._parse = content, parse
        self.read = content.read
        self.iter_bytes, self.iter_text, self.iter_lines = content.iter_bytes, content.iter_text, content.iter_lines
        self.write_to_file = self.stream_to_file = content.write_to_file

    def text(self) -> str:
        """The whole content, decoded according to the content type, or as UTF-8."""
        return self._content.text

    def json(self) -> Any:
        """The whole content as JSON. Raises ValueError if it is not JSON."""
        return json.loads(self.read())

    def parse(self) -> R:
        """What the method returns by itself. Reads the response to its end, unless it is a content."""
        return self._parse(self._content)

    def close(self) -> None:
        self._content.close()


class AsyncAPIResponse(AsyncClosing, ResponseHead, Generic[R]):
    """An answer whose body is still to come. An async context manager, which closes it."""

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
        """What the method returns by itself. Reads the response to its end, unless it is a content."""
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
