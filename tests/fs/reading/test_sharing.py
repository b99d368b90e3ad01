"""Mounts that share a cache: processes that start, read, evict and end at the same time do not disturb each other."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from containerfs.fs.namespace.attributes import AttributeStore
from containerfs.fs.reading.cache import ContentCache
from tests.fs.reading.visitor import SIZE, adopt, file, visit

PROCESSES = 5
ROUNDS = 25


class Visitors:
    """Processes that visit a cache at the same time."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.fs.reading.visitor"]
        self._processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(PROCESSES)
        ]

    def visit(self, directory: Path, budget: int, asked: list[str], own: list[str]) -> list[dict[str, int]]:
        """All of them at once; returns what each found. ``own`` is a pattern with the visitor's number in it."""
        for number, process in enumerate(self._processes):
            names = [name.format(number) for name in own]
            told = {"directory": str(directory), "budget": budget, "asked": asked, "own": names}
            assert process.stdin is not None
            process.stdin.write(json.dumps(told) + "\n")
            process.stdin.flush()
        return [self._answer(process) for process in self._processes]

    def close(self) -> None:
        for process in self._processes:
            process.communicate()

    @staticmethod
    def _answer(process: "subprocess.Popen[str]") -> dict[str, int]:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the visitor has failed; see its standard error"
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer


@pytest.fixture(scope="module")
def visitors() -> Iterator[Visitors]:
    visitors = Visitors()
    yield visitors
    visitors.close()


@pytest.fixture(autouse=True)
def quick_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("containerfs.fs.reading.marker.sync_disk", lambda path: None)


def seeded(directory: Path, names: list[str]) -> None:
    cache = ContentCache(directory, 1 << 30, "service")
    for name in names:
        adopt(cache, directory, name)
    cache.close()


def test_mounts_that_start_at_once_drop_nothing(tmp_path: Path, visitors: Visitors) -> None:
    for number in range(ROUNDS):
        directory = tmp_path / str(number)
        seeded(directory, ["a", "b"])
        for found in visitors.visit(directory, 1 << 30, ["a", "b"], ["own-{}"]):
            assert found == {"a": SIZE, "b": SIZE}
        own = [f"own-{process}" for process in range(PROCESSES)]
        assert visit(directory, 1 << 30, own, []) == dict.fromkeys(own, SIZE)
        store = AttributeStore(directory / "attributes.db", "service")
        assert sorted(store.load("box")) == own
        store.close()


def test_a_new_cache_is_created_by_several_mounts_at_once(tmp_path: Path, visitors: Visitors) -> None:
    for number in range(ROUNDS):
        visitors.visit(tmp_path / str(number), 1 << 30, ["a", "b"], ["own-{}"])


def test_mounts_that_evict_and_fill_the_same_files_find_nothing_wrong(tmp_path: Path, visitors: Visitors) -> None:
    asked = ["a", "b", "c", "d"] * 5
    for _ in range(ROUNDS):
        visitors.visit(tmp_path, 2 * SIZE, asked, ["own-{}"])


def test_after_a_power_cut_one_of_the_mounts_drops_the_cache_before_any_uses_it(
    tmp_path: Path, visitors: Visitors
) -> None:
    for number in range(ROUNDS):
        directory = tmp_path / str(number)
        seeded(directory, ["lost"])
        directory.joinpath("in-use-earlier-boot-1-1").touch()
        visitors.visit(directory, 1 << 30, [], ["own-{}"])
        cache = ContentCache(directory, 1 << 30, "service")
        assert not cache.has(file("lost"))
        assert all(cache.has(file(f"own-{process}")) for process in range(PROCESSES))
        cache.close()


def test_a_damaged_attribute_store_is_set_aside_once(tmp_path: Path, visitors: Visitors) -> None:
    for number in range(ROUNDS):
        directory = tmp_path / str(number)
        directory.mkdir()
        directory.joinpath("attributes.db").write_bytes(b"not a database, but long enough to be taken for one" * 100)
        visitors.visit(directory, 1 << 30, [], ["own-{}"])
        assert directory.joinpath("attributes.db.damaged").read_bytes().startswith(b"not a database")
        store = AttributeStore(directory / "attributes.db", "service")
        assert len(store.load("box")) == PROCESSES
        store.close()
