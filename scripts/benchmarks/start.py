"""How long it takes until a mount answers."""

import os
import shutil
from collections.abc import Iterator
from statistics import median

from benchmarks.bench import Bench
from benchmarks.processes import CONTAINERFS, mountpoint, run, timed
from benchmarks.report import duration, table

TITLE = "Start"


def section(bench: Bench) -> Iterator[str]:
    """Seconds of ``containerfs mount --local``, until it returns, and of the unmount."""
    yield "`containerfs mount --local`, which returns once the mount answers, and `containerfs unmount`."
    yield ""
    rows = []
    for label, kept in (("a new store", False), ("a store that is there", True)):
        samples = [_mount_and_unmount(bench, kept=kept) for _ in range(bench.scale.starts)]
        mounting, unmounting = (sorted(each) for each in zip(*samples, strict=True))
        span = f"{duration(mounting[0])} to {duration(mounting[-1])}"
        rows.append([label, duration(median(mounting)), span, duration(median(unmounting))])
    yield from table(["embedded store", f"mount, median of {bench.scale.starts}", "from, to", "unmount, median"], rows)


def _mount_and_unmount(bench: Bench, *, kept: bool) -> tuple[float, float]:
    data, cache = bench.work / "embedded", bench.fresh()
    with mountpoint(bench.work / "started") as path:
        mounting = timed(*CONTAINERFS, "mount", "--local", "--data-dir", data, "--cache-dir", cache, path)
        if not os.listdir(path):
            run("mkdir", path / "container")
        unmounting = timed(*CONTAINERFS, "unmount", path)
    shutil.rmtree(cache)
    if not kept:
        shutil.rmtree(data)
    return mounting, unmounting
