"""Against the real server: many threads or tasks on one client, names, retries by key, and what outlives a client."""

import asyncio
import gc
import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import containerfs
from containerfs import AsyncClient, Client
from tests.server.live import LiveServer, running_server

WORKERS = 32
ROUNDS = 4


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    directory = tmp_path_factory.mktemp("live")
    with running_server(directory / "store", uds=directory / "s.sock") as server:
        yield server


@pytest.fixture(scope="module")
def client(server: LiveServer) -> Iterator[Client]:
    with Client(uds=server.uds, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def container_id(client: Client) -> str:
    return client.containers.create(name="names").id


def content(worker: int, round: int) -> bytes:
    return f"{worker}/{round}".encode() * 1000


def test_threads_share_a_client(server: LiveServer) -> None:
    together = threading.Barrier(WORKERS)

    def work(worker: int) -> None:
        together.wait(60)
        for round in range(ROUNDS):
            sent = content(worker, round)
            file = client.containers.files.create(container.id, file=(f"{worker}/{round}.txt", sent))
            with client.containers.files.content.retrieve(file.id, container_id=container.id) as received:
                assert b"".join(received.iter_bytes()) == sent
            client.containers.files.retrieve(container.id, file.id)
        client.containers.files.delete(container.id, file.id)

    with Client(uds=server.uds) as client:
        container = client.containers.create(name="threads")
        with ThreadPoolExecutor(WORKERS) as threads:
            list(threads.map(work, range(WORKERS)))
        paths = sorted(file.path or "" for file in client.containers.files.list(container.id, limit=10))
    assert paths == sorted(
        f"/mnt/data/{worker}/{round}.txt" for worker in range(WORKERS) for round in range(ROUNDS - 1)
    )


def test_tasks_share_a_client(server: LiveServer) -> None:
    async def work(client: AsyncClient, container_id: str, worker: int) -> None:
        for round in range(ROUNDS):
            sent = content(worker, round)
            file = await client.containers.files.create(container_id, file=(f"{worker}.{round}", sent))
            async with await client.containers.files.content.retrieve(file.id, container_id=container_id) as received:
                assert await received.read() == sent

    async def main() -> list[str | None]:
        async with AsyncClient(uds=server.uds) as client:
            container = await client.containers.create(name="tasks")
            async with asyncio.TaskGroup() as tasks:
                for worker in range(WORKERS):
                    tasks.create_task(work(client, container.id, worker))
            return [file.path async for file in client.containers.files.list(container.id, limit=100)]

    assert len(set(asyncio.run(main()))) == WORKERS * ROUNDS


# What the server takes: any UTF-8 but NUL, no empty or dotted segments, 255 bytes each.
segments = st.text(
    st.characters(codec="utf-8", exclude_characters="\0/") | st.sampled_from("\"\\%\r\n;='* \t\x7f"), min_size=1
).filter(lambda name: name not in (".", "..") and len(name.encode()) <= 255)


@settings(max_examples=60)
@given(st.lists(segments, min_size=1, max_size=3).map("/".join))
def test_the_server_stores_every_name_exactly(client: Client, container_id: str, name: str) -> None:
    file = client.containers.files.create(container_id, file=(name, b"x"))
    assert file.path == f"/mnt/data/{name}"
    client.containers.files.delete(container_id, file.id)


@pytest.mark.parametrize(
    "name", ["n" * 255, "\u00e9" * 127, "e\u0301", "%22", 'a"b%22c\\d', "\U0001f600.txt", " a ", "-rf"]
)
def test_names_at_the_edges(client: Client, container_id: str, name: str) -> None:
    assert client.containers.files.create(container_id, file=(name, b"")).path == f"/mnt/data/{name}"


def test_the_same_key_creates_once(client: Client) -> None:
    keyed = {"Idempotency-Key": "once"}
    first, second = (client.containers.create(name="once", extra_headers=keyed) for _ in range(2))
    assert first.id == second.id
    with pytest.raises(containerfs.ConflictError):
        client.containers.create(name="other", extra_headers=keyed)


def test_a_client_that_was_never_closed_leaves_nothing_open(server: LiveServer) -> None:
    # An unclosed socket would be a warning, and so a failure.
    client = Client(uds=server.uds)
    client.containers.list()
    del client
    gc.collect()


def test_what_a_client_returned_outlives_it(server: LiveServer) -> None:
    with Client(uds=server.uds) as client:
        container = client.containers.create(name="outlived")
        for number in range(3):
            file = client.containers.files.create(container.id, file=(str(number), bytes(1 << 20)))
    listed = Client(uds=server.uds).containers.files.list(container.id, limit=1)
    content = Client(uds=server.uds).containers.files.content.retrieve(file.id, container_id=container.id)
    gc.collect()
    assert len(list(listed)) == 3
    assert len(content.read()) == 1 << 20


class Shrinking(io.BytesIO):
    """A file of which only the first piece is there when it is read."""

    def read(self, size: int | None = -1) -> bytes:
        piece = super().read(size)
        self.truncate(self.tell())
        return piece


def test_nothing_of_an_upload_that_fails_is_stored(client: Client) -> None:
    container = client.containers.create(name="failing")
    with pytest.raises(containerfs.SourceChangedError):
        client.containers.files.create(container.id, file=("a", Shrinking(bytes(3 << 20))))
    assert client.containers.files.list(container.id).data == []


def test_an_upload_that_the_server_refuses_halfway_says_why(tmp_path: Path) -> None:
    with (
        running_server(tmp_path / "store", "--max-upload-size", "1M") as strict,
        Client(base_url=strict.base_url) as client,
    ):
        container = client.containers.create(name="strict")
        with pytest.raises(containerfs.APIStatusError, match="larger than this server accepts") as raised:
            client.containers.files.create(container.id, file=("a", bytes(64 << 20)))
    assert raised.value.status_code == 413
