"""What the ways cost that keep the kernel from mixing an old size with a new content."""

import sys
from collections.abc import Iterator

from benchmarks.bench import Bench, in_turns
from benchmarks.processes import run
from benchmarks.report import Row, Samples, per_second, table
from benchmarks.targets import Containerfs, Target

TITLE = "What the kernel remembers"

_WAYS: dict[str, tuple[str, ...]] = {
    "told to forget": (),
    "attr_timeout=0": ("-o", "attr_timeout=0"),
}
_STEPS = {
    "stat": "os.stat(path)",
    "read 4 KiB that were read before": "os.pread(fd, 4096, 0)",
    "open, fstat, read, close": "look()",
    "the same after a refresh": "os.setxattr(path, 'user.containerfs.refresh', b''); look()",
}
_PROGRAM = """
import os, sys, time
path, count = sys.argv[1], int(sys.argv[2])
def look():
    fd = os.open(path, os.O_RDONLY)
    os.fstat(fd), os.read(fd, 4096), os.close(fd)
fd = os.open(path, os.O_RDONLY) if {kept} else None
look()
began = time.perf_counter()
for _ in range(count):
    {step}
print(time.perf_counter() - began)
"""


def section(bench: Bench) -> Iterator[str]:
    """Operations per second of one program on one file, by the way of keeping the kernel's memory right."""
    bench.server.put({"looked-at": bench.random_file("one", 6)})
    yield (
        "One program and one small file, cached. *told to forget* is the mount as it is: the kernel keeps attributes"
        " for a second, and is told to forget those of a file that has another content by the time it is opened."
    )
    yield ""
    targets = [Containerfs(bench.server, bench.work, *options, name=name) for name, options in _WAYS.items()]
    count = bench.scale.names // 10
    rows = [Row(label, _samples(bench, targets, step, count), per_second(count)) for label, step in _STEPS.items()]
    yield from table(["", *_WAYS], ([row.label, *_figures(row)] for row in rows))


def _figures(row: Row) -> Iterator[str]:
    for name in _WAYS:
        yield row.show(sorted(row.samples[name])[len(row.samples[name]) // 2])


def _samples(bench: Bench, targets: list[Containerfs], step: str, count: int) -> Samples:
    program = _PROGRAM.format(step=step, kept="fd" in step)

    def measure(target: Target) -> float:
        with target.mounted(bench.fresh()) as mounted:
            return float(run(sys.executable, "-c", program, mounted.path / "looked-at", str(count)))

    return in_turns(targets, bench.scale.repetitions, measure)
