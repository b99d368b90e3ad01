"""Real mounts for tests, and the programs that people use on them.

A mount that hangs must fail its test and not the run: whoever waits for one in the kernel cannot be interrupted, but is
released once the mount's process ends. So every live mount is known here, and ``released_after`` ends all of them when
a test takes too long; what waited gets an error then. No test touches a mapped file of a mount in this process, where
Python would wait with its lock held.
"""

import contextlib
import errno
import hashlib
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from containerfs.cli.asking import ask

FUSERMOUNT = shutil.which("fusermount") or "fusermount3"
REFRESH = "user.containerfs.refresh"
PROGRAM_LIMIT = 60.0  # seconds for one program
NOTHING_DUE: dict[str, object] = {
    "pending": 0,
    "files": [],
    "failed": [],
    "set_aside": 0,
    "elsewhere": [],
    "streaming": [],
}  # in the status of a mount, of uploads
_OURS = ("HOME", "XDG_", "OPENAI_", "CONTAINERFS_", "GIT_", "LC_", "LANG", "RSYNC_")
_DUE = """
import pathlib, sqlite3, sys
for path in pathlib.Path(sys.argv[1]).glob("*/journal.db"):
    print(*sqlite3.connect(path).execute("SELECT path FROM entries").fetchall())
"""
_live: set["Mount"] = set()


class Home:
    """A user of the machine: a home directory, an environment free of the real user's settings, and programs to run.

    Args:
        path: created if missing; caches of mounts lie below it, in ``cache`` unless an option says otherwise.
        prefix: of every command, as ``nsenter``.
    """

    def __init__(self, path: Path, prefix: tuple[str, ...] = ()) -> None:
        self.path = path
        self.prefix = prefix
        path.mkdir(parents=True, exist_ok=True)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        bin_directory = str(Path(sys.executable).parent)
        self.environment = inherited | {
            "HOME": str(path),
            "LANG": "C.UTF-8",
            "PATH": f"{bin_directory}:{os.environ['PATH']}",
        }

    @property
    def cache_dir(self) -> Path:
        return self.path / "cache"

    def attempt(self, *command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, however it ends.

        Args:
            options: of ``subprocess.run``; ``env`` is added to the environment.
        """
        environment = self.environment | options.pop("env", {})
        options = {
            "cwd": self.path,
            "timeout": PROGRAM_LIMIT,
            "errors": "surrogateescape",
            "encoding": "utf-8",
        } | options
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run([*self.prefix, *map(os.fspath, command)], env=environment, capture_output=True, **options)

    def run(self, *command: str | Path, **options: Any) -> str:
        """Run a program that is to succeed without a warning; returns what it writes to standard output."""
        done = self.attempt(*command, **options)
        shown = " ".join(map(os.fspath, command))[:300]
        assert (done.returncode, done.stderr) == (0, ""), f"{shown} ended with {done.returncode}: {done.stderr}"
        return done.stdout

    def fails(self, *command: str | Path, **options: Any) -> str:
        """Run a program that is to fail; returns what it writes to standard error."""
        done = self.attempt(*command, **options)
        assert done.returncode not in (0, None), f"{command} succeeded: {done.stdout}"
        assert "Traceback" not in done.stderr
        return done.stderr

    def python(self, program: str, *arguments: str | Path) -> str:
        """Run a Python program, given as text, that is to succeed."""
        return self.run(sys.executable, "-c", program, *arguments)

    def refused_mount(self, *options: str | Path, at: Path | None = None, **run_options: Any) -> str:
        """Ask for a mount that cannot be; returns the one line that says why."""
        said = self.fails("containerfs", "mount", at or self.path / "mnt", *self._directories(options), **run_options)
        assert said.startswith("containerfs mount: "), said
        assert said.count("\n") == 1, said
        return said.removeprefix("containerfs mount: ").strip()

    @contextlib.contextmanager
    def mounted(self, *options: str | Path, at: Path | None = None, **run_options: Any) -> Iterator["Mount"]:
        """A mount, made with these options of ``containerfs mount``, and in any case unmounted at the end."""
        asked = at or self.path / "mnt"
        mount = Mount(Path(run_options.get("cwd", self.path), asked), self, asked)
        _live.add(mount)
        try:
            mount.said = self.run("containerfs", "mount", asked, *self._directories(options), **run_options)
            mount.pid = mount.find_process()
            assert mount.pid
            yield mount
            mount.unmount()
        finally:
            mount.release()
            _live.discard(mount)

    def _directories(self, options: tuple[str | Path, ...]) -> list[str | Path]:
        return [*options] if "--cache-dir" in options else [*options, "--cache-dir", self.cache_dir]


@dataclass(eq=False)
class Mount:
    """A mounted file system.

    Attributes:
        asked: the mountpoint as the command was given it.
        pid: of the process that serves it; 0 before it does.
        said: what the command said when it was ready.
    """

    path: Path
    home: Home
    asked: Path
    pid: int = 0
    said: str = ""
    unmounted: bool = field(default=False, init=False)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def anew(self, container: Path | None = None) -> Path:
        """Where this mount has a container of another mount, or its own top; the next look asks the service."""
        os.setxattr(self.path, REFRESH, b"")
        if container is None:
            return self.path
        os.setxattr(self.path / container.name, REFRESH, b"")
        return self.path / container.name

    def status(self) -> dict[str, Any]:
        """What ``containerfs status`` tells."""
        return ask(self.path)

    def unmount(self) -> None:
        """Unmount, unless it was done before, and wait until everything is uploaded; what then is not, is an error."""
        if not self.unmounted:
            with self.ended():
                self.home.run(FUSERMOUNT, "-u", self.path)
            left = self.home.python(_DUE, self.home.cache_dir / "journal").strip()
            assert not left, f"not uploaded: {left}"

    def kill(self) -> None:
        """End the process as a crash would; the mount stays behind, dead."""
        with self.ended():
            os.kill(self.pid, signal.SIGKILL)

    @contextlib.contextmanager
    def ended(self, limit: float = 30.0) -> Iterator[None]:
        """Wait, after what is done meanwhile to end it, until the process and all that it started are gone."""
        processes = [os.pidfd_open(pid) for pid in (self.pid, *children(self.pid))]
        try:
            yield
            self.unmounted = True
            for process in processes:
                waiting = select.poll()  # select(2) takes no descriptor above 1,023
                waiting.register(process, select.POLLIN)
                assert waiting.poll(limit * 1000), f"process {self.pid}, or a child, is still there"
        finally:
            for process in processes:
                os.close(process)

    def find_process(self) -> int:
        """The process that serves the mount, looked up without touching it; 0 if there is none."""
        ours = os.fsencode(f"HOME={self.home.path}")
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes().split(b"\0")
                named = {b"containerfs.mount", os.fsencode(self.path)} <= set(words)
                if named and _leads_session(process) and ours in (process / "environ").read_bytes().split(b"\0"):
                    return int(process.name)
        return 0

    def release(self) -> None:
        """Let go of whoever waits for it, whatever state it is in, and take it away."""
        if os.path.ismount(self.path) or is_dead(self.path):
            subprocess.run([FUSERMOUNT, "-uz", self.path], capture_output=True)
        self.abort()

    def abort(self) -> None:
        """End the process that serves the mount: all that waits for it gets an error."""
        pid = self.find_process()
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _leads_session(process: Path) -> bool:
    """Whether a process has a session of its own, as what stays in the background has. Source: proc_pid_stat(5)."""
    _, _, _, session, *_ = (process / "stat").read_text().rpartition(")")[2].split()
    return session == process.name


def children(pid: int) -> list[int]:
    """The processes that a process has started. Source: proc(5), /proc/PID/task/TID/children."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            found += map(int, path.read_text().split())
    return found


def is_dead(path: Path) -> bool:
    """Whether what is mounted there has lost its process."""
    try:
        os.statvfs(path)  # attributes may still be remembered by the kernel
    except OSError as error:
        return error.errno == errno.ENOTCONN
    return False


@contextlib.contextmanager
def released_after(seconds: float) -> Iterator[None]:
    """End every live mount if what is done meanwhile takes longer than this."""

    def release() -> None:
        for mount in list(_live):
            mount.abort()

    timer = threading.Timer(seconds, release)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def eventually(condition: Callable[[], bool], what: str, limit: float = 30.0) -> None:
    """Look again until something holds that another process brings about; fail after ``limit`` seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {limit:g} s: {what}")
        threading.Event().wait(0.02)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree(top: Path) -> dict[str, str]:
    """The digest of every file below a directory, by path."""
    return {str(path.relative_to(top)): sha256(path) for path in sorted(top.rglob("*")) if path.is_file()}


def errno_of(action: Callable[[], object]) -> int | None:
    """The number of the error that an action fails with; None if it succeeds."""
    try:
        action()
    except OSError as error:
        return error.errno
    return None
