"""Directories that are removed while programs have them open are what they are on a disk: empty, and without a name."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuse.mounted import Mount


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_directory_that_was_removed_while_it_was_open_is_as_on_a_disk(
    container: Path, tmp_path: Path, how: str
) -> None:
    local = tmp_path / "local"
    local.mkdir()
    assert after_removal(container, how) == after_removal(local, how)


def test_a_container_that_was_removed_while_it_was_open_is_as_a_directory_on_a_disk(
    mount: Mount, container: Path, tmp_path: Path
) -> None:
    local = tmp_path / "local"
    local.mkdir()
    (container / "file").touch()
    (local / "file").touch()
    removal = 'exec 2>&1; cd "$0" && rm file && rmdir "$PWD" && ls -A . && ! mkdir x && ! touch y && stat -c %h .'
    assert mount.home.run("sh", "-c", removal, container) == mount.home.run("sh", "-c", removal, local)
    assert not container.exists()


def after_removal(place: Path, how: str) -> dict[str, object]:
    """What programs get that still have a directory open, which was removed or replaced in the meantime."""
    opened, source = place / "opened", place / "source"
    opened.mkdir()
    (opened / "file").touch()
    (opened / "directory").mkdir()
    source.touch()
    there = os.open(opened, os.O_DIRECTORY)
    (opened / "file").unlink()
    (opened / "directory").rmdir()
    if how == "removed":
        opened.rmdir()
    else:
        (place / "other").mkdir()
        (place / "other").rename(opened)
    attempts: dict[str, Callable[[], object]] = {
        "create": lambda: os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=there),
        "open": lambda: os.open("file", os.O_RDONLY, dir_fd=there),
        "stat a name": lambda: os.stat("file", dir_fd=there),
        "mkdir": lambda: os.mkdir("new", dir_fd=there),
        "symlink": lambda: os.symlink("target", "new", dir_fd=there),
        "rename into": lambda: os.rename(source, "new", dst_dir_fd=there),
        "rename from": lambda: os.rename("file", source, src_dir_fd=there),
        "unlink": lambda: os.unlink("file", dir_fd=there),
        "rmdir": lambda: os.rmdir("directory", dir_fd=there),
        "links": lambda: os.fstat(there).st_nlink,
        "stat": lambda: bool(os.stat(".", dir_fd=there)),
        "the one above": lambda: os.path.samestat(os.stat("..", dir_fd=there), place.stat()),
        "list": lambda: os.listdir(there),
        "chmod": lambda: os.fchmod(there, 0o700),
        "sync": lambda: os.fsync(there),
    }
    try:
        return {name: outcome(attempt) for name, attempt in attempts.items()}
    finally:
        os.close(there)


def outcome(attempt: Callable[[], object]) -> object:
    try:
        return attempt()
    except OSError as error:
        return error.errno
