"""Modes, times and empty directories, set by programs on one machine, and seen by programs on another."""

import os
from pathlib import Path

import pytest
from openai import OpenAI

from tests.fuse.mounted import Home, Mount, eventually, tree
from tests.server.live import LiveServer


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    (top / "empty").mkdir(parents=True)
    top.chmod(0o755)
    (top / "bin").mkdir()
    (top / "bin" / "hello").write_text("#!/bin/sh\necho hello\n")
    (top / "bin" / "hello").chmod(0o755)
    (top / "secret").write_text("private")
    (top / "secret").chmod(0o600)
    (top / "latest").symlink_to("bin/hello")
    for number, path in enumerate(sorted(top.rglob("*"))):
        os.utime(path, ns=(10**18, 1_234_567_890_123_456_789 + number * 10**9), follow_symlinks=False)
    return top


def attributes(top: Path) -> dict[str, tuple[int, int]]:
    found = {str(path.relative_to(top)): path.lstat() for path in top.rglob("*")}
    return {name: (stat.st_mode, stat.st_mtime_ns) for name, stat in found.items()}


@pytest.mark.parametrize("command", [["cp", "-a"], ["rsync", "-a"]])
def test_a_tree_arrives_as_it_was(
    mount: Mount, other: Mount, container: Path, source: Path, command: list[str]
) -> None:
    mount.home.run(*command, f"{source}/.", f"{container}/")
    mount.home.run("containerfs", "sync", container)
    elsewhere = other.anew(container)
    assert attributes(elsewhere) == attributes(source)
    assert tree(elsewhere) == tree(source)
    assert other.home.run(elsewhere / "bin" / "hello") == "hello\n"
    assert other.home.run(elsewhere / "latest") == "hello\n"
    rsync = ("rsync", "-a", "--delete", "--itemize-changes", f"{source}/", f"{elsewhere}/")
    assert [line for line in other.home.run(*rsync).splitlines() if not line.startswith(".d..t")] == []


def test_what_changes_in_a_directory_moves_its_time_here_alone(
    mount: Mount, other: Mount, container: Path, sdk: OpenAI
) -> None:
    directory = container / "directory"
    directory.mkdir()
    created = directory.stat().st_mtime_ns
    mount.home.run("containerfs", "sync", container)
    (directory / "file").touch()
    id_ = os.getxattr(container, "user.containerfs.id").decode()
    sdk.containers.files.create(id_, file=("through/files", b""))
    assert directory.stat().st_mtime_ns > created
    mount.home.run("containerfs", "sync", container)
    elsewhere = other.anew(container)
    assert (elsewhere / "directory").stat().st_mtime_ns == created
    assert (elsewhere / "through").stat().st_mtime_ns == sdk.containers.retrieve(id_).created_at * 10**9


def test_programs_do_not_see_that_they_are_told_of(server: LiveServer, home: Home, container: Path) -> None:
    """tar takes a directory whose times move for one that changes while it is read."""
    with home.mounted("--url", server.address, "-o", "attr_timeout=0") as mount:
        directory = mount / container.name / "directory"
        directory.mkdir()
        os.utime(directory, (1, 1))
        before = directory.stat().st_ctime_ns
        mount.home.run("containerfs", "sync", mount.path)
        assert directory.stat().st_ctime_ns == before


def test_tar_brings_them_along(mount: Mount, other: Mount, container: Path, source: Path, tmp_path: Path) -> None:
    mount.home.run("tar", "cf", tmp_path / "tree.tar", "--format=posix", "-C", source, ".")
    mount.home.run("tar", "xf", tmp_path / "tree.tar", "-C", container)
    mount.home.run("containerfs", "sync", container)
    assert attributes(other.anew(container)) == attributes(source)


def test_git_sees_no_change_elsewhere(mount: Mount, other: Mount, container: Path, source: Path) -> None:
    git = ("git", "-c", "user.name=me", "-c", "user.email=me@localhost", "-c", "safe.directory=*")
    mount.home.run(*git, "init", "-q", "-b", "main", source)
    mount.home.run(*git, "-C", source, "add", ".")
    mount.home.run(*git, "-C", source, "commit", "-q", "-m", "modes")
    mount.home.run(*git, "clone", "-q", source, container / "clone")
    mount.home.run("containerfs", "sync", container)
    assert other.home.run(*git, "-C", other.anew(container) / "clone", "status", "--porcelain") == ""


def test_directories_come_and_go(mount: Mount, other: Mount, container: Path) -> None:
    (container / "a" / "b").mkdir(parents=True)
    mount.home.run("containerfs", "sync", container)
    path = other.anew(container)
    assert [str(each.relative_to(path)) for each in sorted(path.rglob("*"))] == ["a", "a/b"]
    (path / "a" / "b").rmdir()
    (path / "a").rename(path / "c")
    other.home.run("containerfs", "sync", path)
    eventually(lambda: os.listdir(mount.anew(container)) == ["c"], "the old name is gone")
    mount.home.run("rm", "-r", container / "c")
    eventually(lambda: os.listdir(other.anew(container)) == [], "it is gone")


def test_they_outlive_a_crash_of_the_mount(server: LiveServer, home: Home, other: Mount) -> None:
    with home.mounted("--url", server.address) as mount:
        (mount / "crashing").mkdir()
        (mount / "crashing" / "script").write_text("#!/bin/sh\n")
        (mount / "crashing" / "script").chmod(0o755)
        (mount / "crashing" / "empty").mkdir()
        mount.kill()
    with home.mounted("--url", server.address) as mount:
        assert (mount / "crashing" / "script").stat().st_mode & 0o777 == 0o755
        home.run("containerfs", "sync", mount.path)
        path = other.anew(mount / "crashing")
        assert (path / "script").stat().st_mode & 0o777 == 0o755
        assert (path / "empty").is_dir()
