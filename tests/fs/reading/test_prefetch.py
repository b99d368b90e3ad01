"""What follows in a directory that is being read through is fetched before it is asked for, and nothing else is."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from containerfs.fs import types
from containerfs.fs.reading.cache import ContentCache
from containerfs.fs.reading.fetch import Fetcher
from containerfs.fs.reading.prefetch import Prefetcher, at_a_time
from containerfs.fs.tasks import Workers
from containerfs.fs.types import RemoteFile
from tests.fs import programs
from tests.fs.gates import eventually
from tests.fs.memory import MemoryRemote
from tests.fs.mounts import mounted
from tests.fs.paths import Paths
from tests.fs.reading.test_scans import Child

COUNT = 40


@pytest.fixture
def files(remote: MemoryRemote, container: str) -> dict[str, str]:
    """Path -> id, in the order of names."""
    return {f"/box/{number:03}": remote.put(container, f"{number:03}", b"%d" % number) for number in range(COUNT)}


@pytest.fixture
def scanning_fs(remote: MemoryRemote, container: str, tmp_path: Path) -> Iterator[Paths]:
    with mounted(remote, tmp_path / "scanning", metadata_expiry=60.0) as filesystem:
        yield filesystem


class Fetched:
    """Notes which contents were asked for, and waits for them."""

    def __init__(self, remote: MemoryRemote) -> None:
        self._changed = threading.Condition()
        self._ids: list[str] = []
        remote.after = self._note

    def _note(self, operation: str, subject: str) -> None:
        if operation == "content":
            with self._changed:
                self._ids.append(subject.partition("@")[0])
                self._changed.notify_all()

    def wait_for(self, file_id: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: file_id in self._ids, 30)

    def ids(self) -> list[str]:
        with self._changed:
            return list(self._ids)


def test_reading_files_in_the_order_of_their_names_fetches_the_next_ones(
    scanning_fs: Paths, remote: MemoryRemote, files: dict[str, str]
) -> None:
    fetched = Fetched(remote)
    paths = list(files)
    for path in paths[:3]:
        programs.read(scanning_fs, path)
    fetched.wait_for(files[paths[10]])
    assert files[paths[37]] not in fetched.ids(), "no further than the window"
    for number, path in enumerate(paths):
        assert programs.read(scanning_fs, path) == b"%d" % number
    assert sorted(fetched.ids()) == sorted(files.values()), "each once"


def test_reading_here_and_there_fetches_nothing_else(
    scanning_fs: Paths, remote: MemoryRemote, files: dict[str, str]
) -> None:
    fetched = Fetched(remote)
    apart = [list(files)[number] for number in (3, 9, 20, 30)]
    # Inode numbers come from ids, which differ each time: upwards, three of these might follow each other by chance.
    chosen = sorted(apart, key=lambda path: scanning_fs.getattr(path).ino, reverse=True)
    for path in chosen:
        programs.read(scanning_fs, path)
    assert fetched.ids() == [files[path] for path in chosen]


def test_what_cannot_be_fetched_ahead_is_the_readers_error_only(
    scanning_fs: Paths, remote: MemoryRemote, files: dict[str, str]
) -> None:
    paths = list(files)
    tried = threading.Event()

    def refuse(operation: str, subject: str) -> None:
        if operation == "content" and subject.startswith(files[paths[5]]):
            tried.set()
            raise types.Failed("refused")

    remote.before = refuse
    for path in paths[:3]:
        programs.read(scanning_fs, path)
    assert tried.wait(30)
    with pytest.raises(types.Failed, match="refused"):
        programs.read(scanning_fs, paths[5])
    assert programs.read(scanning_fs, paths[6]) == b"6"


def test_files_that_are_being_written_or_are_large_are_not_fetched(
    remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    fetched = Fetched(remote)
    ids = [remote.put(container, f"{number}", b"x") for number in range(8)]
    files: list[RemoteFile | None] = [RemoteFile(file_id, container, "", 1, 0) for file_id in ids]
    files[3] = None
    files[4] = RemoteFile(ids[4], container, "", 5 << 20, 0)
    files[5] = RemoteFile(ids[5], container, "", None, 0)
    siblings = {f"{number}": Child(number, file) for number, file in enumerate(files)}
    cache = ContentCache(tmp_path / "content", 1 << 20, "memory")
    prefetcher = Prefetcher(Fetcher(remote, cache, Workers()), cache)
    for number in range(3):
        prefetcher.opened(RemoteFile(ids[number], container, "", 1, 0), "directory", f"{number}", siblings)
    for number in (2, 6, 7):
        fetched.wait_for(ids[number])
    prefetcher.close()
    cache.close()
    assert sorted(fetched.ids()) == [ids[2], *ids[6:]]


def test_what_was_fetched_stays_open_until_it_is_read_or_others_come(
    remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    """Each file of the cache is opened once."""
    files = [RemoteFile(remote.put(container, f"{number}", b"x"), container, "", 1, 0) for number in range(12)]
    siblings = {f"{number:02}": Child(number, file) for number, file in enumerate(files)}
    cache = ContentCache(tmp_path / "content", 1 << 20, "memory")
    fetcher = Fetcher(remote, cache, Workers())
    prefetcher = Prefetcher(fetcher, cache)

    def read(number: int) -> None:
        reader = fetcher.open(files[number])
        prefetcher.opened(files[number], "directory", f"{number:02}", siblings)
        assert reader.read(0, 9) == b"x"
        reader.close()

    for number in range(2):
        read(number)
    eventually(lambda: len(prefetcher._held) == 10)
    for number in range(2, 11):
        read(number)
    assert cache.usage()["pinned"] == 1
    prefetcher.close()
    assert cache.usage() == {"bytes": cache.usage()["bytes"], "entries": 12, "pinned": 0, "budget": 1 << 20}
    cache.close()


def test_as_many_files_are_fetched_at_a_time_as_are_read_meanwhile() -> None:
    assert [at_a_time(seconds) for seconds in (0.0, 0.002, 0.015, 0.06, 13.0)] == [4, 4, 10, 32, 32]


def test_files_of_a_service_far_away_are_fetched_many_at_a_time(
    scanning_fs: Paths, remote: MemoryRemote, files: dict[str, str]
) -> None:
    paths = list(files)
    asked: list[str] = []
    enough = threading.Event()

    def far(operation: str, subject: str) -> None:
        if operation == "content":
            asked.append(subject)
            if len(asked) == 10:
                enough.set()
            assert enough.wait(30)  # which it never is if fewer are fetched at a time

    programs.read(scanning_fs, paths[0])
    remote.before = far
    with programs.opened(scanning_fs, paths[1]):
        assert enough.wait(30)
