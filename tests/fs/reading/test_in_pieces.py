"""A large file that is fetched in pieces, several at a time."""

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from containerfs.fs import types
from containerfs.fs.reading import downloads, pieces, readahead
from containerfs.fs.reading.cache import ContentCache
from containerfs.fs.reading.fetch import Fetcher, Reader
from containerfs.fs.reading.readahead import MiB
from containerfs.fs.tasks import Workers
from containerfs.fs.types import RemoteFile
from tests.fs.memory import MemoryRemote

PIECE = 2 * MiB
CONTENT = b"".join(bytes([n % 251]) * 1000 for n in range(16 * MiB // 1000)) + b"end"
READ = 128 * 1024


@pytest.fixture(autouse=True)
def everything_is_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every service is, and every file is large, so that little has to be moved."""
    monkeypatch.setattr(readahead, "_FAR", 0.0)
    monkeypatch.setattr(downloads, "LARGE", 8 * MiB)
    monkeypatch.setattr(pieces, "LARGE", 8 * MiB)
    monkeypatch.setattr(pieces, "PIECE", PIECE)
    monkeypatch.setattr(pieces, "_BEGINNING", 1 * MiB)


@pytest.fixture
def reader(remote: MemoryRemote, container: str, tmp_path: Path) -> Iterator[Reader]:
    cache = ContentCache(tmp_path / "content", 1 << 30, "memory")
    file = RemoteFile(remote.put(container, "file", CONTENT), container, "file", len(CONTENT), 0)
    reader = Fetcher(remote, cache, Workers()).open(file)
    yield reader
    reader.close()
    for thread in threading.enumerate():
        if thread.name == "download":
            thread.join(30)
            assert not thread.is_alive()
    cache.close()


def read(reader: Reader, start: int = 0) -> bytes:
    """All from an offset on, as cp reads it."""
    found = bytearray()
    while data := reader.read(start + len(found), READ):
        found += data
    return bytes(found)


def asked(remote: MemoryRemote) -> list[tuple[int, int]]:
    """The ranges that were asked for."""
    ranges = (each.rpartition("@")[2].split("-") for each in remote.asked("content"))
    return sorted((int(start), int(stop)) for start, stop in ranges)


def position(subject: str) -> int:
    """Where a request or a chunk begins."""
    return int(subject.rpartition("@")[2].split("-")[0])


def test_several_are_under_way_at_a_time_and_each_byte_is_fetched_once(reader: Reader, remote: MemoryRemote) -> None:
    together, pieces_are_asked_for = threading.Barrier(pieces.AT_ONCE - 1), threading.Event()
    places = iter(range(together.parties))

    def wait(operation: str, subject: str) -> None:
        if operation == "content" and position(subject) and next(places, None) is not None:
            together.wait(30)
            pieces_are_asked_for.set()
        elif operation == "chunk" and position(subject) > 2 * MiB:  # so that the reader waits for the one stream
            assert pieces_are_asked_for.wait(30)

    remote.before = wait
    assert read(reader) == CONTENT
    (first, *later) = asked(remote)
    assert first == (0, len(CONTENT))
    assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(later))
    assert later[-1][1] == len(CONTENT)
    assert max(stop - start for start, stop in later) == PIECE


def test_a_piece_that_breaks_off_is_resumed(reader: Reader, remote: MemoryRemote) -> None:
    broken: set[str] = set()

    def breaks(operation: str, subject: str) -> None:
        if operation == "chunk" and position(subject) > 4 * MiB and subject not in broken and len(broken) < 5:
            broken.add(subject)
            raise types.Unreachable("the connection broke")

    remote.before = breaks
    assert read(reader) == CONTENT
    assert len(broken) == 5


def test_a_piece_that_cannot_be_had_is_an_error_where_it_is_read(reader: Reader, remote: MemoryRemote) -> None:
    has_failed = threading.Event()

    def fails(operation: str, subject: str) -> None:
        if operation == "content" and position(subject) > 4 * MiB:
            has_failed.set()
            raise types.Failed("no")
        if operation == "chunk" and position(subject) > 2 * MiB:  # so that the reader waits for the one stream
            assert has_failed.wait(30)

    remote.before = fails
    with pytest.raises(types.Failed, match="no"):
        read(reader)
    remote.before = lambda operation, subject: None
    assert read(reader) == CONTENT


def test_where_ranges_are_ignored_there_are_none(reader: Reader, remote: MemoryRemote) -> None:
    remote.ranges = False
    assert read(reader) == CONTENT
    assert len(remote.asked("content")) == 1
