"""What bounds the work that takes longer than it is meant to: who computes meanwhile, and what is waited for."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path
from statistics import median

from benchmarks import curl
from benchmarks.bench import Bench
from benchmarks.processes import cpu_of_children, cpu_times, run, timed
from benchmarks.report import MISSING, duration, table
from benchmarks.targets import Mounted, Target

TITLE = "What bounds the rest"

_SIZE = 4096
_ROUND_TRIP = 0.05  # seconds

_OUT = """Each file is one request to the service and four of the kernel, which the mount answers in Python, in one
    process. It computes for most of the time, and `cp` makes its files in the rest. The API has no request for the
    contents of several files."""
_IN = """`cp` closes each file before it opens the next, and each close waits. So mount, server and disk work
    one after the other, and all that they compute adds up to what it takes. curl takes {curl} for the same requests;
    the mount also records each file before it is sent, and forgets it once it is stored, so that nothing is lost, or
    stored twice."""
_FAR_IN = """Each file is one request, and so one round trip: {waited} in all. The rest is what the row above takes."""
_LARGE_OUT = """The mount receives the content, computes checksums, writes it to its cache and hands it to the kernel,
    where curl only receives it. Mount, server and `cp` share the processors, and compute for most of the time to copy
    the content from one to the other."""
_LARGE_IN = """`cp` writes to the mount, which writes to a file of its own, and sends it from there to the server, which
    writes it to another, and both compute digests. All that is done at the same time, on the same processors."""
_NAMES = """`ls` itself computes for most of the time, the kernel's part included. The goal is what rclone takes."""
_ALSO = (
    "Without `--write-back`, `rm -r` waits a round trip for each file: the API has no deletion of several. A far"
    " mount that has not listed a directory lists it first, 100 names at a time, from both ends. Content from the disk"
    " cache is compared with its checksums block by block as it is read."
)


@dataclass(frozen=True)
class Spent:
    """What a piece of work took.

    Attributes:
        clock: seconds.
        program, mount, kernel, server: seconds that each of them computed.
        round_trips: one after the other.
    """

    clock: float
    program: float
    mount: float
    kernel: float
    server: float
    round_trips: int

    @property
    def computed(self) -> float:
        return self.program + self.mount + self.kernel + self.server


@dataclass(frozen=True)
class Work:
    """A piece of work.

    Attributes:
        goal: how long it is meant to take, in seconds; infinite where a peer says that, which is not here.
        measure: does it once.
        repetitions: of it.
        why: what the figures show.
    """

    label: str
    goal: float
    measure: Callable[[], Spent]
    repetitions: int
    why: str


def section(bench: Bench) -> Iterator[str]:
    """What each program computes while that is done which is slower than its goal."""
    yield (
        "What takes longer than it was meant to, done again while the processor time is counted: of the program (`cp`"
        " or `ls`), of the mount, in Python and in the kernel, and of the server, on"
        f" {os.cpu_count()} processors. Python computes on one of them at a time, in the mount as in the server."
    )
    yield ""
    rows, reasons = [], []
    for work in works(bench):
        spent = sorted((work.measure() for _ in range(work.repetitions)), key=lambda each: each.clock)
        middle = spent[len(spent) // 2]
        goal = duration(work.goal) if work.goal < inf else MISSING
        figures = (middle.clock, middle.program, middle.mount, middle.kernel, middle.server)
        rows.append([work.label, goal, *map(duration, figures), f"{middle.computed / middle.clock:.1f}"])
        waited = duration(middle.round_trips * _ROUND_TRIP)
        why = work.why.replace("{waited}", waited)
        reasons.append(f"- **{work.label}**: {' '.join(why.split())}")
    head = ["", "goal", "took", "program", "mount: Python", "mount: kernel", "server", "processors busy"]
    yield from table(head, rows)
    yield from reasons
    yield ""
    yield _ALSO
    yield ""


def works(bench: Bench) -> Iterator[Work]:
    """Everything that is slower than its goal."""
    yield from _small_files(bench)
    yield from _large_file(bench)
    names = bench.scale.names
    bench.server.put_many("bounds-names", names)
    yield Work(f"`ls -l` of {names:,} listed names", inf, lambda: _names(bench), bench.scale.repetitions, _NAMES)


def _small_files(bench: Bench) -> Iterator[Work]:
    """The goals are those for 500 files."""
    count, often = bench.scale.small_files, bench.scale.repetitions
    source = bench.work / "bounds"
    source.mkdir()
    for number in range(count):
        bench.random_file(f"bounds/{number:04}", _SIZE)
    bench.server.put({f"bounds/{path.name}": path for path in source.iterdir()})
    each = f"{count} files of 4 KiB"
    yield Work(f"{each} out", count * 0.0014, lambda: _out(bench, "bounds", "-r"), often, _OUT)
    by_curl = _of_curl(lambda: _by_curl(bench, source), often)
    why = _IN.replace("{curl}", duration(by_curl))
    yield Work(f"{each} in, each close waits", count * 0.003, lambda: _in(bench, source, 0.0), often, why)
    goal = count * 1.1 * _ROUND_TRIP
    yield Work(
        f"{each} in, each close waits, at {duration(_ROUND_TRIP)}",
        goal,
        lambda: _in(bench, source, _ROUND_TRIP),
        1,
        _FAR_IN,
    )


def _large_file(bench: Bench) -> Iterator[Work]:
    """The goals are parts of what curl does."""
    large = bench.random_file("large", bench.scale.large)
    bench.server.put({"large": large})
    (large_id,) = curl.file_ids(bench.server, "large")
    often = bench.scale.repetitions
    down = _of_curl(lambda: curl.downloaded(bench.server, [large_id]), often)
    up = _of_curl(lambda: curl.uploaded(bench.server, [large], "bounds by curl "), often)
    size = f"{bench.scale.large >> 20} MiB"
    yield Work(f"{size} out, cold", down / 0.75, lambda: _out(bench, "large"), often, _LARGE_OUT)
    yield Work(f"{size} in, close waits", up / 0.8, lambda: _in(bench, large, 0.0), often, _LARGE_IN)


def _of_curl(measure: Callable[[], float], repetitions: int) -> float:
    """Seconds that curl takes; infinite where it is not installed."""
    samples = [measure() for _ in range(repetitions if curl.columns() else 0)]
    return median(samples) if samples else inf


def _by_curl(bench: Bench, source: Path) -> float:
    with bench.server.fresh_container():
        return curl.uploaded(bench.server, source.iterdir(), "small/")


def _out(bench: Bench, name: str, *options: str) -> Spent:
    copy = bench.work / "copied"
    spent = _mounted(bench, bench.ours, lambda top: ("cp", *options, top.path / name, copy if options else os.devnull))
    if options:
        shutil.rmtree(copy)
    return spent


def _in(bench: Bench, source: Path, round_trip: float) -> Spent:
    with bench.server.fresh_container():
        return _mounted(bench, bench.ours, lambda top: ("cp", "-r", source, top.path / "new"), round_trip)


def _names(bench: Bench) -> Spent:
    def listed(top: Mounted) -> tuple[str | Path, ...]:
        directory = top.path.parent / "bounds-names"
        run("ls", "-f", directory)
        return "ls", "-l", directory

    return _mounted(bench, bench.patient, listed)


def _mounted(
    bench: Bench, target: Target, command: Callable[[Mounted], tuple[str | Path, ...]], round_trip: float = 0.0
) -> Spent:
    """Run a command on a new mount."""
    cache = bench.fresh()
    with target.mounted(cache, round_trip) as top:
        words = command(top)
        assert top.pid is not None
        assert top.line is not None
        python, kernel = cpu_times(top.pid)
        server, program, sent = sum(cpu_times(bench.server.pid)), cpu_of_children(), Counter(top.line.sent)
        clock = timed(*words)
        program, round_trips = cpu_of_children() - program, top.line.round_trips(sent)
        python_now, kernel_now = cpu_times(top.pid)
        server = sum(cpu_times(bench.server.pid)) - server
    shutil.rmtree(cache, ignore_errors=True)
    return Spent(clock, program, python_now - python, kernel_now - kernel, server, round_trips)
