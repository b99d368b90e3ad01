"""Markdown: tables of medians, with what the peers took on the same work and how containerfs compares."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

OURS = "containerfs"
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


def comparison(rows: Iterable[Row], contestants: Sequence[str], peers: Sequence[str]) -> Iterator[str]:
    """Medians of each contestant, and for each peer how many times as fast ours is.

    Args:
        contestants: the columns; who has no samples in a row has a dash there.
        peers: those of them to be compared with.
    """
    head = ["", *contestants, *(f"{OURS} / {peer}" for peer in peers)]
    yield from table(head, (_cells(row, contestants, peers) for row in rows))


def _cells(row: Row, contestants: Sequence[str], peers: Sequence[str]) -> list[str]:
    medians = {name: median(samples) for name, samples in row.samples.items() if samples}
    figures = [row.show(medians[name]) if name in medians else MISSING for name in contestants]
    ratios = [f"{medians[peer] / medians[OURS]:.2f}" if peer in medians else MISSING for peer in peers]
    return [row.label, *figures, *ratios]


def megabytes_per_second(size: int) -> Callable[[float], str]:
    return lambda seconds: f"{size / seconds / 1e6:.0f} MB/s"


def per_second(count: int) -> Callable[[float], str]:
    return lambda seconds: f"{count / seconds:,.0f} /s"


def duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{seconds * 1000:.1f} ms"


def mebibytes(size: float) -> str:
    return f"{size / 2**20:.0f} MiB"
