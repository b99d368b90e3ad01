"""The last close of a deleted file frees its blocks, which takes long for a large one: never on the event loop."""

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from containerfs.server.storage.failures import OutOfSpaceError
from containerfs.server.storage.leases import Leases
from containerfs.server.storage.local import LocalBlobStore
from containerfs.server.storage.open import Stores
from containerfs.server.storage.reserve import Reserve
from tests.server.hosted import opened

LARGE = 1 << 20  # bytes with which a blob gets a temporary file


def local(stores: Stores, directory: Path) -> LocalBlobStore:
    return LocalBlobStore(directory, Reserve(directory), Leases(stores.metadata))


async def _reader_of_a_deleted_blob(store: LocalBlobStore) -> None:
    async with store.writer() as writer:
        await writer.write(b"x")
        name = await writer.commit()
        await asyncio.to_thread(writer.publish)
    reader = await store.open(name, 1)
    await store.delete([name])
    await reader.close()


async def _writer_without_commit(store: LocalBlobStore) -> None:
    async with store.writer() as writer:
        await writer.write(bytes(LARGE))


@pytest.mark.parametrize("use", [_reader_of_a_deleted_blob, _writer_without_commit])
def test_a_deleted_file_is_closed_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: Callable[[LocalBlobStore], Coroutine[None, None, None]]
) -> None:
    closed_in: list[int] = []
    close = os.close

    def watched(fd: int) -> None:
        if not os.fstat(fd).st_nlink and str(tmp_path) in os.readlink(f"/proc/self/fd/{fd}"):
            closed_in.append(threading.get_ident())
        close(fd)

    monkeypatch.setattr(os, "close", watched)
    with opened(tmp_path) as stores:
        asyncio.run(use(local(stores, tmp_path)))
    assert closed_in
    assert threading.get_ident() not in closed_in


def test_a_sweep_takes_what_dead_writers_left_and_no_others(tmp_path: Path) -> None:
    async def scenario(store: LocalBlobStore) -> None:
        async with store.writer() as writer:
            await writer.write(bytes(LARGE))
            await writer.write(bytes(LARGE))  # the first is in its file by then
            await store.sweep_unfinished()
            assert len(list((tmp_path / "tmp").iterdir())) == 1
            await writer.commit()
            await asyncio.to_thread(writer.publish)
        assert not list((tmp_path / "tmp").iterdir())

    with opened(tmp_path) as stores:
        (tmp_path / "tmp" / "0123").write_bytes(b"of a process that was killed")
        asyncio.run(scenario(local(stores, tmp_path)))


@pytest.mark.parametrize("size", [1, 3 * LARGE])
def test_a_blob_that_cannot_be_made_durable_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    async def scenario(store: LocalBlobStore) -> None:
        async with store.writer() as writer:
            await writer.write(bytes(size))
            monkeypatch.setattr(os, "fsync", full)
            try:
                await writer.commit()
                with pytest.raises(OutOfSpaceError):
                    await asyncio.to_thread(writer.publish)
            finally:
                monkeypatch.undo()

    with opened(tmp_path) as stores:
        asyncio.run(scenario(local(stores, tmp_path)))
        assert not [path for part in ("blobs", "tmp") for path in (tmp_path / part).rglob("*") if path.is_file()]
