"""Listings walked from both ends: complete whatever changes meanwhile, and however the service reads ``order``."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containerfs.api import errors
from containerfs.api.models import ContainerFile, ListPage, Order
from containerfs.client.pages import SyncCursorPage
from containerfs.fs import walk
from containerfs.fs.types import RemoteFile
from containerfs.fs.walk import Stretches, Walker

PAGE = 3


class Listing:
    """A listing whose files come and go between its pages. Files are numbers, in the order of their creation."""

    def __init__(self, count: int, *, ascends: bool = True) -> None:
        self.files = set(range(count))
        self.asked: list[tuple[Order, int | None]] = []
        self.ascends = ascends
        self.changed: Callable[[], None] = lambda: None
        self._lock = threading.Lock()

    def pages(self, order: Order) -> Iterator[Any]:
        after: int | None = None
        upwards = order == "asc" and self.ascends
        while True:
            with self._lock:
                self.asked.append((order, after))
                self.changed()
                there = sorted(self.files, reverse=not upwards)
            there = [file for file in there if after is None or (file > after if upwards else file < after)]
            yield page(there[:PAGE], more=len(there) > PAGE)
            if len(there) <= PAGE:
                return
            after = there[PAGE - 1]


def page(numbers: list[int], *, more: bool) -> "SyncCursorPage[ContainerFile]":
    files = [ContainerFile(id=str(number)) for number in numbers]
    return SyncCursorPage(ListPage(data=files, has_more=more), None, None)  # type: ignore[arg-type]


def walked(listing: Listing, walker: Walker | None = None) -> list[int]:
    found = (walker or Walker()).files(listing.pages, lambda file: remote(int(file.id)))
    return [int(file.id) for file in found]


def remote(number: int) -> RemoteFile:
    return RemoteFile(str(number), "box", str(number), 1, 0)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "_ALONE", 2)


@pytest.mark.parametrize("ascends", [True, False])
@pytest.mark.parametrize("count", [0, 1, 3, 6, 7, 9, 12, 13, 14, 60, 61])
def test_every_file_is_listed_once_newest_first(count: int, ascends: bool) -> None:
    assert walked(Listing(count, ascends=ascends)) == list(range(count))[::-1]


def test_both_ends_take_half_the_round_trips() -> None:
    listing = Listing(100 * PAGE)
    walked(listing)
    assert len([order for order, _ in listing.asked if order == "desc"]) <= 52
    assert len(listing.asked) <= 102


def test_a_short_listing_is_asked_for_from_one_end() -> None:
    listing = Listing(2 * PAGE)
    walked(listing)
    assert [order for order, _ in listing.asked] == ["desc", "desc"]


@pytest.mark.parametrize("ascends", [True, False])
@pytest.mark.parametrize("count", [0, 1, 3, 4, 14, 60, 61])
def test_pages_are_told_of_as_they_come_unless_they_are_the_last(count: int, ascends: bool) -> None:
    told: list[int] = []
    listing = Listing(count, ascends=ascends)
    Walker().files(
        listing.pages,
        lambda file: remote(int(file.id)),
        lambda files: told.extend(int(file.id) for file in files),
    )
    assert set(told) <= set(range(count))
    assert count - len(set(told)) <= 2 * PAGE, "of each walk the last page"
    assert count > PAGE or not told


def test_a_service_that_ignores_the_order_is_asked_in_vain_once() -> None:
    walker = Walker()
    for tries in (1, 0):
        listing = Listing(20, ascends=False)
        assert walked(listing, walker) == list(range(20))[::-1]
        assert [order for order, _ in listing.asked].count("asc") == tries


@pytest.mark.parametrize(("status", "tries"), [(400, 1), (500, 2)])
def test_a_service_that_refuses_the_order_is_walked_from_one_end(status: int, tries: int) -> None:
    refused = []

    def pages(order: Order) -> Iterator[Any]:
        if order == "asc":
            refused.append(order)
            raise errors.from_response(status, {}, None)
        yield from listing.pages(order)

    listing, walker = Listing(20), Walker()
    for _ in range(2):
        found = walker.files(pages, lambda file: remote(int(file.id)))
        assert [int(file.id) for file in found] == list(range(20))[::-1]
    assert len(refused) == tries


@given(st.data())
def test_what_is_there_all_the_time_is_listed_whatever_changes(data: st.DataObject) -> None:
    listing = Listing(data.draw(st.integers(7, 40)), ascends=data.draw(st.booleans()))
    ever, always = set(listing.files), set(listing.files)
    created = iter(range(1000, 2000))
    changes = iter(data.draw(st.lists(st.integers(-1, 39), max_size=30)))

    def change() -> None:
        number = next(changes, None)
        if number == -1:
            listing.files.add(made := next(created))
            ever.add(made)
        elif number is not None:
            listing.files.discard(number)
            always.discard(number)

    listing.changed = change
    found = walked(listing)
    assert len(found) == len(set(found))
    assert always <= set(found) <= ever
    kept = [number for number in found if number in always]
    assert kept == sorted(kept, reverse=True)


def test_what_was_created_meanwhile_is_newer_than_what_was_there() -> None:
    stretches = Stretches()
    stretches.add_newest([remote(9), remote(8), remote(7)])
    stretches.add_newest([remote(6), remote(5), remote(4)])
    stretches.add_oldest([remote(number) for number in (1, 2, 3)])
    stretches.add_oldest([remote(number) for number in (4, 5, 6)])
    assert stretches.met
    assert [file.id for file in stretches.files()] == list("987654321")
