"""``scripts/bench``: runs sections and prints Markdown; what is under way goes to standard error."""

import argparse
import datetime
import os
import platform
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks import away, bounds, counts, far, growth, kernel, memory, names, scale, small_files, start, throughput
from benchmarks.bench import QUICK, Bench, Scale, opened
from benchmarks.chart import svg
from benchmarks.processes import Program, run

SECTIONS = {
    "requests": counts,
    "large": throughput,
    "memory": memory,
    "small": small_files,
    "names": names,
    "far": far,
    "bounds": bounds,
    "scale": scale,
    "away": away,
    "start": start,
    "kernel": kernel,
    "growth": growth,
}

_DOCUMENT = Path(__file__).parents[2] / "docs" / "BENCHMARKS.md"
_CHART = "benchmarks.svg"
_QUIET = 0.5  # load, at most, of a machine whose figures are saved


def main() -> None:
    asked = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started ends too
    size = QUICK if asked.quick else Scale()
    with opened(size, asked.directory, asked.before) as bench:
        document = []
        for line in _lines(bench, asked.sections or list(SECTIONS), quick=asked.quick):
            print(line, flush=True)
            document.append(line)
        if asked.save:
            _save(document, bench)


def _lines(bench: Bench, sections: list[str], *, quick: bool) -> Iterator[str]:
    yield from _head(bench, quick=quick)
    for name in sections:
        print(f"bench: {name}", file=sys.stderr)
        module = SECTIONS[name]
        yield from [f"## {module.TITLE}", "", f"Load before: {_load()}.", ""]
        yield from module.section(bench)


def _save(document: list[str], bench: Bench) -> None:
    """Write the document whole, with its chart after its title."""
    title, blank, *rest = document
    peers = [peer for peer in bench.peers if any(peer in bars.ratios for bars in bench.charted)]
    chart = ["![How many times as fast containerfs is as its peers](" + _CHART + ")", ""] if peers else []
    _DOCUMENT.write_text("\n".join([title, blank, *chart, *rest]).rstrip("\n") + "\n")
    if peers:
        (_DOCUMENT.parent / _CHART).write_text(svg(bench.charted, peers))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures the mount; prints Markdown.")
    parser.add_argument("--quick", action="store_true", help="less of everything, once, in under a minute")
    parser.add_argument(
        "--directory",
        type=lambda path: Path(path).resolve(),
        help="where to work; some 10 GiB, on the disk that is meant",
    )
    parser.add_argument(
        "--before",
        type=lambda path: Path(path).absolute(),
        metavar="PYTHON",
        help="an interpreter with an earlier version, to compare the mount with",
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all by default")
    parser.add_argument("--save", action="store_true", help="write docs/BENCHMARKS.md: all of it, at full scale")
    asked = parser.parse_args()
    if asked.save and (asked.quick or asked.sections):
        parser.error("what is saved is a run of all sections at full scale")
    if asked.save and os.getloadavg()[0] > _QUIET:
        parser.error(f"this machine is busy (load {_load()}): what is saved is measured on a quiet one")
    if unknown := set(asked.sections) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    return asked


def _head(bench: Bench, *, quick: bool) -> Iterator[str]:
    yield "# Benchmarks of the mount"
    yield ""
    yield (
        f"The output of `scripts/bench{' --quick' * quick}`: the real mount over a real server (`containerfs serve`, on"
        " loopback), and `rclone mount` over `rclone serve webdav` of a local directory, in turns on the same work."
        f" Medians of {bench.scale.repetitions}, unless another number is given. A column *containerfs / peer* says"
        " how many times as fast containerfs is. [CLIENT.md](CLIENT.md) and [SERVER.md](SERVER.md) have figures for the"
        " client and the server alone."
    )
    yield ""
    yield f"{_machine()}; {_rclone(bench)}; {datetime.date.today()}."
    yield ""
    if bench.earlier:
        yield f"*before* is the mount of an earlier version, {_version(bench.earlier)}, over the same server."
        yield ""


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kernel = ".".join(platform.release().split("-")[0].split(".")[:2])
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, Linux {kernel}, Python {platform.python_version()}"


def _rclone(bench: Bench) -> str:
    if bench.direct is None:
        return "rclone is not installed here, so its columns are missing"
    return run("rclone", "version").splitlines()[0]


def _version(program: Program) -> str:
    """The commit of a version that runs from a checkout, and its day."""
    package = run(program[0], "-P", "-c", "import containerfs; print(containerfs.__file__)").strip()
    return run("git", "-C", str(Path(package).parent), "log", "-1", "--format=%h of %as").strip()


def _load() -> str:
    return ", ".join(f"{load:.1f}" for load in os.getloadavg())


if __name__ == "__main__":
    main()
