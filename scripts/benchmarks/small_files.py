"""Many small files in and out, near the server and far from it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks import curl
from benchmarks.bench import Bench, in_turns
from benchmarks.processes import timed
from benchmarks.report import OURS, Row, duration
from benchmarks.targets import Target

TITLE = "Small files"

_SIZE = 4096
_ROUND_TRIPS = (0.0, 0.05)


def section(bench: Bench) -> Iterator[str]:
    """Seconds of ``cp -r`` of a directory of small files, at several distances from the server."""
    count = bench.scale.small_files
    source = bench.work / "small"
    source.mkdir()
    for number in range(count):
        bench.random_file(f"small/{number:04}", _SIZE)
    bench.put({f"small/{path.name}": path for path in source.iterdir()})
    yield (
        f"`cp -r` of {count} files of 4 KiB, out of a mount that has nothing of them, and in, each time into a"
        " container of its own; what is far is done once."
        " `containerfs serve` has a file on its disk (fsync) before it answers, and `--write-back` a second after the"
        " close; rclone and the local disk leave that to the kernel."
    )
    yield ""
    yield from bench.compared(_rows(bench, source), *curl.columns())


def _rows(bench: Bench, source: Path) -> Iterator[Row]:
    there = curl.file_ids(bench.server, "small/")
    for round_trip in _ROUND_TRIPS:
        distance = f"at {round_trip * 1000:.0f} ms of round trip"
        # What is far takes long, and the noise of the machine little of it.
        repetitions = 1 if round_trip else bench.scale.repetitions

        def copied_out(target: Target, round_trip: float = round_trip) -> float:
            return _out(bench, target, round_trip)

        def copied_in(target: Target, round_trip: float = round_trip) -> float:
            return _in(bench, target, source, round_trip)

        out = in_turns(bench.contestants, repetitions, copied_out) | curl.samples(
            repetitions, lambda round_trip=round_trip: curl.downloaded(bench.server, there, round_trip)
        )
        yield Row(f"out, {distance}", out, duration)

        def sent(round_trip: float = round_trip) -> float:
            with bench.server.fresh_container():
                return curl.uploaded(bench.server, source.iterdir(), "small/", round_trip)

        near = in_turns([bench.ours, bench.before, bench.direct, bench.local], repetitions, copied_in)
        near |= curl.samples(repetitions, sent)
        yield Row(f"in, {distance}, each close waits for the server", near, duration)
        targets = [bench.write_back, bench.before_write_back, bench.cached, bench.local]
        late = in_turns(targets, repetitions, copied_in)
        late[OURS] = late.pop(bench.write_back.name)
        yield Row(f"in, {distance}, for this machine only (`--write-back`; `full`)", late, duration)


def _out(bench: Bench, target: Target, round_trip: float) -> float:
    cache, copy = bench.fresh(), bench.work / "copied"
    with target.mounted(cache, round_trip) as mounted:
        seconds = timed("cp", "-r", mounted.path / "small", copy)
    shutil.rmtree(copy)
    shutil.rmtree(cache, ignore_errors=True)
    return seconds


def _in(bench: Bench, target: Target, source: Path, round_trip: float) -> float:
    cache = bench.fresh()
    with bench.server.fresh_container(), target.mounted(cache, round_trip) as mounted:
        seconds = timed("cp", "-r", source, mounted.path / cache.name)  # a name that no other repetition has
    shutil.rmtree(cache, ignore_errors=True)
    return seconds
