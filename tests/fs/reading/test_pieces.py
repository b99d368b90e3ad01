"""When a file is fetched in pieces, and which."""

import pytest

from containerfs.fs.reading.pieces import AT_ONCE, LARGE, PIECE, Pieces
from containerfs.fs.reading.ranges import Ranges
from containerfs.fs.reading.readahead import MAX_AHEAD, PROBE, MiB, ReadAhead, Step

SIZE = 1000 * MiB
NOTHING = Ranges()
BROUGHT = 8 * MiB


def stream(start: int = 0, brought: int = BROUGHT, *, is_slow: bool = True) -> ReadAhead:
    ahead = ReadAhead(start)
    ahead.position = start + brought
    ahead.is_slow = is_slow
    return ahead


def begin(pieces: Pieces, wanted: int, streams: list[ReadAhead], present: Ranges = NOTHING) -> list[tuple[int, int]]:
    """The pieces that begin while a reader waits for what is before ``wanted``; they join the streams."""
    begun = []
    while (piece := pieces.next(wanted, streams, present, SIZE, waits=True)) is not None:
        assert piece.end is not None
        begun.append((piece.start, piece.end))
        streams.append(piece)
    return begun


def test_a_slow_stream_goes_on_to_where_the_pieces_begin() -> None:
    lead = stream()
    first = BROUGHT + PIECE
    begun = begin(Pieces(), BROUGHT + 4096, [lead])
    assert lead.end == first
    assert begun == [(first + n * PIECE, first + (n + 1) * PIECE) for n in range(AT_ONCE - 1)]


@pytest.mark.parametrize(
    ("lead", "size", "waits"),
    [
        (stream(is_slow=False), SIZE, True),
        (stream(brought=BROUGHT - 1), SIZE, True),
        (stream(), SIZE, False),
        (stream(), LARGE - 1, True),
        (stream(), None, True),
        (stream(SIZE - PIECE), SIZE, True),
    ],
    ids=["quick", "just begun", "nobody waits", "small", "of unknown size", "near its end"],
)
def test_one_stream_is_enough(lead: ReadAhead, size: int | None, waits: bool) -> None:
    wanted = lead.position + 4096
    assert Pieces().next(wanted, [lead], NOTHING, size, waits=waits) is None
    assert lead.end is None


def test_a_probe_begins_no_pieces() -> None:
    probe = ReadAhead(100 * MiB, 100 * MiB + PROBE)
    probe.is_slow = True
    assert not begin(Pieces(), 100 * MiB + 4096, [probe])


def test_the_next_piece_begins_as_one_ends() -> None:
    pieces, streams = Pieces(), [stream()]
    last = begin(pieces, BROUGHT + 4096, streams)[-1]
    del streams[0]
    assert begin(pieces, BROUGHT + PIECE, streams) == [(last[1], last[1] + PIECE)]


def test_pieces_go_on_where_all_have_ended_and_nobody_waits() -> None:
    pieces = Pieces()
    last = begin(pieces, BROUGHT + 4096, [stream()])[-1]
    piece = pieces.next(last[1] - MAX_AHEAD, [], NOTHING, SIZE, waits=False)
    assert piece is not None
    assert piece.start == last[1]


def test_no_piece_is_further_ahead_than_a_stream_would_be() -> None:
    pieces = Pieces()
    last = begin(pieces, BROUGHT + 4096, [stream()])[-1]
    assert pieces.next(last[1] - MAX_AHEAD - 1, [], NOTHING, SIZE, waits=True) is None


def test_what_is_here_is_left_out() -> None:
    pieces, first = Pieces(), BROUGHT + PIECE
    here = Ranges([(first, first + 5 * MiB)])
    assert begin(pieces, BROUGHT + 4096, [stream()], here)[0] == (first + 5 * MiB, first + 5 * MiB + PIECE)


def test_the_last_piece_ends_with_the_file() -> None:
    pieces, streams = Pieces(), [stream(SIZE - 2 * PIECE - BROUGHT - MiB)]
    begun = begin(pieces, streams[0].position + 4096, streams)
    assert begun == [(SIZE - PIECE - MiB, SIZE - MiB), (SIZE - MiB, SIZE)]
    streams.clear()
    assert not begin(pieces, SIZE, streams)


def test_a_reader_elsewhere_begins_with_one_stream() -> None:
    pieces = Pieces()
    assert begin(pieces, BROUGHT + 4096, [stream()])
    assert not begin(pieces, 600 * MiB, [stream(600 * MiB, 0)])
    assert begin(pieces, 600 * MiB + BROUGHT, [stream(600 * MiB)])


@pytest.mark.parametrize(("left", "step"), [(MiB, Step.FETCH), (MiB + 1, Step.END)])
def test_a_piece_that_nobody_reads_ends_but_for_a_small_rest(left: int, step: Step) -> None:
    piece = ReadAhead(0, PIECE)
    piece.position = PIECE - left
    assert piece.next_step(NOTHING, SIZE, read=False) is step


@pytest.mark.parametrize(
    ("answered_after", "waited", "is_part", "is_slow"),
    [(0.05, 0.0, True, True), (0.001, 1.0, True, True), (0.001, 0.01, True, False), (0.05, 1.0, False, False)],
    ids=["far", "slow", "near and quick", "ranges are ignored"],
)
def test_how_a_stream_comes(answered_after: float, waited: float, is_part: bool, is_slow: bool) -> None:
    ahead = stream(is_slow=not is_slow)
    ahead.arrives(answered_after, waited, is_part=is_part)
    assert ahead.is_slow == is_slow
