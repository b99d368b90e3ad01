"""Scans: three files in a row of some order begin one, and name what comes next."""

from dataclasses import replace

import pytest

from containerfs.fs.reading.scans import Scan, Sibling
from containerfs.fs.types import RemoteFile

COUNT = 300

# Listed in one order, named in a second, numbered in a third.
SIBLINGS = [
    Sibling(f"{number * 7 % COUNT:03}", number * 11 % COUNT + 1, RemoteFile(f"{number}", "box", "", 1, 0))
    for number in range(COUNT)
]
ORDERS = {
    "as listed": SIBLINGS,
    "by name": sorted(SIBLINGS, key=lambda sibling: sibling.name),
    "by inode number": sorted(SIBLINGS, key=lambda sibling: sibling.ino),
}


def opened(scan: Scan, *siblings: Sibling) -> list[Sibling]:
    """What is named after all of these are opened."""
    return [named for sibling in siblings for named in scan.opened(sibling.ino, lambda: SIBLINGS)]


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_three_in_a_row_begin_a_scan(order: list[Sibling]) -> None:
    scan = Scan()
    assert opened(scan, *order[:2]) == []
    assert opened(scan, order[2]) == order[3:11]


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_a_scan_names_every_file_that_follows_once_and_before_its_turn(order: list[Sibling]) -> None:
    scan = Scan()
    named: list[Sibling] = []
    for position, sibling in enumerate(order):
        assert position < 3 or sibling in named
        named += opened(scan, sibling)
        assert len(named) <= position + 64
    assert named == order[3:]


def test_a_scan_may_leave_files_out() -> None:
    order = ORDERS["by name"]
    assert opened(Scan(), order[0], order[4], order[8]) == order[9:17]
    assert opened(Scan(), order[0], order[5], order[10]) == []


def test_files_that_are_opened_twice_are_named_once() -> None:
    order = ORDERS["by name"]
    scan = Scan()
    named = opened(scan, *order[:3])
    for sibling in order[3:]:
        named += opened(scan, sibling, sibling)
    assert named == order[3:]


def test_files_here_and_there_begin_nothing() -> None:
    assert opened(Scan(), *(SIBLINGS[number] for number in (150, 3, 250, 9, 70))) == []


def test_a_second_pass_begins_anew_with_what_the_directory_holds_by_then() -> None:
    scan = Scan()
    opened(scan, *SIBLINGS)
    later = [replace(sibling, file=None) for sibling in SIBLINGS]
    named = [scan.opened(sibling.ino, lambda: later) for sibling in later[:3]]
    assert named == [[], [], later[3:11]]


def test_a_file_that_the_directory_does_not_hold_begins_nothing() -> None:
    assert opened(Scan(), *(Sibling("gone", 10_000 + number, None) for number in range(5))) == []


def test_the_directory_is_looked_at_when_an_order_is_to_be_found_only() -> None:
    scan, looks = Scan(), 0

    def siblings() -> list[Sibling]:
        nonlocal looks
        looks += 1
        return SIBLINGS

    for sibling in SIBLINGS:
        scan.opened(sibling.ino, siblings)
    assert looks == 1


def test_in_a_large_directory_few_of_many_files_here_and_there_have_it_looked_at() -> None:
    scan, looks = Scan(), 0
    large = [Sibling(f"{number:05}", number + 1, None) for number in range(10_000)]

    def siblings() -> list[Sibling]:
        nonlocal looks
        looks += 1
        return large

    for number in range(400):
        assert scan.opened(large[number * 7919 % len(large)].ino, siblings) == []
    assert 1 < looks <= 400 // 39 + 1
    named = [scan.opened(sibling.ino, siblings) for sibling in large[:100]]
    assert any(named[:42]), "a scan that begins then is noticed within half a percent of the directory"
