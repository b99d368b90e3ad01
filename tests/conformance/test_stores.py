"""What every pair of stores owes the service: the obligations that storage/base.py states."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from containerfs.server.storage.base import (
    BlobNotFoundError,
    ContainerFileRecord,
    ContainerRecord,
    PageQuery,
    RecordedAnswer,
    Transaction,
    UnknownCursorError,
)
from containerfs.server.storage.open import Stores, open_stores
from tests.server.conftest import blobs_in

T = TypeVar("T")

OPENED: dict[str, Callable[[Path], Stores]] = {"sqlite and files": open_stores}


@pytest.fixture(params=OPENED.values(), ids=OPENED.keys())
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stores]:
    opened = request.param(tmp_path)
    yield opened
    asyncio.run(opened.metadata.close())


async def none_named(blobs: Collection[str]) -> set[str]:
    return set()


async def all_named(blobs: Collection[str]) -> set[str]:
    return set(blobs)


async def put(stores: Stores, *pieces: bytes) -> str:
    async with stores.blobs.writer() as writer:
        for piece in pieces:
            await writer.write(piece)
        assert writer.size == sum(map(len, pieces))
        return await writer.commit()


async def content(stores: Stores, blob: str) -> bytes:
    reader = await stores.blobs.open(blob)
    try:
        pieces, position = [], 0
        while piece := await reader.read(position, 1000):
            pieces.append(piece)
            position += len(piece)
        assert position == reader.size
        return b"".join(pieces)
    finally:
        await reader.close()


def test_a_blob_is_there_from_its_commit_on(stores: Stores) -> None:
    async def scenario() -> None:
        async with stores.blobs.writer() as writer:
            await writer.write(b"content")
            assert writer.name is None
            name = await writer.commit()
            assert writer.name == name
            assert await content(stores, name) == b"content"
        assert await content(stores, name) == b"content"

    asyncio.run(scenario())


@given(st.lists(st.integers(0, 700_000), max_size=8))
@settings(max_examples=15)
def test_pieces_of_any_size_come_back_as_one(stores: Stores, sizes: list[int]) -> None:
    async def scenario() -> None:
        pieces = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
        name = await put(stores, *pieces)
        reader = await stores.blobs.open(name)
        whole = b"".join(pieces)
        assert reader.size == len(whole)
        for offset in (0, len(whole) // 3, len(whole) - 1):
            if 0 <= offset < len(whole):
                piece = await reader.read(offset, 100)
                assert piece
                assert whole[offset:].startswith(piece)
        assert await reader.read(len(whole), 1) == b""
        await reader.close()
        assert await content(stores, name) == whole
        await stores.blobs.delete([name])

    asyncio.run(scenario())


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
def test_a_blob_that_is_not_committed_leaves_nothing(
    stores: Stores, tmp_path: Path, error: type[BaseException]
) -> None:
    async def scenario() -> None:
        async with stores.blobs.writer() as writer:
            await writer.write(b"x" * 3_000_000)
            raise error

    with pytest.raises(error):
        asyncio.run(scenario())
    assert blobs_in(tmp_path) == []


def test_what_is_open_outlives_its_deletion(stores: Stores) -> None:
    async def scenario() -> None:
        name = await put(stores, b"content")
        reader = await stores.blobs.open(name)
        await stores.blobs.delete([name])
        await stores.blobs.delete([name])
        with pytest.raises(BlobNotFoundError):
            await stores.blobs.open(name)
        assert await reader.read(0, 100) == b"content"
        await reader.close()

    asyncio.run(scenario())


def test_a_sweep_takes_what_no_row_names(stores: Stores) -> None:
    async def scenario() -> None:
        names = [await put(stores, b"x") for _ in range(3)]

        async def first_named(blobs: Collection[str]) -> set[str]:
            return {names[0]} & set(blobs)

        assert await stores.blobs.sweep(all_named) == 0
        assert await stores.blobs.sweep(first_named) == 2
        assert await content(stores, names[0]) == b"x"
        assert await stores.blobs.sweep(none_named) == 1

    asyncio.run(scenario())


def test_a_sweep_leaves_what_a_writer_holds(stores: Stores, tmp_path: Path) -> None:
    """Another server's sweep, between the blob's commit and its row's."""

    async def scenario() -> None:
        async with stores.blobs.writer() as unfinished, stores.blobs.writer() as finished:
            await unfinished.write(b"unfinished")
            name = await finished.commit()
            assert await open_stores(tmp_path).blobs.sweep(none_named) == 0
            await stores.blobs.open(name)
            await unfinished.commit()

    asyncio.run(scenario())


def test_a_sweep_asks_again_once_the_writer_let_go(stores: Stores) -> None:
    async def scenario() -> None:
        name = await put(stores, b"x")
        answers: list[set[str]] = [{name}, set()]  # its row is committed between the two questions

        async def named(blobs: Collection[str]) -> set[str]:
            return answers.pop()

        assert await stores.blobs.sweep(named) == 0
        assert answers == []
        assert await content(stores, name) == b"x"

    asyncio.run(scenario())


def test_a_sweep_takes_what_dead_writers_left(stores: Stores, tmp_path: Path) -> None:
    (tmp_path / "tmp" / "0123").write_bytes(b"of a process that was killed")
    assert asyncio.run(stores.blobs.sweep(all_named)) == 1
    assert list((tmp_path / "tmp").iterdir()) == []


def record(name: str) -> ContainerRecord:
    return ContainerRecord(id=name, namespace="n", name=name, created_at=1, last_active_at=1)


def insert(name: str) -> Callable[[Transaction], None]:
    return lambda tx: tx.insert_container(record(name))


def names(stores: Stores, **query: object) -> Awaitable[list[str]]:
    def work(tx: Transaction) -> list[str]:
        return [found.id for found in tx.containers("n", PageQuery(100, "asc", **query), 1, None)]  # type: ignore[arg-type]

    return stores.metadata.read(work)


def test_a_write_that_raises_has_not_happened(stores: Stores) -> None:
    async def scenario() -> None:
        def work(tx: Transaction) -> None:
            tx.insert_container(record("a"))
            raise KeyError("after all")

        with pytest.raises(KeyError):
            await stores.metadata.write(work)
        assert await names(stores) == []
        await stores.metadata.write(insert("b"))
        assert await names(stores) == ["b"]

    asyncio.run(scenario())


def test_a_read_that_raises_does_no_harm(stores: Stores) -> None:
    async def scenario() -> None:
        await stores.metadata.write(insert("a"))
        with pytest.raises(UnknownCursorError):
            await names(stores, after="nothing")
        assert await names(stores) == ["a"]

    asyncio.run(scenario())


def test_a_cancelled_write_is_settled_when_it_says_so(stores: Stores) -> None:
    async def scenario() -> None:
        began, go_on = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def work(tx: Transaction) -> None:
            loop.call_soon_threadsafe(began.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(60)
            tx.insert_container(record("a"))

        writing = asyncio.create_task(stores.metadata.write(work))
        await began.wait()
        writing.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert await names(stores) == ["a"]

    asyncio.run(scenario())


def test_items_of_one_second_keep_their_order(stores: Stores) -> None:
    async def scenario() -> None:
        for name in "cabed":
            await stores.metadata.write(insert(name))
        assert await names(stores) == list("cabed")
        assert await names(stores, after="a") == list("bed")

    asyncio.run(scenario())


def file_record(container: str, number: int, blob: str) -> ContainerFileRecord:
    return ContainerFileRecord(f"{container}{number}", container, f"/{number}", 1, 1, blob)


def fill(container: str, count: int) -> Callable[[Transaction], None]:
    """A container of files, each with a blob of its own but the last, whose blob is shared by all containers."""

    def work(tx: Transaction) -> None:
        tx.insert_container(record(container))
        for number in range(count):
            blob = f"{container}{number}" if number < count - 1 else "shared"
            tx.insert_container_file(file_record(container, number, blob))

    return work


def test_a_container_that_has_ended_goes_in_steps(stores: Stores) -> None:
    async def scenario() -> None:
        for container in "ab":
            await stores.metadata.write(fill(container, 10))
        await stores.metadata.write(lambda tx: tx.delete_container_file("a0", 2))  # leaves its place
        await stores.metadata.write(lambda tx: tx.end_container("a"))
        assert await names(stores) == ["b"]
        assert await stores.metadata.read(lambda tx: tx.expired_containers(3, 10)) == ["a"]
        steps = []
        while await stores.metadata.read(lambda tx: tx.expired_containers(3, 10)):
            steps.append(await stores.metadata.write(lambda tx: tx.remove_container("a", 3, 4)))
        assert [step.rows for step in steps] == [4, 4, 3]  # nine files, a place, the container
        assert sorted(blob for step in steps for blob in step.garbage) == [f"a{number}" for number in range(1, 9)]
        assert await names(stores, after="a") == ["b"]

    asyncio.run(scenario())


def test_activity_does_not_bring_back_what_has_ended(stores: Stores) -> None:
    async def scenario() -> None:
        await stores.metadata.write(insert("a"))
        await stores.metadata.write(lambda tx: tx.end_container("a"))
        await stores.metadata.write(lambda tx: tx.touch_container("a", 2, 1000, 0))
        assert await names(stores) == []

    asyncio.run(scenario())


def test_what_is_old_is_forgotten_in_steps(stores: Stores) -> None:
    async def scenario() -> None:
        answer = RecordedAnswer("digest", "body")
        for name in "abc":
            await stores.metadata.write(insert(name))
            await stores.metadata.write(lambda tx, name=name: tx.end_container(name))  # type: ignore[misc]
            await stores.metadata.write(lambda tx, name=name: tx.remove_container(name, 5, 10))  # type: ignore[misc]
            await stores.metadata.write(lambda tx, name=name: tx.record_answer("n", name, answer, 5))  # type: ignore[misc]
        steps = [await stores.metadata.write(lambda tx: tx.forget(6, 6, 2)) for _ in range(3)]
        assert [step.rows for step in steps] == [4, 2, 0]
        with pytest.raises(UnknownCursorError):
            await names(stores, after="a")

    asyncio.run(scenario())
