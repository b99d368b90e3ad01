"""Many names, many containers, and a large cache: what looking costs, in requests, time and memory."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from statistics import median

from benchmarks.bench import Bench
from benchmarks.processes import CONTAINERFS, Program, cpu_seconds, memory, run, timed
from benchmarks.report import duration, mebibytes, table
from benchmarks.targets import Containerfs, Mounted

TITLE = "At any size"

_ROUND_TRIP = 0.05  # seconds
_EXPIRY = 1.0  # seconds, of a mount whose listings take longer
_LONGER = 5.0  # which is more than asking for all containers takes
_ALWAYS = "1h"
_TOO_LONG = 30.0
_SMALL = 100  # names

_OPEN = """
import os, random, sys, time
names = os.listdir(sys.argv[1])
random.seed(1)
chosen = random.choices(names, k=1000)
longest = 0.0
began = time.perf_counter()
for name in chosen:
    start = time.perf_counter()
    os.close(os.open(os.path.join(sys.argv[1], name), os.O_RDONLY))
    longest = max(longest, time.perf_counter() - start)
print((time.perf_counter() - began) / len(chosen), longest)
"""

_STAT = """
import os, sys
for name in sys.argv[2:]:
    os.stat(os.path.join(sys.argv[1], name))
"""

_CACHE = """
import os, sys, time, threading
from pathlib import Path
from containerfs.fs.reading.cache import ContentCache
from containerfs.fs.types import RemoteFile
directory, count, size = Path(sys.argv[1]), int(sys.argv[2]), 4096
for number in range(count):
    path = directory / f"{number * 40503 % 256:02x}" / f"{number * 40503 % 256:02x}{number:038x}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
began = time.perf_counter()
cache = ContentCache(directory, count * size, "service")
started = time.perf_counter() - began
while cache.usage()["entries"] < count:
    time.sleep(0.01)
large = RemoteFile("large", "box", "large", count * size // 2, 0)
staged = directory / "staged"
staged.touch()
os.truncate(staged, count * size // 2)
adopting = threading.Thread(target=cache.adopt, args=(large, staged))
began = time.perf_counter()
adopting.start()
longest = 0.0
while adopting.is_alive() or cache.usage()["bytes"] > count * size:
    start = time.perf_counter()
    cache.unpin(cache.pin(RemoteFile("small", "box", "small", 1, 0)))
    longest = max(longest, time.perf_counter() - start)
evicted = time.perf_counter() - began
cache.close()
print(started, evicted, longest)
"""


def section(bench: Bench) -> Iterator[str]:
    """Requests, seconds and bytes of what grows with the number of names."""
    counts = {"few": _SMALL, "thousand": 1000, "ten thousand": bench.scale.names, "many": bench.scale.many}
    for container, count in (counts | {"most": bench.scale.most}).items():
        bench.server.put_many(container, count)
    for number in range(sum(1 for _ in bench.server.client.containers.list()), bench.scale.containers):
        bench.server.client.containers.create(name=f"c{number:04}")
    yield (
        f"*Requests* are what the server counted, *CPU* is what the mount's process computed. At a round trip of"
        f" {_ROUND_TRIP * 1000:.0f} ms (*far away*), *round trips* are the requests that were sent one after the other."
    )
    yield ""
    head = ["", "requests", "round trips", "time", "CPU", "aim"]
    yield from table(head, _looks(bench, CONTAINERFS))
    yield from table(["", "figure", "aim"], [*_opens(bench, CONTAINERFS), *_memory(bench), *_cache(bench)])
    if bench.earlier:
        yield f"The same with the version *before*, where what takes more than {_TOO_LONG:.0f} s is stopped:"
        yield ""
        yield from table(head, _looks(bench, bench.earlier, limit=_TOO_LONG))
        yield from table(["", "figure", "aim"], _opens(bench, bench.earlier, limit=_TOO_LONG))


def _believing(bench: Bench, program: Program, expiry: str) -> Containerfs:
    return Containerfs(bench.server, bench.work, "--metadata-expiry", expiry, program=program)


def _looks(bench: Bench, program: Program, limit: float = inf) -> Iterator[list[str]]:
    names, many, containers = bench.scale.names, bench.scale.many, bench.scale.containers

    def listed(*command: str | Path) -> float:
        return timed(*command, limit=limit)

    with _believing(bench, program, f"{_EXPIRY:.0f}s").mounted(bench.fresh(), _ROUND_TRIP) as mounted:
        label = f"`ls -l` of {names:,} names, far away, believed for {_EXPIRY:.0f} s"
        yield _look(bench, mounted, label, "one listing", lambda root: listed("ls", "-l", root / "ten thousand"))
    with _believing(bench, program, f"{_LONGER:.0f}s").mounted(bench.fresh(), _ROUND_TRIP) as mounted:
        label = f"`stat` of {containers:,} containers, once that has expired"
        asked = run("ls", mounted.path.parent).splitlines()
        time.sleep(_LONGER + 0.1)
        yield _look(
            bench, mounted, label, "10 requests", lambda root: listed(sys.executable, "-P", "-c", _STAT, root, *asked)
        )
    with _believing(bench, program, _ALWAYS).mounted(bench.fresh(), _ROUND_TRIP) as mounted:
        label = f"`ls` of {names:,} names, far away"
        yield _look(bench, mounted, label, "55 round trips", lambda root: listed("ls", root / "ten thousand"))
    with _believing(bench, program, _ALWAYS).mounted(bench.fresh()) as mounted:
        yield _look(bench, mounted, f"`ls` of {many:,} names", "", lambda root: listed("ls", root / "many"))
        yield _look(bench, mounted, "the same again", "1.5 s", lambda root: listed("ls", root / "many"))
        yield _look(bench, mounted, "`ls -l` of them", "10 s", lambda root: listed("ls", "-l", root / "many"))
        run("ls", mounted.path.parent / "thousand")
        label = "`ls -l` of 1,000 names, listed, median of 10"
        yield _look(bench, mounted, label, "0.03 s", lambda root: _expired_looks(root / "thousand"))


def _expired_looks(path: Path) -> float:
    seconds = []
    for _ in range(10):
        time.sleep(1.1)  # for which the kernel keeps attributes
        seconds.append(timed("ls", "-l", path))
    return median(seconds)


def _look(bench: Bench, mounted: Mounted, label: str, aim: str, do: Callable[[Path], float]) -> list[str]:
    assert mounted.pid is not None
    assert mounted.line is not None
    requests, computed = sum(bench.server.requests().values()), cpu_seconds(mounted.pid)
    before = mounted.line.sent.copy()
    took = _lasting(lambda: do(mounted.path.parent))
    sent = sum(bench.server.requests().values()) - requests - 1  # that which asked for the count
    round_trips = mounted.line.round_trips(before) or "-"
    return [label, str(sent), str(round_trips), took, duration(cpu_seconds(mounted.pid) - computed), aim]


def _lasting(do: Callable[[], float]) -> str:
    try:
        return duration(do())
    except subprocess.TimeoutExpired as error:
        return f"> {error.timeout:.0f} s"


def _opens(bench: Bench, program: Program, limit: float = inf) -> Iterator[list[str]]:
    with _believing(bench, program, _ALWAYS).mounted(bench.fresh()) as mounted:
        for container, count, aim in (("few", _SMALL, ""), ("many", bench.scale.many, "1 ms more, mean")):
            label = f"`open` here and there in a directory of {count:,}: mean, longest of 1,000"
            command = (sys.executable, "-P", "-c", _OPEN, mounted.path.parent / container)
            try:
                figures = map(float, run(*command, limit=limit).split())
                yield [label, ", ".join(map(duration, figures)), aim]
            except subprocess.TimeoutExpired:
                yield [label, f"all of them: > {limit:.0f} s", aim]


def _memory(bench: Bench) -> Iterator[list[str]]:
    directories = [
        ("many", bench.scale.many, ("ls", "-l"), "1 KB a name"),
        ("most", bench.scale.most, ("ls",), "1.2 GB at most"),
    ]
    for container, count, look, aim in directories:
        with bench.patient.mounted(bench.fresh()) as mounted:
            assert mounted.pid is not None
            before = memory(mounted.pid)[1]
            seconds = timed(*look, mounted.path.parent / container)
            peak, now = memory(mounted.pid)
        label = f"`{' '.join(look)}` of {count:,} names: time, memory at most, in the end, and that for each name"
        figures = (duration(seconds), mebibytes(peak), mebibytes(now), f"{(now - before) // count} B")
        yield [label, ", ".join(figures), aim]


def _cache(bench: Bench) -> Iterator[list[str]]:
    directory = bench.fresh()
    started, evicted, longest = map(
        float, run(sys.executable, "-P", "-c", _CACHE, directory, str(bench.scale.many)).split()
    )
    shutil.rmtree(directory)
    yield [f"start with {bench.scale.many:,} contents in the cache", duration(started), "1 s"]
    yield ["half of them evicted, in", duration(evicted), ""]
    yield ["the longest that an operation waited meanwhile", duration(longest), "50 ms"]
