"""A limit on what goes over the line in a second, which all uploads or all downloads keep together."""

from collections import Counter
from pathlib import Path

import pytest

from containerfs.fs.pace import Pace, PacedSource
from containerfs.units import parse_rates
from tests.fs import programs
from tests.fs.memory import MemoryRemote
from tests.fs.mounts import mounted

KiB = 1 << 10


class Bytes:
    size = 1000

    def __init__(self) -> None:
        self.asked: list[int] = []

    def read_at(self, offset: int, size: int) -> bytes:
        self.asked.append(size)
        return bytes(1000)[offset : offset + size]


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time passes by sleeping only."""
    pauses: list[float] = []
    monkeypatch.setattr("containerfs.fs.pace.time.monotonic", lambda: 50.0 + sum(pauses))
    monkeypatch.setattr("containerfs.fs.pace.time.sleep", pauses.append)
    return pauses


def test_a_limit_is_kept_over_all(slept: list[float]) -> None:
    pace = Pace(100)
    for count in (50, 25, 125):
        pace.take(count)
    assert sum(slept) == pytest.approx(2.0)


def test_content_is_sent_in_small_pieces_and_whole(slept: list[float]) -> None:
    source = Bytes()
    assert PacedSource(source, Pace(400)).read_at(100, 850) == bytes(850)
    assert source.asked == [100] * 8 + [50]
    assert sum(slept) == pytest.approx(850 / 400)


def test_content_that_is_shorter_than_was_asked_for(slept: list[float]) -> None:
    assert PacedSource(Bytes(), Pace(4000)).read_at(900, 5000) == bytes(100)


@pytest.mark.parametrize(
    ("text", "rates"),
    [("1M", (1 << 20, 1 << 20)), ("500K:2M", (500 * KiB, 2 << 20)), ("0:1M", (0, 1 << 20)), ("1", (64 * KiB,) * 2)],
)
def test_how_rates_are_written(text: str, rates: tuple[int, int]) -> None:
    assert parse_rates(text) == rates


def test_a_mount_keeps_it_up_and_down(
    remote: MemoryRemote, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: Counter[int] = Counter()  # bytes, by the rate of the limit

    def take(pace: Pace, count: int) -> None:
        taken[pace.piece * 4] += count

    monkeypatch.setattr(Pace, "take", take)
    content = bytes(200 * KiB)
    remote.put(container, "down", content)
    with mounted(remote, tmp_path / "cache", up_limit=300 * KiB, down_limit=100 * KiB, patience=60.0) as fs:
        programs.write(fs, "/box/up", content)
        assert taken == {300 * KiB: len(content)}
        assert programs.read(fs, "/box/down") == content
        assert taken == {300 * KiB: len(content), 100 * KiB: len(content)}
    assert remote.stored(container)["up"] == content
