"""What scripts/bench prints of what it has measured."""

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from benchmarks.chart import Bars, svg
from benchmarks.report import Row, comparison, duration

sys.path.pop(0)

ROW = Row("`cp` <in>", {"containerfs": [1.0, 2.0, 4.0], "peer": [4.0, 4.0, 4.0], "local": [0.05, 0.05, 0.05]}, duration)


def test_a_ratio_is_that_of_repetitions_side_by_side_with_its_spread() -> None:
    charted: list[Bars] = []
    lines = list(comparison([ROW], ["containerfs", "peer", "missing", "local"], ["peer", "missing"], charted))
    assert lines[2] == "| `cp` <in> | 2.00 s | 4.00 s | - | 50.0 ms | 2.00 (1.00 to 4.00) | - |"
    assert charted == [Bars("`cp` <in>", {"peer": 2.0})]


def test_of_a_single_repetition_there_is_no_spread() -> None:
    lines = list(comparison([Row("one", {"containerfs": [1.0], "peer": [3.0]}, duration)], ["peer"], ["peer"], []))
    assert lines[2] == "| one | 3.00 s | 3.00 |"


@pytest.mark.parametrize("ratios", [[2.0], [0.2, 50.0], [1.0, 1.0], []])
def test_the_chart_is_svg_with_a_bar_for_each_ratio(ratios: list[float]) -> None:
    rows = [Bars(f"row & {number}", {"rclone off": ratio}) for number, ratio in enumerate(ratios)]
    chart = ElementTree.fromstring(svg(rows, ["rclone off", "rclone full"]))
    texts = [element.text for element in chart.iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if text and text.startswith("row")] == [row.label for row in rows]
    bars = [element for element in chart.iter("{http://www.w3.org/2000/svg}rect") if element.get("height") == "8"]
    assert len(bars) == len(ratios)
    assert all(float(bar.get("width", "-1")) > 0 for bar in bars)
