"""A chart of how many times as fast containerfs is, as SVG: a bar for each piece of work and peer; logarithmic."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

_LABELS, _BARS, _RIGHT = 430, 420, 70  # widths
_BAR, _GAP = 9, 7  # heights
_COLOURS = ("#3b6fb6", "#8fb8de", "#a8a8a8")
_TICKS = (0.1, 0.5, 1, 2, 5, 10, 20, 50, 100)


@dataclass(frozen=True)
class Bars:
    """A piece of work, and by peer how many times as fast ours is."""

    label: str
    ratios: dict[str, float]


def svg(rows: Sequence[Bars], peers: Sequence[str]) -> str:
    """The chart. Bars to the right of the line at 1 are ours to be proud of."""
    ratios = [ratio for row in rows for ratio in row.ratios.values()] or [1.0]
    low, high = math.log(min(*ratios, 0.5)), math.log(max(*ratios, 2.0))

    def place(ratio: float) -> float:
        return _LABELS + (math.log(ratio) - low) / (high - low) * _BARS

    height = 40 + sum(len(peers) * _BAR + _GAP for _ in rows)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LABELS + _BARS + _RIGHT}" height="{height}"'
            ' font-family="sans-serif" font-size="11">',
            f'<rect width="100%" height="100%" fill="white"/>{_legend(peers)}',
            *_ticks(place, math.exp(low), math.exp(high), height),
            *_bars(rows, peers, place),
            "</svg>",
            "",
        ]
    )


def _legend(peers: Sequence[str]) -> str:
    parts = [
        f'<rect x="{10 + 130 * index}" y="8" width="10" height="10" fill="{colour}"/>'
        f'<text x="{25 + 130 * index}" y="17">/ {escape(peer)}</text>'
        for index, (peer, colour) in enumerate(zip(peers, _COLOURS, strict=False))
    ]
    return "".join(parts)


def _ticks(place: Callable[[float], float], low: float, high: float, height: int) -> Iterator[str]:
    for tick in _TICKS:
        if low <= tick <= high:
            x, colour = place(tick), "#333" if tick == 1 else "#ddd"
            yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="24" y2="{height - 4}" stroke="{colour}"/>'
            yield f'<text x="{x:.1f}" y="20" text-anchor="middle">{tick:g}</text>'


def _bars(rows: Sequence[Bars], peers: Sequence[str], place: Callable[[float], float]) -> Iterator[str]:
    y, one = 30.0, place(1.0)
    for row in rows:
        middle = y + len(peers) * _BAR / 2 + 4
        yield f'<text x="{_LABELS - 8}" y="{middle:.1f}" text-anchor="end">{escape(row.label.replace("`", ""))}</text>'
        for peer, colour in zip(peers, _COLOURS, strict=False):
            if peer in row.ratios:
                end = place(row.ratios[peer])
                left, width = min(one, end), max(abs(end - one), 1.0)
                yield f'<rect x="{left:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_BAR - 1}" fill="{colour}"/>'
                yield f'<text x="{max(one, end) + 4:.1f}" y="{y + _BAR - 1:.1f}">{row.ratios[peer]:.2g}</text>'
            y += _BAR
        y += _GAP
