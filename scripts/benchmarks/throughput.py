"""One large file in and out."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks import curl
from benchmarks.bench import Bench, in_turns, rotated
from benchmarks.processes import cpu_of_children, cpu_seconds, run, timed
from benchmarks.report import OURS, Row, Samples, duration, megabytes_per_second
from benchmarks.targets import Target

TITLE = "A large file"

_ROUND_TRIP, _RATE = 0.05, 50e6  # of a far service: seconds, and bytes a second of one connection


def section(bench: Bench) -> Iterator[str]:
    """MB/s of ``cp`` in and ``cp`` out."""
    size = bench.scale.large
    rate = megabytes_per_second(size)
    source = bench.random_file("large", size)
    bench.put({"large": source})
    yield (
        f"One file of {size >> 20} MiB: `cp` in, and out to /dev/null. *Cold*: nothing of it in the mount's caches."
        " *Disk cache*: in the mount's cache on disk, after a new mount. *Page cache*: read a moment ago."
        f" *Far*: {_ROUND_TRIP * 1000:.0f} ms away, and each connection brings {_RATE / 1e6:.0f} MB/s; measured once."
    )
    yield ""
    rows = [
        Row(
            "in, close waits for the server",
            _in(bench, [bench.ours, bench.before, bench.direct, bench.local], source)
            | curl.samples(bench.scale.repetitions, lambda: curl.uploaded(bench.server, [source], "by curl ")),
            rate,
        ),
        Row(
            "in, close waits for this machine only (`--write-back`; `full`)",
            _in(bench, [bench.write_back, bench.before_write_back, bench.cached, bench.local], source),
            rate,
        ),
        *_out(bench),
    ]
    yield from bench.compared(rows, *curl.columns())
    yield from _bounds(bench, source)


def _in(bench: Bench, targets: list[Target | None], source: Path) -> Samples:
    def measure(target: Target) -> float:
        cache = bench.fresh()
        with target.mounted(cache) as mounted:
            seconds = timed("cp", source, mounted.path / "new")
            run("rm", mounted.path / "new")
        shutil.rmtree(cache, ignore_errors=True)
        return seconds

    samples = in_turns(targets, bench.scale.repetitions, measure)
    return {OURS if name.startswith(OURS) else name: seconds for name, seconds in samples.items()}


def _bounds(bench: Bench, source: Path) -> Iterator[str]:
    """What bounds the first row: each process needs a processor, and they run at the same time."""
    cache = bench.fresh()
    with bench.ours.mounted(cache) as mounted:
        assert mounted.pid is not None
        mount, server, copying = cpu_seconds(mounted.pid), cpu_seconds(bench.server.pid), cpu_of_children()
        seconds = timed("cp", source, mounted.path / "new")
        mount, server = cpu_seconds(mounted.pid) - mount, cpu_seconds(bench.server.pid) - server
        copying = cpu_of_children() - copying
        run("rm", mounted.path / "new")
    shutil.rmtree(cache, ignore_errors=True)
    yield (
        f"The file is uploaded while it is written: of the {duration(seconds)} that copying it in took once more, where"
        f" close waits for the server, `cp` computed for {duration(copying)}, the mount for {duration(mount)} and the"
        f" server for {duration(server)}, on {os.cpu_count()} processors."
    )
    yield ""


def _out(bench: Bench) -> Iterator[Row]:
    rate = megabytes_per_second(bench.scale.large)
    cold: Samples = {target.name: [] for target in bench.contestants}
    warm: Samples = {target.name: [] for target in bench.contestants}
    again: Samples = {target.name: [] for target in bench.contestants}
    for repetition in range(bench.scale.repetitions):
        for target in rotated(bench.contestants, repetition):
            cache = bench.fresh()
            bench.recall()
            with target.mounted(cache) as mounted:
                cold[target.name].append(timed("cp", mounted.path / "large", "/dev/null"))
                warm[target.name].append(timed("cp", mounted.path / "large", "/dev/null"))
            if target not in (bench.direct, bench.local):
                with target.mounted(cache) as mounted:
                    again[target.name].append(timed("cp", mounted.path / "large", "/dev/null"))
            shutil.rmtree(cache, ignore_errors=True)
    del cold[bench.local.name]
    (large,) = curl.file_ids(bench.server, "large")
    bench.recall()
    cold |= curl.samples(bench.scale.repetitions, lambda: curl.downloaded(bench.server, [large]))
    yield Row("out, cold", cold, rate)
    yield Row("out, cold, far", _far(bench, large), rate)
    yield Row("out, from the disk cache", again, rate)
    yield Row("out, from the page cache", warm, rate)


def _far(bench: Bench, file_id: str) -> Samples:
    def measure(target: Target) -> float:
        cache = bench.fresh()
        with target.mounted(cache, _ROUND_TRIP, _RATE) as mounted:
            seconds = timed("cp", mounted.path / "large", "/dev/null")
        shutil.rmtree(cache, ignore_errors=True)
        return seconds

    samples = in_turns([bench.ours, bench.before, bench.direct, bench.cached], 1, measure)
    return samples | curl.samples(1, lambda: curl.downloaded(bench.server, [file_id], _ROUND_TRIP, _RATE))
