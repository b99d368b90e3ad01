"""What every pair of stores owes the service: the obligations that their interfaces state."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from containerfs.server.storage.blob_store import BlobReader
from containerfs.server.storage.failures import BlobNotFoundError, UnknownCursorError
from containerfs.server.storage.metadata_store import LEASE_S, LINGER_S, Transaction
from containerfs.server.storage.open import Stores, sqlite_url
from containerfs.server.storage.records import (
    ContainerFileRecord,
    ContainerRecord,
    FileRecord,
    PageQuery,
    RecordedAnswer,
)
from containerfs.server.storage.small import SMALL_MAX, TieredBlobStore
from tests.server.conftest import blobs_in

T = TypeVar("T")

PAIRS = (("sqlite", "files"), ("sqlite", "objects"), ("postgresql", "files"), ("postgresql", "objects"))


@pytest.fixture(params=PAIRS, ids=" and ".join)
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Where a new pair of stores is: what ``Stores.open`` is given."""
    rows, contents = request.param
    return (
        sqlite_url(tmp_path) if rows == "sqlite" else request.getfixturevalue("postgres").new_database(),
        tmp_path.as_uri() if contents == "files" else request.getfixturevalue("object_storage").new_bucket(),
    )


@pytest.fixture
def stored(urls: tuple[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[], list[str]]:
    """The names of what is kept of contents, whole or not."""
    if urls[1].startswith("file:"):
        return lambda: [path.name for path in blobs_in(tmp_path)]
    storage = request.getfixturevalue("object_storage")
    return lambda: [*storage.objects_in(urls[1]), *storage.unfinished()]


@pytest.fixture
def stores(urls: tuple[str, str]) -> Iterator[Stores]:
    opened = Stores.open(*urls)
    yield opened
    asyncio.run(opened.close())


LARGE = bytes(SMALL_MAX) + b"1"
"""A content that is not kept with the rows."""


async def put(stores: Stores, *pieces: bytes) -> str:
    """Store a blob that no row names yet."""
    async with stores.blobs.writer() as writer:
        for piece in pieces:
            await writer.write(piece)
        assert writer.size == sum(map(len, pieces))
        name = await writer.commit()
        await asyncio.to_thread(writer.publish)
        await stores.metadata.write(writer.record)
        return name


async def upload(stores: Stores, content: bytes, id: str) -> str:
    """Store a blob together with the row of a file that names it."""
    async with stores.blobs.writer() as writer:
        await writer.write(content)
        name = await writer.commit()
        await asyncio.to_thread(writer.publish)

        def work(tx: Transaction) -> None:
            writer.record(tx)
            tx.insert_file(file_of(name, id))

        await stores.metadata.write(work)
        return name


async def opened(stores: Stores, blob: str, size: int) -> BlobReader:
    recorded = await stores.metadata.read(lambda tx: stores.blobs.recorded(tx, blob, size))
    return recorded or await stores.blobs.open(blob, size)


async def content(stores: Stores, blob: str, size: int) -> bytes:
    reader = await opened(stores, blob, size)
    try:
        pieces, position = [], 0
        while piece := await reader.read(position, 1000):
            pieces.append(piece)
            position += len(piece)
        assert position == reader.size
        return b"".join(pieces)
    finally:
        await reader.close()


def test_a_blob_is_there_once_it_is_published(stores: Stores) -> None:
    async def scenario() -> None:
        async with stores.blobs.writer() as writer:
            await writer.write(LARGE)
            assert writer.name is None
            name = await writer.commit()
            await asyncio.to_thread(writer.publish)
            assert writer.name == name
            assert await content(stores, name, len(LARGE)) == LARGE
        assert await content(stores, name, len(LARGE)) == LARGE

    asyncio.run(scenario())


@pytest.mark.parametrize("size", [0, 1, SMALL_MAX])
def test_a_small_blob_is_kept_with_the_rows(stores: Stores, stored: Callable[[], list[str]], size: int) -> None:
    async def scenario() -> None:
        small = b"x" * size
        name = await upload(stores, small, "file-1")
        assert stored() == []
        assert await content(stores, name, size) == small
        reader = await opened(stores, name, size)
        await stores.metadata.write(lambda tx: tx.insert_file(file_of(name, "file-2")))
        assert await stores.metadata.write(lambda tx: tx.delete_file("file-1", 1)) == []
        assert await content(stores, name, size) == small
        assert await stores.metadata.write(lambda tx: tx.delete_file("file-2", 1)) == []
        with pytest.raises(BlobNotFoundError):
            await (await opened(stores, name, size)).seek(0, size or 1)
        assert await reader.read(0, size) == small
        assert await due(stores, time.time() + 1e6) == [], "nothing is left to be deleted later"
        with pytest.raises(BlobNotFoundError):
            await stores.metadata.write(lambda tx: tx.insert_file(file_of(name, "file-3")))

    asyncio.run(scenario())


def test_a_small_blob_is_stored_with_the_first_row_or_not_at_all(
    stores: Stores, stored: Callable[[], list[str]]
) -> None:
    async def scenario() -> None:
        async with stores.blobs.writer() as writer:
            await writer.write(b"small")
            name = await writer.commit()
            await asyncio.to_thread(writer.publish)
            assert writer.name is None, "there is nothing to give up"

            def work(tx: Transaction) -> None:
                writer.record(tx)
                tx.insert_file(file_of(name))
                raise KeyError("after all")

            with pytest.raises(KeyError):
                await stores.metadata.write(work)
        with pytest.raises(BlobNotFoundError):
            await (await opened(stores, name, 5)).seek(0, 5)
        assert await due(stores, time.time() + 1e6) == []
        assert stored() == []

    asyncio.run(scenario())


def test_small_blobs_of_older_versions_are_found(stores: Stores) -> None:
    async def scenario() -> None:
        assert isinstance(stores.blobs, TieredBlobStore)
        async with stores.blobs._large.writer() as writer:
            await writer.write(b"small")
            name = await writer.commit()
            await asyncio.to_thread(writer.publish)
        await stores.metadata.write(lambda tx: tx.insert_file(file_of(name)))
        assert await content(stores, name, 5) == b"small"
        assert await stores.metadata.write(lambda tx: tx.delete_file("file-0", 1)) == [name]

    asyncio.run(scenario())


@given(st.lists(st.integers(0, 700_000), max_size=8))
@settings(max_examples=15)
def test_pieces_of_any_size_come_back_as_one(stores: Stores, sizes: list[int]) -> None:
    async def scenario() -> None:
        pieces = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
        name = await put(stores, *pieces)
        whole = b"".join(pieces)
        reader = await opened(stores, name, len(whole))
        assert reader.size == len(whole)
        for offset in (0, len(whole) // 3, len(whole) - 1):
            if 0 <= offset < len(whole):
                piece = await reader.read(offset, 100)
                assert piece
                assert whole[offset:].startswith(piece)
        assert await reader.read(len(whole), 1) == b""
        await reader.close()
        assert await content(stores, name, len(whole)) == whole
        await stores.blobs.delete([name])

    asyncio.run(scenario())


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
@pytest.mark.parametrize("size", [3_000_000, 75_000_000])
def test_a_blob_that_is_not_committed_leaves_nothing(
    stores: Stores, stored: Callable[[], list[str]], error: type[BaseException], size: int
) -> None:
    async def scenario() -> None:
        async with stores.blobs.writer() as writer:
            for _ in range(size // 100_000):
                await writer.write(b"x" * 100_000)
            raise error

    with pytest.raises(error):
        asyncio.run(scenario())
    assert stored() == []


def test_large_blobs_come_back(stores: Stores, stored: Callable[[], list[str]]) -> None:
    async def scenario() -> None:
        sizes = [8 << 20, (8 << 20) - 1, 37_000_001]
        names = []
        for size in sizes:
            pieces = [bytes([number % 251]) * 65_536 for number in range(size // 65_536)]
            pieces.append(b"z" * (size % 65_536))
            names.append(await put(stores, *pieces))
            reader = await opened(stores, names[-1], size)
            for start, stop in ((0, size), (size - 70_000, size), (65_536 * 9 - 1, 65_536 * 9 + 1)):
                await reader.seek(start, stop)
                read = bytearray()
                while start + len(read) < stop:
                    read += await reader.read(start + len(read), min(1_000_000, stop - start - len(read)))
                assert bytes(read) == b"".join(pieces)[start:stop]
            await reader.close()
        assert sorted(stored()) == sorted(names)

    asyncio.run(scenario())


def test_what_is_open_outlives_its_death(stores: Stores, stored: Callable[[], list[str]]) -> None:
    async def scenario() -> None:
        name = await put(stores, LARGE)
        reader = await opened(stores, name, len(LARGE))
        await stores.blobs.discard([name])
        assert await reader.read(0, 100) == LARGE[:100]
        await reader.close()
        for _ in range(2):
            assert await stores.blobs.delete([name])
        with pytest.raises(BlobNotFoundError):
            await (await opened(stores, name, len(LARGE))).seek(0, 7)
        assert stored() == []


@pytest.mark.parametrize("size", [7, SMALL_MAX + 1])
def test_a_blob_of_another_size_than_it_should_be_is_an_error(stores: Stores, size: int) -> None:
    async def scenario() -> None:
        name = await put(stores, bytes(size))
        with pytest.raises(OSError, match=f"{size} bytes instead of {size + 1}"):
            await (await opened(stores, name, size + 1)).seek(0, size + 1)

    asyncio.run(scenario())


def due(stores: Stores, now: float) -> Awaitable[list[str]]:
    return stores.metadata.write(lambda tx: sorted(tx.due_blobs(int(now), 1000)))


def test_a_blob_that_no_row_comes_to_name_is_due_when_its_lease_ends(stores: Stores) -> None:
    async def scenario() -> None:
        name, named = await put(stores, LARGE), await put(stores, LARGE + b"y")
        await stores.metadata.write(lambda tx: tx.insert_file(file_of(named)))
        assert await due(stores, time.time()) == []
        late = time.time() + LEASE_S
        found = await due(stores, late)
        assert name in found
        assert named not in found
        with pytest.raises(BlobNotFoundError):
            await stores.metadata.write(lambda tx: tx.insert_file(file_of(name)))
        assert await due(stores, late) == []  # whoever asked first is deleting them
        assert await due(stores, late + 300) == found
        await stores.blobs.delete(found)
        await stores.metadata.write(lambda tx: tx.forget_blobs(found))
        assert await due(stores, late + 1e6) == []
        assert await content(stores, named, len(LARGE) + 1) == LARGE + b"y"

    asyncio.run(scenario())


def test_a_blob_is_dead_when_the_last_row_that_named_it_is_gone(stores: Stores) -> None:
    async def scenario() -> None:
        name = await put(stores, LARGE)
        for id in ("file-1", "file-2"):
            await stores.metadata.write(lambda tx, id=id: tx.insert_file(file_of(name, id)))  # type: ignore[misc]
        assert await stores.metadata.write(lambda tx: tx.abandon_blob(name, 1)) == []
        assert await stores.metadata.write(lambda tx: tx.delete_file("file-1", 1)) == []
        assert await stores.metadata.write(lambda tx: tx.delete_file("file-2", 1)) == [name]
        with pytest.raises(BlobNotFoundError):
            await stores.metadata.write(lambda tx: tx.insert_file(file_of(name)))
        assert await due(stores, LINGER_S) == []
        assert await due(stores, LINGER_S + 1) == [name]

    asyncio.run(scenario())


def test_an_upload_that_is_given_up_is_dead(stores: Stores) -> None:
    async def scenario() -> None:
        name = await put(stores, LARGE)
        assert await stores.metadata.write(lambda tx: tx.abandon_blob(name, 1)) == [name]
        assert await stores.metadata.write(lambda tx: tx.abandon_blob(name, 1)) == []
        assert await due(stores, LINGER_S + 1) == [name]

    asyncio.run(scenario())


def test_an_upload_that_is_given_up_after_its_lease_was_forgotten_is_deleted(
    stores: Stores, stored: Callable[[], list[str]]
) -> None:
    """As after the machine was suspended between the lease and the storing of the blob."""

    async def scenario() -> None:
        name = await put(stores, LARGE)
        late = int(time.time()) + LEASE_S
        await stores.metadata.write(lambda tx: tx.due_blobs(late, 1000))
        await stores.metadata.write(lambda tx: tx.forget_blobs([name]))
        assert stored() == [name]
        assert await stores.metadata.write(lambda tx: tx.abandon_blob(name, late)) == [name]
        assert await stores.metadata.write(lambda tx: tx.abandon_blob(name, late)) == []
        assert name in await due(stores, late + LINGER_S)

    asyncio.run(scenario())


def file_of(blob: str, id: str = "file-0") -> FileRecord:
    return FileRecord(id, "n", "f", "p", 1, 1, blob)


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
        tx.lease_blobs([f"{container}{number}" for number in range(count - 1)], 100)
        for number in range(count):
            blob = f"{container}{number}" if number < count - 1 else "shared"
            tx.insert_container_file(file_record(container, number, blob), None, 1)

    return work


def test_a_container_that_has_ended_goes_in_steps(stores: Stores) -> None:
    async def scenario() -> None:
        await stores.metadata.write(lambda tx: tx.lease_blobs(["shared"], 100))
        for container in "ab":
            await stores.metadata.write(fill(container, 10))
        await stores.metadata.write(lambda tx: tx.delete_container_file("a0", 2))  # leaves its place
        await stores.metadata.write(lambda tx: tx.end_container("a"))
        assert await names(stores) == ["b"]
        assert await stores.metadata.write(lambda tx: tx.expired_containers(3, 10)) == ["a"]
        steps = []
        while await stores.metadata.write(lambda tx: tx.expired_containers(3, 10)):
            steps.append(await stores.metadata.write(lambda tx: tx.remove_container("a", 3, 4)))
        assert [step.rows for step in steps] == [4, 4, 3]  # nine files, a place, the container
        assert sorted(blob for step in steps for blob in step.garbage) == [f"a{number}" for number in range(1, 9)]
        assert await names(stores, after="a") == ["b"]

    asyncio.run(scenario())


def test_many_files_are_copied_at_once(stores: Stores) -> None:
    async def scenario() -> None:
        ids = [f"file-{number}" for number in range(150)]

        def prepare(tx: Transaction) -> None:
            tx.lease_blobs(ids, 100)
            for id in ids:
                tx.insert_file(file_of(id, id))
            tx.insert_container(record("c"))
            tx.insert_container_file(file_record("c", 0, ids[0]), None, 1)

        await stores.metadata.write(prepare)
        asked = [*ids, "c0", "nope"]
        found = await stores.metadata.read(lambda tx: tx.sources("n", asked, 1))
        assert {id: source.blob for id, source in found.items()} == {**{id: id for id in ids}, "c0": ids[0]}
        assert await stores.metadata.read(lambda tx: tx.sources("other", asked, 1)) == {}
        copies = [file_record("d", number, source.blob) for number, source in enumerate(found.values())]

        def copy(tx: Transaction) -> None:
            tx.insert_container(record("d"))
            tx.insert_container_files(copies)

        await stores.metadata.write(copy)
        page = await stores.metadata.read(lambda tx: tx.container_files("d", PageQuery(1000, "asc")))
        assert page == copies
        await stores.metadata.write(lambda tx: tx.delete_file(ids[7], 1))
        assert await stores.metadata.write(lambda tx: tx.delete_container_file("d7", 1)) == [ids[7]]
        with pytest.raises(BlobNotFoundError, match=ids[7]):
            await stores.metadata.write(lambda tx: tx.insert_container_files(copies))

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
        for name in "abc":
            await stores.metadata.write(insert(name))
            await stores.metadata.write(lambda tx, name=name: tx.end_container(name))  # type: ignore[misc]
            await stores.metadata.write(lambda tx, name=name: tx.remove_container(name, 5, 10))  # type: ignore[misc]
            await stores.metadata.write(lambda tx, name=name: tx.claim_key("n", name, "d", 4, 5))  # type: ignore[misc]
        steps = [await stores.metadata.write(lambda tx: tx.forget(6, 6, 2)) for _ in range(3)]
        assert [step.rows for step in steps] == [4, 2, 0]
        with pytest.raises(UnknownCursorError):
            await names(stores, after="a")

    asyncio.run(scenario())


def test_a_key_is_claimed_once_until_it_is_forgotten(stores: Stores) -> None:
    async def scenario() -> None:
        def once(tx: Transaction, since: int, now: int) -> RecordedAnswer | None:
            answer = tx.claim_key("n", "k", f"digest {now}", since, now)
            if answer is None:
                tx.record_answer("n", "k", f"body {now}")
            return answer

        assert await stores.metadata.write(lambda tx: once(tx, 0, 10)) is None
        assert await stores.metadata.write(lambda tx: once(tx, 10, 20)) == RecordedAnswer("digest 10", "body 10")
        assert await stores.metadata.write(lambda tx: once(tx, 11, 30)) is None
        assert await stores.metadata.write(lambda tx: once(tx, 30, 40)) == RecordedAnswer("digest 30", "body 30")

    asyncio.run(scenario())


def test_long_names_are_found(stores: Stores) -> None:
    """PostgreSQL's indexes would take less than these, where they cannot be compressed."""

    async def scenario() -> None:
        name = "".join(chr(0x4E00 + number * 7919 % 20000) for number in range(1024))
        path = "/" + name[:1000]
        await stores.metadata.write(lambda tx: tx.insert_container(replace(record("a"), name=name)))
        blob = await put(stores, b"x")
        file = replace(file_record("a", 0, blob), path=path)
        await stores.metadata.write(lambda tx: tx.insert_container_file(file, None, 1))
        found = await stores.metadata.read(lambda tx: tx.containers("n", PageQuery(1), 1, name))
        assert [container.id for container in found] == ["a"]
        assert await stores.metadata.read(lambda tx: tx.container_file_at("a", path)) == file

    asyncio.run(scenario())
