"""``with_raw_response`` and ``with_streaming_response``: what the SDK's have, in both colours, read when it is due."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from containerfs import (
    APIConnectionError,
    APIResponse,
    APIResponseValidationError,
    AsyncAPIResponse,
    AsyncClient,
    Client,
    Container,
    ContentConsumedError,
    NotFoundError,
    RawResponse,
)
from tests.client.service import CONTENT, Reply, Service

HEADERS = {"x-request-id": "req_1", "x-extra": "e"}


def async_client(service: Service, use: Callable[[AsyncClient], Awaitable[object]]) -> None:
    async def run() -> None:
        async with AsyncClient(base_url=service.url, max_retries=2) as client:
            await use(client)

    asyncio.run(run())


def check_head(response: RawResponse[Any] | APIResponse[Any] | AsyncAPIResponse[Any], service: Service) -> None:
    assert (response.status_code, response.headers["X-Extra"], response.request_id) == (200, "e", "req_1")
    assert (str(response.url), response.method) == (f"{service.url}/containers/c", "GET")
    assert (response.http_version, response.retries_taken) == ("HTTP/1.1", 1)
    assert response.http_request.headers["accept"] == "application/json"


def retried(service: Service) -> None:
    """Have the next request succeed at the second attempt."""
    service.replies(Reply({}, 500), Reply({"id": "c", "name": "n", "extra": "ü"}, headers=HEADERS))


def test_raw(service: Service, client: Client, no_waiting: list[float]) -> None:
    retried(service)
    response = client.containers.with_raw_response.retrieve("c")
    check_head(response, service)
    assert response.is_closed
    assert response.elapsed.total_seconds() >= 0
    assert response.json() == {"id": "c", "name": "n", "extra": "ü"}
    assert response.content.decode() == response.text
    container = response.parse()
    assert isinstance(container, Container)
    assert container.name == "n"
    assert response.parse() is container
    assert repr(response) == "<RawResponse [200 OK]>"


def test_raw_in_async(service: Service, no_waiting: list[float]) -> None:
    async def use(client: AsyncClient) -> None:
        retried(service)
        response = await client.containers.with_raw_response.retrieve("c")
        check_head(response, service)
        assert response.parse().name == "n"
        page = (await client.containers.with_raw_response.list()).parse()
        assert [container.id async for container in page]
        content = await client.files.with_raw_response.content("f")
        assert content.content == CONTENT
        assert await content.parse().read() == CONTENT

    async_client(service, use)


def test_streaming(service: Service, client: Client, no_waiting: list[float]) -> None:
    retried(service)
    with client.containers.with_streaming_response.retrieve("c") as response:
        check_head(response, service)
        assert not response.is_closed
        assert response.parse().name == "n"
        assert response.json()["name"] == "n"
        assert '"n"' in response.text()
    assert response.is_closed
    assert len(service.requests) == 2


def test_streaming_in_async(service: Service, no_waiting: list[float]) -> None:
    async def use(client: AsyncClient) -> None:
        retried(service)
        async with client.containers.with_streaming_response.retrieve("c") as response:
            check_head(response, service)
            assert not response.is_closed
            assert (await response.parse()).name == "n"
            assert (await response.json())["name"] == "n"
            assert '"n"' in await response.text()
        assert response.is_closed
        async with client.containers.with_streaming_response.list() as listed:
            assert (await listed.parse()).data
        async with client.files.with_streaming_response.content("f") as content:
            assert await (await content.parse()).read() == CONTENT

    async_client(service, use)


def test_nothing_is_sent_before_the_block_begins(service: Service, client: Client) -> None:
    request = client.containers.with_streaming_response.retrieve("c")
    assert service.requests == []
    with request:
        assert len(service.requests) == 1


def test_contents_are_streamed_in_pieces(service: Service, client: Client, tmp_path: Path) -> None:
    text = "one\r\ntwö\nthree" * 10_000
    service.respond = lambda _: Reply(text.encode(), headers={"content-type": "text/plain; charset=utf-8"})
    stream = client.containers.files.content.with_streaming_response.retrieve
    with stream("f", container_id="c") as response:
        assert b"".join(response.iter_bytes(1000)) == text.encode()
        with pytest.raises(ContentConsumedError):
            response.read()
    with stream("f", container_id="c") as response:
        assert "".join(response.iter_text()) == text
    with stream("f", container_id="c") as response:
        assert list(response.iter_lines()) == text.splitlines()
    with stream("f", container_id="c") as response:
        response.stream_to_file(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == text.encode()
    assert client.files.content("f").text == text
    assert list(client.files.content("f").iter_lines()) == text.splitlines()


def test_contents_are_streamed_in_pieces_in_async(service: Service, tmp_path: Path) -> None:
    text = "one\r\ntwö\nthree" * 10_000
    service.respond = lambda _: Reply(text.encode(), headers={"content-type": "text/plain; charset=utf-8"})

    async def use(client: AsyncClient) -> None:
        stream = client.containers.files.content.with_streaming_response.retrieve
        async with stream("f", container_id="c") as response:
            assert b"".join([piece async for piece in response.iter_bytes(1000)]) == text.encode()
        async with stream("f", container_id="c") as response:
            assert "".join([piece async for piece in response.iter_text()]) == text
        async with stream("f", container_id="c") as response:
            assert [line async for line in response.iter_lines()] == text.splitlines()
        async with stream("f", container_id="c") as response:
            await response.stream_to_file(tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == text.encode()

    async_client(service, use)


def test_what_cannot_be_parsed_can_be_read(service: Service, client: Client) -> None:
    service.respond = lambda _: Reply(b"<html>")
    response = client.containers.with_raw_response.retrieve("c")
    assert response.content == b"<html>"
    with pytest.raises(APIResponseValidationError, match="GET /containers/c"):
        response.parse()
    with client.containers.with_streaming_response.retrieve("c") as streamed, pytest.raises(APIResponseValidationError):
        streamed.parse()


def test_errors_are_raised_as_ever(service: Service, client: Client) -> None:
    service.respond = lambda _: Reply({"error": {"message": "no"}}, 404)
    with pytest.raises(NotFoundError):
        client.containers.with_raw_response.retrieve("c")
    with pytest.raises(NotFoundError):
        client.containers.with_streaming_response.retrieve("c").__enter__()
    service.respond = lambda _: Reply(CONTENT, sent=3)
    with client.files.with_streaming_response.content("f") as response, pytest.raises(APIConnectionError):
        response.read()


def test_bodies_are_decompressed(service: Service, client: Client) -> None:
    service.respond = lambda _: Reply(gzip.compress(b'{"id": "c"}'), headers={"content-encoding": "gzip"})
    assert client.containers.with_raw_response.retrieve("c").json() == {"id": "c"}
    with client.containers.with_streaming_response.retrieve("c") as response:
        assert response.read() == b'{"id": "c"}'


@pytest.mark.parametrize("view", ["with_raw_response", "with_streaming_response"])
def test_every_method_has_them_wherever_the_sdk_has(client: Client, view: str) -> None:
    sdk = openai.OpenAI(api_key="-")
    paths = [
        *(f"containers.{name}" for name in ("create", "retrieve", "list", "delete")),
        *(f"containers.files.{name}" for name in ("create", "retrieve", "list", "delete")),
        "containers.files.content.retrieve",
        *(f"files.{name}" for name in ("create", "retrieve", "list", "delete", "content")),
    ]
    for path in paths:
        parts = path.split(".")
        for place in range(len(parts)):
            theirs, ours = sdk, client
            for part in (*parts[:place], view, *parts[place:]):
                theirs, ours = getattr(theirs, part), getattr(ours, part)
            assert callable(theirs)
            assert callable(ours)
    sdk.close()


def test_answers_have_no_answers(client: Client) -> None:
    for view in (client.containers.with_raw_response, client.with_streaming_response.files):
        assert not hasattr(view, "with_raw_response")
        assert not hasattr(view, "with_streaming_response")


RAW_OF_THE_SDK = ("status_code", "headers", "request_id", "url", "method", "http_version", "elapsed", "is_closed")


@pytest.mark.parametrize("name", [*RAW_OF_THE_SDK, "content", "text", "parse", "http_request", "http_response"])
def test_a_raw_answer_has_what_the_sdks_has(service: Service, client: Client, name: str) -> None:
    with openai.OpenAI(base_url=service.url, api_key="-") as sdk:
        theirs, ours = (each.containers.with_raw_response.retrieve("c") for each in (sdk, client))
    assert hasattr(theirs, name)
    assert hasattr(ours, name)
