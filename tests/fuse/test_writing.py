"""Changing files: what is written is what is read, here and from another mount, and nothing of the old is left."""

import errno
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuse.mounted import Home, Mount, errno_of, eventually
from tests.fuse.replacing import opens_against_replacements
from tests.server.live import LiveServer

MiB = 1 << 20


@pytest.fixture
def file(container: Path) -> Path:
    """A file of 1,000,000 bytes."""
    path = container / "file"
    path.write_bytes(bytes(range(250)) * 4000)
    return path


def test_a_shorter_overwrite_leaves_no_tail(mount: Mount, other: Mount, file: Path) -> None:
    mount.home.run("sh", "-c", 'echo short > "$0"', file)
    assert file.read_bytes() == (other.anew(file.parent) / "file").read_bytes() == b"short\n"
    assert file.stat().st_size == 6
    (file.parent / "source").write_bytes(b"xy")
    mount.home.run("cp", file.parent / "source", file)
    assert file.read_bytes() == (other.anew(file.parent) / "file").read_bytes() == b"xy"
    mount.home.run("sh", "-c", ': > "$0"', file)
    assert file.read_bytes() == (other.anew(file.parent) / "file").read_bytes() == b""


def test_append(other: Mount, file: Path) -> None:
    before = file.read_bytes()
    with file.open("ab") as opened:
        opened.write(b"one")
        opened.flush()
        opened.seek(0)
        opened.write(b"two")
    assert file.read_bytes() == (other.anew(file.parent) / "file").read_bytes() == before + b"onetwo"


def test_append_to_what_another_mount_wrote(mount: Mount, other: Mount, file: Path) -> None:
    before = file.read_bytes()
    other.home.run("sh", "-c", 'echo more >> "$0"', other.anew(file.parent) / "file")
    assert (mount.anew(file.parent) / "file").read_bytes() == before + b"more\n"


@pytest.mark.parametrize("size", [0, 1, 4096, 999_999, 1_000_000, 1_000_001, 3 * MiB])
def test_truncate_by_name(other: Mount, file: Path, size: int) -> None:
    wanted = file.read_bytes()[:size].ljust(size, b"\0")
    os.truncate(file, size)
    assert file.stat().st_size == (other.anew(file.parent) / "file").stat().st_size == size
    assert file.read_bytes() == (other / file.parent.name / "file").read_bytes() == wanted


@pytest.mark.parametrize("size", [0, 1, 4096, 999_999, 1_000_000, 1_000_001, 3 * MiB])
def test_truncate_an_open_file(other: Mount, file: Path, size: int) -> None:
    wanted = file.read_bytes()[:size].ljust(size, b"\0")
    with file.open("r+b") as opened:
        opened.truncate(size)
        assert os.fstat(opened.fileno()).st_size == file.stat().st_size == size
        assert opened.read() == wanted
    assert file.read_bytes() == (other.anew(file.parent) / "file").read_bytes() == wanted


def test_truncate_down_and_up_again_leaves_zeros(other: Mount, file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(10)
        opened.truncate(20)
    assert (other.anew(file.parent) / "file").read_bytes() == bytes(range(10)) + bytes(10)


def test_edits_in_place(other: Mount, file: Path) -> None:
    """Many reads and writes at random offsets, compared with the same on a plain byte array."""
    chance, wanted = random.Random(7), bytearray(file.read_bytes())
    with file.open("r+b", buffering=0) as opened:
        for _ in range(300):
            offset, size = chance.randrange(len(wanted)), chance.randrange(1, 20_000)
            if chance.random() < 0.5:
                assert os.pread(opened.fileno(), size, offset) == wanted[offset : offset + size]
            else:
                data = chance.randbytes(size)
                os.pwrite(opened.fileno(), data, offset)
                wanted[offset : offset + size] = data
    assert file.read_bytes() == (other.anew(file.parent) / "file").read_bytes() == wanted


def test_edits_of_what_another_mount_wrote(mount: Mount, other: Mount, file: Path) -> None:
    wanted = bytearray(file.read_bytes())
    wanted[500_000:500_003] = b"new"
    with (other.anew(file.parent) / "file").open("r+b") as opened:
        opened.seek(500_000)
        opened.write(b"new")
    assert (mount.anew(file.parent) / "file").read_bytes() == wanted


def test_sparse_writes(other: Mount, container: Path) -> None:
    with (container / "sparse").open("wb") as opened:
        opened.seek(5 * MiB)
        opened.write(b"end")
        opened.seek(MiB)
        opened.write(b"middle")
    wanted = bytearray(5 * MiB + 3)
    wanted[MiB : MiB + 6], wanted[-3:] = b"middle", b"end"
    assert (container / "sparse").read_bytes() == (other.anew(container) / "sparse").read_bytes() == wanted


def test_a_reader_sees_what_a_writer_has_written(file: Path) -> None:
    """Two open descriptors on one machine see one content, before anything is closed."""
    with file.open("rb", buffering=0) as reader, file.open("r+b", buffering=0) as writer:
        writer.write(b"changed")
        assert reader.read(7) == b"changed"


def test_two_writers_of_one_file(other: Mount, file: Path) -> None:
    wanted = bytearray(file.read_bytes())
    wanted[:3], wanted[10:13] = b"one", b"two"
    with file.open("r+b", buffering=0) as first, file.open("r+b", buffering=0) as second:
        first.write(b"one")
        os.pwrite(second.fileno(), b"two", 10)
    assert (other.anew(file.parent) / "file").read_bytes() == wanted


def test_writing_on_after_fsync_and_after_a_duplicates_close(other: Mount, container: Path) -> None:
    with (container / "file").open("wb", buffering=0) as opened:
        opened.write(b"one ")
        os.fsync(opened.fileno())
        opened.write(b"two ")
        os.close(os.dup(opened.fileno()))
        assert (other.anew(container) / "file").read_bytes() == b"one two "
        opened.write(b"three")
    assert (other.anew(container) / "file").read_bytes() == b"one two three"


def test_reading_what_is_open_for_writing_only(file: Path) -> None:
    descriptor = os.open(file, os.O_WRONLY)
    try:
        assert errno_of(lambda: os.read(descriptor, 1)) == errno.EBADF
    finally:
        os.close(descriptor)
    with file.open("rb") as opened:
        assert errno_of(lambda: os.write(opened.fileno(), b"x")) == errno.EBADF


def test_exclusive_creation(container: Path) -> None:
    descriptor = os.open(container / "file", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    assert errno_of(lambda: os.open(container / "file", os.O_CREAT | os.O_EXCL | os.O_WRONLY)) == errno.EEXIST
    os.close(descriptor)
    assert errno_of(lambda: os.open(container / "file", os.O_CREAT | os.O_EXCL | os.O_WRONLY)) == errno.EEXIST


def test_creation_sets_the_mode_below_the_umask(container: Path) -> None:
    before = os.umask(0o027)
    try:
        os.close(os.open(container / "file", os.O_CREAT | os.O_WRONLY, 0o666))
        (container / "directory").mkdir(0o777)
    finally:
        os.umask(before)
    assert (container / "file").stat().st_mode & 0o7777 == 0o640
    assert (container / "directory").stat().st_mode & 0o7777 == 0o750


def test_a_deleted_file_is_read_and_written_on_by_who_has_it_open(other: Mount, file: Path) -> None:
    before = file.read_bytes()
    with file.open("r+b", buffering=0) as opened:
        file.unlink()
        assert os.listdir(file.parent) == []
        assert os.fstat(opened.fileno()).st_size == len(before)
        assert opened.read() == before
        opened.write(b"more")
        opened.seek(0)
        assert opened.read() == before + b"more"
    assert os.listdir(file.parent) == []
    eventually(lambda: os.listdir(other.anew(file.parent)) == [], "the deleted file is gone from the service")


def test_an_open_file_whose_directory_is_removed_is_read_and_written_on(container: Path) -> None:
    directory = container / "directory"
    directory.mkdir()
    (directory / "file").write_bytes(b"content")
    with (directory / "file").open("r+b", buffering=0) as opened:
        shutil.rmtree(directory)
        assert os.listdir(container) == []
        assert os.pread(opened.fileno(), 100, 0) == b"content"
        os.ftruncate(opened.fileno(), 3)
        os.pwrite(opened.fileno(), b"!", 3)
        os.fsync(opened.fileno())
        assert os.pread(opened.fileno(), 100, 0) == b"con!"
    assert os.listdir(container) == []


def test_a_directory_takes_the_place_of_one_whose_last_file_is_open_and_deleted(container: Path) -> None:
    for name in ("old", "new"):
        (container / name).mkdir()
        (container / name / "file").write_text(name)
    with (container / "old" / "file").open("rb", buffering=0) as opened:
        (container / "old" / "file").unlink()
        (container / "new").rename(container / "old")
        assert (container / "old" / "file").read_text() == "new"
        assert opened.read() == b"old"


def test_an_open_scratch_file_that_is_deleted_is_not_listed(container: Path) -> None:
    with (container / ".file.swp").open("w+b", buffering=0) as opened:
        (container / ".file.swp").unlink()
        assert os.listdir(container) == []
        opened.write(b"content")
        assert os.pread(opened.fileno(), 100, 0) == b"content"


def test_rewinding_a_directory_shows_what_is_there_by_then(mount: Mount, container: Path) -> None:
    program = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.opendir.restype = ctypes.c_void_p
libc.readdir.argtypes = libc.rewinddir.argtypes = [ctypes.c_void_p]
libc.readdir.restype = ctypes.c_void_p
directory = libc.opendir(os.fsencode(sys.argv[1]))
def count():
    found = 0
    while libc.readdir(directory):
        found += 1
    return found - 2
print(count())
open(os.path.join(sys.argv[1], "file"), "w").close()
libc.rewinddir(directory)
print(count())
"""
    assert mount.home.python(program, container).split() == ["0", "1"]


def test_a_replaced_file_is_read_on_by_who_has_it_open(other: Mount, file: Path) -> None:
    before = file.read_bytes()
    (file.parent / "new").write_text("new")
    with file.open("rb", buffering=0) as opened:
        os.rename(file.parent / "new", file)
        assert opened.read() == before
        assert file.read_text() == "new"
    assert os.listdir(file.parent) == ["file"]
    assert (other.anew(file.parent) / "file").read_text() == "new"


def test_who_opens_a_file_that_others_replace_finds_it_whole(mount: Mount, container: Path) -> None:
    count = opens_against_replacements(mount, container, 5000)
    assert set(count) == {"one", "two"}, count


def test_an_open_file_whose_directory_was_removed_works_on(other: Mount, container: Path) -> None:
    directory = other.anew(container) / "directory"  # where the kernel remembers no attributes
    directory.mkdir()
    with (directory / "file").open("w+b", buffering=0) as opened:
        opened.write(b"content")
        other.home.run("rm", "-r", directory)
        fd = opened.fileno()
        attributes = os.fstat(fd)
        assert (attributes.st_size, attributes.st_nlink) == (7, 0)
        assert os.pread(fd, 100, 0) == b"content"
        os.ftruncate(fd, 4)
        os.fsync(fd)
        os.fchmod(fd, 0o600)
        assert os.pread(fd, 100, 0) == b"cont"
        with open(f"/proc/self/fd/{fd}", "r+b", buffering=0) as again:
            again.write(b"C")
        assert (os.pread(fd, 100, 0), os.fstat(fd).st_mode & 0o777) == (b"Cont", 0o600)
    assert os.listdir(directory.parent) == []


def test_a_deleted_file_can_be_made_again_while_it_is_open(other: Mount, file: Path) -> None:
    with file.open("rb", buffering=0) as opened:
        file.unlink()
        file.write_text("again")
        assert opened.read(3) == bytes(range(3))
    assert file.read_text() == (other.anew(file.parent) / "file").read_text() == "again"


def test_what_is_created_and_deleted_is_never_uploaded(other: Mount, container: Path) -> None:
    with (container / "file").open("wb") as opened:
        opened.write(b"content")
        (container / "file").unlink()
    assert os.listdir(other.anew(container)) == []


def test_times_move_with_changes(container: Path) -> None:
    path = container / "file"
    path.write_text("content")
    os.utime(path, (1, 1))
    assert path.stat().st_mtime == 1
    path.read_text()
    assert path.stat().st_mtime == 1
    with path.open("a") as opened:
        opened.write("more")
    assert path.stat().st_mtime > 1_000_000


def test_preallocation(mount: Mount, other: Mount, container: Path) -> None:
    mount.home.run("truncate", "-s", "1M", container / "file")
    assert (other.anew(container) / "file").read_bytes() == bytes(MiB)


def test_a_read_only_mount_refuses_every_change(server: LiveServer, file: Path, home: Home) -> None:
    content = file.read_bytes()
    with home.mounted("--url", server.address, "--read-only") as mount:
        seen = mount / file.parent.name / "file"
        changes: list[Callable[[], object]] = [
            lambda: seen.write_bytes(b""),
            lambda: os.truncate(seen, 0),
            lambda: seen.unlink(),
            lambda: seen.rename(seen.with_name("other")),
            lambda: seen.chmod(0o600),
            lambda: (seen.parent / "new").touch(),
            lambda: (seen.parent / "new").mkdir(),
            lambda: (mount / "new").mkdir(),
            lambda: seen.parent.rmdir(),
        ]
        assert [errno_of(change) for change in changes] == [errno.EROFS] * len(changes)
        assert seen.read_bytes() == content
