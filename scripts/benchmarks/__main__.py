"""``scripts/bench``: runs sections and prints Markdown; what is under way goes to standard error."""

import argparse
import datetime
import os
import platform
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks import away, counts, kernel, memory, names, scale, small_files, start, throughput
from benchmarks.bench import QUICK, Bench, Scale, opened
from benchmarks.processes import run

SECTIONS = {
    "requests": counts,
    "large": throughput,
    "memory": memory,
    "small": small_files,
    "names": names,
    "scale": scale,
    "away": away,
    "start": start,
    "kernel": kernel,
}


def main() -> None:
    asked = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started ends too
    size = QUICK if asked.quick else Scale()
    with opened(size, asked.directory) as bench:
        _print(_head(bench, quick=asked.quick))
        for name in asked.sections or SECTIONS:
            print(f"bench: {name}", file=sys.stderr)
            module = SECTIONS[name]
            _print([f"## {module.TITLE}", "", f"Load before: {_load()}.", ""])
            _print(module.section(bench))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures the mount; prints Markdown.")
    parser.add_argument("--quick", action="store_true", help="less of everything, once, in under a minute")
    parser.add_argument("--directory", type=Path, help="where to work; some 10 GiB, on the disk that is meant")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all by default")
    asked = parser.parse_args()
    if unknown := set(asked.sections) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    return asked


def _head(bench: Bench, *, quick: bool) -> Iterator[str]:
    yield "# Benchmarks of the mount"
    yield ""
    yield (
        f"What `scripts/bench{' --quick' * quick}` printed: the real mount over a real server (`containerfs serve`, on"
        " loopback), and `rclone mount` over `rclone serve webdav` of a local directory, in turns on the same work."
        f" Medians of {bench.scale.repetitions}, but where another number is given. A column *containerfs / peer* says"
        " how many times as fast containerfs is. [CLIENT.md](CLIENT.md) and [SERVER.md](SERVER.md) have the figures of"
        " the client and the server by themselves."
    )
    yield ""
    yield f"{_machine()}; {_rclone(bench)}; {datetime.date.today()}."
    yield ""


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kernel = ".".join(platform.release().split("-")[0].split(".")[:2])
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, Linux {kernel}, Python {platform.python_version()}"


def _rclone(bench: Bench) -> str:
    if bench.direct is None:
        return "rclone is not installed here, so its columns are missing"
    return run("rclone", "version").splitlines()[0]


def _load() -> str:
    return ", ".join(f"{load:.1f}" for load in os.getloadavg())


def _print(lines: "Iterator[str] | list[str]") -> None:
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
