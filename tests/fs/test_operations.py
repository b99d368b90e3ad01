"""Operations as the binding calls them: what they return, and the error numbers that programs see."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from containerfs.fs import types
from containerfs.fs.filesystem import FileSystem
from containerfs.fuse.errno import errno_of
from containerfs.fuse.operations import ContainerOperations
from tests.fs.gates import down
from tests.fs.memory import MemoryRemote
from tests.fs.mounts import crash, mounted


@dataclass
class FileInfo:
    """The part of libfuse's struct fuse_file_info that is used."""

    flags: int = os.O_RDWR
    fh: int = 0
    keep_cache: int = 0


@pytest.fixture
def ready() -> list[None]:
    return []


@pytest.fixture
def memory_fs(remote: MemoryRemote, container: str, tmp_path: Path) -> Iterator[FileSystem]:
    """One that is patient, as operations have deadlines."""
    with mounted(remote, tmp_path / "cache", patience=60.0) as filesystem:
        yield filesystem


@pytest.fixture
def operations(memory_fs: FileSystem, ready: list[None]) -> ContainerOperations:
    return ContainerOperations(
        memory_fs, lambda: (11, 22, os.getpid()), lambda: False, lambda: None, lambda: ready.append(None)
    )


def number(call: Callable[..., Any], *arguments: object) -> str:
    """The name of the error number that a call ends in."""
    with pytest.raises(OSError) as caught:  # noqa: PT011  (the number is what the tests compare)
        call(*arguments)
    return errno.errorcode[caught.value.errno or 0]


def test_the_life_of_a_file(operations: ContainerOperations, remote: MemoryRemote, container: str) -> None:
    info = FileInfo()
    operations("create", "/box/a", 0o640, info)
    assert operations("write", "/box/a", b"content", 0, info) == 7
    assert operations.write_from(info.fh, memoryview(b"!"), 7) == 1
    assert operations("read", "/box/a", 100, 3, info) == b"tent!"
    buffer = bytearray(4)
    assert operations.read_into(info.fh, memoryview(buffer), 0) == 4
    assert buffer == b"cont"
    operations("truncate", "/box/a", 7, info)
    operations("fsync", "/box/a", 0, info)
    operations("flush", "/box/a", info)
    operations("release", "/box/a", info)
    attr = operations("getattr", "/box/a")
    assert (attr["st_size"], attr["st_uid"], attr["st_gid"]) == (7, 11, 22)
    assert attr["st_mode"] == stat.S_IFREG | 0o640
    assert attr["st_blocks"] * 512 >= 7
    assert remote.stored(container) == {"a": b"content"}
    operations("truncate", "/box/a", 3)
    operations("open", "/box/a", info)
    assert operations("read", "/box/a", 100, 0, info) == b"con"
    operations("release", "/box/a", info)
    operations("rename", "/box/a", "/box/b")
    operations("unlink", "/box/b")
    assert remote.stored(container) == {}


def test_pages_are_kept_while_the_content_is_the_same(
    operations: ContainerOperations, remote: MemoryRemote, container: str
) -> None:
    kept = []
    for content in (b"first", None, b"second"):
        if content:
            remote.put(container, "a", content)
        info = FileInfo(os.O_RDONLY)
        operations("open", "/box/a", info)
        operations("release", "/box/a", info)
        kept.append(bool(info.keep_cache))
    assert kept == [False, True, False]


def test_what_comes_with_a_handle_needs_no_path(operations: ContainerOperations, remote: MemoryRemote) -> None:
    info = FileInfo()
    operations("create", "/box/a", 0o640, info)
    operations("unlink", "/box/a")
    operations("truncate", None, 5, info)
    operations("chmod", None, 0o600, info)
    attr = operations("getattr", None, info)
    assert (attr["st_size"], attr["st_mode"] & 0o777) == (5, 0o600)
    operations("fsync", None, 0, info)
    operations("flush", None, info)
    operations("release", None, info)
    fh = operations("opendir", "/box")
    assert len(operations("readdir", None, fh)) == 2
    operations("fsyncdir", None, 0, fh)
    operations("releasedir", None, fh)
    assert number(operations, "open", "/box/.fuse_hidden1", FileInfo(os.O_RDONLY)) == "ESTALE"


def test_directories(operations: ContainerOperations, ready: list[None]) -> None:
    operations("init", "/")
    assert ready == [None]
    operations("mkdir", "/box/d", 0o750)
    fh = operations("opendir", "/box")
    assert [(name, stat.S_ISDIR(attr["st_mode"])) for name, attr, _ in operations("readdir", "/box", fh)] == [
        (".", True), ("..", True), ("d", True),
    ]  # fmt: skip
    operations("fsyncdir", "/box", 0, fh)
    operations("releasedir", "/box", fh)
    assert operations("getattr", "/box/d")["st_mode"] == stat.S_IFDIR | 0o750
    operations("rmdir", "/box/d")
    assert number(operations, "getattr", "/box/d") == "ENOENT"


def test_attributes(operations: ContainerOperations, remote: MemoryRemote, container: str) -> None:
    remote.put(container, "a", b"content")
    operations("chmod", "/box/a", 0o400)
    operations("chown", "/box/a", 5, -1)
    operations("utimens", "/box/a", (1, 2))
    operations.set_times("/box/a", None, 3)
    operations("chmod", "/", 0o400)
    attr = operations("getattr", "/box/a")
    assert [attr[name] for name in ("st_uid", "st_atime", "st_mtime")] == [5, 1, 3]
    assert attr["st_mode"] & 0o777 == 0o400
    assert operations("statfs", "/")["f_bsize"] > 0


def test_a_link(operations: ContainerOperations) -> None:
    operations("symlink", "/box/l", "../\udcff")
    assert operations("readlink", "/box/l") == "../\udcff"
    attr = operations("getattr", "/box/l")
    assert (attr["st_mode"], attr["st_size"], attr["st_uid"]) == (stat.S_IFLNK | 0o777, 4, 11)


def test_extended_attributes(operations: ContainerOperations, remote: MemoryRemote, container: str) -> None:
    file_id = remote.put(container, "d/a", b"content")
    for path in ("/", "/box", "/box/d", "/box/d/a"):
        assert operations("listxattr", path) == []
    assert b'"pid"' in operations("getxattr", "/", "user.containerfs.status")
    assert operations("getxattr", "/box/d/a", "user.containerfs.id") == file_id.encode()
    assert operations("getxattr", "/box", "user.containerfs.id") == container.encode()
    assert operations("getxattr", "/box/d/a", "user.containerfs.state") == b"clean"
    assert number(operations, "getxattr", "/box", "user.containerfs.expires_at") == "ENODATA"
    assert number(operations, "getxattr", "/box", "security.capability") == "ENOTSUP"
    assert number(operations, "setxattr", "/box", "user.mine", b"1", 0) == "ENOTSUP"
    for name in ("user.mine", "user.containerfs.sync", "user.containerfs.refresh"):
        assert number(operations, "removexattr", "/box", name) == "ENODATA"


def test_what_programs_see_when_something_cannot_be(
    operations: ContainerOperations, remote: MemoryRemote, container: str
) -> None:
    remote.put(container, "a", b"1")
    remote.put(container, "d/b", b"2")
    remote.made("other")
    reading = FileInfo(os.O_RDONLY)
    operations("open", "/box/a", reading)
    long = "x" * 256
    seen = {
        "missing": number(operations, "getattr", "/box/missing"),
        "below a file": number(operations, "getattr", "/box/a/b"),
        "a file as directory": number(operations, "opendir", "/box/a"),
        "a directory as file": number(operations, "open", "/box/d", FileInfo()),
        "unlink a directory": number(operations, "unlink", "/box/d"),
        "a full directory": number(operations, "rmdir", "/box/d"),
        "a full container": number(operations, "rmdir", "/box"),
        "the root": number(operations, "rmdir", "/"),
        "mkdir twice": number(operations, "mkdir", "/box", 0o755),
        "exclusively": number(operations, "create", "/box/a", 0o644, FileInfo(os.O_RDWR | os.O_EXCL)),
        "a file at the root": number(operations, "create", "/file", 0o644, FileInfo()),
        "a desktop's own": number(operations, "mkdir", "/.Trash-1000", 0o755),
        "between containers": number(operations, "rename", "/box/a", "/other/a"),
        "a name too long": number(operations, "create", f"/box/{long}", 0o644, FileInfo()),
        "no UTF-8": number(operations, "create", "/box/\udc80", 0o644, FileInfo()),
        "writing to a reader": number(operations, "write", "/box/a", b"x", 0, reading),
        "truncating a reader": number(operations, "truncate", "/box/a", 0, reading),
        "no such handle": number(operations, "read", "/box/a", 1, 0, FileInfo(fh=999)),
        "released twice": number(operations, "release", "/box/a", FileInfo(fh=999)),
        "a link at the root": number(operations, "symlink", "/l", "box"),
        "a link that is there": number(operations, "symlink", "/box/a", "b"),
        "a link as a file": number(operations, "create", "/box/l.rclonelink", 0o644, FileInfo()),
        "a file as a link": number(operations, "readlink", "/box/a"),
        "a hard link": number(operations, "link", "/box/l", "/box/a"),
        "a device": number(operations, "mknod", "/box/n", 0o644, 0),
    }
    assert seen == {
        "missing": "ENOENT",
        "below a file": "ENOENT",  # libfuse looks no further than the file
        "a file as directory": "ENOTDIR",
        "a directory as file": "EISDIR",
        "unlink a directory": "EISDIR",
        "a full directory": "ENOTEMPTY",
        "a full container": "ENOTEMPTY",
        "the root": "EPERM",
        "mkdir twice": "EEXIST",
        "exclusively": "EEXIST",
        "a file at the root": "EPERM",
        "a desktop's own": "EPERM",
        "between containers": "EXDEV",
        "a name too long": "ENAMETOOLONG",
        "no UTF-8": "EILSEQ",
        "writing to a reader": "EBADF",
        "truncating a reader": "EBADF",
        "no such handle": "EBADF",
        "released twice": "EBADF",
        "a link at the root": "EPERM",
        "a link that is there": "EEXIST",
        "a link as a file": "EPERM",
        "a file as a link": "ESTALE",
        "a hard link": "EPERM",
        "a device": "EPERM",
    }
    operations("release", "/box/a", reading)


def test_a_content_that_vanishes_under_a_reader_is_stale(
    operations: ContainerOperations, remote: MemoryRemote, container: str
) -> None:
    info = FileInfo(os.O_RDONLY)
    file_id = remote.put(container, "a", b"content")
    operations("open", "/box/a", info)
    remote.take_away(file_id)
    assert number(operations, "read", "/box/a", 10, 0, info) == "ESTALE"
    operations("release", "/box/a", info)
    remote.put(container, "a", b"content")
    operations("open", "/box/a", info)
    remote.expire(container)
    assert number(operations, "read", "/box/a", 10, 0, info) == "ESTALE"
    operations("release", "/box/a", info)


def test_what_is_listed_and_has_no_content_is_an_input_error(
    operations: ContainerOperations, remote: MemoryRemote, container: str
) -> None:
    remote.put(container, "a", b"content")

    def bogus(operation: str, _: str) -> None:
        if operation == "content":
            raise types.NotFound("bogus")

    remote.before = bogus
    info = FileInfo(os.O_RDONLY)
    operations("open", "/box/a", info)
    assert number(operations, "read", "/box/a", 10, 0, info) == "EIO"
    operations("release", "/box/a", info)


def test_a_service_that_is_down_is_an_input_error(
    operations: ContainerOperations, remote: MemoryRemote, caplog: pytest.LogCaptureFixture
) -> None:
    remote.before = down
    assert number(operations, "getattr", "/box/a") == "EIO"
    assert "getattr: down" in caplog.text


@pytest.fixture
def read_only(remote: MemoryRemote, container: str, tmp_path: Path) -> Iterator[ContainerOperations]:
    with mounted(remote, tmp_path / "read-only", read_only=True, patience=60.0) as filesystem:
        yield ContainerOperations(filesystem, lambda: (0, 0, 0), lambda: False, lambda: None, lambda: None)


def test_a_read_only_mount_changes_nothing(
    read_only: ContainerOperations, remote: MemoryRemote, container: str
) -> None:
    remote.put(container, "a", b"content")
    for call in [
        ("create", "/box/b", 0o644, FileInfo()),
        ("open", "/box/a", FileInfo(os.O_WRONLY)),
        ("open", "/box/a", FileInfo(os.O_RDONLY | os.O_TRUNC)),
        ("truncate", "/box/a", 0),
        ("unlink", "/box/a"),
        ("mkdir", "/new", 0o755),
        ("rmdir", "/box"),
        ("rename", "/box/a", "/box/b"),
        ("chmod", "/box/a", 0o600),
    ]:
        assert number(read_only, *call) == "EROFS"
    info = FileInfo(os.O_RDONLY)
    read_only("open", "/box/a", info)
    assert read_only("read", "/box/a", 10, 0, info) == b"content"
    read_only("release", "/box/a", info)


def test_every_error_of_the_file_system_has_a_number(caplog: pytest.LogCaptureFixture) -> None:
    kinds = types.FsError.__subclasses__()
    numbers = {kind.__name__: errno.errorcode[errno_of(kind("why"), "read")] for kind in kinds}
    assert [name for name, found in numbers.items() if found == "EIO"] == [
        "Refused",
        "KeyConflict",
        "Unreachable",
        "Damaged",
        "Cancelled",
        "Failed",
    ]
    assert errno_of(FileNotFoundError(errno.ENOENT, "gone"), "read") == errno.ENOENT
    assert errno_of(RuntimeError("surprise"), "read") == errno.EIO
    assert "surprise" in caplog.text


def test_a_directory_whose_last_directory_was_removed_outlives_a_crash(
    remote: MemoryRemote, container: str, tmp_path: Path
) -> None:
    remote.put(container, "d/e/a", b"")
    with mounted(remote, tmp_path / "cache") as fs:
        fs.unlink("/box/d/e/a")
        fs.rmdir("/box/d/e")
        crash(fs)
    with mounted(remote, tmp_path / "cache") as fs:
        assert fs.getattr("/box/d").is_directory
