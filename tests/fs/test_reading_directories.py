"""Directories that are read while they are listed: names are shown as they arrive, each once, and errors at the end."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from containerfs.fs import types
from tests.fs import programs
from tests.fs.gates import Gate
from tests.fs.memory import Fault, MemoryRemote, no_fault
from tests.fs.mounts import mounted
from tests.fs.paths import Paths

ALL = ["a", "b", "c", "d", "e", "f"]


@pytest.fixture
def gate(remote: MemoryRemote, container: str) -> Gate:
    """Of six files two come with each answer, the newest first: all answers but the first are held up."""
    remote.page = 2
    for name in ["a", "b", "c", "d/x", "e", "f"]:
        remote.put(container, name, b"content")
    remote.before = gate = Gate("page")
    return gate


@pytest.fixture
def fs(remote: MemoryRemote, gate: Gate, tmp_path: Path) -> Iterator[Paths]:
    with mounted(remote, tmp_path / "cache", metadata_expiry=10.0, patience=10.0, prefetch=False) as fs:
        yield fs
        gate.open()


def asked(fs: Paths, operation: Callable[..., Any], *arguments: object) -> Any:
    """What an operation returns to a program: other threads do what it waits for."""
    with fs.operation(lambda: False):
        return operation(*arguments)


def opened(fs: Paths) -> int:
    return int(asked(fs, fs.opendir, "/box"))


def next_names(fs: Paths, fh: int) -> list[str]:
    return sorted(name for name, _ in asked(fs, fs.readdir, fh))


def rest(fs: Paths, fh: int) -> list[str]:
    return sorted(asked(fs, programs.entries, fs, fh))


def listed(fs: Paths, remote: MemoryRemote) -> None:
    """Have everything listed once."""
    remote.before = no_fault
    assert programs.names(fs, "/box")


def refresh(fs: Paths, remote: MemoryRemote) -> Gate:
    """Have everything listed again at the next look, with answers held up as before."""
    with fs.found("/box") as box:
        fs.filesystem.setxattr(box, "user.containerfs.refresh", b"")
    remote.before = gate = Gate("page")
    return gate


def ends_in(gate: Gate, kind: type[types.FsError]) -> Fault:
    """Have a listing fail after its first page, once the gate is open."""

    def fault(operation: str, subject: str) -> None:
        gate(operation, subject)
        if operation == "page":
            raise kind("as the test wants it")

    return fault


def test_names_are_shown_as_they_arrive(fs: Paths, gate: Gate, remote: MemoryRemote) -> None:
    fh = opened(fs)
    assert next_names(fs, fh) == ["e", "f"]
    gate.open()
    assert rest(fs, fh) == ["a", "b", "c", "d"]
    assert asked(fs, fs.readdir, fh) == []
    fs.rewinddir(fh)
    assert rest(fs, fh) == ALL
    assert len(remote.asked("files")) == 1
    fs.releasedir(fh)


def test_whoever_asks_about_a_name_waits_until_all_have_arrived(fs: Paths, gate: Gate, remote: MemoryRemote) -> None:
    fh = opened(fs)
    assert [known.kind for _, known in asked(fs, fs.readdir, fh)] == [0, 0]
    with ThreadPoolExecutor(1) as pool:
        size = pool.submit(lambda: asked(fs, fs.getattr, "/box/f").size)
        gate.wait()
        assert not size.done()
        gate.open()
        assert size.result(30) == 7
    assert len(remote.asked("files")) == 1
    fs.releasedir(fh)


def test_a_directory_is_the_one_that_was_shown(fs: Paths, gate: Gate, remote: MemoryRemote) -> None:
    remote.page = 4
    fh = opened(fs)
    (shown,) = [known for name, known in asked(fs, fs.readdir, fh) if name == "d"]
    gate.open()
    attr = asked(fs, fs.getattr, "/box/d")
    assert attr.is_directory
    assert (attr.ino, attr.mode & shown.kind) == (shown.ino, shown.kind)
    fs.releasedir(fh)


def test_who_stops_early_leaves_the_listing_to_others(fs: Paths, gate: Gate, remote: MemoryRemote) -> None:
    fh = opened(fs)
    assert next_names(fs, fh)
    fs.releasedir(fh)
    gate.open()
    assert programs.names(fs, "/box") == ALL
    assert len(remote.asked("files")) == 1


def test_what_is_being_deleted_here_is_not_shown(fs: Paths, remote: MemoryRemote) -> None:
    listed(fs, remote)
    remote.before = deleting = Gate("delete")
    with ThreadPoolExecutor(1) as pool:
        deletion = pool.submit(fs.unlink, "/box/f")
        deleting.wait()
        gate = refresh(fs, remote)
        fh = opened(fs)
        assert next_names(fs, fh) == ["e"]
        gate.open()
        deleting.open()
        deletion.result(30)
    assert rest(fs, fh) == ["a", "b", "c", "d"]
    fs.releasedir(fh)


def test_what_is_written_here_is_shown_once(fs: Paths, remote: MemoryRemote) -> None:
    listed(fs, remote)
    before, meanwhile = (fs.open(f"/box/{name}", os.O_WRONLY)[0] for name in "fa")
    fs.write(before, b"written", 0)
    fs.flush(before)
    gate = refresh(fs, remote)
    fh = opened(fs)
    early = next_names(fs, fh)
    assert early == ["e"]
    fs.write(meanwhile, b"written", 0)
    fs.flush(meanwhile)
    gate.open()
    assert sorted(early + rest(fs, fh)) == ALL
    for handle in (before, meanwhile):
        fs.release(handle)
    fs.releasedir(fh)


@pytest.mark.parametrize("kind", [types.Failed, types.Unreachable])
def test_a_listing_that_fails_ends_in_an_error_and_can_be_read_again(
    fs: Paths, remote: MemoryRemote, gate: Gate, kind: type[types.FsError]
) -> None:
    remote.before = ends_in(gate, kind)
    remote.page = 3
    fh = opened(fs)
    assert next_names(fs, fh) == ["d", "e", "f"]
    gate.open()
    for _ in range(2):
        with pytest.raises(kind):
            next_names(fs, fh)
    remote.before = no_fault
    fs.rewinddir(fh)
    assert rest(fs, fh) == ALL
    fs.releasedir(fh)


def test_where_there_is_an_older_listing_the_rest_is_shown_from_that(fs: Paths, remote: MemoryRemote) -> None:
    listed(fs, remote)
    gate = refresh(fs, remote)
    remote.before = ends_in(gate, types.Unreachable)
    fh = opened(fs)
    assert next_names(fs, fh) == ["e", "f"]
    gate.open()
    assert rest(fs, fh) == ["a", "b", "c", "d"]
    fs.releasedir(fh)


def test_a_container_that_is_deleted_meanwhile(fs: Paths, remote: MemoryRemote, gate: Gate, container: str) -> None:
    remote.before = ends_in(gate, types.NotFound)
    fh = opened(fs)
    assert next_names(fs, fh) == ["e", "f"]
    remote.delete_container(container)
    gate.open()
    with pytest.raises(types.NotFound):
        next_names(fs, fh)
    fs.releasedir(fh)
    assert programs.names(fs, "/") == []


def test_files_that_hold_attributes_are_not_shown(remote: MemoryRemote, gate: Gate, tmp_path: Path) -> None:
    with mounted(remote, tmp_path / "cache", metadata_expiry=10.0, patience=10.0, keep_attributes=True) as fs:
        listed(fs, remote)
        with fs.found("/box/f") as node:
            fs.filesystem.chmod(node, 0o755)
        assert not fs.drain(30)
        assert len(remote.asked("upload")) == 1
        again = refresh(fs, remote)
        fh = opened(fs)
        assert next_names(fs, fh) == ["f"], "and the file of attributes, which is newer"
        again.open()
        assert rest(fs, fh) == ["a", "b", "c", "d", "e"]
        fs.releasedir(fh)
