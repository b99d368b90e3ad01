"""Containers that are looked into one after the other: the next ones are listed ahead, and others are not."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from containerfs.fs import types
from tests.fs import programs
from tests.fs.gates import Gate, eventually
from tests.fs.memory import MemoryRemote, no_fault
from tests.fs.mounts import mounted
from tests.fs.paths import Paths

MANY = 40
FIRST_WINDOW = 16


@pytest.fixture
def boxes(remote: MemoryRemote) -> list[str]:
    """Their ids, in the order of their names; the same each time, since chance could have them seem to be in a row."""
    remote._count = 1_700_000_000
    made = [remote.made(f"box-{number:02}") for number in range(MANY)]
    for number, container in enumerate(made):
        remote.put(container, f"in {number:02}", b"content")
    return made


@pytest.fixture
def fs(remote: MemoryRemote, boxes: list[str], tmp_path: Path) -> Iterator[Paths]:
    with mounted(remote, tmp_path, metadata_expiry=3600.0) as filesystem:
        yield filesystem


def test_each_container_is_listed_once_on_a_walk_and_sixteen_at_a_time(
    fs: Paths, remote: MemoryRemote, boxes: list[str]
) -> None:
    order = programs.names(fs, "/")
    programs.names(fs, f"/{order[0]}")
    assert len(remote.asked("files")) == 1
    remote.before = gate = Gate("files")
    with ThreadPoolExecutor(1) as program:
        second = program.submit(programs.names, fs, f"/{order[1]}")
        gate.wait(FIRST_WINDOW)
        gate.open()
        second.result(30)
    for name in order[2:]:
        assert programs.names(fs, f"/{name}") == [f"in {name[-2:]}"]
    assert sorted(remote.asked("files")) == sorted(boxes)


def test_containers_that_are_looked_into_here_and_there_are_listed_alone(
    fs: Paths, remote: MemoryRemote, boxes: list[str]
) -> None:
    order = programs.names(fs, "/")
    for number in (30, 3, 20, 12):
        programs.names(fs, f"/{order[number]}")
    assert len(remote.asked("files")) == 4


def test_a_container_with_directories_is_no_walk(fs: Paths, remote: MemoryRemote, boxes: list[str]) -> None:
    order = programs.names(fs, "/")
    fs.mkdir(f"/{order[0]}/inner", 0o755)
    for path in ("", "/inner", "", "/inner"):
        programs.names(fs, f"/{order[0]}{path}")
    assert len(remote.asked("files")) == 1


def test_without_prefetching_nothing_is_listed_ahead(remote: MemoryRemote, boxes: list[str], tmp_path: Path) -> None:
    with mounted(remote, tmp_path, metadata_expiry=3600.0, prefetch=False) as fs:
        order = programs.names(fs, "/")
        for name in order[:5]:
            programs.names(fs, f"/{name}")
        assert len(remote.asked("files")) == 5


def test_what_cannot_be_listed_ahead_is_told_to_who_looks_into_it(
    fs: Paths, remote: MemoryRemote, boxes: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    order = programs.names(fs, "/")
    hidden = boxes[int(order[5][-2:])]

    def fault(operation: str, subject: str) -> None:
        if operation == "files" and subject == hidden:
            raise types.Failed("refused")

    remote.before = fault
    for name in order[:5]:
        programs.names(fs, f"/{name}")
    eventually(lambda: remote.asked("files").count(hidden) == 1)
    with pytest.raises(types.Failed):
        programs.names(fs, f"/{order[5]}")
    remote.before = no_fault
    assert programs.names(fs, f"/{order[5]}") == [f"in {order[5][-2:]}"]
