"""Scans: the first two files of some order begin one, or three in a row, and name what comes next."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from containerfs.fs.reading.scans import Scan
from containerfs.fs.types import RemoteFile

COUNT = 300


@dataclass(frozen=True)
class Child:
    ino: int
    fetchable: RemoteFile | None


class Looked(dict[str, Child]):
    """A directory that counts how often it is read through."""

    looks = 0

    def __iter__(self) -> Iterator[str]:
        self.looks += 1
        return super().__iter__()


def directory(count: int) -> Looked:
    """Listed in one order, named in a second, numbered in a third."""
    files = {}
    for number in range(count):
        name = f"{number * 7 % count:06}"
        files[name] = Child(number * 11 % count + 1, RemoteFile(name, "box", name, 1, 0))
    return Looked(files)


FILES = directory(COUNT)
ORDERS = {
    "as listed": list(FILES),
    "by name": sorted(FILES),
    "by inode number": sorted(FILES, key=lambda name: FILES[name].ino),
}


def opened(scan: Scan, *names: str, files: dict[str, Child] = FILES) -> list[str]:
    """The names of what is to be fetched after all of these are opened."""
    return [file.path for name in names for file in scan.opened(name, files)]


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_three_in_a_row_begin_a_scan(order: list[str]) -> None:
    scan = Scan()
    assert opened(scan, *order[7:9]) == []
    assert opened(scan, order[9]) == order[10:26]


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_the_first_two_begin_a_scan(order: list[str]) -> None:
    scan = Scan()
    assert opened(scan, order[0]) == []
    assert opened(scan, order[1]) == order[2:18]


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_two_that_are_not_the_first_begin_nothing(order: list[str]) -> None:
    assert opened(Scan(), order[1], order[2]) == []
    assert opened(Scan(), order[0], order[2]) == []
    assert opened(Scan(), order[1], order[0]) == []


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_a_scan_names_every_file_that_follows_once_and_before_its_turn(order: list[str]) -> None:
    scan = Scan()
    named: list[str] = []
    for position, name in enumerate(order):
        assert position < 2 or name in named
        named += opened(scan, name)
        assert len(named) <= position + 64
    assert named == order[2:]


@pytest.mark.parametrize(
    "key", [lambda files: list(files), sorted, lambda files: sorted(files, key=lambda n: files[n].ino)]
)
def test_a_scan_of_a_large_directory_begins_as_soon(key: Callable[[Looked], list[str]]) -> None:
    large = directory(20_011)
    order = key(large)
    assert opened(Scan(), *order[7000:7003], files=large) == order[7003:7019]


def test_a_scan_may_leave_files_out() -> None:
    order = ORDERS["by name"]
    assert opened(Scan(), order[0], order[4], order[8]) == order[9:25]
    assert opened(Scan(), order[0], order[5], order[10]) == []


def test_files_that_are_opened_twice_are_named_once() -> None:
    order = ORDERS["by name"]
    scan = Scan()
    named = opened(scan, *order[:2])
    for name in order[2:]:
        named += opened(scan, name, name)
    assert named == order[2:]


def test_files_here_and_there_begin_nothing() -> None:
    assert opened(Scan(), *(ORDERS["as listed"][number] for number in (150, 3, 250, 9, 70))) == []


def test_a_second_pass_begins_anew_with_what_the_directory_holds_by_then() -> None:
    scan = Scan()
    opened(scan, *FILES)
    later = {name: Child(child.ino, RemoteFile(name, "box", f"{name}'", 1, 0)) for name, child in FILES.items()}
    named = [opened(scan, name, files=later) for name in list(later)[:3]]
    assert named == [[], [], [f"{name}'" for name in list(later)[3:19]]]


def test_what_has_gone_or_is_being_written_is_not_named() -> None:
    order, files = list(FILES), dict(FILES)
    scan = Scan()
    opened(scan, order[0], files=files)
    files[order[4]] = Child(files[order[4]].ino, None)
    assert opened(scan, order[1], files=files) == [*order[2:4], *order[5:18]]
    del files[order[20]]
    assert order[20] not in opened(scan, *order[2:12], files=files)


def test_a_file_that_the_directory_does_not_hold_begins_nothing() -> None:
    assert opened(Scan(), *(f"gone {number}" for number in range(5))) == []


def test_the_directory_is_looked_at_when_an_order_is_to_be_found_only() -> None:
    files = directory(COUNT)
    names = list(files)
    files.looks = 0
    opened(Scan(), *names, files=files)
    assert files.looks == 1


def test_in_a_large_directory_few_of_many_files_here_and_there_have_it_looked_at() -> None:
    scan, large = Scan(), directory(10_000)
    names = list(large)
    large.looks = 0
    assert opened(scan, *(names[number * 7919 % len(names)] for number in range(400)), files=large) == []
    assert 1 < large.looks <= 400 // 39 + 1
    named = [opened(scan, name, files=large) for name in names[:100]]
    assert any(named[:42]), "a scan that begins then is noticed within half a percent of the directory"
