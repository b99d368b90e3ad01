"""A mount whose service fails, and that is killed, with the model of what it must show.

What an operation that failed may leave behind is what docs/SEMANTICS.md allows, and no more:

- close() that failed: what was written is shown, survives a kill, and arrives;
- a failure before close(), in open() or write(): the file is as it was;
- truncate() by name: either of the two;
- rename(): nothing has moved;
- unlink(): the file is there, or it is gone;
- an operation during which the mount was killed: all of it has happened, or none.
"""

import functools
import itertools
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from containerfs.api.dialect import Dialect
from containerfs.fs import types
from containerfs.fs.open import open_over
from containerfs.fs.options import Options
from tests.fs import programs
from tests.fs.memory import MemoryRemote
from tests.fs.mounts import crash
from tests.fs.paths import Paths
from tests.model.clock import busy, run_one_by_one, schedule_of, waiting
from tests.model.line import HOLDING, Fault, Faults, Line, calm
from tests.model.reference import below, moved

PATHS = ["a", "b", "c.tmp", "d/a", "d/b"]

Draw = Callable[[Random], Any]


def one_of(*choices: object) -> Draw:
    return lambda chance: chance.choice(choices)


some_path = one_of(*PATHS)
some_content = one_of("new", "new", "new", "same 1", "same 2", "empty", "large")
some_pick = one_of(0, 1, 2, 3)
yes_or_no = one_of(False, True)

_IN_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None

View = dict[str, bytes | None]
"""Some paths, and what is there."""


@dataclass
class File:
    """One file.

    Attributes:
        content: as the mount shows it.
        safe: what a kill leaves of it, unless ``recorded``; None for nothing.
        recorded: whether ``content`` survives a kill although it was not closed.
        handles: how many are open.
    """

    content: bytes = b""
    safe: bytes | None = None
    recorded: bool = False
    handles: int = 0

    def publish(self) -> None:
        self.safe, self.recorded = self.content, False

    def after_kill(self) -> bytes | None:
        return self.content if self.recorded else self.safe


class _SenselessError(Exception):
    """A step makes no sense at this point of a history."""


def step(**drawn: Draw) -> Callable[[Callable[..., None]], Any]:
    """A step of a history, with what is drawn for it. It does nothing where it makes no sense."""

    def decorate(run: Callable[..., None]) -> Any:
        @functools.wraps(run)
        def run_if_sensible(self: "FailingMounts", fault: Fault | None = None, **values: Any) -> None:
            if fault is not None and (self.write_back or fault.kind not in HOLDING):
                self.faults.arm(replace(fault))
            with suppress(_SenselessError):
                run(self, **values)
            if self.faults.killed.is_set():
                self._revive(self._as_it_was())

        STEPS[run.__name__] = drawn
        return run_if_sensible

    return decorate


STEPS: dict[str, dict[str, Draw]] = {}
"""The steps that a history can have, by name, and what is drawn for them."""


class FailingMounts:
    """Programs on one mount, another client beside it; ``self.files`` is what should be."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="containerfs-faults-", dir=_IN_MEMORY))
        self.programs = ThreadPoolExecutor(100, "program")
        self.running: Future[object] = Future()
        self.numbers = itertools.count(1)
        self.remote = MemoryRemote()
        self.faults = Faults()
        self.lines: list[Line] = []
        self.files: dict[str, File] = {}
        self.handles: list[tuple[int, File, bool]] = []  # number, file, writable
        self.contested: dict[str, set[bytes]] = {}  # paths that another client wrote to at the same time
        self.unseen: set[str] = set()  # paths that another client wrote to, which the mount may not have listed since

    def begin(
        self,
        replaces: str,
        tells: bool,
        copies: bool,
        idempotency: bool,
        write_back: bool,
        streams: bool,
        there: set[str],
    ) -> None:
        self.remote.replaces, self.remote.tells_replaced = replaces, tells
        self.remote.dialect = Dialect(idempotency=idempotency, copies_by_path=copies, whole_uploads=streams)
        self.write_back, self._replaces = write_back, replaces != "nothing"
        self.container = self.remote.made("box")
        run_one_by_one(self.faults)
        for path in sorted(there):
            content = self._new("new")
            self.remote.put(self.container, path, content)
            self.files[path] = File(content, content)
        self.fs = self._mount()

    @contextmanager
    def played(self) -> Iterator[None]:
        """Around a history: how it must end, and the end of all that it has started."""
        try:
            yield
            self._end()
        finally:
            self.faults.release()
            for line in self.lines:
                line.end()
            if not self.faults.killed.is_set():
                self.fs.close()
            self.programs.shutdown()
            shutil.rmtree(self.home)

    # Faults

    @step()
    def go_on(self) -> None:
        self._do(self.faults.release, self._as_it_was())

    @step(recovers=yes_or_no)
    def time_passes(self, recovers: bool) -> None:
        """What waits is tried again; what a request has left is looked for again."""
        self.faults.arrive()
        if recovers:
            self.faults.clear()
        self._do(lambda: schedule_of(self.fs).expedite(lambda key: True), self._as_it_was())

    @step(arrives=yes_or_no)
    def kill(self, arrives: bool) -> None:
        self._need(self.contested == {})
        self.lines[-1].arrives = arrives
        crash(self.fs)
        self.lines[-1].cut()
        self._revive([self._killed_view()])

    @step()
    def remount(self) -> None:
        self._close_all()
        if self._do(self.faults.release, self._as_it_was()) == "killed" or self.faults.held:
            return
        self.lines[-1].cut()
        self.fs.close()
        self._mount()

    # Whole files

    @step(path=some_path, kind=some_content)
    def write(self, path: str, kind: str) -> None:
        self._want(path)
        self._make_parent(path)
        content = self._new(kind)
        progress: list[str] = []

        def run() -> None:
            with programs.created(self.fs, self._at(path)) as fh:
                programs.put(self.fs, fh, content)
                progress.append("written")

        self._change(path, content, run, progress)

    @step(pick=some_pick, kind=some_content)
    def append(self, pick: int, kind: str) -> None:
        path = self._existing(pick)
        self._see(path)
        content, progress = self._new(kind), []

        def run() -> None:
            with programs.opened(self.fs, self._at(path), os.O_WRONLY | os.O_APPEND) as fh:
                programs.put(self.fs, fh, content)
                progress.append("written")

        self._change(path, self.files[path].content + content, run, progress)

    @step(pick=some_pick, size=one_of(0, 3))
    def truncate(self, pick: int, size: int) -> None:
        path = self._existing(pick)
        self._see(path)
        file = self.files[path]
        after = file.content[:size].ljust(size, b"\0")
        failed = self._do(
            lambda: self.fs.truncate(self._at(path), size), [self._killed_view(), {**self._killed_view(), path: after}]
        )
        if failed == "killed":
            return
        if failed:
            after = self._observe([{path: file.content}, {path: after}])[path] or b""
        file.content = after
        if not any(writable for _, opened, writable in self.handles if opened is file):
            file.publish()

    @step(pick=some_pick)
    def unlink(self, pick: int) -> None:
        path = self._existing(pick)
        killed = self._killed_view()
        failed = self._do(lambda: self.fs.unlink(self._at(path)), [killed, {**killed, path: None}])
        if failed == "killed":
            return
        if not failed or self._observe([{path: self.files[path].content}, {path: None}])[path] is None:
            del self.files[path]

    @step(pick=some_pick, new=some_path)
    def rename(self, pick: int, new: str) -> None:
        old = self._existing(pick)
        self._need(old != new)
        self._want(new)
        self._make_parent(new)
        killed = self._killed_view()
        after = {**killed, old: None, new: self.files[old].after_kill()}
        failed = self._do(lambda: self.fs.rename(self._at(old), self._at(new)), [killed, after])
        if failed == "killed":
            return
        if not failed:
            self.files[new] = self.files.pop(old)

    @step(to=one_of(("d", "e"), ("e", "d")))
    def rename_directory(self, to: tuple[str, str]) -> None:
        old, new = to
        inside = [path for path in self.files if below(path, old)]
        self._need(inside and not any(below(path, new) for path in self.files))
        self._need(not any(below(path, old) or below(path, new) for path in self.contested))
        with calm(self.faults):
            if programs.exists(self.fs, self._at(new)):
                self.fs.rmdir(self._at(new))
        killed = self._killed_view()
        after = {**killed, **dict.fromkeys(inside)}
        after |= {moved(path, old, new): killed.get(path) for path in inside}
        failed = self._do(lambda: self.fs.rename(self._at(old), self._at(new)), [killed, after])
        if not failed:
            for path in inside:
                self.files[moved(path, old, new)] = self.files.pop(path)

    # Open files

    @step(pick=some_pick, flags=one_of(os.O_RDONLY, os.O_RDWR))
    def open(self, pick: int, flags: int) -> None:
        path = self._existing(pick)
        opened: list[int] = []
        failed = self._do(lambda: opened.append(self.fs.open(self._at(path), flags)[0]), self._as_it_was())
        if not failed:
            self.files[path].handles += 1
            self.handles.append((opened[0], self.files[path], flags == os.O_RDWR))

    @step(pick=some_pick)
    def write_at(self, pick: int) -> None:
        self._need(any(writable for _, _, writable in self.handles))
        writable = [(fh, file) for fh, file, writable in self.handles if writable]
        fh, file = writable[pick % len(writable)]
        content = self._new("new")
        failed = self._do(lambda: programs.put(self.fs, fh, content, 2), self._as_it_was())
        if not failed:
            file.content = file.content[:2].ljust(2, b"\0") + content + file.content[2 + len(content) :]

    @step(pick=some_pick)
    def fsync(self, pick: int) -> None:
        self._need(self.handles)
        fh, file, _ = self.handles[pick % len(self.handles)]
        if not self._do(lambda: self.fs.fsync(fh), self._as_it_was()):
            file.recorded = self._is_named(file) and file.content != file.safe  # else there was nothing to note

    @step(pick=some_pick)
    def close(self, pick: int) -> None:
        self._need(self.handles)
        fh, file, writable = self.handles.pop(pick % len(self.handles))

        def run() -> None:
            try:
                self.fs.flush(fh)
            finally:
                self.fs.release(fh)

        path = next((path for path, named in self.files.items() if named is file), None)
        killed = self._killed_view()
        worlds = [killed, {**killed, path: file.content}] if path and writable else [killed]
        if self._do(run, worlds) == "killed":
            return
        file.handles -= 1
        if writable and path:
            file.publish()

    # Another client

    @step(path=some_path, kind=one_of("new", "same 1", "empty", None))
    def another_writes(self, path: str, kind: str | None) -> None:
        """Or deletes."""
        self._want(path)
        self._need(path not in self.files or not self.files[path].handles)
        if self._is_at_rest(path):
            for file in self._stored(path):
                self.remote.take_away(file)
            self.files.pop(path, None)
            if kind is not None:
                content = self._new(kind)
                self.remote.put(self.container, path, content)
                self.files[path] = File(content, content)
                self.unseen.add(path)
        elif kind == "new" and path in self.files and not (self.remote.dialect.idempotency and self._replaces):
            content = self._new(kind)
            self.remote.put(self.container, path, content)
            self.contested.setdefault(path, set()).add(content)

    # What is true

    @step()
    def compare(self) -> None:
        """The mount shows every file, in its place, whole; and no other."""
        with calm(self.faults):
            assert self._shown() == {
                path: file.content for path, file in self.files.items() if path not in self.contested
            }

    def _end(self) -> None:
        """Faults end, all is drained: the service holds every file, once, and no other."""
        self._close_all()
        self.faults.clear()
        self._do(self.faults.release, self._as_it_was())
        self.faults.arrive()
        self._let_all_end()
        assert self.fs.drain(20) == []
        self._let_all_end()
        assert waiting(self.fs) == 0
        self.compare()
        stored = Counter((file.path, self.remote.contents[file.id]) for file in self.remote._found(self.container))
        expected = Counter((path, file.content) for path, file in self.files.items())
        allowed = Counter((path, content) for path, contents in self.contested.items() for content in contents)
        if not self.contested:
            assert stored == expected
        assert not stored - (expected + allowed), "more than was written"
        assert {path for path, _ in stored} == set(self.files), "a file is lost"

    def _let_all_end(self) -> None:
        for _ in range(8):
            self._settle()
            schedule_of(self.fs).expedite(lambda key: True)
        self._settle()

    # What the rules are made of

    def _mount(self) -> Paths:
        self.faults.killed.clear()
        line = Line(self.remote, self.faults)
        self.lines.append(line)
        options = Options(self.home, metadata_expiry=0.0, patience=0.0, write_back=self.write_back, prefetch=False)
        with calm(self.faults):
            filesystem = Paths(open_over(line, options))
        line.kill = lambda: self._kill(filesystem)
        self.fs = filesystem
        self._settle()
        return self.fs

    def _at(self, path: str) -> str:
        return f"/box/{path}"

    def _new(self, kind: str) -> bytes:
        """A content: new ones differ and have one size."""
        match kind:
            case "new":
                return b"%08d" % next(self.numbers)
            case "large":
                return b"%08d" % next(self.numbers) * 20_000
            case "empty":
                return b""
            case _:
                return kind.encode()

    def _need(self, condition: object) -> None:
        """Leave out a step that makes no sense here."""
        if not condition:
            raise _SenselessError

    def _want(self, path: str) -> None:
        self._need(path not in self.contested)

    def _existing(self, pick: int) -> str:
        """One of the files."""
        paths = sorted(self.files.keys() - self.contested.keys())
        self._need(paths)
        return paths[pick % len(paths)]

    def _see(self, path: str) -> None:
        """Have the mount list what another client wrote: while listings fail, it goes on with what was there before."""
        if path in self.unseen:
            with calm(self.faults):
                self._shown()
            self.unseen.clear()

    def _make_parent(self, path: str) -> None:
        directory = path.rpartition("/")[0]
        with calm(self.faults):
            if directory and not programs.exists(self.fs, self._at(directory)):
                self.fs.mkdir(self._at(directory), 0o755)

    def _is_named(self, file: File) -> bool:
        return any(file is named for named in self.files.values())

    def _change(self, path: str, content: bytes, run: Callable[[], None], progress: list[str]) -> None:
        """A program opens a file, changes it and closes it."""
        killed = self._killed_view()
        failed = self._do(run, [killed, {**killed, path: content}])
        if failed == "killed" or (failed and not progress):
            return
        file = self.files.setdefault(path, File())
        file.content = content
        file.publish()

    def _close_all(self) -> None:
        while self.handles:
            self.close(pick=0)

    def _is_at_rest(self, path: str) -> bool:
        """Whether nothing is due, or to be looked for, under a path: another client's change is the only one."""
        journal = self.fs._files._journal
        busy = {entry.path for entry in journal.entries()} | {attempt.path for attempt in journal.attempts()}
        return not self.faults.late and not self.faults.held and path not in busy and not journal.deletions()

    def _stored(self, path: str) -> list[str]:
        return [file.id for file in self.remote._found(self.container) if file.path == path]

    # Doing, and what comes of it

    def _do(self, operation: Callable[[], object], worlds: list[View]) -> str:
        """Let a program do something; returns "" if that succeeded, else how it failed.

        Args:
            worlds: what may be there, by path, if the mount is killed meanwhile.
        """
        failed = ""
        self.running = self.programs.submit(operation)
        while not self.running.done() and not self.faults.killed.is_set():
            wait([self.running], 0.001)
        if self.running.done():
            try:
                self.running.result()
            except types.FsError as error:
                failed = repr(error)
        self._settle()
        if not self.faults.killed.is_set():
            return failed
        self._revive(worlds)
        return "killed"

    def _kill(self, filesystem: Paths) -> None:
        """A request is the moment of a kill. Where programs do not wait for requests, theirs is done by then."""
        if self.write_back and not threading.current_thread().name.startswith("program"):
            wait([self.running], 10)
        crash(filesystem)

    def _settle(self) -> None:
        """Until nothing is under way but what is held."""
        deadline = time.monotonic() + 60
        while not self.faults.killed.is_set() and busy(self.fs) > self.faults.held:
            assert time.monotonic() < deadline, "stuck"
            time.sleep(0.0005)

    def _as_it_was(self) -> list[View]:
        return [self._killed_view()]

    def _killed_view(self) -> View:
        """What a kill leaves."""
        left = {path: file.after_kill() for path, file in self.files.items()}
        return {path: left.get(path) for path in {*PATHS, *left, "e/a", "e/b"} - self.contested.keys()}

    def _revive(self, worlds: list[View]) -> None:
        """Mount again after a kill; one of the worlds is what is there then."""
        self.faults.release()  # whoever is held finds its line cut
        self.handles.clear()
        self._mount()
        if self.faults.killed.is_set():  # again
            self._revive(worlds)
            return
        view = self._observe(worlds)
        kept = {path: file for path, file in self.files.items() if path in self.contested}
        self.files = {path: File(content, content) for path, content in view.items() if content is not None} | kept

    def _observe(self, worlds: list[View]) -> View:
        """What is there; it must be one of the worlds."""
        with calm(self.faults):
            shown = self._shown()
        seen = {path: shown.get(path) for path in worlds[0]}
        assert seen in worlds, [{k: (seen[k], w.get(k)) for k in seen if seen[k] != w.get(k)} for w in worlds]
        return seen

    def _shown(self, directory: str = "") -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for name in programs.names(self.fs, self._at(directory)):
            path = f"{directory}/{name}".lstrip("/")
            if path in self.contested or " (" in name:
                continue
            if self.fs.getattr(self._at(path)).is_directory:
                found |= self._shown(path)
            else:
                found[path] = programs.read(self.fs, self._at(path))
        return found
