"""Directories that take the kernel several requests to list: each name once, with its attributes."""

import os
from pathlib import Path

import pytest

from tests.fuse.counted import asked
from tests.fuse.mounted import Mount
from tests.server.live import LiveServer

COUNT = 420


@pytest.fixture
def files(container: Path) -> dict[str, int]:
    """Name -> size, of files that have names of different lengths."""
    sizes = {f"{number:03}" + "x" * (number % 40): number % 7 for number in range(COUNT)}
    for name, size in sizes.items():
        (container / name).write_bytes(bytes(size))
    return sizes


def test_every_name_is_listed_once_with_its_attributes(
    server: LiveServer, other: Mount, container: Path, files: dict[str, int]
) -> None:
    path = other.anew(container)
    with asked(server) as cost, os.scandir(path) as entries:
        found = [(entry.name, entry.inode(), entry.stat()) for entry in entries]
    assert {name: stat.st_size for name, _, stat in found} == files
    assert len(found) == COUNT
    assert all(inode == stat.st_ino and stat.st_nlink == 1 for _, inode, stat in found)
    assert cost.requests == {"list files": 5}


def test_what_is_deleted_while_it_is_listed_is_gone(mount: Mount, container: Path, files: dict[str, int]) -> None:
    with os.scandir(container) as entries:
        for number, entry in enumerate(entries):
            entry.stat()
            if number % 2:
                os.unlink(entry.path)
                assert not os.path.exists(entry.path)
    assert len(os.listdir(container)) == COUNT // 2
    mount.home.run("rm", "-r", container)
    assert not container.exists()
