"""What the mount's process holds while a large file passes."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.processes import forget_peak, memory, run
from benchmarks.report import mebibytes, table
from benchmarks.targets import Target

TITLE = "Memory"

_OPEN, _EACH = 200, 1 << 20  # files, and bytes of each


def section(bench: Bench) -> Iterator[str]:
    """The peak while reading and while writing, and what stays."""
    source = bench.random_file("large", bench.scale.large)
    targets = [target for target in (bench.ours, bench.before, bench.direct, bench.cached) if target]
    work: list[tuple[str, Callable[[Path], object]]] = [
        ("reading", lambda path: run("cp", path / "large", "/dev/null")),
        ("writing", lambda path: run("cp", source, path / "new")),
    ]
    bench.put({"large": source})
    yield (
        f"The resident memory of the mount's process: VmHWM while a file of {bench.scale.large >> 20} MiB is read cold"
        " or written, VmRSS once it is."
    )
    yield ""
    rows = [[target.name, *_measure(bench, target, work)] for target in targets]
    yield from table(["", "mounted", "peak reading", "then", "peak writing", "then"], rows)
    yield f"With {_OPEN} files of {_EACH >> 20} MiB open, each read once: {mebibytes(_many_open(bench))} at the peak."
    yield ""


def _measure(bench: Bench, target: Target, work: list[tuple[str, Callable[[Path], object]]]) -> list[str]:
    cells: list[str] = []
    for name, do in work:
        cache = bench.fresh()
        with target.mounted(cache) as mounted:
            assert mounted.pid is not None
            if not cells:
                cells.append(mebibytes(memory(mounted.pid)[1]))
            forget_peak(mounted.pid)
            do(mounted.path)
            cells += map(mebibytes, memory(mounted.pid))
            if name == "writing":
                run("rm", mounted.path / "new")
        shutil.rmtree(cache, ignore_errors=True)
    return cells


def _many_open(bench: Bench) -> int:
    """The peak, in bytes, of our mount while many files are open."""
    source = bench.random_file("open", _EACH)
    bench.server.put({f"open/{number}": source for number in range(_OPEN)})
    with bench.ours.mounted(bench.fresh()) as mounted, contextlib.ExitStack() as stack:
        assert mounted.pid is not None
        for number in range(_OPEN):
            stack.enter_context((mounted.path / f"open/{number}").open("rb", buffering=0)).read(_EACH)
        return memory(mounted.pid)[0]
