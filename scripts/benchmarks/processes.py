"""Processes, their memory, and mount points: all of them end with the context that began them."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path

Program = tuple[str, ...]
"""The beginning of a command line."""


def containerfs(interpreter: str | Path) -> Program:
    """The version of containerfs that an interpreter has."""
    return (str(interpreter), "-P", "-m", "containerfs")  # -P: and nothing that lies in the working directory


CONTAINERFS = containerfs(sys.executable)

_COMMAND_LIMIT = 600.0  # seconds; nothing that is measured takes near as long, so a mount hangs that needs more
_START_LIMIT = 30.0


def environment() -> dict[str, str]:
    """Ours, without what would lead the programs to other services or settings, or let Python compile at each start."""
    left_out = ("OPENAI_", "CONTAINERFS_", "RCLONE_", "XDG_", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if not name.startswith(left_out)} | {"LC_ALL": "C"}


def run(*command: str | Path, limit: float = inf) -> str:
    """Run a program to its end, within ``limit`` seconds; returns what it printed.

    Raises CalledProcessError, TimeoutExpired.
    """
    done = subprocess.run(
        command,
        env=environment(),
        cwd="/",  # earlier versions import what lies in the working directory
        capture_output=True,
        text=True,
        timeout=min(limit, _COMMAND_LIMIT),
        errors="surrogateescape",
    )
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        done.check_returncode()
    return done.stdout


def timed(*command: str | Path, limit: float = inf) -> float:
    """Seconds that a program takes. Raises TimeoutExpired."""
    os.sync()  # what others have written is not to be paid for by who comes next
    began = time.perf_counter()
    run(*command, limit=limit)
    return time.perf_counter() - began


@contextlib.contextmanager
def started(*command: str | Path, ready: Callable[[str], bool]) -> Iterator[tuple[int, str]]:
    """A server, once ``ready`` is content with what it has printed: its process id, and what it has printed."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + _START_LIMIT
            while not ready(said := os.pread(output.fileno(), 1 << 16, 0).decode()):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{command[0]} did not start: {said}")
                time.sleep(0.01)
            yield process.pid, said
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process: politely, then for certain."""
    with process:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_START_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()


@contextlib.contextmanager
def mountpoint(path: Path) -> Iterator[Path]:
    """A directory to mount on; at the end nothing is mounted there."""
    path.mkdir()
    try:
        yield path
    finally:
        if is_mounted(path):
            subprocess.run(["fusermount3", "-uz", str(path)], check=False)
        path.rmdir()


def is_mounted(path: Path) -> bool:
    """Whether the kernel's table has it. Source: proc(5)."""
    table = Path("/proc/self/mounts").read_bytes()
    return any(line.split(b" ")[1] == os.fsencode(path) for line in table.split(b"\n") if line)


def memory(pid: int) -> tuple[int, int]:
    """The most that a process has held since it began, or since ``forget_peak``, and what it holds now, in bytes."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    peak, now = (int(lines[name].split()[0]) * 1024 for name in ("VmHWM", "VmRSS"))
    return peak, now


def proportional(pid: int) -> int:
    """What a process holds in bytes, its share of what it has in common with others counted. Source: proc(5), smaps."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return int(lines["Pss"].split()[0]) * 1024


def cpu_seconds(pid: int) -> float:
    """What a process has computed so far."""
    return sum(cpu_times(pid))


def cpu_times(pid: int) -> tuple[float, float]:
    """What a process has computed so far itself, and what the kernel has for it. Source: proc(5), stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own, kernel = (int(fields[number]) / os.sysconf("SC_CLK_TCK") for number in (11, 12))
    return own, kernel


def cpu_of_children() -> float:
    """Seconds that programs have computed which have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def forget_peak(pid: int) -> None:
    """Let VmHWM begin anew. Source: proc(5), clear_refs."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
