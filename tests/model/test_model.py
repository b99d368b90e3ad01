"""Two mounts of one service against a reference that is a dict: whatever programs do, both agree with it.

What the first mount's programs hold open is modelled, deleted files too; the second one stands for everybody else, who
sees what was closed.
"""

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from containerfs.api.dialect import Dialect
from containerfs.fs import types
from containerfs.fs.open import open_over
from containerfs.fs.options import Options
from tests.fs import programs
from tests.fs.memory import MemoryRemote
from tests.fs.mounts import Opener, crash
from tests.fs.paths import Paths
from tests.model.reference import File, below, moved, parents

DIRECTORIES = ["", "d", "e", "d/e"]
PATHS = [f"{directory}/{name}".lstrip("/") for directory in DIRECTORIES for name in "abc"]

some_path = st.sampled_from(PATHS)
some_directory = st.sampled_from(DIRECTORIES[1:])
some_bytes = st.binary(max_size=40) | st.integers(1, 300_000).map(lambda size: (b"0123456789abcdef" * 18750)[:size])
some_offset = st.integers(0, 60) | st.sampled_from([4096, 131072, 200_000])
some_pick = st.integers(0, 10)
some_mount = st.sampled_from([0, 1])

_numbers = itertools.count()
_IN_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None


@pytest.fixture(autouse=True)
def _no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not modelled, and waiting for the disks of the whole machine takes its time."""
    monkeypatch.setattr("containerfs.fs.reading.marker.sync_disk", lambda path: None)


@pytest.fixture(autouse=True)
def _small_files_are_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a service lets files be uploaded while they are written."""
    monkeypatch.setattr("containerfs.fs.writing.streaming._FROM", 10)


class Mounts(RuleBasedStateMachine):
    """Programs on two mounts; ``self.files`` is what should be."""

    new_service: Callable[[], Opener]

    def __init__(self) -> None:
        super().__init__()
        self.opener = self.new_service()
        self.home = Path(tempfile.mkdtemp(prefix="containerfs-model-", dir=_IN_MEMORY))
        self.mounts = [self._mount(0), self._mount(1)]
        self.box = f"/model-{os.getpid()}-{next(_numbers)}"
        self.mounts[0].mkdir(self.box, 0o755)
        self.files: dict[str, File] = {}
        self.made: list[set[str]] = [set(), set()]  # directories that a mount keeps, files or not
        self.modes: dict[str, int] = {}  # of files, by path, as set through the first mount
        self.handles: list[tuple[int, File, bool]] = []  # of the first mount: number, file, writable
        self.deleted: list[File] = []  # or replaced, and open

    def teardown(self) -> None:
        try:
            self.close_all()
            self.compare(0)
            self.compare(1)
            for filesystem in self.mounts:  # a directory that another mount has yet to tell of would come back
                assert filesystem.drain(20) == []
            self._remove_all()
        finally:
            for filesystem in self.mounts:
                filesystem.close()
            shutil.rmtree(self.home)

    # Whole files, through either mount

    @rule(mount=some_mount, path=some_path, content=some_bytes)
    def write(self, mount: int, path: str, content: bytes) -> None:
        self._want(mount, path)
        self._make_parents(mount, path)
        programs.write(self.mounts[mount], self._at(path), content)
        file = self._file(mount, path)
        file.content = bytearray(content)
        file.publish()

    @rule(mount=some_mount, path=some_path, content=some_bytes)
    def append(self, mount: int, path: str, content: bytes) -> None:
        self._want(mount, path, existing=True)
        programs.append(self.mounts[mount], self._at(path), content)
        file = self._file(mount, path)
        file.content += content
        file.publish()

    @rule(mount=some_mount, path=some_path, size=some_offset)
    def truncate(self, mount: int, path: str, size: int) -> None:
        self._want(mount, path, existing=True)
        self.mounts[mount].truncate(self._at(path), size)
        file = self._file(mount, path)
        file.truncate(size)
        if not any(writable for _, opened, writable in self.handles if opened is file):
            file.publish()

    @rule(mount=some_mount, path=some_path)
    def unlink(self, mount: int, path: str) -> None:
        self._want(mount, path, existing=True)
        self.mounts[mount].unlink(self._at(path))
        self._drop(path)

    @rule(mount=some_mount, old=some_path, new=some_path)
    def rename(self, mount: int, old: str, new: str) -> None:
        assume(old != new)
        self._want(mount, old, existing=True)
        self._want(mount, new)
        self._make_parents(mount, new)
        self.mounts[mount].rename(self._at(old), self._at(new))
        if new in self.files:
            self._drop(new)
        self.files[new] = self.files.pop(old)
        self._move_mode(mount, old, new)

    @rule(path=some_path, mode=st.sampled_from([0o600, 0o755, 0o444]))
    def chmod(self, path: str, mode: int) -> None:
        self._want(0, path, existing=True)
        self.mounts[0].chmod(self._at(path), mode)
        self.mounts[0].utimens(self._at(path), mode * 10**9, mode * 10**9 + 1)
        assert self.mounts[0].getattr(self._at(path)).mtime == mode * 10**9 + 1
        self.modes[path] = mode

    # Directories

    @rule(mount=some_mount, path=some_directory)
    def mkdir(self, mount: int, path: str) -> None:
        assume(all(programs.exists(self.mounts[mount], self._at(parent)) for parent in parents(path)))
        try:
            self.mounts[mount].mkdir(self._at(path), 0o755)
        except types.AlreadyExists:
            assert path in self.made[mount] or programs.exists(self.mounts[mount], self._at(path))
        else:
            assert path not in self.made[mount]
            assert not self._visible(mount, path)
            self.made[mount].add(path)

    @rule(mount=some_mount, path=some_directory)
    def rmdir(self, mount: int, path: str) -> None:
        others = self.made[1 - mount]
        assume(not any(made == path or below(made, path) for made in others))  # whether it has told of it yet depends
        try:
            self.mounts[mount].rmdir(self._at(path))
        except types.NotFound:
            assert path not in self.made[mount]
            assert not self._visible(mount, path)
        except types.DirectoryNotEmpty:
            assert programs.names(self.mounts[mount], self._at(path))
        else:
            assert not self._visible(mount, path)
            assert not any(below(made, path) for made in self.made[mount])
            self.made[mount].discard(path)
            self.made[mount].update(parents(path)[-1:])

    @rule(mount=some_mount, old=some_directory, new=st.sampled_from(["x", "d", "e", "d/x"]))
    def rename_directory(self, mount: int, old: str, new: str) -> None:
        filesystem = self.mounts[mount]
        assume(old != new and not below(new, old) and programs.exists(filesystem, self._at(old)))
        assume(not programs.exists(filesystem, self._at(new)))
        assume(all(programs.exists(filesystem, self._at(parent)) for parent in parents(new)))
        assume(not any(made == old or below(made, old) for made in self.made[1 - mount]))  # as for rmdir
        inside = [path for path in self.files if below(path, old)]
        assume(mount == 0 or not any(self._held(path) for path in inside))
        filesystem.rename(self._at(old), self._at(new))
        for path in inside:
            self.files[moved(path, old, new)] = self.files.pop(path)
            self._move_mode(mount, path, moved(path, old, new))
        self.made[mount] = {
            moved(made, old, new) if made == old or below(made, old) else made for made in self.made[mount]
        } | {new}

    # Open files, of the first mount

    @rule(path=some_path, flags=st.sampled_from([os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_TRUNC]))
    def open(self, path: str, flags: int) -> None:
        writable = flags & os.O_ACCMODE != os.O_RDONLY
        if path in self.files:
            fh = self.mounts[0].open(self._at(path), flags)[0]
            if flags & os.O_TRUNC:
                self.files[path].truncate(0)
        else:
            assume(writable)
            self._make_parents(0, path)
            fh = self.mounts[0].create(self._at(path), flags | os.O_CREAT, 0o644)
            self.files[path] = File()
        self.files[path].handles += 1
        self.handles.append((fh, self.files[path], writable))

    @precondition(lambda self: any(writable for _, _, writable in self.handles))
    @rule(pick=some_pick, offset=some_offset, content=some_bytes)
    def write_at(self, pick: int, offset: int, content: bytes) -> None:
        writable = [(fh, file) for fh, file, writable in self.handles if writable]
        fh, file = writable[pick % len(writable)]
        assume(content)
        programs.put(self.mounts[0], fh, content, offset)
        file.write(offset, content)

    @precondition(lambda self: any(writable for _, _, writable in self.handles))
    @rule(pick=some_pick, content=some_bytes)
    def write_on(self, pick: int, content: bytes) -> None:
        writable = [(fh, file) for fh, file, writable in self.handles if writable]
        fh, file = writable[pick % len(writable)]
        assume(content)
        programs.put(self.mounts[0], fh, content, len(file.content))
        file.write(len(file.content), content)

    @precondition(lambda self: any(writable for _, _, writable in self.handles))
    @rule(pick=some_pick, size=some_offset)
    def ftruncate(self, pick: int, size: int) -> None:
        writable = [(fh, file) for fh, file, writable in self.handles if writable]
        fh, file = writable[pick % len(writable)]
        self.mounts[0].ftruncate(fh, size)
        file.truncate(size)

    @precondition(lambda self: self.handles)
    @rule(pick=some_pick, offset=some_offset, size=st.integers(1, 5000))
    def read_at(self, pick: int, offset: int, size: int) -> None:
        fh, file, _ = self.handles[pick % len(self.handles)]
        assert programs.at(self.mounts[0], fh, offset, size) == file.content[offset : offset + size]

    @precondition(lambda self: self.handles)
    @rule(pick=some_pick)
    def fsync(self, pick: int) -> None:
        fh, file, _ = self.handles[pick % len(self.handles)]
        self.mounts[0].fsync(fh)
        file.recorded = not any(file is deleted for deleted in self.deleted)

    @precondition(lambda self: self.handles)
    @rule(pick=some_pick)
    def close(self, pick: int) -> None:
        fh, file, writable = self.handles.pop(pick % len(self.handles))
        self.mounts[0].flush(fh)
        self.mounts[0].release(fh)
        file.handles -= 1
        if writable and not any(file is deleted for deleted in self.deleted):
            file.publish()

    def close_all(self) -> None:
        while self.handles:
            self.close(0)

    # Ends and beginnings

    @rule()
    def restart(self) -> None:
        self.close_all()
        assert self.mounts[0].drain(20) == []
        self.mounts[0].close()
        self.mounts[0] = self._mount(0)

    @rule()
    def crash(self) -> None:
        crash(self.mounts[0])
        self.mounts[0] = self._mount(0)
        assert self.mounts[0].drain(20) == []
        self.handles.clear()
        self.deleted.clear()
        for path, file in list(self.files.items()):
            file.crash()
            file.handles = 0
            if file.published is None:
                del self.files[path]
                self.modes.pop(path, None)

    @rule(mount=some_mount)
    def compare(self, mount: int) -> None:
        """Everything that should be there is, in its place, whole; and no other file."""
        filesystem = self.mounts[mount]
        for path, file in self.files.items():
            if mount == 1 and file.published is None:
                assert not programs.exists(filesystem, self._at(path))
                continue
            content = file.content if mount == 0 else file.published
            assert filesystem.getattr(self._at(path)).size == len(content or b"")
            assert programs.read(filesystem, self._at(path)) == content
        assert set(self._walk(filesystem, "")) == set(self._visible(mount, ""))
        for path in self.made[mount]:
            assert filesystem.getattr(self._at(path)).is_directory
        if mount == 0:
            assert {path: filesystem.getattr(self._at(path)).mode & 0o777 for path in self.modes} == self.modes

    # What the rules are made of

    def _mount(self, mount: int) -> Paths:
        return self.opener(Options(self.home / str(mount), metadata_expiry=0.0))

    def _at(self, path: str) -> str:
        return f"{self.box}/{path}"

    def _remove_all(self, directory: str = "") -> None:
        """``rm -r``; and the histories that follow list no container of this one."""
        for name in programs.names(self.mounts[0], self._at(directory)):
            path = f"{directory}/{name}".lstrip("/")
            if self.mounts[0].getattr(self._at(path)).is_directory:
                self._remove_all(path)
            else:
                self.mounts[0].unlink(self._at(path))
        self.mounts[0].rmdir(self._at(directory).rstrip("/"))

    def _want(self, mount: int, path: str, *, existing: bool = False) -> None:
        """Leave a path that the second mount cannot, or should not, touch."""
        assume(not existing or path in self.files)
        assume(mount == 0 or not self._held(path))

    def _held(self, path: str) -> bool:
        """Whether the first mount has a file open."""
        return path in self.files and self.files[path].handles > 0

    def _file(self, mount: int, path: str) -> File:
        if mount == 1:
            self.modes.pop(path, None)
        return self.files.setdefault(path, File())

    def _move_mode(self, mount: int, old: str, new: str) -> None:
        mode = self.modes.pop(old, None)
        self.modes.pop(new, None)
        if mode is not None and mount == 0:
            self.modes[new] = mode

    def _visible(self, mount: int, directory: str) -> list[str]:
        return [
            path
            for path, file in self.files.items()
            if below(path, directory) and (mount == 0 or file.published is not None)
        ]

    def _make_parents(self, mount: int, path: str) -> None:
        for parent in parents(path):
            if not programs.exists(self.mounts[mount], self._at(parent)):
                self.mkdir(mount, parent)

    def _drop(self, path: str) -> None:
        """A file was deleted or replaced."""
        self.deleted.append(self.files.pop(path))
        self.modes.pop(path, None)

    def _walk(self, filesystem: Paths, directory: str) -> list[str]:
        """All files below a directory."""
        found = []
        for name in programs.names(filesystem, self._at(directory)):
            path = f"{directory}/{name}".lstrip("/")
            if filesystem.getattr(self._at(path)).is_directory:
                found += self._walk(filesystem, path)
            else:
                found.append(path)
        return found


def run(new_service: Callable[[], Opener], examples: int, *, shrink: bool = True) -> None:
    """Try ``examples`` histories, of 25 steps each, or what the environment asks for."""

    class OverService(Mounts):
        pass

    OverService.new_service = staticmethod(new_service)  # type: ignore[assignment]
    run_state_machine_as_test(
        OverService,
        settings=settings(
            max_examples=int(os.environ.get("MODEL_EXAMPLES", examples)),
            stateful_step_count=25,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
        ),
    )


def test_mounts_of_a_real_server_agree_with_the_model(opener: Opener) -> None:
    run(lambda: opener, 3, shrink=False)  # which would take minutes


@pytest.mark.parametrize("replaces", ["nothing", "new id"])
@pytest.mark.parametrize("copies", [True, False])
@pytest.mark.parametrize("ranges", [True, False])
def test_mounts_of_any_dialect_agree_with_the_model(replaces: str, copies: bool, ranges: bool) -> None:
    def new_service() -> Opener:
        remote = MemoryRemote()
        remote.replaces, remote.dialect = replaces, Dialect(copies_by_path=copies)
        remote.ranges = remote.lengths = remote.tells_sizes = ranges
        return lambda options: Paths(open_over(remote, options))

    run(new_service, 8)


def test_mounts_that_upload_files_while_they_are_written_agree_with_the_model() -> None:
    def new_service() -> Opener:
        remote = MemoryRemote()
        remote.replaces, remote.chunk = "new id", 10
        remote.dialect = Dialect(copies_by_path=True, idempotency=True, whole_uploads=True)
        return lambda options: Paths(open_over(remote, options))

    run(new_service, 20)
