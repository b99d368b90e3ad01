"""Operations as the kernel asks for them: what they answer, and the error numbers that programs see."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from containerfs.fs import types
from containerfs.fuse.answers import Validity
from containerfs.fuse.errno import errno_of
from containerfs.fuse.nodes import ROOT, NodeTable
from containerfs.fuse.operations import Changes, ContainerOperations
from tests.fs.asking import Kernel, number
from tests.fs.gates import down
from tests.fs.memory import MemoryRemote
from tests.fs.mounts import crash, mounted
from tests.fs.paths import Paths


@pytest.fixture
def memory_fs(remote: MemoryRemote, container: str, tmp_path: Path) -> Iterator[Paths]:
    """One that is patient, as operations have deadlines."""
    with mounted(remote, tmp_path / "cache", patience=60.0) as filesystem:
        yield filesystem


@pytest.fixture
def nodes(memory_fs: Paths) -> NodeTable:
    return NodeTable(memory_fs.top)


@pytest.fixture
def kernel(memory_fs: Paths, nodes: NodeTable) -> Kernel:
    return Kernel(ContainerOperations(memory_fs.filesystem, nodes, Validity(1.0, 1.0)))


def test_the_life_of_a_file(kernel: Kernel, remote: MemoryRemote, container: str) -> None:
    fh = kernel.create("/box/a", 0o640)
    assert kernel.write(fh, b"content") == 7
    assert kernel.write(fh, b"!", 7) == 1
    assert kernel.read(fh, 100, 3) == b"tent!"
    assert kernel.set("/box/a", fh, size=7).size == 7
    kernel.operations.fsync(kernel.program, fh)
    kernel.close(fh)
    attr = kernel.stat("/box/a")
    assert (attr.size, attr.uid, attr.gid, attr.nlink) == (7, 11, 22, 1)
    assert attr.mode == stat.S_IFREG | 0o640
    assert attr.blocks * 512 >= 7
    assert remote.stored(container) == {"a": b"content"}
    kernel.set("/box/a", size=3)
    fh = kernel.open("/box/a")
    assert kernel.read(fh, 100) == b"con"
    kernel.close(fh)
    kernel.rename("/box/a", "/box/b")
    kernel.unlink("/box/b")
    assert remote.stored(container) == {}


def test_pages_are_kept_while_the_content_is_the_same(kernel: Kernel, remote: MemoryRemote, container: str) -> None:
    kept = []
    for content in (b"first", None, b"second"):
        if content:
            remote.put(container, "a", content)
        fh, keeps = kernel.open_node(kernel.at("/box/a"))
        kernel.close(fh)
        kept.append(keeps)
    assert kept == [False, True, False]


def test_a_file_without_a_name_and_its_directory_gone_is_used_to_the_end(kernel: Kernel, remote: MemoryRemote) -> None:
    kernel.mkdir("/box/d")
    fh = kernel.create("/box/d/a", 0o640)
    node = kernel.at("/box/d/a")
    kernel.unlink("/box/d/a")
    kernel.rmdir("/box/d")
    changed = kernel.operations.setattr(kernel.program, node, Changes(size=5, mode=0o600), fh)
    assert changed.payload
    attr = kernel.stat_node(node)
    assert (attr.size, attr.mode & 0o777, attr.nlink) == (5, 0o600, 0)
    kernel.operations.fsync(kernel.program, fh)
    assert kernel.read(fh, 10) == bytes(5)
    again, _ = kernel.open_node(node, os.O_RDWR)  # by /proc/self/fd
    kernel.write(again, b"x")
    kernel.close(again)
    assert kernel.read(fh, 10) == b"x\0\0\0\0"
    kernel.close(fh)


def test_directories(kernel: Kernel) -> None:
    kernel.mkdir("/box/d", 0o750)
    assert [(name, kind) for name, kind, _ in kernel.listed("/box")] == [
        (".", stat.S_IFDIR), ("..", stat.S_IFDIR), ("d", stat.S_IFDIR),
    ]  # fmt: skip
    opened = kernel.operations.opendir(kernel.program, kernel.at("/box"))
    opened.undelivered()
    assert number(kernel.operations.fsyncdir, kernel.program, int.from_bytes(opened.payload[:8], "little")) == "EBADF"
    assert kernel.stat("/box/d").mode == stat.S_IFDIR | 0o750
    kernel.rmdir("/box/d")
    assert number(kernel.stat, "/box/d") == "ENOENT"


def test_a_large_directory_is_given_out_in_parts_with_attributes_where_they_are_wanted(
    kernel: Kernel, remote: MemoryRemote, container: str
) -> None:
    names = sorted(f"file number {number}" for number in range(300))
    for name in names:
        remote.put(container, name, name.encode())
    for plus in (False, True):
        listed = kernel.listed("/box", plus=plus)
        assert sorted(name for name, _, _ in listed) == [".", "..", *names]
    sizes = {name: attr.size for name, _, attr in listed if attr is not None}
    assert sizes == {name: len(name) for name in names}


def test_what_the_kernel_was_told_of_it_knows_until_it_forgets(
    kernel: Kernel, nodes: NodeTable, remote: MemoryRemote, container: str
) -> None:
    remote.put(container, "a", b"content")
    node, _ = kernel.lookup(kernel.at("/box"), "a")
    assert kernel.lookup(kernel.at("/box"), "a")[0] == node
    kernel.listed("/box", plus=True)
    kernel.operations.forget(kernel.program, node, 2)
    assert kernel.stat_node(node).size == 7
    kernel.operations.forget(kernel.program, node, 1)
    assert number(kernel.stat_node, node) == "ESTALE"
    assert kernel.at("/box/a") != node


def test_what_the_kernel_did_not_take_was_not_found_opened_or_listed(
    kernel: Kernel, nodes: NodeTable, memory_fs: Paths, remote: MemoryRemote, container: str
) -> None:
    remote.put(container, "a", b"content")
    box = kernel.at("/box")
    program, operations = kernel.program, kernel.operations
    fh = int.from_bytes(operations.opendir(program, box).payload[:8], "little")
    for answer in (
        operations.lookup(program, box, b"a"),
        operations.create(program, box, b"b", 0o644, os.O_RDWR),
        operations.mkdir(program, box, b"d", 0o755),
        operations.readdirplus(program, box, fh, 4096, 0),
    ):
        answer.undelivered()
    for name in ("a", "b", "d"):
        with memory_fs.found(f"/box/{name}") as node:
            assert node.known == 1
            assert node not in nodes._by_name
    with memory_fs.file("/box/b") as file:
        assert file.opens == 0


def test_a_container_that_is_reached_by_name_and_by_id_has_a_place_for_each(
    kernel: Kernel, remote: MemoryRemote, container: str
) -> None:
    remote.put(container, "d/a", b"content")
    for directory in ("", "/d"):
        assert kernel.at(f"/box{directory}") != kernel.at(f"/{container}{directory}")
    assert kernel.at("/box/d/a") == kernel.at(f"/{container}/d/a"), "one set of pages for each file"


def test_attributes(kernel: Kernel, remote: MemoryRemote, container: str) -> None:
    remote.put(container, "a", b"content")
    kernel.set("/box/a", mode=0o400, uid=5)
    kernel.set("/box/a", atime=1, mtime=-1)
    kernel.set("/box/a", mtime=3)
    kernel.set("/", mode=0o400)
    attr = kernel.stat("/box/a")
    assert (attr.uid, attr.atime, attr.mtime, attr.mode & 0o777) == (5, 1, 3, 0o400)
    assert len(kernel.operations.statfs(kernel.program).payload) == 80


def test_a_link(kernel: Kernel) -> None:
    kernel.operations.symlink(kernel.program, b"../\xff", kernel.at("/box"), b"l")
    assert kernel.operations.readlink(kernel.program, kernel.at("/box/l")).payload == b"../\xff"
    attr = kernel.stat("/box/l")
    assert (attr.mode, attr.size, attr.uid) == (stat.S_IFLNK | 0o777, 4, 11)


def test_extended_attributes(kernel: Kernel, remote: MemoryRemote, container: str) -> None:
    file_id = remote.put(container, "d/a", b"content")
    for path in ("/", "/box", "/box/d", "/box/d/a"):
        assert kernel.operations.listxattr(kernel.program, kernel.at(path), 100).payload == b""
    assert b'"pid"' in kernel.getxattr("/", "user.containerfs.status")
    assert kernel.getxattr("/box/d/a", "user.containerfs.id") == file_id.encode()
    assert kernel.getxattr("/box/d/a", "user.containerfs.id", 0) == len(file_id).to_bytes(8, "little")
    assert number(kernel.getxattr, "/box/d/a", "user.containerfs.id", 3) == "ERANGE"
    assert kernel.getxattr("/box", "user.containerfs.id") == container.encode()
    assert kernel.getxattr("/box/d/a", "user.containerfs.state") == b"clean"
    assert number(kernel.getxattr, "/box", "user.containerfs.expires_at") == "ENODATA"
    assert number(kernel.getxattr, "/box", "security.capability") == "ENOTSUP"
    assert number(kernel.operations.setxattr, kernel.program, kernel.at("/box"), b"user.mine", b"1") == "ENOTSUP"
    for name in (b"user.mine", b"user.containerfs.sync", b"user.containerfs.refresh"):
        assert number(kernel.operations.removexattr, kernel.program, kernel.at("/box"), name) == "ENODATA"


def test_what_programs_see_when_something_cannot_be(kernel: Kernel, remote: MemoryRemote, container: str) -> None:
    remote.put(container, "a", b"1")
    remote.put(container, "d/b", b"2")
    remote.made("other")
    reading = kernel.open("/box/a")
    long = "x" * 256
    program, operations = kernel.program, kernel.operations
    seen = {
        "missing": number(kernel.stat, "/box/missing"),
        "below a file": number(kernel.stat, "/box/a/b"),
        "a file as directory": number(kernel.listed, "/box/a"),
        "a directory as file": number(kernel.open, "/box/d"),
        "unlink a directory": number(kernel.unlink, "/box/d"),
        "rmdir a file": number(kernel.rmdir, "/box/a"),
        "a full directory": number(kernel.rmdir, "/box/d"),
        "a full container": number(kernel.rmdir, "/box"),
        "mkdir twice": number(kernel.mkdir, "/box"),
        "exclusively": number(kernel.create, "/box/a", 0o644, os.O_RDWR | os.O_EXCL),
        "a file at the root": number(kernel.create, "/file"),
        "a desktop's own": number(kernel.mkdir, "/.Trash-1000"),
        "between containers": number(kernel.rename, "/box/a", "/other/a"),
        "exchanged": number(kernel.rename, "/box/a", "/box/d", 2),
        "a name too long": number(kernel.create, f"/box/{long}"),
        "no UTF-8": number(kernel.create, "/box/\udc80"),
        "writing to a reader": number(kernel.write, reading, b"x"),
        "truncating a reader": number(kernel.set, "/box/a", reading, size=0),
        "truncating a directory": number(kernel.set, "/box/d", size=0),
        "no such handle": number(kernel.read, 999, 1),
        "released twice": number(operations.release, program, 999),
        "no such node": number(kernel.stat_node, 999),
        "a link at the root": number(operations.symlink, program, b"box", ROOT, b"l"),
        "a link that is there": number(operations.symlink, program, b"b", kernel.at("/box"), b"a"),
        "a link as a file": number(kernel.create, "/box/l.rclonelink"),
        "a file as a link": number(operations.readlink, program, kernel.at("/box/a")),
        "a hard link": number(operations.link, program, kernel.at("/box/a"), kernel.at("/box"), b"l"),
        "a device": number(operations.mknod, program, kernel.at("/box"), b"n", 0o644, 0),
    }
    assert seen == {
        "missing": "ENOENT",
        "below a file": "ENOTDIR",
        "a file as directory": "ENOTDIR",
        "a directory as file": "EISDIR",
        "unlink a directory": "EISDIR",
        "rmdir a file": "ENOTDIR",
        "a full directory": "ENOTEMPTY",
        "a full container": "ENOTEMPTY",
        "mkdir twice": "EEXIST",
        "exclusively": "EEXIST",
        "a file at the root": "EPERM",
        "a desktop's own": "EPERM",
        "between containers": "EXDEV",
        "exchanged": "EINVAL",
        "a name too long": "ENAMETOOLONG",
        "no UTF-8": "EILSEQ",
        "writing to a reader": "EBADF",
        "truncating a reader": "EBADF",
        "truncating a directory": "EISDIR",
        "no such handle": "EBADF",
        "released twice": "EBADF",
        "no such node": "ESTALE",
        "a link at the root": "EPERM",
        "a link that is there": "EEXIST",
        "a link as a file": "EPERM",
        "a file as a link": "EINVAL",
        "a hard link": "EPERM",
        "a device": "EPERM",
    }
    kernel.close(reading)


def test_a_content_that_vanishes_under_a_reader_is_stale(kernel: Kernel, remote: MemoryRemote, container: str) -> None:
    file_id = remote.put(container, "a", b"content")
    fh = kernel.open("/box/a")
    remote.take_away(file_id)
    assert number(kernel.read, fh, 10) == "ESTALE"
    kernel.close(fh)
    remote.put(container, "a", b"content")
    fh = kernel.open("/box/a")
    remote.expire(container)
    assert number(kernel.read, fh, 10) == "ESTALE"
    kernel.close(fh)


def test_a_directory_that_comes_back_is_the_one_that_programs_are_in(
    kernel: Kernel, remote: MemoryRemote, container: str
) -> None:
    file_id = remote.put(container, "d/e/a", b"content")
    inside = kernel.at("/box/d/e")
    remote.take_away(file_id)
    assert number(kernel.at, "/box/d") == "ENOENT"
    assert number(kernel.lookup, inside, "a") == "ESTALE"
    remote.put(container, "d/e/b", b"content")
    assert kernel.at("/box/d/e") == inside
    assert kernel.lookup(inside, "b")[1].size == 7


def test_what_is_listed_and_has_no_content_is_an_input_error(
    kernel: Kernel, remote: MemoryRemote, container: str
) -> None:
    remote.put(container, "a", b"content")

    def bogus(operation: str, _: str) -> None:
        if operation == "content":
            raise types.NotFound("bogus")

    remote.before = bogus
    fh = kernel.open("/box/a")
    assert number(kernel.read, fh, 10) == "EIO"
    kernel.close(fh)


def test_a_service_that_is_down_is_an_input_error(
    kernel: Kernel, remote: MemoryRemote, caplog: pytest.LogCaptureFixture
) -> None:
    remote.before = down
    assert number(kernel.lookup, ROOT, "box") == "EIO"
    assert "lookup: down" in caplog.text


@pytest.fixture
def read_only(remote: MemoryRemote, container: str, tmp_path: Path) -> Iterator[Kernel]:
    with mounted(remote, tmp_path / "read-only", read_only=True, patience=60.0) as fs:
        yield Kernel(ContainerOperations(fs.filesystem, NodeTable(fs.top), Validity(1.0, 1.0)))


def test_a_read_only_mount_changes_nothing(read_only: Kernel, remote: MemoryRemote, container: str) -> None:
    remote.put(container, "a", b"content")
    calls: list[Callable[[], object]] = [
        lambda: read_only.create("/box/b"),
        lambda: read_only.open("/box/a", os.O_WRONLY),
        lambda: read_only.open("/box/a", os.O_RDONLY | os.O_TRUNC),
        lambda: read_only.set("/box/a", size=0),
        lambda: read_only.unlink("/box/a"),
        lambda: read_only.mkdir("/new"),
        lambda: read_only.rmdir("/box"),
        lambda: read_only.rename("/box/a", "/box/b"),
        lambda: read_only.set("/box/a", mode=0o600),
    ]
    assert [number(call) for call in calls] == ["EROFS"] * len(calls)
    fh = read_only.open("/box/a")
    assert read_only.read(fh, 10) == b"content"
    read_only.close(fh)


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
