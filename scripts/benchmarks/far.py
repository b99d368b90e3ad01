"""A server that is far: names, a walk, reads here and there, and deletions."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

from benchmarks.bench import Bench, in_turns
from benchmarks.processes import run, timed
from benchmarks.report import OURS, Row, Samples, duration
from benchmarks.targets import Containerfs, Target

TITLE = "Far away"

_ROUND_TRIP = 0.05  # seconds
_FILES_EACH = 20  # in a container of the walk
_READS = 64

_RANDOM = """
import os, random, sys, time
file = os.open(sys.argv[1], os.O_RDONLY)
size, count = os.fstat(file).st_size, int(sys.argv[2])
random.seed(1)
began = time.perf_counter()
for _ in range(count):
    assert len(os.pread(file, 4096, random.randrange(size - 4096))) == 4096
print((time.perf_counter() - began) / count)
"""


def section(bench: Bench) -> Iterator[str]:
    """Seconds of what a round trip of 50 ms makes slow."""
    scale = bench.scale
    _fill(bench)
    yield (
        f"At {_ROUND_TRIP * 1000:.0f} ms of round trip, nothing of it cached, each done once: a directory"
        f" of {scale.names:,} files listed; `find` over {scale.walk} directories (ours: containers) of {_FILES_EACH};"
        f" {_READS} reads of 4 KiB here and there in a file of {scale.far >> 20} MiB, for each; `rm -r` of"
        f" {scale.deleted} files (ours: in a container of their own), which with `--write-back` the service is asked to"
        " delete after that."
    )
    yield ""
    yield from bench.compared(_rows(bench))


def _fill(bench: Bench) -> None:
    small = bench.random_file("one", 6)
    large = bench.random_file("far", bench.scale.far)
    bench.server.put_many("far-names", bench.scale.names)
    for number in range(bench.scale.walk):
        bench.server.put_many(f"walk-{number:03}", _FILES_EACH)
    for store in bench.peer_stores:
        store.put({f"far-names/{number:05}": small for number in range(bench.scale.names)})
        for each in range(bench.scale.walk):
            store.put({f"walk-{each:03}/{number:02}": small for number in range(_FILES_EACH)})
    bench.put({"far": large})


def _rows(bench: Bench) -> Iterator[Row]:
    scale = bench.scale
    everyone = [bench.ours, bench.before, bench.direct, bench.cached, bench.local]

    def names(target: Target, path: Path) -> float:
        return timed("ls", "-f", _beside(target, path) / "far-names")

    def attributes(target: Target, path: Path) -> float:
        return timed("ls", "-l", _beside(target, path) / "far-names")

    def walk(target: Target, path: Path) -> float:
        above = _beside(target, path)
        return timed("find", *(above / f"walk-{number:03}" for number in range(scale.walk)), "-type", "f")

    def reads(_: Target, path: Path) -> float:
        return float(run(sys.executable, "-c", _RANDOM, path / "far", str(_READS)))

    def deletions(_: Target, path: Path) -> float:
        return timed("rm", "-r", path / "deleted")

    yield Row(f"`ls -f` of {scale.names:,} files", _measure(bench, everyone, names), duration)
    yield Row(f"`ls -l` of {scale.names:,} files", _measure(bench, everyone, attributes), duration)
    yield Row(f"`find` over {scale.walk} directories", _measure(bench, everyone, walk), duration)
    yield Row("4 KiB somewhere in a large file", _measure(bench, everyone, reads), duration)
    doomed = {f"deleted/{number:03}": bench.random_file("one", 6) for number in range(scale.deleted)}
    waiting = _measure(bench, [bench.ours, bench.before, bench.direct, bench.local], deletions, doomed)
    yield Row(f"`rm -r` of {scale.deleted} files", waiting, duration)
    lazy = [bench.write_back, bench.before_write_back, bench.cached, bench.local]
    late = _measure(bench, lazy, deletions, doomed)
    yield Row(f"`rm -r` of {scale.deleted} files (`--write-back`; `full`)", late, duration)


def _measure(
    bench: Bench,
    targets: list[Target | None],
    work: Callable[[Target, Path], float],
    files: dict[str, Path] | None = None,
) -> Samples:
    """Seconds of a piece of work on a new mount, before which these files are stored, in ours in a new container."""

    def measure(target: Target) -> float:
        cache = bench.fresh()
        with bench.server.fresh_container() if files else nullcontext():
            if files:
                bench.put(files)
            with target.mounted(cache, _ROUND_TRIP) as mounted:
                seconds = work(target, mounted.path)
        shutil.rmtree(cache, ignore_errors=True)
        return seconds

    samples = in_turns(targets, 1, measure)
    return {OURS if name.startswith(OURS) else name: seconds for name, seconds in samples.items()}


def _beside(target: Target, path: Path) -> Path:
    """Where directories are that are containers of their own in ours."""
    return path.parent if isinstance(target, Containerfs) else path
