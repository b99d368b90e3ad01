"""How far a stream goes, and who waits for it."""

import pytest

from containerfs.fs.reading.ranges import Ranges
from containerfs.fs.reading.readahead import PROBE, MiB, ReadAhead, Step

SIZE = 1000 * MiB
NOTHING = Ranges()


def stream(start: int = 0, position: int | None = None, wanted: int = 4096) -> ReadAhead:
    ahead = ReadAhead(start)
    ahead.want(start + wanted)
    ahead.position = start if position is None else position
    return ahead


def limit(ahead: ReadAhead) -> int:
    """How far a stream goes as long as it is read."""
    while ahead.next_step(NOTHING, SIZE, read=True) is Step.FETCH:
        ahead.position += 4096
    return ahead.position


@pytest.mark.parametrize(
    ("wanted", "furthest"),
    [(4096, 4096 + MiB), (8 * MiB, 16 * MiB), (64 * MiB, 128 * MiB), (100 * MiB, 164 * MiB)],
    ids=["at least a mebibyte", "as much as was read", "as much as was read, at most", "at most 64 MiB"],
)
def test_a_stream_runs_ahead_by_as_much_as_was_read(wanted: int, furthest: int) -> None:
    assert limit(stream(wanted=wanted)) == furthest


def test_a_stream_never_goes_back_in_what_it_wants() -> None:
    ahead = stream(wanted=8 * MiB)
    assert not ahead.want(4096)
    assert limit(ahead) == 16 * MiB


def test_a_reader_that_follows_drives_the_stream_on() -> None:
    ahead = stream(wanted=4 * MiB, position=8 * MiB)
    assert not ahead.passed(0, 4096), "far enough ahead"
    assert ahead.passed(7 * MiB, 8 * MiB)
    assert limit(ahead) == 16 * MiB


def test_a_reader_elsewhere_does_not_drive_the_stream_on() -> None:
    ahead = stream(10 * MiB, position=11 * MiB)
    assert not ahead.passed(5 * MiB, 6 * MiB)
    assert not ahead.passed(20 * MiB, 21 * MiB)


@pytest.mark.parametrize(
    ("offset", "reached"), [(9 * MiB, False), (10 * MiB, True), (14 * MiB, True), (14 * MiB + 1, False)]
)
def test_short_seeks_forward_wait_for_the_stream(offset: int, reached: bool) -> None:
    assert stream(10 * MiB).will_reach(offset) == reached


def test_a_probe_ends_by_itself_and_whoever_wants_more_begins_another() -> None:
    probe = ReadAhead(10 * MiB, 10 * MiB + PROBE)
    probe.want(10 * MiB + 4096)
    assert probe.will_reach(10 * MiB + PROBE - 1)
    assert not probe.will_reach(10 * MiB + PROBE)
    assert limit(probe) == 10 * MiB + PROBE
    assert probe.next_step(NOTHING, SIZE, read=True) is Step.END
    assert not probe.passed(10 * MiB, 10 * MiB + 4096)


def test_where_ranges_are_ignored_a_probe_goes_on() -> None:
    probe = ReadAhead(10 * MiB, 10 * MiB + PROBE)
    probe.want(10 * MiB + 4096)
    probe.restart(0)
    assert probe.will_reach(500 * MiB)
    assert limit(probe) > 10 * MiB


def test_where_ranges_are_ignored_every_seek_forward_waits_for_the_stream() -> None:
    ahead = stream(10 * MiB)
    ahead.restart(0)
    assert ahead.position == 0
    assert ahead.will_reach(900 * MiB)
    ahead.position = 2 * MiB
    assert not ahead.will_reach(MiB)


def test_nobody_waits_for_a_stream_that_gives_way() -> None:
    ahead = stream()
    ahead.abandoned = True
    assert not ahead.will_reach(0)
    assert ahead.next_step(NOTHING, SIZE, read=True) is Step.END


@pytest.mark.parametrize(
    ("present", "size", "read", "step"),
    [
        ([], 10 * MiB, True, Step.FETCH),
        ([], None, True, Step.FETCH),
        ([(2 * MiB, 10 * MiB)], 10 * MiB, True, Step.END),
        ([(2 * MiB, 3 * MiB)], 10 * MiB, True, Step.END),
        ([(3 * MiB, 10 * MiB)], 10 * MiB, True, Step.FETCH),
        ([], 10 * MiB, False, Step.END),
        ([], 3 * MiB, False, Step.FETCH),
        ([], None, False, Step.END),
    ],
    ids=[
        "it is read",
        "a file of unknown size is read",
        "all that follows is here",
        "another stream has been here",
        "another stream has been further on",
        "nobody reads it",
        "nobody reads it, but the rest is small",
        "nobody reads it, and nobody knows its size",
    ],
)
def test_the_next_step(present: list[tuple[int, int]], size: int | None, read: bool, step: Step) -> None:
    ahead = stream(position=2 * MiB, wanted=2 * MiB)
    assert ahead.next_step(Ranges(present), size, read=read) is step


def test_a_stream_that_is_far_enough_ahead_pauses() -> None:
    ahead = stream(position=2 * MiB, wanted=MiB)
    assert ahead.next_step(NOTHING, SIZE, read=True) is Step.PAUSE
    assert ahead.want(2 * MiB)
    assert ahead.next_step(NOTHING, SIZE, read=True) is Step.FETCH


def test_the_only_stream_of_a_file_goes_over_what_is_present() -> None:
    ahead = stream(10 * MiB)
    ahead.restart(0)
    assert ahead.next_step(Ranges([(0, 5 * MiB)]), SIZE, read=True) is Step.FETCH
