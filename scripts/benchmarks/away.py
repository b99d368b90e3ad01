"""A service that falls silent: how long each operation takes, the first time and while it is known to be down."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.bench import Bench
from benchmarks.processes import CONTAINERFS, environment, mountpoint, run
from benchmarks.report import duration, table
from benchmarks.silence import WAYS, Line, Way, line
from benchmarks.targets import containerfs_mount

TITLE = "A silent service"

_READERS = 200
_CREATED = 265
_OPERATIONS = {
    "`ls`": "os.listdir(top + '/away ls')",
    "`stat`": "os.stat(top + '/away stat/file')",
    "`open`": "os.close(os.open(top + '/away open/file', os.O_RDONLY))",
    "`read`": "open(top + '/away read/file', 'rb').read()",
    "`read` of what is cached": "open(top + '/away cached/file', 'rb').read()",
    "`create`, `write`, `close`": "open(top + '/away create/new', 'wb').write(b'new')",
    "`truncate`": "os.truncate(top + '/away truncate/file', 0)",
    "`unlink`": "os.unlink(top + '/away unlink/file')",
    "`rename`": "os.rename(top + '/away rename/file', top + '/away rename/new')",
    "`mkdir` of a container": "os.mkdir(top + '/away made')",
    "`rmdir` of a container": "os.rmdir(top + '/away rmdir')",
    "`df`": "os.statvfs(top)",
    "`containerfs status`": "os.getxattr(top, 'user.containerfs.status')",
}
_CONTAINERS = ["ls", "stat", "open", "read", "cached", "create", "truncate", "unlink", "rename", "rmdir"]
_WAITING = [name for name in _OPERATIONS if name not in ("`read` of what is cached", "`df`", "`containerfs status`")]

_PROGRAM = """
import errno, json, os, sys, threading, time
top, operations = sys.argv[1], json.loads(sys.argv[2])
taken = {name: [] for name in operations}
def measure(name):
    began, outcome = time.perf_counter(), ""
    try:
        exec(operations[name])
    except OSError as error:
        outcome = errno.errorcode[error.errno]
    taken[name].append((time.perf_counter() - began, outcome))
for container in json.loads(sys.argv[3]):
    os.listdir(f"{top}/away {container}")
    time.sleep(0.01)
open(top + "/away cached/file", "rb").read()
print("ready", flush=True)
sys.stdin.readline()
threads = [threading.Thread(target=measure, args=[name]) for name in operations]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for name in operations:
    measure(name)
print(json.dumps(taken), flush=True)
"""

_LOCAL = """
import json, os, sys, threading, time
top, count = sys.argv[1], int(sys.argv[2])
names = [f"{top}/away readers/{number:05}" for number in range(count)]
os.listdir(f"{top}/away readers")
open(f"{top}/away readers/cached", "rb").read()
held = [os.open(f"{top}/away readers/cached", os.O_RDONLY) for _ in range(20)]
def read(name):
    try:
        open(name, "rb").read()
    except OSError:
        pass
print("ready", flush=True)
sys.stdin.readline()
for name in names:
    threading.Thread(target=read, args=[name], daemon=True).start()
time.sleep(2)
here = {
    "cached content": lambda: open(f"{top}/away readers/cached", "rb").read(),
    "a cached listing": lambda: os.listdir(f"{top}/away readers"),
    "`stat`": lambda: os.stat(names[0]),
    "`df`": lambda: os.statvfs(top),
    "`close` of what was read": lambda: os.close(held.pop()),
    "`containerfs status`": lambda: os.getxattr(top, "user.containerfs.status"),
}
longest = {}
for name, do in here.items():
    longest[name] = 0.0
    for _ in range(20):
        began = time.perf_counter()
        do()
        longest[name] = max(longest[name], time.perf_counter() - began)
print(json.dumps(longest), flush=True)
os._exit(0)
"""

_CREATES = """
import os, sys, time
directory = sys.argv[1]
began = time.perf_counter()
first = 0.0
for number in range(int(sys.argv[2])):
    with open(f"{directory}/{sys.argv[3]} {number}", "wb") as file:
        file.write(b"small")
    first = first or time.perf_counter() - began
print(first, time.perf_counter() - began - first)
"""


def section(bench: Bench) -> Iterator[str]:
    """Seconds of each operation, by the way in which the service is silent, and what waits for nothing."""
    yield (
        "Each operation in a container of its own, all begun together when the service falls silent (the *first* time),"
        " and then once more, one after the other (*then*); listings are believed for no time, and the patience is"
        f" {bench.scale.patience:.0f} s. An operation fails, or shows what was listed last, as"
        " [SEMANTICS.md](SEMANTICS.md) says. The aim is 15 s the first time, and 0.5 s then."
    )
    yield ""
    taken = {way: _operations(bench, way) for way in WAYS}
    head = ["", *(f"{way}: {when}" for way in WAYS for when in ("first", "then"))]
    yield from table(
        head, ([name, *(_shown(each) for way in WAYS for each in taken[way][name])] for name in _OPERATIONS)
    )
    yield f"While {_READERS} programs read content that does not come, the longest of 20; the aim is 50 ms:"
    yield ""
    yield from table(["", "longest"], ([name, duration(longest)] for name, longest in _local(bench).items()))
    yield from table(["", "figure", "aim"], [*_ends(bench), *_creates(bench)])


def _shown(taken: tuple[float, str]) -> str:
    seconds, outcome = taken
    return f"{duration(seconds)} {outcome}".strip()


@contextmanager
def _mounted(bench: Bench, *options: str) -> Iterator[tuple[Path, int, Line]]:
    cache = bench.fresh()
    with (
        line(bench.server.port) as to_service,
        mountpoint(bench.work / f"{cache.name} mount") as path,
        containerfs_mount(path, cache, "--url", f"http://127.0.0.1:{to_service.port}/v1", *options) as pid,
    ):
        yield path, pid, to_service


@contextmanager
def _program(text: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """A program that has said that it is ready."""
    command = [sys.executable, "-P", "-c", text, *map(str, arguments)]
    with subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def _go(process: "subprocess.Popen[str]") -> str:
    """Let a program go on; returns the line that it then prints."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(file=process.stdin, flush=True)
    return process.stdout.readline()


def _fill(bench: Bench) -> None:
    """Containers of one file each, anew."""
    for container in bench.server.client.containers.list():
        if container.name is not None and container.name.startswith("away "):
            bench.server.client.containers.delete(container.id)
    for name in _CONTAINERS:
        made = bench.server.client.containers.create(name=f"away {name}")
        if name not in ("create", "rmdir"):
            bench.server.client.containers.files.create(made.id, file=("file", os.urandom(4096)))


def _patience(bench: Bench) -> tuple[str, str]:
    return "--patience", f"{bench.scale.patience}s"


def _operations(bench: Bench, way: Way) -> dict[str, list[tuple[float, str]]]:
    _fill(bench)
    with (
        _mounted(bench, "--metadata-expiry", "0s", "--prefetch", "off", *_patience(bench)) as (path, _, to_service),
        _program(_PROGRAM, path, json.dumps(_OPERATIONS), json.dumps(_CONTAINERS)) as program,
        to_service.silent(way),
    ):
        taken: dict[str, list[tuple[float, str]]] = json.loads(_go(program))
        return taken


def _local(bench: Bench) -> dict[str, float]:
    made = bench.server.put_many("away readers", _READERS, os.urandom(200_000))
    bench.server.client.containers.files.create(made, file=("cached", os.urandom(200_000)))
    options = ("--metadata-expiry", "1h", "--patience", "60s", "--prefetch", "off")
    with (
        _mounted(bench, *options) as (path, _, to_service),
        _program(_LOCAL, path, _READERS) as program,
        to_service.silent("accepts"),
    ):
        longest: dict[str, float] = json.loads(_go(program))
        return longest


def _ends(bench: Bench) -> Iterator[list[str]]:
    """From Ctrl-C, and from the end of the mount, until the program, or the mount's process, is gone."""
    for number, label in ((signal.SIGINT, "Ctrl-C"), (signal.SIGKILL, "SIGKILL")):
        taken = [_interrupted(bench, name, number) for name in _WAITING]
        yield [
            f"from {label} to the program's end: median, longest",
            f"{duration(median(taken))}, {duration(max(taken))}",
            "0.5 s",
        ]
    yield ["from SIGTERM to the end of a mount with programs that wait", duration(_ended(bench)), "1 s"]


def _interrupted(bench: Bench, name: str, number: int) -> float:
    _fill(bench)
    text = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); top = sys.argv[1]\n"
    text += f"print('ready', flush=True); sys.stdin.readline(); {_OPERATIONS[name]}"
    with (
        _mounted(bench, "--metadata-expiry", "0s", "--patience", "60s") as (path, _, to_service),
        _program(text, path) as program,
        to_service.silent("accepts"),
    ):
        assert program.stdin is not None
        print(file=program.stdin, flush=True)
        time.sleep(1)  # by then it waits
        began = time.perf_counter()
        program.send_signal(number)
        program.wait()
        return time.perf_counter() - began


def _ended(bench: Bench) -> float:
    _fill(bench)
    text = "import os, sys; top = sys.argv[1]\n"
    text += f"print('ready', flush=True); sys.stdin.readline(); {_OPERATIONS['`read`']}"
    cache = bench.fresh()
    with line(bench.server.port) as to_service, mountpoint(bench.work / f"{cache.name} mount") as path:
        service = ("--url", f"http://127.0.0.1:{to_service.port}/v1", "--patience", "60s")
        run(*CONTAINERFS, "mount", path, "--cache-dir", cache, *service)
        process = os.pidfd_open(json.loads(os.getxattr(path, "user.containerfs.status"))["pid"])
        with _program(text, path) as program, to_service.silent("accepts"):
            assert program.stdin is not None
            print(file=program.stdin, flush=True)
            time.sleep(1)
            began = time.perf_counter()
            signal.pidfd_send_signal(process, signal.SIGTERM)
            select.select([process], [], [], 60)
            return time.perf_counter() - began


def _creates(bench: Bench) -> Iterator[list[str]]:
    _fill(bench)
    for label, expiry in (("is believed", "1h"), ("has expired", "0s")):
        with _mounted(bench, "--write-back", "--metadata-expiry", expiry, *_patience(bench)) as (path, _, to_service):
            os.listdir(path / "away create")
            with to_service.silent("accepts"):
                program = [sys.executable, "-P", "-c", _CREATES, str(path / "away create"), str(_CREATED), expiry]
                done = subprocess.run(program, env=environment(), capture_output=True, text=True, check=True)
            first, others = map(float, done.stdout.split())
        yield [
            f"{_CREATED} files made, `--write-back`, the listing {label}: the first, all others",
            f"{duration(first)}, {duration(others)}",
            "15 s, in all",
        ]
