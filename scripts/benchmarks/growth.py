"""What more of something costs: names, bytes, readers, mounts."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import Bench, MiB
from benchmarks.processes import cpu_seconds, environment, memory, proportional, timed
from benchmarks.report import duration, mebibytes, table

TITLE = "Growth"


def section(bench: Bench) -> Iterator[str]:
    """Tables over size, of ours alone."""
    yield "containerfs alone, near its server, each figure from one run. *CPU* and *memory* are the mount's process."
    yield ""
    yield from table(["names in a directory", "`ls -f`, first", "`ls -l`, again", "CPU", "memory"], _names(bench))
    yield from table(["size of a file", "`cp` out, cold", "rate", "CPU", "memory, peak"], _sizes(bench))
    yield from table(["readers of one file", "until the last has it", "rate of all", "CPU"], _readers(bench))
    yield "The memory of several mounts counts what they share once (PSS)."
    yield ""
    yield from table(["mounts", "until all answer", "for each", "memory of each", "of all"], _mounts(bench))


def _names(bench: Bench) -> Iterator[list[str]]:
    for count in bench.scale.growing_names:
        bench.server.put_many(f"growth-{count}", count)
        with _mounted(bench) as (path, pid):
            before = cpu_seconds(pid)
            directory = path.parent / f"growth-{count}"
            first, again = timed("ls", "-f", directory), timed("ls", "-l", directory)
            used = duration(cpu_seconds(pid) - before)
            yield [f"{count:,}", duration(first), duration(again), used, mebibytes(memory(pid)[1])]


def _sizes(bench: Bench) -> Iterator[list[str]]:
    for size in bench.scale.growing_sizes:
        source = bench.random_file("growing", size)
        bench.server.put({"growing": source})
        source.unlink()
        with _mounted(bench) as (path, pid):
            before = cpu_seconds(pid)
            seconds = timed("cp", path / "growing", "/dev/null")
            used = duration(cpu_seconds(pid) - before)
            rate = f"{size / seconds / 1e6:.0f} MB/s"
            yield [f"{size // MiB:,} MiB", duration(seconds), rate, used, mebibytes(memory(pid)[0])]


def _readers(bench: Bench) -> Iterator[list[str]]:
    size = bench.scale.far
    bench.server.put({"shared": bench.random_file("shared", size)})
    for count in bench.scale.growing_readers:
        with _mounted(bench) as (path, pid):
            before, began = cpu_seconds(pid), time.perf_counter()
            command = ["cp", os.fspath(path / "shared"), "/dev/null"]
            readers = [subprocess.Popen(command, env=environment()) for _ in range(count)]
            statuses = [reader.wait() for reader in readers]
            assert not any(statuses)
            seconds = time.perf_counter() - began
            used = duration(cpu_seconds(pid) - before)
            yield [f"{count}", duration(seconds), f"{count * size / seconds / 1e6:.0f} MB/s", used]


def _mounts(bench: Bench) -> Iterator[list[str]]:
    for count in bench.scale.growing_mounts:
        began = time.perf_counter()
        with contextlib.ExitStack() as stack:
            processes = [stack.enter_context(_mounted(bench))[1] for _ in range(count)]
            seconds = time.perf_counter() - began
            held = sum(map(proportional, processes))
            yield [f"{count}", duration(seconds), duration(seconds / count), mebibytes(held / count), mebibytes(held)]


@contextlib.contextmanager
def _mounted(bench: Bench) -> Iterator[tuple[Path, int]]:
    """A mount with an empty cache: where it is worked in, and its process."""
    cache = bench.fresh()
    with bench.ours.mounted(cache) as mounted:
        assert mounted.pid is not None
        yield mounted.path, mounted.pid
    shutil.rmtree(cache, ignore_errors=True)
