"""Descriptors: open() is told when none is left, and none leaks whatever fails."""

import errno
import logging
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from containerfs.fs import types
from containerfs.fs.namespace.nodes import FileNode
from containerfs.fs.reading.cache import ContentCache
from containerfs.fs.reading.entry import CacheEntry
from containerfs.fs.types import RemoteFile
from containerfs.fuse.errno import errno_of
from tests.fs import programs
from tests.fs.memory import MemoryRemote
from tests.fs.paths import Paths

FILE = RemoteFile("1", "box", "1", 10_000, 0)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ContentCache]:
    monkeypatch.setattr("containerfs.fs.reading.marker.sync_disk", lambda path: None)
    cache = ContentCache(tmp_path / "content", 1 << 20, "service")
    assert cache._learnt.wait(30)  # which takes descriptors
    yield cache
    cache.close()


def open_descriptors() -> set[str]:
    listing = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
    try:
        return set(os.listdir(listing)) - {str(listing)}
    finally:
        os.close(listing)


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Within, this process can open ``count`` files more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, open_descriptors())) + count + 1, hard))
    try:
        with suppress(OSError):  # EMFILE, once all are taken
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        for _ in range(count):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)


def partial(cache: ContentCache) -> CacheEntry:
    entry = cache.pin(FILE)
    entry.write(0, bytes(4000))
    with entry.lock:
        entry.add(0, 4000)
    return entry


@pytest.mark.parametrize("left", [0, 1], ids=["for the content", "for its note"])
def test_without_a_descriptor_nothing_is_opened_and_nothing_is_lost(cache: ContentCache, left: int) -> None:
    cache.unpin(partial(cache))
    before = open_descriptors()
    with descriptors_left(left), pytest.raises(types.TooManyOpenFiles):
        cache.pin(FILE)
    assert open_descriptors() == before
    entry = cache.pin(FILE)
    assert list(entry.present) == [(0, 4000)]
    cache.unpin(entry)


def test_an_entry_is_closed_and_kept_without_a_descriptor_to_spare(cache: ContentCache) -> None:
    entry = partial(cache)
    with descriptors_left(0):
        cache.unpin(entry)
    entry = cache.pin(FILE)
    assert list(entry.present) == [(0, 4000)]
    cache.unpin(entry)


def refuse(*_: object, **__: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_an_entry_for_which_there_is_no_room_leaves_nothing_open(cache: ContentCache) -> None:
    before = open_descriptors()
    entry = cache.pin_without_room(FILE)
    with pytest.raises(types.NoSpace):
        entry.write(0, b"content")
    cache.unpin(entry)
    assert open_descriptors() == before
    assert cache.usage().items() >= {"bytes": 0, "entries": 0, "pinned": 0}.items()


def test_an_entry_that_cannot_be_noted_is_closed_and_dropped(
    cache: ContentCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = open_descriptors()
    entry = partial(cache)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", refuse)
        cache.unpin(entry)
    assert open_descriptors() == before
    assert not cache.has(FILE)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_open_fails_where_no_descriptor_is_left(memory_fs: Paths, remote: MemoryRemote, container: str) -> None:
    remote.put(container, "a", b"content")
    memory_fs.getattr("/box/a")
    before = open_descriptors()
    with descriptors_left(0), pytest.raises(types.TooManyOpenFiles) as raised:
        memory_fs.open("/box/a", os.O_RDONLY)
    assert errno_of(raised.value, "open") == errno.EMFILE
    assert open_descriptors() == before
    assert programs.read(memory_fs, "/box/a") == b"content"
    assert open_descriptors() == before


def test_what_is_open_can_be_read_without_a_descriptor_to_spare(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    remote.put(container, "a", b"content")
    with programs.opened(memory_fs, "/box/a") as fh, descriptors_left(0):
        assert programs.take(memory_fs, fh) == b"content"


def test_after_an_open_that_failed_the_kernel_still_has_to_forget_an_older_content(
    memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    forgotten: list[str] = []

    def forget(node: FileNode) -> bool:
        forgotten.append(node.name)
        return True

    memory_fs.attach_kernel(forget)
    remote.replaces = "new id"
    remote.put(container, "a", b"older")
    memory_fs.getattr("/box/a")
    with programs.opened(memory_fs, "/box/a"):
        pass
    assert forgotten == []
    remote.put(container, "a", b"newer")
    with descriptors_left(0), pytest.raises(types.TooManyOpenFiles):
        memory_fs.open("/box/a", os.O_RDONLY)
    for expected in (["a"], []):
        forgotten.clear()
        with programs.opened(memory_fs, "/box/a"):
            assert forgotten == expected
