"""Ranges, against a set of the numbers that they hold."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from containerfs.fs.reading.ranges import Ranges

bounds = st.tuples(st.integers(0, 40), st.integers(0, 40))


@given(st.lists(bounds, max_size=12), st.integers(0, 45), st.integers(0, 45))
def test_ranges_hold_what_a_set_of_numbers_holds(added: list[tuple[int, int]], start: int, stop: int) -> None:
    ranges, numbers = Ranges(added), {number for low, high in added for number in range(low, high)}
    assert {number for low, high in ranges for number in range(low, high)} == numbers
    assert ranges.total() == len(numbers)
    assert ranges.covers(start, stop) == numbers.issuperset(range(start, stop))
    end = ranges.end_of(start)
    assert numbers.issuperset(range(start, end))
    assert end not in numbers


@given(st.lists(bounds, max_size=12), bounds)
def test_what_is_taken_out_is_not_held(added: list[tuple[int, int]], taken: tuple[int, int]) -> None:
    ranges, numbers = Ranges(added), {number for low, high in added for number in range(low, high)}
    ranges.remove(*taken)
    assert {number for low, high in ranges for number in range(low, high)} == numbers - set(range(*taken))


@given(st.lists(bounds, max_size=12))
def test_ranges_are_as_few_as_possible(added: list[tuple[int, int]]) -> None:
    held = list(Ranges(added))
    assert all(start < stop for start, stop in held)
    assert all(before[1] < after[0] for before, after in pairwise(held))
