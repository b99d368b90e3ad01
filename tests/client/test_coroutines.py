"""Running what never suspends."""

import asyncio
from typing import Self

import pytest

from containerfs.client.coroutines import iterate, run


async def seven() -> int:
    return 7


async def twice(number: int) -> int:
    return number * await seven()


async def failing() -> int:
    raise KeyError("inside")


class Countdown:
    """An async iterator that never suspends."""

    def __init__(self, start: int) -> None:
        self._left = start

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> int:
        if not self._left:
            raise StopAsyncIteration
        self._left -= 1
        return self._left


def test_a_coroutine_runs_to_its_end() -> None:
    assert run(twice(2)) == 14


def test_what_it_raises_is_raised() -> None:
    with pytest.raises(KeyError, match="inside"):
        run(failing())


def test_a_coroutine_that_suspends_is_refused() -> None:
    with pytest.raises(RuntimeError, match="must not suspend"):
        run(asyncio.sleep(0))


def test_it_runs_inside_an_event_loop_too() -> None:
    async def inside() -> list[int]:
        return [run(twice(1)), *iterate(Countdown(3))]

    assert asyncio.run(inside()) == [7, 2, 1, 0]


def test_iterating() -> None:
    assert list(iterate(Countdown(3))) == [2, 1, 0]
    assert list(iterate(Countdown(0))) == []
