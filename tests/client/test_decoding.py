"""Compressed answers: decoded a piece at a time, and never taken for whole when they are not."""

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

import containerfs
from containerfs import AsyncClient, Client
from tests.client.service import CONTAINER, CONTENT, Reply, Service


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


Compress = Callable[[bytes], bytes]
ENCODINGS: dict[str, tuple[str, Compress]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZip", gzip.compress),
    "gzip in two members": ("gzip", lambda data: gzip.compress(data[:7]) + gzip.compress(data[7:])),
    "deflate": ("deflate", zlib.compress),
    "deflate without a header": ("deflate", raw_deflate),
    "both": ("deflate, gzip", lambda data: gzip.compress(zlib.compress(data))),
    "one that compresses nothing": ("identity, utf-8", bytes),
}
COMPRESSED = {name: encoding for name, encoding in ENCODINGS.items() if "nothing" not in name}

Read = Callable[[Service, int | None], list[bytes]]


def read(service: Service, chunk_size: int | None) -> list[bytes]:
    with Client(base_url=service.url, max_retries=0) as client:
        chunks = list(client.files.content("f").iter_bytes(chunk_size))
        client.files.retrieve("f")
    return chunks


def async_read(service: Service, chunk_size: int | None) -> list[bytes]:
    async def go() -> list[bytes]:
        async with AsyncClient(base_url=service.url, max_retries=0) as client:
            chunks = [chunk async for chunk in (await client.files.content("f")).iter_bytes(chunk_size)]
            await client.files.retrieve("f")
        return chunks

    return asyncio.run(go())


colours = pytest.mark.parametrize("read", [read, async_read])


def compressed(encoding: tuple[str, Compress], data: bytes, cut: int = 0) -> Reply:
    name, compress = encoding
    body = compress(data)
    return Reply(body[: len(body) - cut], headers={"Content-Encoding": name})


@colours
@pytest.mark.parametrize("chunk_size", [None, 1, 100])
@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)
def test_a_compressed_content(
    service: Service, read: Read, encoding: tuple[str, Compress], chunk_size: int | None
) -> None:
    service.replies(compressed(encoding, CONTENT))
    assert b"".join(read(service, chunk_size)) == CONTENT
    assert service.connections == 1


@colours
@pytest.mark.parametrize("cut", [1, 5, 12])
@pytest.mark.parametrize("encoding", COMPRESSED.values(), ids=COMPRESSED)
def test_a_truncated_compressed_content_is_an_error(
    service: Service, read: Read, encoding: tuple[str, Compress], cut: int
) -> None:
    service.replies(compressed(encoding, CONTENT, cut))
    with pytest.raises(containerfs.APIConnectionError, match="compressed"):
        read(service, None)


@colours
def test_an_empty_body_is_no_truncated_one(service: Service, read: Read) -> None:
    service.replies(Reply(b"", headers={"Content-Encoding": "gzip"}))
    assert read(service, None) == []


@colours
@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, br"])
def test_what_was_not_asked_for_is_not_taken_for_the_content(service: Service, read: Read, encoding: str) -> None:
    service.replies(Reply(CONTENT, headers={"Content-Encoding": encoding}))
    with pytest.raises(containerfs.APIResponseValidationError, match="decompressed"):
        read(service, None)


def test_a_truncated_answer_is_asked_for_again(service: Service, no_waiting: list[float]) -> None:
    body = gzip.compress(b'{"id": "cntr_2"}' + b" " * 1000)
    service.replies(Reply(body[:-3], headers={"Content-Encoding": "gzip"}))
    with Client(base_url=service.url) as client:
        assert client.containers.retrieve("c").id == CONTAINER["id"]
    assert len(service.requests) == 2
    assert service.requests[0].headers["accept-encoding"] == "gzip, deflate"


BOMB_SIZE = 64 << 20
BOMB = gzip.compress(gzip.compress(bytes(BOMB_SIZE)))  # less than 1 KiB


def drain(service: Service) -> int:
    with Client(base_url=service.url) as client, client.files.content("f") as content:
        return sum(len(chunk) for chunk in content.iter_bytes(1 << 20))


def async_drain(service: Service) -> int:
    async def go() -> int:
        async with AsyncClient(base_url=service.url) as client, await client.files.content("f") as content:
            return sum([len(chunk) async for chunk in content.iter_bytes(1 << 20)])

    return asyncio.run(go())


@pytest.mark.parametrize("drain", [drain, async_drain])
def test_a_bomb_is_read_in_small_pieces(service: Service, drain: Callable[[Service], int]) -> None:
    service.replies(Reply(BOMB, headers={"Content-Encoding": "gzip, gzip"}))
    tracemalloc.start()
    try:
        assert drain(service) == BOMB_SIZE
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
