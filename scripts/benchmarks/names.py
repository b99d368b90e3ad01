"""Names and attributes: a large directory listed, and asked about name by name."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.processes import run, timed
from benchmarks.report import Row, Samples, duration, per_second
from benchmarks.targets import Containerfs, Target

TITLE = "Names"

_STAT = """
import os, sys, time
names = [entry.path for entry in os.scandir(sys.argv[1])]
began = time.perf_counter()
for name in names:
    os.stat(name)
print(time.perf_counter() - began)
"""


def section(bench: Bench) -> Iterator[str]:
    """Seconds to list a large directory, and stat(2) per second."""
    count = bench.scale.names
    small = bench.random_file("one", 6)
    bench.server.put_many("names", count)
    for store in bench.peer_stores:
        store.put({f"names/{number:05}": small for number in range(count)})
    yield (
        f"A directory of {count:,} files. The API lists 100 at a time, so that the first look takes {-(-count // 100)}"
        " requests one after the other. `ls -f` reads names only; `stat` asks for one file after the other, each once."
    )
    yield ""
    yield from bench.compared(_rows(bench))


def _rows(bench: Bench) -> Iterator[Row]:
    steps: dict[str, Callable[[Path], float]] = {
        "`ls -f`, first": lambda path: timed("ls", "-f", path),
        "`ls -f`, again": lambda path: timed("ls", "-f", path),
        "`stat` of every name": _stat_all,
        "`ls -l`": lambda path: timed("ls", "-l", path),
        "`find -size +1k`": lambda path: timed("find", path, "-size", "+1k"),
    }
    samples: dict[str, Samples] = {step: {target.name: [] for target in bench.contestants} for step in steps}
    for _ in range(bench.scale.repetitions):
        for target in bench.contestants:
            cache = bench.fresh()
            with target.mounted(cache) as mounted:
                directory = _directory(target, mounted.path)
                for step, measure in steps.items():
                    samples[step][target.name].append(measure(directory))
            shutil.rmtree(cache, ignore_errors=True)
    for step in steps:
        yield Row(step, samples[step], per_second(bench.scale.names) if step.startswith("`stat`") else duration)


def _stat_all(path: Path) -> float:
    return float(run(sys.executable, "-c", _STAT, path))


def _directory(target: Target, path: Path) -> Path:
    """Ours is a container of its own, beside the one that is worked in."""
    return path.parent / "names" if isinstance(target, Containerfs) else path / "names"
