"""Downloads: streaming, single pass, cut bodies, and giving connections back."""

import asyncio
import gc
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import containerfs
from containerfs import AsyncClient, Client, Content, HttpxBinaryResponseContent
from tests.client.service import CONTENT, Reply, Service


def content_of(client: Client, **options: Any) -> Content:
    return client.containers.files.content.retrieve("f", container_id="c", **options)


def test_reading_whole_keeps_the_content(client: Client) -> None:
    content = content_of(client)
    assert isinstance(content, HttpxBinaryResponseContent)
    assert (content.status_code, content.content_length) == (200, len(CONTENT))
    assert content.headers["Content-Type"] == "application/octet-stream"
    assert content.read() == content.read() == content.content == CONTENT
    assert b"".join(content.iter_bytes()) == CONTENT
    assert [len(chunk) for chunk in content.iter_bytes(chunk_size=1000)] == [1000, 24]


@pytest.mark.parametrize("chunk_size", [None, 1, 100, 1024, 5000])
def test_streaming_is_once(client: Client, chunk_size: int | None) -> None:
    content = content_of(client)
    chunks = list(content.iter_bytes(chunk_size))
    assert b"".join(chunks) == CONTENT
    if chunk_size:
        assert {len(chunk) for chunk in chunks[:-1]} <= {chunk_size}
    for again in (content.read, lambda: list(content.iter_bytes())):
        with pytest.raises(containerfs.ContentConsumedError, match="already read or closed"):
            again()


def test_a_closed_content_cannot_be_read(client: Client) -> None:
    with content_of(client) as content:
        pass
    content.close()
    with pytest.raises(containerfs.ContentConsumedError):
        content.read()


def test_text_is_decoded(service: Service, client: Client) -> None:
    service.replies(Reply("gr\u00fcn".encode(), headers={"Content-Type": "text/plain; charset=utf-8"}))
    assert content_of(client).text == "gr\u00fcn"


def test_writing_to_a_file(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"longer than before" * 100)
    content_of(client).write_to_file(path)
    assert path.read_bytes() == CONTENT
    client.files.content("f").stream_to_file(str(path))
    assert path.read_bytes() == CONTENT


READERS: list[Callable[[Content], object]] = [
    Content.read,
    lambda content: list(content.iter_bytes()),
    lambda content: list(content.iter_bytes(100)),
    lambda content: content.text,
    lambda content: content.write_to_file("/dev/null"),
]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("sent", [0, 1, len(CONTENT) - 1])
def test_a_body_cut_short_is_an_error(
    service: Service, client: Client, read: Callable[[Content], object], sent: int
) -> None:
    service.replies(Reply(CONTENT, sent=sent))
    content = content_of(client)
    with pytest.raises(containerfs.APIConnectionError, match="without sending complete message body"):
        read(content)


def test_a_body_of_unknown_length_ends_with_its_connection(service: Service, client: Client) -> None:
    service.replies(Reply(CONTENT, length=False))
    content = content_of(client)
    assert content.content_length is None
    assert content.read() == CONTENT


@pytest.mark.parametrize("said", ["abc", "-1", "\u0663"])
def test_a_length_that_is_none_is_unknown(said: str) -> None:
    assert containerfs.ContentInfo(200, {"content-length": said}).content_length is None


def test_content_is_asked_for_uncompressed_and_taken_compressed(service: Service, client: Client) -> None:
    service.replies(Reply(gzip.compress(CONTENT), headers={"Content-Encoding": "gzip"}))
    content = content_of(client)
    assert service.requests[0].headers["accept-encoding"] == "identity"
    assert content.content_length is None
    assert content.read() == CONTENT


def test_what_cannot_be_decompressed_is_an_error(service: Service, client: Client) -> None:
    service.replies(Reply(b"not gzip", headers={"Content-Encoding": "gzip"}))
    with pytest.raises(containerfs.APIResponseValidationError, match="decompressed"):
        content_of(client).read()


def test_a_part_is_asked_for_with_a_range(service: Service, client: Client) -> None:
    service.replies(Reply(CONTENT[10:20], 206, {"Content-Range": f"bytes 10-19/{len(CONTENT)}"}))
    content = content_of(client, extra_headers={"Range": "bytes=10-19"})
    assert service.requests[0].headers["range"] == "bytes=10-19"
    assert (content.status_code, content.content_length, content.read()) == (206, 10, CONTENT[10:20])


def test_head_tells_the_size_without_the_content(service: Service, client: Client) -> None:
    info = client.containers.files.content.head("f", container_id="c")
    assert (info.status_code, info.content_length) == (200, len(CONTENT))
    assert service.requests[0].method == "HEAD"
    assert repr(info) == f"<ContentInfo 200, {len(CONTENT)} bytes>"


LARGE = bytes(8 << 20)
"""More than socket buffers hold, so that an answer that is not read to its end occupies its connection."""


def test_an_exhausted_content_gives_its_connection_back(service: Service, client: Client) -> None:
    for _ in range(5):
        assert sum(map(len, content_of(client).iter_bytes())) == len(CONTENT)
        client.containers.retrieve("c")
    assert service.connections == 1


def connections_in_use(client: Client) -> int:
    pool = client._transport._http._transport._pool  # type: ignore[attr-defined]
    return sum(not connection.is_idle() for connection in pool.connections)


def test_a_closed_content_gives_its_connection_back(service: Service, client: Client) -> None:
    service.replies(Reply(LARGE))
    content = content_of(client)
    assert connections_in_use(client) == 1
    content.close()
    assert connections_in_use(client) == 0


def test_a_forgotten_content_gives_its_connection_back(service: Service, client: Client) -> None:
    service.replies(Reply(LARGE), Reply(LARGE))
    content = content_of(client)
    begun = content_of(client)
    next(begun.iter_bytes())
    del content, begun
    gc.collect()
    client.containers.retrieve("c")
    assert connections_in_use(client) == 0


def test_errors_in_place_of_content_leave_no_connection_in_use(service: Service, client: Client) -> None:
    service.replies(Reply({"error": {"message": "gone"}}, 404))
    with pytest.raises(containerfs.NotFoundError):
        content_of(client)
    assert connections_in_use(client) == 0


def test_async_content(service: Service, tmp_path: Path) -> None:
    async def read() -> None:
        async with AsyncClient(base_url=service.url) as client:
            retrieve = client.containers.files.content.retrieve
            async with await retrieve("f", container_id="c") as content:
                assert content.content_length == len(CONTENT)
                assert await content.read() == await content.aread() == CONTENT
            content = await client.files.content("f")
            assert [len(chunk) async for chunk in content.iter_bytes(1000)] == [1000, 24]
            with pytest.raises(containerfs.ContentConsumedError):
                await content.read()
            await (await retrieve("f", container_id="c")).write_to_file(tmp_path / "out")
            assert (tmp_path / "out").read_bytes() == CONTENT
            service.replies(Reply(CONTENT, sent=5), Reply(CONTENT, sent=5), Reply(LARGE))
            with pytest.raises(containerfs.APIConnectionError):
                await (await retrieve("f", container_id="c")).read()
            with pytest.raises(containerfs.APIConnectionError):
                async for _ in (await retrieve("f", container_id="c")).aiter_bytes():
                    pass
            await retrieve("f", container_id="c")  # forgotten
            gc.collect()
            assert (await client.containers.files.content.head("f", container_id="c")).content_length == len(CONTENT)
            pool = client._transport._http._transport._pool  # type: ignore[attr-defined]
            assert all(connection.is_idle() for connection in pool.connections)

    asyncio.run(read())
