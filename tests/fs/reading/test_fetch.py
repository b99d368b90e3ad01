"""Downloads: started by the first reader, shared by all, and right whatever the service does meanwhile."""

import errno
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from containerfs.fs import types
from containerfs.fs.reading import downloads
from containerfs.fs.reading.cache import ContentCache
from containerfs.fs.reading.entry import CacheEntry
from containerfs.fs.reading.fetch import Fetcher
from containerfs.fs.reading.readahead import PROBE, MiB
from containerfs.fs.tasks import Workers
from containerfs.fs.types import RemoteFile
from tests.fs.gates import Gate, eventually
from tests.fs.memory import MemoryRemote

SMALL = bytes(range(250)) * 400  # 100,000 bytes: fetched by its reader
LARGE = bytes(range(256)) * 4096 * 12  # 12 MiB: fetched by a thread


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ContentCache]:
    cache = ContentCache(tmp_path / "content", 1 << 30, "memory")
    yield cache
    cache.close()


@pytest.fixture
def fetcher(remote: MemoryRemote, cache: ContentCache) -> Fetcher:
    return Fetcher(remote, cache, Workers())


@pytest.fixture(autouse=True)
def all_downloads_end() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name == "download":
            thread.join(30)
            assert not thread.is_alive()


class Opened:
    """A file of the service, open to be read."""

    def __init__(self, fetcher: Fetcher, file: RemoteFile) -> None:
        self.file = file
        self.reader = fetcher.open(file)

    def read(self, start: int, stop: int) -> bytes:
        return self.reader.read(start, stop - start)

    def close(self) -> None:
        self.reader.close()


@pytest.fixture
def put(remote: MemoryRemote, container: str, fetcher: Fetcher) -> Iterator["Put"]:
    put = Put(remote, container, fetcher)
    yield put
    for opened in put.opened:
        opened.close()


class Put:
    """Makes files on the service and opens them."""

    def __init__(self, remote: MemoryRemote, container: str, fetcher: Fetcher) -> None:
        self._remote, self._container, self._fetcher = remote, container, fetcher
        self.opened: list[Opened] = []

    def __call__(self, content: bytes, size: int | None = -1) -> Opened:
        file_id = self._remote.put(self._container, "file", content)
        known = len(content) if size == -1 else size
        opened = Opened(self._fetcher, RemoteFile(file_id, self._container, "file", known, 0))
        self.opened.append(opened)
        return opened


@pytest.mark.parametrize("content", [b"", b"x", SMALL, LARGE])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("lengths", [True, False])
@pytest.mark.parametrize("ranges", [True, False])
def test_content_arrives_whole(
    put: Put, remote: MemoryRemote, content: bytes, known: bool, lengths: bool, ranges: bool
) -> None:
    remote.lengths, remote.ranges = lengths, ranges
    opened = put(content, len(content) if known else None)
    assert opened.read(0, len(content) + 10) == content
    assert opened.reader.ensure_all() == len(content)
    assert len(remote.asked("content")) == (0 if known and not content else 1)


def test_what_is_there_is_not_asked_for_again(put: Put, remote: MemoryRemote) -> None:
    opened = put(SMALL)
    for _ in range(3):
        assert opened.read(100, 200) == SMALL[100:200]
    assert len(remote.asked("content")) == 1


def test_readers_share_one_download(put: Put, remote: MemoryRemote) -> None:
    opened = put(LARGE)
    starts = range(0, len(LARGE), 1 << 20)
    with ThreadPoolExecutor(12) as readers:
        pieces = list(readers.map(lambda start: opened.read(start, start + (1 << 20)), starts))
    assert b"".join(pieces) == LARGE
    assert len(remote.asked("content")) < len(starts)  # how many depends on the order in which the readers come


def test_readers_of_a_small_file_wait_for_the_one_who_fetches_it(put: Put, remote: MemoryRemote) -> None:
    began, go_on = threading.Event(), threading.Event()

    def wait(operation: str, _: str) -> None:
        if operation == "content":
            began.set()
            assert go_on.wait(30)

    remote.before = wait
    opened = put(SMALL)
    with ThreadPoolExecutor(2) as readers:
        first = readers.submit(opened.read, 0, len(SMALL))
        assert began.wait(30)
        second = readers.submit(opened.read, 500, 600)
        go_on.set()
        assert first.result(30) == SMALL
        assert second.result(30) == SMALL[500:600]
    assert len(remote.asked("content")) == 1


def test_a_far_seek_asks_for_what_is_there(put: Put, remote: MemoryRemote) -> None:
    opened = put(LARGE)
    assert opened.read(len(LARGE) - 100, len(LARGE)) == LARGE[-100:]
    assert opened.read(0, 100) == LARGE[:100]
    assert [asked.rpartition("@")[2] for asked in remote.asked("content")] == [
        f"{len(LARGE) - 100}-{len(LARGE)}",
        "0",
    ]


@pytest.mark.parametrize("known", [True, False])
def test_reads_here_and_there_ask_for_little_and_take_all_that_comes(
    put: Put, remote: MemoryRemote, known: bool
) -> None:
    """So that the connection can be used again."""
    opened = put(LARGE, len(LARGE) if known else None)
    offsets = [7 * MiB, 3 * MiB, 9 * MiB, 1 * MiB, 5 * MiB + 1, 11 * MiB]
    for offset in offsets:
        assert opened.read(offset, offset + 4096) == LARGE[offset : offset + 4096]
    asked = [each.rpartition("@")[2] for each in remote.asked("content")]
    assert asked == [f"{offset}-{offset + PROBE}" for offset in offsets]
    eventually(lambda: all(opened.reader._entry.has(offset, offset + PROBE) for offset in offsets))
    assert not opened.reader._shared.downloads
    assert opened.reader._entry.size == len(LARGE)


def test_who_reads_on_where_a_probe_ends_gets_one_stream(put: Put, remote: MemoryRemote) -> None:
    opened = put(LARGE)
    pieces = [opened.read(start, start + PROBE) for start in range(6 * MiB, len(LARGE), PROBE)]
    assert b"".join(pieces) == LARGE[6 * MiB :]
    asked = [each.rpartition("@")[2] for each in remote.asked("content")]
    assert asked == [f"{6 * MiB}-{6 * MiB + PROBE}", str(6 * MiB + PROBE)]


def test_a_read_that_goes_beyond_a_probe_gets_the_rest(put: Put, remote: MemoryRemote) -> None:
    opened = put(LARGE)
    offset = 6 * MiB
    assert opened.read(offset, offset + 4096) == LARGE[offset : offset + 4096]
    start, stop = offset + PROBE - 100, offset + PROBE + 100
    assert opened.read(start, stop) == LARGE[start:stop]


def test_a_probe_that_is_cut_short_is_resumed(put: Put, remote: MemoryRemote) -> None:
    cut = threading.Semaphore(1)

    def before(operation: str, subject: str) -> None:
        if operation == "chunk" and not subject.endswith(f"@{6 * MiB}") and cut.acquire(blocking=False):
            raise types.Unreachable("cut")

    remote.before = before
    remote.chunk = 1000
    opened = put(LARGE)
    assert opened.read(6 * MiB, 6 * MiB + PROBE) == LARGE[6 * MiB : 6 * MiB + PROBE]
    assert len(remote.asked("content")) == 2


def test_a_service_without_ranges_answers_a_read_somewhere_with_all(put: Put, remote: MemoryRemote) -> None:
    remote.ranges = False
    opened = put(LARGE)
    for offset in (6 * MiB, 2 * MiB, 11 * MiB):
        assert opened.read(offset, offset + 4096) == LARGE[offset : offset + 4096]
    assert len(remote.asked("content")) == 1


def test_readers_here_and_there_do_not_wait_for_each_other(put: Put, remote: MemoryRemote) -> None:
    """More of them than there may be streams."""
    opened = put(LARGE)
    gate = Gate("chunk")
    remote.before = gate
    offsets = [number * MiB for number in range(1, 12)]
    with ThreadPoolExecutor(len(offsets)) as readers:
        pieces = [readers.submit(opened.read, offset, offset + 100) for offset in offsets]
        gate.wait(len(offsets))
        gate.open()
        assert [piece.result(30) for piece in pieces] == [LARGE[offset : offset + 100] for offset in offsets]
    assert len(remote.asked("content")) == len(offsets)


def test_without_ranges_a_far_seek_waits_on_one_stream(put: Put, remote: MemoryRemote) -> None:
    remote.ranges = False
    opened = put(LARGE)
    assert opened.read(len(LARGE) - 100, len(LARGE)) == LARGE[-100:]
    assert opened.read(0, 100) == LARGE[:100]
    assert opened.read(5 << 20, (5 << 20) + 100) == LARGE[5 << 20 : (5 << 20) + 100]
    assert len(remote.asked("content")) == 1


def test_what_is_present_in_between_is_not_fetched_twice(put: Put, remote: MemoryRemote) -> None:
    opened = put(LARGE)
    opened.read(6 << 20, len(LARGE))
    opened.read(0, 6 << 20)
    asked = len(remote.asked("content"))
    assert opened.read(0, len(LARGE)) == LARGE
    assert len(remote.asked("content")) == asked


def test_the_head_of_a_large_file_fetches_little(put: Put, remote: MemoryRemote) -> None:
    chunks: list[str] = []
    remote.before = lambda operation, subject: chunks.append(subject) if operation == "chunk" else None
    opened = put(LARGE)
    assert opened.read(0, 4096) == LARGE[:4096]
    opened.close()
    put.opened.remove(opened)
    for thread in threading.enumerate():
        if thread.name == "download":
            thread.join(30)
    assert len(chunks) * remote.chunk <= 2 * MiB


def test_reading_in_sequence_takes_one_request(put: Put, remote: MemoryRemote) -> None:
    opened = put(LARGE)
    content = b"".join(opened.read(start, start + 131072) for start in range(0, len(LARGE), 131072))
    assert content == LARGE
    assert len(remote.asked("content")) == 1


def test_an_idle_stream_gives_its_connection_back_and_the_next_read_goes_on(
    put: Put, remote: MemoryRemote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "_IDLE", 0.0)
    opened = put(LARGE)
    assert opened.read(0, 100) == LARGE[:100]
    for thread in threading.enumerate():
        if thread.name == "download":
            thread.join(30)
    assert opened.read(0, len(LARGE)) == LARGE


def broken_at(*offsets: int, kind: type[types.FsError] = types.Unreachable) -> "Break":
    return Break(list(offsets), kind)


class Break:
    """Breaks the content off when it comes to these offsets, once each."""

    def __init__(self, offsets: list[int], kind: type[types.FsError]) -> None:
        self.offsets, self._kind = offsets, kind

    def __call__(self, operation: str, subject: str) -> None:
        offset = int(subject.rpartition("@")[2] or 0) if "@" in subject else -1
        if operation == "chunk" and offset in self.offsets:
            self.offsets.remove(offset)
            raise self._kind(f"broke off at {offset}")


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_content_that_is_cut_short_is_resumed(put: Put, remote: MemoryRemote, ranges: bool, content: bytes) -> None:
    remote.ranges = ranges
    remote.before = broken_at(65536)
    opened = put(content)
    assert opened.read(0, len(content)) == content
    asked = [asked.rpartition("@")[2] for asked in remote.asked("content")]
    assert asked == ["0", "65536"]


def test_a_service_that_breaks_off_at_one_place_is_given_up(put: Put, remote: MemoryRemote) -> None:
    remote.before = broken_at(65536, 65536, 65536, 65536, 65536)
    opened = put(SMALL)
    with pytest.raises(types.Unreachable, match="65536"):
        opened.read(0, len(SMALL))
    assert opened.read(0, 65536) == SMALL[:65536]
    assert len(remote.asked("content")) == 3


def test_a_reader_who_waits_on_a_download_learns_why_it_ended(put: Put, remote: MemoryRemote) -> None:
    remote.before = broken_at(*[8 * MiB] * 10)
    opened = put(LARGE)
    with pytest.raises(types.Unreachable), ThreadPoolExecutor(1) as reader:
        reader.submit(opened.read, 0, len(LARGE)).result(30)


def test_a_service_that_ends_early_without_a_word_is_an_error(put: Put, remote: MemoryRemote) -> None:
    remote.lengths = False
    opened = put(SMALL, len(SMALL) + 1)
    with pytest.raises(types.Unreachable, match="broke off after 100000 of 100001"):
        opened.read(0, len(SMALL) + 1)


def test_more_than_was_announced_is_an_error(put: Put, remote: MemoryRemote) -> None:
    remote.lengths = False
    opened = put(SMALL, len(SMALL) - 1)
    with pytest.raises(types.Failed, match="more than the 99999 bytes"):
        opened.read(0, len(SMALL))


def test_a_size_that_contradicts_the_listing_is_an_error(put: Put) -> None:
    opened = put(SMALL, 5)
    with pytest.raises(types.Failed, match="5 bytes in the listing, but 100000"):
        opened.read(0, 5)


def test_what_the_service_has_dropped_is_not_found(put: Put, remote: MemoryRemote) -> None:
    opened = put(SMALL)
    remote.take_away(opened.file.id)
    with pytest.raises(types.NotFound):
        opened.read(0, 10)


def test_an_error_that_nobody_foresaw_is_one_of_ours(put: Put, remote: MemoryRemote) -> None:
    def surprise(operation: str, _: str) -> None:
        if operation == "content":
            raise RuntimeError("surprise")

    remote.before = surprise
    with pytest.raises(types.Failed, match="surprise"):
        put(SMALL).read(0, 10)


def test_a_download_for_which_there_is_no_thread_is_an_error_and_is_tried_again(
    put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    opened = put(LARGE)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(2):
            with pytest.raises(types.Failed, match="can't start new thread"):
                opened.read(0, 10)
    assert opened.read(0, 10) == LARGE[:10]


def test_a_disk_too_full_to_open_a_file_evicts_what_nobody_reads(
    put: Put, cache: ContentCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = put(SMALL)
    other.read(0, len(SMALL))
    other.close()
    put.opened.remove(other)
    opening = CacheEntry.__init__

    def full(entry: CacheEntry, file: RemoteFile, path: Path) -> None:
        if cache._evictable:
            raise OSError(errno.ENOSPC, "No space left on device")
        opening(entry, file, path)

    monkeypatch.setattr(CacheEntry, "__init__", full)
    assert put(SMALL).read(0, len(SMALL)) == SMALL
    assert cache.usage()["entries"] == 0


def test_a_file_of_an_id_that_was_replaced_is_read_anew_while_others_read_on(
    put: Put, remote: MemoryRemote, fetcher: Fetcher, cache: ContentCache, tmp_path: Path
) -> None:
    old = put(SMALL)
    assert old.read(0, 100) == SMALL[:100]
    staged = tmp_path / "staged"
    staged.write_bytes(b"new")
    file = RemoteFile(old.file.id, old.file.container_id, "file", 3, 0)
    cache.adopt(file, staged)
    new = Opened(fetcher, file)
    assert new.read(0, 100) == b"new"
    new.close()
    assert old.read(0, len(SMALL)) == SMALL


def test_readers_and_downloads_let_go_of_what_they_hold(put: Put, cache: ContentCache) -> None:
    for content in (SMALL, LARGE):
        opened = put(content)
        opened.read(0, len(content))
        opened.close()
        put.opened.remove(opened)
    for thread in threading.enumerate():
        if thread.name == "download":
            thread.join(30)
    assert cache.usage().items() >= {"bytes": len(SMALL) + len(LARGE), "entries": 2, "pinned": 0}.items()


def test_random_readers_do_not_pile_up_streams(put: Put, remote: MemoryRemote) -> None:
    content = LARGE * 5
    opened = put(content)
    for start in range(0, len(content), 8 << 20):
        assert opened.read(start, start + 100) == content[start : start + 100]
    shared = opened.reader._shared
    with shared.changed:
        assert len([download for download in shared.downloads if not download.ahead.abandoned]) <= 4


def test_a_full_disk_evicts_what_nobody_reads(put: Put, cache: ContentCache, monkeypatch: pytest.MonkeyPatch) -> None:
    other = put(SMALL)
    other.read(0, len(SMALL))
    other.close()
    put.opened.remove(other)
    write = CacheEntry.write

    def full(entry: CacheEntry, offset: int, data: bytes) -> None:
        if cache.usage()["entries"]:
            raise types.NoSpace("full")
        write(entry, offset, data)

    monkeypatch.setattr(CacheEntry, "write", full)
    assert put(SMALL).read(0, len(SMALL)) == SMALL
    assert cache.usage()["entries"] == 0


@pytest.fixture(params=["no room for content", "no room for a name"])
def full_disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk on which nothing can be evicted, and for which nothing is left."""

    def full(*_: object) -> None:
        raise types.NoSpace("full")

    if request.param == "no room for content":
        monkeypatch.setattr(CacheEntry, "write", full)
    else:
        monkeypatch.setattr(ContentCache, "pin", full)


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("content", [SMALL, LARGE, b""])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("ranges", [True, False])
def test_without_room_on_the_disk_content_passes_by_the_cache(
    put: Put, remote: MemoryRemote, content: bytes, known: bool, ranges: bool
) -> None:
    remote.ranges = ranges
    opened = put(content, len(content) if known else None)
    pieces = [opened.read(start, start + 131072) for start in range(0, len(content) + 1, 131072)]
    assert b"".join(pieces) == content
    assert opened.read(len(content) // 2, len(content)) == content[len(content) // 2 :]
    assert opened.read(0, 100) == content[:100]


@pytest.mark.usefixtures("full_disk")
def test_what_passes_by_the_cache_takes_one_stream_in_whatever_order_it_is_asked_for(
    put: Put, remote: MemoryRemote
) -> None:
    opened = put(LARGE)
    opened.read(0, 10)  # finds out that there is no room
    asked = len(remote.asked("content"))
    half = 1 << 19
    for start in range(0, len(LARGE), 2 * half):
        for at in (start + half, start):
            assert opened.read(at, at + half) == LARGE[at : at + half]
    assert len(remote.asked("content")) == asked


@pytest.mark.usefixtures("full_disk")
def test_what_passes_by_the_cache_is_resumed_where_it_breaks_off(put: Put, remote: MemoryRemote) -> None:
    opened = put(LARGE)
    assert opened.read(0, 10) == LARGE[:10]
    remote.before = broken_at(2 << 20, 3 << 20)
    assert opened.read(0, 4 << 20) == LARGE[: 4 << 20]


@pytest.mark.usefixtures("full_disk")
def test_all_of_a_file_needs_room(put: Put) -> None:
    with pytest.raises(types.NoSpace):
        put(SMALL).reader.ensure_all()


def test_all_of_a_file_and_its_size(put: Put, remote: MemoryRemote) -> None:
    remote.lengths = False
    assert put(LARGE, None).reader.ensure_all() == len(LARGE)
    assert put(b"", None).reader.ensure_all() == 0


@pytest.mark.parametrize("at", [0, 5 * MiB + 3, len(LARGE) - 1])
@pytest.mark.parametrize("ranges", [True, False])
def test_what_was_damaged_on_the_disk_is_fetched_again(
    put: Put, remote: MemoryRemote, fetcher: Fetcher, at: int, ranges: bool
) -> None:
    remote.ranges = ranges
    opened = put(LARGE)
    assert opened.read(0, len(LARGE)) == LARGE
    os.pwrite(opened.reader.fd, bytes([LARGE[at] ^ 1]), at)
    assert opened.read(0, len(LARGE)) == LARGE
    os.pwrite(opened.reader.fd, bytes([LARGE[at] ^ 1]), at)
    assert opened.reader.ensure_sound(None) == len(LARGE)
    assert os.pread(opened.reader.fd, 1, at) == LARGE[at : at + 1]
