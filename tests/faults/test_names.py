"""Names that cannot be stored are refused where they are made, and not at close()."""

import errno
import os
from pathlib import Path

from tests.faults.mounting import agrees, close, mounted
from tests.faults.service import Service
from tests.fuse.mounted import Home, errno_of

LONGEST = 4085  # bytes below the container: with ``/mnt/data/`` and a NUL it is PATH_MAX


def deep(top: Path, length: int) -> int:
    """Make directories until their path below ``top``, and a slash, have ``length`` bytes; returns the last one."""
    directory = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    while length:
        name = "d" * (min(length, 201) - 1 if length != 202 else 150)
        length -= len(name) + 1
        os.mkdir(name, dir_fd=directory)
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
        os.close(directory)
        directory = inner
    return directory


def test_paths_that_are_too_long_are_refused_when_they_are_made(service: Service, home: Home, box: str) -> None:
    with mounted(service, home) as mount:
        (mount / box).mkdir()
        directory = deep(mount / box, LONGEST - 100)
        fits, too_long = "f" * 100, "f" * 101
        opened = os.open(fits, os.O_CREAT | os.O_WRONLY, dir_fd=directory)
        os.write(opened, b"content")
        assert close(opened) is None
        assert service.holds(box)[0][1] == b"content"
        flags = os.O_CREAT | os.O_WRONLY
        assert errno_of(lambda: os.open(too_long, flags, dir_fd=directory)) == errno.ENAMETOOLONG
        move = lambda: os.rename(fits, too_long, src_dir_fd=directory, dst_dir_fd=directory)  # noqa: E731
        assert errno_of(move) == errno.ENAMETOOLONG
        os.unlink(fits, dir_fd=directory)
        os.close(directory)
        agrees(mount, service, box, {})


def test_a_directory_is_not_renamed_to_where_its_files_would_be_too_deep(
    service: Service, home: Home, box: str
) -> None:
    with mounted(service, home) as mount:
        for name in ("DIR", "deep"):
            (mount / box / name).mkdir(parents=True)
        (mount / box / "DIR" / ("f" * 200)).write_bytes(b"content")
        directory = deep(mount / box / "deep", LONGEST - len("deep/") - 100)
        assert errno_of(lambda: os.rename(mount / box / "DIR", "DIR", dst_dir_fd=directory)) == errno.ENAMETOOLONG
        os.close(directory)
        agrees(mount, service, box, {f"DIR/{'f' * 200}": b"content"})
