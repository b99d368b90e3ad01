"""Markdown: tables of medians, with what the peers took on the same work and how containerfs compares."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.chart import Bars

OURS = "containerfs"
BEFORE = "before"
MISSING = "-"

Samples = dict[str, list[float]]
"""Seconds of each repetition, by contestant."""


@dataclass(frozen=True)
class Row:
    """One piece of work, what it took whom, and how to write that: from seconds."""

    label: str
    samples: Samples
    show: Callable[[float], str]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table whose first column is text, and the others figures."""
    yield f"| {' | '.join(head)} |"
    yield f"|---|{'---:|' * (len(head) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def comparison(
    rows: Iterable[Row], contestants: Sequence[str], peers: Sequence[str], charted: list[Bars]
) -> Iterator[str]:
    """Medians of each contestant, and for each peer how many times as fast ours is, with the spread of its repetitions.

    Args:
        contestants: the columns; who has no samples in a row has a dash there.
        peers: those of them to be compared with.
        charted: takes the ratios, for the chart.
    """
    head = ["", *contestants, *(f"{OURS} / {peer}" for peer in peers)]
    cells = []
    for row in rows:
        cells.append(_cells(row, contestants, peers))
        ratios = {peer: median(_ratios(row, peer)) for peer in peers if row.samples.get(peer)}
        if ratios:
            charted.append(Bars(row.label, ratios))
    yield from table(head, cells)


def _cells(row: Row, contestants: Sequence[str], peers: Sequence[str]) -> list[str]:
    figures = [row.show(median(samples)) if (samples := row.samples.get(name)) else MISSING for name in contestants]
    return [row.label, *figures, *(_spread(_ratios(row, peer)) for peer in peers)]


def _ratios(row: Row, peer: str) -> list[float]:
    """Of each repetition: what was measured one right after the other is compared with each other."""
    return [theirs / ours for ours, theirs in zip(row.samples[OURS], row.samples.get(peer, []), strict=False)]


def _spread(ratios: list[float]) -> str:
    if not ratios:
        return MISSING
    middle = f"{median(ratios):.2f}"
    return middle if len(ratios) == 1 else f"{middle} ({min(ratios):.2f} to {max(ratios):.2f})"


def megabytes_per_second(size: int) -> Callable[[float], str]:
    return lambda seconds: f"{size / seconds / 1e6:.0f} MB/s"


def per_second(count: int) -> Callable[[float], str]:
    return lambda seconds: f"{count / seconds:,.0f} /s"


def duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{seconds * 1000:.1f} ms"


def mebibytes(size: float) -> str:
    return f"{size / 2**20:.0f} MiB"
