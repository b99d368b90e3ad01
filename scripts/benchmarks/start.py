"""How long it takes until a mount answers, what is computed until then, and how long until an unmount is done."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from statistics import median

from benchmarks.bench import Bench
from benchmarks.delay import delayed
from benchmarks.processes import CONTAINERFS, cpu_of_children, cpu_seconds, mountpoint, run, timed
from benchmarks.report import duration, table

TITLE = "Start"

_FAR = 0.05  # seconds of round trip


def section(bench: Bench) -> Iterator[str]:
    """Seconds of ``containerfs mount``, until it returns, and of the unmount."""
    yield (
        "`containerfs mount`, which returns once the mount answers, and `containerfs unmount` of an idle mount. *CPU*"
        " is what the command, the mount's process and the embedded store computed until then, on"
        f" {os.cpu_count()} processors."
    )
    yield ""
    works = {
        "embedded, a new store": lambda: _embedded(bench, kept=False),
        "embedded, a store that is there": lambda: _embedded(bench, kept=True),
        "a server nearby": lambda: _server(bench, 0.0),
        f"a server at {duration(_FAR)} of round trip": lambda: _server(bench, _FAR),
    }
    rows = []
    for label, service in works.items():
        samples = [_mount_and_unmount(bench, service()) for _ in range(bench.scale.starts)]
        mounting, computed, unmounting = (sorted(each) for each in zip(*samples, strict=True))
        span = f"{duration(mounting[0])} to {duration(mounting[-1])}"
        medians = [duration(median(each)) for each in (mounting, computed, unmounting)]
        rows.append([label, medians[0], span, *medians[1:]])
    head = ["service", f"mount, median of {bench.scale.starts}", "from, to", "CPU, median", "unmount, median"]
    yield from table(head, rows)


@contextmanager
def _embedded(bench: Bench, *, kept: bool) -> Iterator[list[str | Path]]:
    """The options for an embedded store."""
    data = bench.work / "embedded"
    yield ["--local", "--data-dir", data]
    if not kept:
        shutil.rmtree(data)


@contextmanager
def _server(bench: Bench, round_trip: float) -> Iterator[list[str | Path]]:
    """The options for the server."""
    with delayed(bench.server.port, round_trip) as line:
        yield ["--url", f"http://127.0.0.1:{line.port}/v1"]


def _mount_and_unmount(bench: Bench, service: AbstractContextManager[list[str | Path]]) -> tuple[float, float, float]:
    """Seconds until the mount answered, seconds computed until then, and seconds of the unmount."""
    cache = bench.fresh()
    with service as options, mountpoint(bench.work / "started") as path:
        before = cpu_of_children()
        mounting = timed(*CONTAINERFS, "mount", *options, "--cache-dir", cache, path)
        pid = json.loads(os.getxattr(path, "user.containerfs.status"))["pid"]
        computed = cpu_of_children() - before + sum(map(cpu_seconds, (pid, *_children(pid))))
        if not os.listdir(path):
            run("mkdir", path / "container")
        unmounting = timed(*CONTAINERFS, "unmount", path)
    shutil.rmtree(cache)
    return mounting, computed, unmounting


def _children(pid: int) -> list[int]:
    """The processes that a process has started. Source: proc(5), children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
