"""What programs set and look at beside contents: times, groups, blocks, allocation, extended attributes, inodes."""

import ctypes
import os
import stat
from pathlib import Path

import pytest

from tests.fuse.mounted import Home, Mount
from tests.server.live import LiveServer

KEEP_SIZE, PUNCH_HOLE = 1, 2  # Source: linux/falloc.h
KiB = 1 << 10


def fallocate(fd: int, mode: int, offset: int, size: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    if libc.fallocate(fd, mode, offset, size):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def test_space_is_allocated(mount: Mount, other: Mount, container: Path) -> None:
    mount.home.run("fallocate", "-l", "100000", container / "file")
    assert (container / "file").stat().st_size == 100_000
    assert (other.anew(container) / "file").read_bytes() == bytes(100_000)


def test_a_hole_is_punched_into_what_was_there(other: Mount, container: Path) -> None:
    content = os.urandom(256 * KiB)
    (container / "file").write_bytes(content)
    fd = os.open(container / "file", os.O_RDWR)
    try:
        fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 64 * KiB, 128 * KiB)
        fallocate(fd, KEEP_SIZE, 0, 1024 * KiB)
    finally:
        os.close(fd)
    holed = content[: 64 * KiB] + bytes(128 * KiB) + content[192 * KiB :]
    assert (container / "file").read_bytes() == holed
    assert (other.anew(container) / "file").read_bytes() == holed


def test_a_sparse_file_takes_the_blocks_that_are_there(container: Path) -> None:
    with (container / "file").open("wb", buffering=0) as file:
        file.seek(64 << 20)
        file.write(b"end")
        assert os.fstat(file.fileno()).st_blocks * 512 < 1 << 20
    assert (container / "file").stat().st_blocks * 512 < 1 << 20
    (container / "dense").write_bytes(os.urandom(64 * KiB))
    assert (container / "dense").stat().st_blocks * 512 >= 64 * KiB


def test_a_directory_gives_its_group_to_what_is_made_in_it(container: Path) -> None:
    shared = container / "shared"
    shared.mkdir()
    group = 4321 if os.geteuid() == 0 else os.getgroups()[-1]  # plain users can give it only to their own
    os.chown(shared, -1, group)
    shared.chmod(0o2775)
    (shared / "file").write_text("")
    (shared / "directory").mkdir()
    assert (shared / "file").stat().st_gid == group
    below = (shared / "directory").stat()
    assert (below.st_gid, below.st_mode & stat.S_ISGID) == (group, stat.S_ISGID)


def test_reading_moves_the_access_time_as_relatime_does(server: LiveServer, home: Home, container: Path) -> None:
    (container / "file").write_text("content")
    with home.mounted("--url", server.address) as reading:
        seen = reading / container.name / "file"
        old = seen.stat()
        assert seen.read_text() == "content"
        read = seen.stat()
        assert read.st_atime_ns > old.st_atime_ns
        assert read.st_mtime_ns == old.st_mtime_ns
        os.utime(seen, ns=(read.st_mtime_ns + 1, read.st_mtime_ns))  # accessed long since, but after it changed
        seen.read_text()
        os.utime(seen, (4_000_000_000, 4_000_000_000))
    with home.mounted("--url", server.address) as again:
        assert (again / container.name / "file").stat().st_atime == 4_000_000_000


@pytest.mark.parametrize("year", ["2300-01-01", "1901-01-01", "2554-01-01"])
def test_times_far_away_are_kept(server: LiveServer, home: Home, mount: Mount, container: Path, year: str) -> None:
    (container / "file").write_text("content")
    with home.mounted("--url", server.address) as first:
        seen = first / container.name / "file"
        home.run("touch", "-d", f"{year} 00:00:00 UTC", seen)
        shown = home.run("date", "-u", "-r", seen, "+%Y-%m-%d").strip()
        assert shown == year
    with home.mounted("--url", server.address) as again:
        seen = again / container.name / "file"
        assert home.run("date", "-u", "-r", seen, "+%Y-%m-%d").strip() == year


def test_virtual_attributes_do_not_travel(mount: Mount, container: Path, tmp_path: Path) -> None:
    """Programs that copy extended attributes find none, and take nothing along, out of the mount and back."""
    run = mount.home.run
    (container / "d").mkdir()
    (container / "d" / "file").write_text("content")
    run("rsync", "-aX", f"{container}/d/", tmp_path / "rsync")
    run("cp", "-a", container / "d", tmp_path / "cp")
    run("tar", "--xattrs", "--xattrs-include=*", "-cf", tmp_path / "tar", "-C", container, "d")
    for copy in ("rsync", "cp"):
        assert os.listxattr(tmp_path / copy / "file") == []
    (container / "back").mkdir()
    run("rsync", "-aX", f"{tmp_path}/rsync/", container / "back" / "rsync")
    run("cp", "-a", tmp_path / "cp", container / "back" / "cp")
    run("tar", "--xattrs", "--xattrs-include=*", "-xf", tmp_path / "tar", "-C", container / "back")
    for copy in ("rsync", "cp", "d"):
        assert (container / "back" / copy / "file").read_text() == "content"


def test_removing_an_attribute_runs_no_command(server: LiveServer, mount: Mount, home: Home, container: Path) -> None:
    with home.mounted("--url", server.address, "--metadata-expiry", "1h") as patient:
        seen = patient / container.name
        assert os.listdir(seen) == []
        (container / "file").write_text("content")
        for name in ("sync", "refresh"):
            assert "No such attribute" in home.fails("setfattr", "-x", f"user.containerfs.{name}", seen)
        assert os.listdir(seen) == []


def test_inode_numbers_fit_into_32_bits_where_that_is_asked_for(
    server: LiveServer, home: Home, container: Path
) -> None:
    (container / "file").write_text("content")
    with home.mounted("--url", server.address, "--inode32") as narrow:
        inside = narrow / container.name
        (inside / "directory").mkdir()
        listed = {entry.name: entry.inode() for entry in os.scandir(inside)}
        assert listed == {name: (inside / name).stat().st_ino for name in ("file", "directory")}
        numbers = {narrow.path.stat().st_ino, inside.stat().st_ino, *listed.values()}
        assert len(numbers) == 4
        assert all(0 < number < 1 << 32 for number in numbers)
