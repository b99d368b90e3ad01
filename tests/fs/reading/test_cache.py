"""The content cache: what it holds is the service's, whoever ends how."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from containerfs.fs import types
from containerfs.fs.reading import marker
from containerfs.fs.reading.cache import ContentCache
from containerfs.fs.reading.entry import CacheEntry
from containerfs.fs.reading.index import Index
from containerfs.fs.reading.shards import Shards
from containerfs.fs.reading.sums import BLOCK
from containerfs.fs.types import RemoteFile

CONTENT = bytes(range(250)) * 40  # 10,000 bytes


def file(name: str = "1", size: int | None = len(CONTENT)) -> RemoteFile:
    return RemoteFile(name, "box", name, size, 0)


@pytest.fixture(autouse=True)
def quick_sync(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    calls: list[None] = []
    monkeypatch.setattr("containerfs.fs.reading.marker.sync_disk", lambda path: calls.append(None))
    return calls


def opened(directory: Path, budget: int = 1 << 20) -> ContentCache:
    return ContentCache(directory, budget, "service")


def settled(cache: ContentCache) -> ContentCache:
    """The cache, once it has done what it does by and by."""
    cache._background.submit(lambda: None).result(30)
    return cache


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ContentCache]:
    cache = opened(tmp_path / "content")
    yield cache
    cache.close()


def fill(cache: ContentCache, remote: RemoteFile, *parts: tuple[int, int]) -> CacheEntry:
    entry = cache.pin(remote)
    for start, stop in parts:
        store(entry, start, stop)
    return entry


def store(entry: CacheEntry, start: int, stop: int) -> None:
    entry.write(start, CONTENT[start:stop])
    with entry.lock:
        entry.add(start, stop)


def content(entry: CacheEntry, start: int, stop: int) -> bytes:
    return os.pread(entry.fd, stop - start, start)


def held(entry: CacheEntry) -> list[tuple[int, int]]:
    return list(entry.present)


def test_what_is_present_is_read_and_survives_a_remount(tmp_path: Path) -> None:
    for parts in ([(0, 4000)], [(9000, 10_000)]):
        cache = opened(tmp_path)
        cache.unpin(fill(cache, file(), *parts))
        cache.close()
    cache = opened(tmp_path)
    entry = cache.pin(file())
    assert held(entry) == [(0, 4000), (9000, 10_000)]
    assert not entry.complete
    assert content(entry, 9000, 9100) == CONTENT[9000:9100]
    cache.unpin(entry)
    cache.close()


def test_a_complete_file_needs_no_note(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    cache.unpin(fill(cache, file(), (0, 5000)))
    cache.unpin(fill(cache, file(), (5000, 10_000)))
    assert not list(tmp_path.rglob("*.ranges"))
    entry = cache.pin(file())
    assert entry.complete
    cache.unpin(entry)
    cache.close()


def test_a_mount_that_is_killed_leaves_no_holes_behind_that_look_like_content(tmp_path: Path) -> None:
    killed = opened(tmp_path)
    fill(killed, file(), (9000, 10_000))  # the end only, as a reader of archives does
    cache = opened(tmp_path)
    entry = cache.pin(file())
    assert not entry.complete
    assert not entry.present.covers(0, 9000)
    cache.unpin(entry)
    cache.close()


@pytest.mark.parametrize("damaged", ["", "[[0, 10", "7", "null", '[["a", 1]]', "[[1]]", "[[0, 100000]]", "\udc80"])
def test_a_damaged_note_makes_nothing_present_that_is_not(tmp_path: Path, damaged: str) -> None:
    cache = opened(tmp_path)
    cache.unpin(fill(cache, file(), (0, 4000)))
    (note,) = tmp_path.rglob("*.ranges")
    note.write_bytes(damaged.encode(errors="surrogateescape"))
    entry = cache.pin(file())
    assert held(entry) in ([], [(0, 4000)])
    cache.unpin(entry)
    cache.close()


def test_readers_of_one_file_share_an_entry(cache: ContentCache) -> None:
    first, second = cache.pin(file()), cache.pin(file())
    assert first is second
    cache.unpin(first)
    store(second, 0, 10_000)
    assert cache.usage().items() >= {"bytes": 0, "entries": 0, "pinned": 1}.items()
    cache.unpin(second)
    assert cache.usage().items() >= {"bytes": 10_000, "entries": 1, "pinned": 0}.items()


def test_services_and_containers_are_apart(tmp_path: Path) -> None:
    ours, theirs = ContentCache(tmp_path, 1 << 20, "ours"), ContentCache(tmp_path, 1 << 20, "theirs")
    ours.unpin(fill(ours, file(), (0, 10_000)))
    for cache, remote in ((theirs, file()), (ours, RemoteFile("1", "another box", "1", 10_000, 0))):
        entry = cache.pin(remote)
        assert held(entry) == []
        cache.unpin(entry)
    ours.close()
    theirs.close()


def test_what_was_used_longest_ago_gives_way(tmp_path: Path) -> None:
    cache = opened(tmp_path, budget=25_000)
    for name in ("1", "2"):
        cache.unpin(fill(cache, file(name), (0, 10_000)))
    cache.unpin(cache.pin(file("1")))
    cache.unpin(fill(cache, file("3"), (0, 10_000)))
    settled(cache)
    assert [cache.has(file(name)) for name in "123"] == [True, False, True]
    cache.close()


def test_the_order_of_eviction_survives_a_remount(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    for name in ("1", "2", "3"):
        entry = fill(cache, file(name), (0, 10_000))
        cache.unpin(entry)
        os.utime(entry.path, (0, 100 - int(name)))
    cache.close()
    cache = settled(opened(tmp_path, budget=25_000))
    assert [cache.has(file(name)) for name in "123"] == [True, True, False]
    cache.close()


def test_what_is_used_while_the_cache_learns_what_it_holds_is_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = opened(tmp_path)
    for name in ("1", "2", "3", "4"):
        entry = fill(cache, file(name), (0, 10_000))
        cache.unpin(entry)
        os.utime(entry.path, (0, 100 - int(name)))
    cache.close()
    on_disk, found, go_on = Shards.all, threading.Event(), threading.Event()

    def slowly(shards: Shards) -> Iterator[tuple[float, str, int]]:
        yield from list(on_disk(shards))
        found.set()
        assert go_on.wait(30)

    monkeypatch.setattr(Shards, "all", slowly)
    cache = opened(tmp_path, budget=25_000)
    assert found.wait(30)
    pinned = cache.pin(file("2"))
    cache.unpin(cache.pin(file("4")))
    cache.drop("box", "1")
    assert cache.usage().items() >= {"bytes": 10_000, "entries": 1, "pinned": 1}.items()
    go_on.set()
    usage = settled(cache).usage()
    assert (usage["entries"], usage["pinned"]) == (2, 1)
    cache.unpin(pinned)
    settled(cache)
    assert [cache.has(file(name)) for name in "1234"] == [False, True, False, True]
    cache.close()


def test_what_one_large_file_takes_the_place_of_goes_by_and_by(tmp_path: Path) -> None:
    cache = settled(opened(tmp_path, budget=1_000_000))
    for number in range(100):
        cache.unpin(fill(cache, file(f"{number}"), (0, 10_000)))
    large, path = file("large", 505_000), tmp_path / "large"
    path.write_bytes(bytes(505_000))
    cache.adopt(large, path)
    settled(cache)
    assert [cache.has(file(f"{number}")) for number in (50, 51)] == [False, True]
    assert cache.has(large)
    assert cache.usage().items() >= {"bytes": 995_000, "entries": 50, "pinned": 0}.items()
    cache.shrink()
    assert cache.usage().items() >= {"bytes": 0, "entries": 0, "pinned": 0}.items()
    cache.close()


class SlowDisk:
    """A disk that takes its time to delete the file of one key.

    Attributes:
        deleting: set once that file is being deleted.
        go_on: set it to have that finished.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
        self._key, self._delete = key, Shards.delete
        self.deleting, self.go_on = threading.Event(), threading.Event()
        monkeypatch.setattr(Shards, "delete", lambda shards, key: self.delete(shards, key))

    def delete(self, shards: Shards, key: str) -> None:
        if key == self._key:
            self.deleting.set()
            assert self.go_on.wait(30)
        self._delete(shards, key)


def test_nobody_waits_while_the_disk_deletes_but_who_asks_for_what_goes(
    cache: ContentCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_disk = SlowDisk(monkeypatch, cache._key("box", "1"))
    for name in ("1", "2"):
        cache.unpin(fill(cache, file(name), (0, 10_000)))
    with ThreadPoolExecutor() as others:
        dropped = others.submit(cache.drop, "box", "1")
        assert slow_disk.deleting.wait(30)
        assert fill(cache, file("2")).complete
        assert cache.usage().items() >= {"entries": 0, "pinned": 1}.items()
        cache.adopt(file("3"), staged(tmp_path))
        again = others.submit(cache.pin, file("1"))
        assert not again.done()
        slow_disk.go_on.set()
        assert held(again.result(30)) == []
        dropped.result(30)
    store(again.result(), 0, 10_000)
    cache.unpin(again.result())
    assert cache.has(file("1"))


def test_many_go_in_a_few_transactions_the_oldest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = settled(opened(tmp_path))
    for number in range(300):
        cache.unpin(fill(cache, file(f"{number:03}"), (0, 100)))
    deleted: list[str] = []
    transactions: list[list[str]] = []
    monkeypatch.setattr(Shards, "delete", lambda shards, key: deleted.append(key))
    monkeypatch.setattr(Index, "forget_at_once", lambda index, keys: transactions.append(keys))
    cache.shrink()
    assert deleted == [cache._key("box", f"{number:03}") for number in range(300)]
    assert [len(keys) for keys in transactions] == [128, 128, 44]
    cache.close()


def test_pinned_content_stays_whatever_the_budget(tmp_path: Path) -> None:
    cache = opened(tmp_path, budget=15_000)
    entry = fill(cache, file("1"), (0, 10_000))
    cache.unpin(fill(cache, file("2"), (0, 10_000)))
    cache.unpin(fill(cache, file("3"), (0, 10_000)))
    cache.shrink()
    assert cache.usage().items() >= {"bytes": 0, "entries": 0, "pinned": 1}.items()
    assert entry.complete
    cache.unpin(entry)
    cache.close()


def test_what_is_larger_than_the_budget_goes_when_it_is_closed(tmp_path: Path) -> None:
    cache = opened(tmp_path, budget=5000)
    cache.unpin(fill(cache, file(), (0, 10_000)))
    assert settled(cache).usage()["bytes"] == 0
    assert not cache.has(file())
    cache.close()


def staged(tmp_path: Path, content: bytes = CONTENT) -> Path:
    path = tmp_path / "staged.data"
    path.write_bytes(content)
    return path


def test_an_uploaded_file_becomes_content_without_a_download(cache: ContentCache, tmp_path: Path) -> None:
    path = staged(tmp_path)
    cache.adopt(file(), path)
    entry = cache.pin(file())
    assert entry.complete
    assert not path.exists()
    cache.unpin(entry)


def test_an_uploaded_file_that_is_read_already_is_adopted_by_nobody(cache: ContentCache, tmp_path: Path) -> None:
    entry = fill(cache, file(), (0, 100))
    path = staged(tmp_path)
    cache.adopt(file(), path)
    assert not path.exists()
    assert held(entry) == [(0, 100)]
    cache.unpin(entry)


def test_what_is_deleted_is_dropped_at_once_or_when_its_readers_are_done(cache: ContentCache) -> None:
    cache.unpin(fill(cache, file("1"), (0, 10_000)))
    cache.drop("box", "1")
    cache.drop("box", "unknown")
    assert not cache.has(file("1"))
    entry = fill(cache, file("2"), (0, 10_000))
    cache.drop("box", "2")
    assert entry.complete
    cache.unpin(entry)
    assert not cache.has(file("2"))


def test_closing_with_readers_keeps_what_they_have(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    entry = fill(cache, file(), (0, 4000))
    cache.close()
    store(entry, 4000, 5000)  # a download that ends later
    cache.unpin(entry)
    cache = opened(tmp_path)
    entry = cache.pin(file())
    assert held(entry) == [(0, 5000)]
    cache.unpin(entry)
    cache.close()


def test_what_another_mount_evicts_is_read_to_the_end_and_leaves_nothing(tmp_path: Path) -> None:
    ours, theirs = opened(tmp_path), opened(tmp_path)
    entry = fill(ours, file(), (0, 4000))
    theirs.drop("box", "1")
    store(entry, 4000, 5000)
    assert content(entry, 0, 5000) == CONTENT[:5000]
    ours.unpin(entry)
    assert not ours.has(file())
    assert not list(tmp_path.rglob("*.ranges"))
    ours.close()
    theirs.close()


def test_a_note_that_is_written_while_another_mount_evicts_its_file_does_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = opened(tmp_path), opened(tmp_path)
    entry = fill(ours, file(), (0, 4000))
    write = Path.write_text

    def late(path: Path, text: str) -> int:
        theirs.drop("box", "1")
        return write(path, text)

    monkeypatch.setattr(Path, "write_text", late)
    ours.unpin(entry)
    assert not list(tmp_path.rglob("*.ranges"))
    ours.close()
    theirs.close()


def test_names_of_files_in_the_cache_are_hashes(cache: ContentCache, tmp_path: Path) -> None:
    for name in ("../../../../etc/passwd", "/", "\0", "é" * 300, "\udc80"):
        cache.unpin(fill(cache, file(name), (0, 100)))
    names = [path.name for path in (tmp_path / "content").rglob("*") if path.is_file() and path.suffix != ".ranges"]
    assert len([name for name in names if len(name) == 40 and int(name, 16)]) == 5


def test_a_full_disk_is_said_as_such(cache: ContentCache, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = cache.pin(file())

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.pwrite", full)
        with pytest.raises(types.NoSpace):
            entry.write(0, CONTENT)
    assert held(entry) == []
    cache.unpin(entry)


def test_after_a_power_cut_the_cache_is_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(marker, "boot_id", lambda: "first")
    cache = opened(tmp_path / "content")
    cache.unpin(fill(cache, file(), (0, 10_000)))  # and then the power goes
    monkeypatch.setattr(marker, "boot_id", lambda: "second")
    cache = opened(tmp_path / "content")
    assert not cache.has(file())
    assert "went down" in caplog.text
    cache.close()
    assert not list((tmp_path / "content").glob("in-use-*"))


def test_after_the_kill_of_a_mount_the_cache_stays(tmp_path: Path, quick_sync: list[None]) -> None:
    cache = opened(tmp_path)
    cache.unpin(fill(cache, file(), (0, 10_000)))
    boot = next(tmp_path.glob("in-use-*")).name.rsplit("-", 2)[0]
    tmp_path.joinpath(f"{boot}-4194304-1").touch()  # of a process id that no process has
    living = tmp_path / f"{boot}-{os.getpid()}-1"
    living.touch()
    cache.close()
    assert quick_sync
    assert list(tmp_path.glob("in-use-*")) == [living]
    cache = opened(tmp_path)
    assert cache.has(file())
    cache.close()


def test_the_end_of_a_mount_that_used_no_content_waits_for_no_disk(tmp_path: Path, quick_sync: list[None]) -> None:
    cache = opened(tmp_path)
    cache.close()
    assert not quick_sync
    assert not list(tmp_path.glob("in-use-*"))


def test_content_of_unknown_size_is_complete_once_it_is_known(cache: ContentCache) -> None:
    entry = fill(cache, file(size=None), (0, 100))
    assert not entry.complete
    with entry.lock:
        entry.learn_size(100)
    assert entry.complete
    cache.unpin(entry)


def test_a_note_is_what_json_says(cache: ContentCache, tmp_path: Path) -> None:
    cache.unpin(fill(cache, file(), (0, 10), (20, 30)))
    (note,) = tmp_path.rglob("*.ranges")
    noted = json.loads(note.read_text())
    assert [(start, stop) for start, stop, _ in noted] == [(0, 10), (20, 30)]


LARGE = os.urandom(5 * BLOCK + 1000)


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a bit in the first block": lambda stored: flipped(stored, 0),
    "a bit within": lambda stored: flipped(stored, 3 * BLOCK + 17),
    "a bit in the last block": lambda stored: flipped(stored, len(LARGE) - 1),
    "a bit of the checksums": lambda stored: flipped(stored, len(LARGE) + 3),
    "cut": lambda stored: stored[: 2 * BLOCK + 5],
    "cut at the end of the content": lambda stored: stored[: len(LARGE)],
    "emptied": lambda stored: b"",
    "zeros": lambda stored: bytes(len(stored)),
    "zeros within": lambda stored: stored[:BLOCK] + bytes(BLOCK) + stored[2 * BLOCK :],
}


def sound(entry: CacheEntry, content: bytes) -> bool:
    """Whether all that is read of an entry is right; what is not there, or not any more, is not read."""
    for start in range(0, len(content), 40_000):
        if entry.present.covers(start, min(start + 40_000, len(content))):
            read = entry.read(start, 40_000)
            if read is not None and read != content[start : start + 40_000]:
                return False
    return True


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_what_the_disk_has_damaged_is_not_read(cache: ContentCache, damage: Callable[[bytes], bytes]) -> None:
    remote = file(size=len(LARGE))
    entry = cache.pin(remote)
    entry.write(0, LARGE)
    with entry.lock:
        entry.add(0, len(LARGE))
    assert entry.complete
    cache.unpin(entry)
    entry.path.write_bytes(damage(entry.path.read_bytes()))
    entry = cache.pin(remote)
    assert sound(entry, LARGE)
    assert not entry.complete
    cache.unpin(entry)


@pytest.mark.parametrize("at", [0, BLOCK + 5, 2 * BLOCK + 99])
def test_damage_to_what_is_there_in_part_is_noticed(cache: ContentCache, at: int) -> None:
    remote = file(size=len(LARGE))
    entry = cache.pin(remote)
    entry.write(0, LARGE[: 2 * BLOCK + 100])
    with entry.lock:
        entry.add(0, 2 * BLOCK + 100)
    cache.unpin(entry)
    entry.path.write_bytes(flipped(entry.path.read_bytes(), at))
    entry = cache.pin(remote)
    assert sound(entry, LARGE)
    assert not entry.present.covers(at, at + 1)
    cache.unpin(entry)


def test_a_content_that_is_complete_tells_its_size(cache: ContentCache) -> None:
    cache.unpin(fill(cache, file(), (0, len(CONTENT))))
    entry = cache.pin(file(size=None))
    assert (entry.complete, entry.size) == (True, len(CONTENT))
    cache.unpin(entry)
