"""Attributes in a file of each container: nothing waits for a request of others, and nothing that was set is lost."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containerfs.fs import types
from containerfs.fs.attribute_contents import Changes, Contents, Kept, merged
from containerfs.fs.attribute_files import AttributeFiles
from containerfs.fs.types import FileAttributes
from tests.fs.memory import MemoryRemote


@pytest.fixture
def remote() -> MemoryRemote:
    return MemoryRemote()


@pytest.fixture
def box(remote: MemoryRemote) -> str:
    return remote.made()


@pytest.fixture
def here(remote: MemoryRemote) -> AttributeFiles:
    return AttributeFiles(remote)


@pytest.fixture
def others() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as others:
        yield others


class Stop:
    """Stops the requests of one kind until they may go on.

    Attributes:
        reached: released by each request that has come this far.
        go_on: set it to have them go on.
    """

    def __init__(self, operation: str) -> None:
        self._operation = operation
        self.reached, self.go_on = threading.Semaphore(0), threading.Event()

    def __call__(self, operation: str, subject: str) -> None:
        if operation == self._operation:
            self.reached.release()
            assert self.go_on.wait(30)


def mode(mode: int) -> FileAttributes:
    return FileAttributes(mode=mode)


def shown(files: AttributeFiles, box: str) -> dict[str, int | None]:
    """What a listing shows: path -> mode."""
    return {file.path: file.attributes.mode if file.attributes else None for file in files.files(box)}


def kept(remote: MemoryRemote, box: str) -> list[str]:
    """The names of the files of attributes."""
    return [path for path, _ in remote.stored_all(box) if path.startswith(".containerfs-attributes-")]


def failing(operation: str) -> Callable[[str, str], None]:
    def fails(asked: str, subject: str) -> None:
        if asked == operation:
            raise types.Unreachable("down")

    return fails


def test_a_listing_does_not_wait_for_who_writes(
    remote: MemoryRemote, box: str, here: AttributeFiles, others: ThreadPoolExecutor
) -> None:
    file = remote.put(box, "run", b"")
    here.keep_attributes(box, {file: mode(0o755)}, {})
    remote.before = stop = Stop("upload")
    written = others.submit(here.keep_attributes, box, {file: mode(0o700)}, {})
    assert stop.reached.acquire(timeout=30)
    assert shown(here, box) == {"run": 0o755}
    stop.go_on.set()
    written.result(30)
    assert shown(here, box) == {"run": 0o700}


@pytest.mark.parametrize("at", ["before", "after"])
def test_what_is_written_during_a_listing_is_in_it(
    remote: MemoryRemote, box: str, here: AttributeFiles, others: ThreadPoolExecutor, at: str
) -> None:
    file = remote.put(box, "run", b"")
    here.keep_attributes(box, {file: mode(0o755)}, {})
    stop = Stop("files")
    setattr(remote, at, stop)
    listing = others.submit(shown, here, box)
    assert stop.reached.acquire(timeout=30)
    here.keep_attributes(box, {file: mode(0o700)}, {"empty": mode(0o750)})
    here.keep_attributes(box, {file: mode(0o711)}, {})
    stop.go_on.set()
    assert listing.result(30) == {"run": 0o711, "empty/": 0o750}
    here.keep_attributes(box, {}, {"more": mode(0o755)})
    assert len(kept(remote, box)) == 1


def test_what_comes_while_one_is_written_is_written_next_all_at_once(
    remote: MemoryRemote,
    box: str,
    here: AttributeFiles,
    others: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = [remote.put(box, f"{number}", b"") for number in range(5)]
    add, added = Changes.add, threading.Semaphore(0)
    monkeypatch.setattr(Changes, "add", lambda *args: (add(*args), added.release()))
    remote.before = stop = Stop("upload")
    first = others.submit(here.keep_attributes, box, {files[0]: mode(0o700)}, {})
    assert stop.reached.acquire(timeout=30)
    assert added.acquire(timeout=30)
    more = [
        others.submit(here.keep_attributes, box, {files[number]: mode(0o700 + number)}, {})
        for number in range(1, len(files))
    ]
    for _ in more:
        assert added.acquire(timeout=30)
    stop.go_on.set()
    for each in (first, *more):
        each.result(30)
    assert shown(here, box) == {f"{number}": 0o700 + number for number in range(5)}
    assert len(remote.asked("upload")) == 2


def test_who_has_added_to_what_could_not_be_written_is_told(
    remote: MemoryRemote, box: str, here: AttributeFiles
) -> None:
    file = remote.put(box, "run", b"")
    remote.before = failing("upload")
    with pytest.raises(types.Unreachable):
        here.keep_attributes(box, {file: mode(0o700)}, {})
    remote.before = lambda *_: None
    here.keep_attributes(box, {file: mode(0o755)}, {})
    assert shown(here, box) == {"run": 0o755}


def test_a_directory_that_was_removed_stays_so_while_an_older_file_of_attributes_is_there(
    remote: MemoryRemote, box: str, here: AttributeFiles
) -> None:
    there = AttributeFiles(remote)
    made = here.keep_attributes(box, {}, {"gone": mode(0o755), "stays": mode(0o700)})
    assert shown(there, box) == {"gone/": 0o755, "stays/": 0o700}
    remote.before = failing("delete")
    here.delete_file(box, made["gone"].id)
    assert len(kept(remote, box)) == 2
    assert shown(there, box) == shown(here, box) == shown(AttributeFiles(remote), box) == {"stays/": 0o700}
    remote.before = lambda *_: None
    here.keep_attributes(box, {}, {"stays": mode(0o750)})
    assert len(kept(remote, box)) == 1


def test_a_machine_that_has_not_listed_for_long_takes_back_nothing(
    remote: MemoryRemote, box: str, here: AttributeFiles
) -> None:
    there = AttributeFiles(remote)
    one, two = remote.put(box, "1", b""), remote.put(box, "2", b"")
    made = here.keep_attributes(box, {one: mode(0o755), two: mode(0o755)}, {"gone": mode(0o755)})
    there.files(box)
    here.keep_attributes(box, {one: mode(0o700)}, {})
    here.delete_file(box, made["gone"].id)
    there.keep_attributes(box, {two: mode(0o711)}, {})
    for files in (here, there, AttributeFiles(remote)):
        assert shown(files, box) == {"1": 0o700, "2": 0o711}


def test_what_others_put_in_the_place_of_what_is_being_read_is_found(
    remote: MemoryRemote, box: str, here: AttributeFiles
) -> None:
    there = AttributeFiles(remote)
    file = remote.put(box, "run", b"")
    there.keep_attributes(box, {file: mode(0o755)}, {})

    def replaces(operation: str, subject: str) -> None:
        if operation == "files":
            remote.after = lambda *_: None
            there.keep_attributes(box, {file: mode(0o700)}, {})

    remote.after = replaces
    assert shown(here, box) == {"run": 0o700}
    assert len(remote.asked("files")) == 2, "that of the other machine, and the one that was asked for"


def test_attributes_of_files_that_are_gone_do_not_stay_for_ever(
    remote: MemoryRemote, box: str, here: AttributeFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [remote.put(box, f"{number}", b"") for number in range(3)]
    here.keep_attributes(box, dict.fromkeys(files, mode(0o700)), {})
    remote.delete_file(box, files[0])
    here.files(box)
    here.keep_attributes(box, {files[1]: mode(0o755)}, {})
    assert files[0] in remote.stored(box)[kept(remote, box)[0]].decode(), "a listing may be older than a file"
    monkeypatch.setattr("containerfs.fs.attribute_files._GRACE", 0)
    here.files(box)
    here.keep_attributes(box, {files[1]: mode(0o711)}, {})
    text = remote.stored(box)[kept(remote, box)[0]].decode()
    assert [file in text for file in files] == [False, True, True]


def test_what_only_has_the_name_is_downloaded_once(remote: MemoryRemote, box: str, here: AttributeFiles) -> None:
    remote.put(box, ".containerfs-attributes-mine.json", b"mine")
    for _ in range(2):
        assert list(shown(here, box)) == [".containerfs-attributes-mine.json"]
    assert len(remote.asked("content")) == 1


def test_a_file_of_attributes_without_times_of_each_is_read() -> None:
    text = b'{"containerfs_attributes":1,"written_at":5,"files":{"a":{"mode":448}},"directories":{"d":{"mtime":1}}}'
    contents = Contents.read(text)
    assert contents.files == {"a": Kept(5, mode(0o700))}
    assert contents.directories == {"d": Kept(5, FileAttributes(mtime=1))}
    assert Contents.read(contents.text()) == contents


def test_what_no_file_can_have_counts_as_not_set() -> None:
    told = {"mode": 1 << 40, "uid": -1, "gid": "staff", "mtime": 1e300, "set_at": 2, "more": []}
    paths = ["", ".", "a/../../b", "a//b", "/a", "a\0b", "a\ud800b", "a/b"]
    text = {
        "containerfs_attributes": 1,
        "written_at": 5,
        "files": {"a": told},
        "directories": dict.fromkeys(paths, told),
    }
    contents = Contents.read(json.dumps(text).encode())
    assert contents.files == {"a": Kept(2, FileAttributes())}
    assert contents.directories == {"a/b": Kept(2, FileAttributes())}


def contents() -> st.SearchStrategy[Contents]:
    """What may be in files of attributes. Two that say the same time of a key agree on it, as those that were merged
    from one do."""

    def told(keys: list[str]) -> st.SearchStrategy[dict[str, Kept]]:
        kept = st.integers(1, 5).map(lambda at: Kept(at, FileAttributes(mtime=at)))
        return st.dictionaries(st.sampled_from(keys), kept)

    removed = st.dictionaries(st.sampled_from(["d", "e"]), st.integers(1, 5))
    return st.builds(Contents, st.integers(0, 5), told(["a", "b"]), told(["d", "e"]), removed)


@given(st.lists(contents(), max_size=4), st.randoms(use_true_random=False))
def test_the_order_and_the_number_of_merges_do_not_matter(some: list[Contents], chance: Random) -> None:
    whole = merged(some)
    again = [*some, *some]
    chance.shuffle(again)
    assert merged(again) == whole
    stepwise = Contents()
    for each in again:
        stepwise = merged([stepwise, each])
    assert stepwise == whole
