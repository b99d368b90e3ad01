"""Names: making, renaming and removing containers, directories and files; and what the API cannot hold is refused."""

import errno
import os
import socket
from pathlib import Path

import pytest
from openai import OpenAI

from tests.fuse.mounted import NOTHING_DUE, Mount, errno_of, tree


@pytest.fixture
def files(container: Path) -> dict[str, str]:
    """The digests of some files, in directories of two levels."""
    for name in ("a", "directory/b", "directory/c", "directory/deeper/d"):
        (container / name).parent.mkdir(parents=True, exist_ok=True)
        (container / name).write_text(f"content of {name}")
    return tree(container)


def test_a_file_at_the_root_is_refused(mount: Mount, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    assert "Operation not permitted" in mount.home.fails("cp", tmp_path / "file", mount / "file")
    assert "Operation not permitted" in mount.home.fails("touch", mount / "file")
    assert not (mount / "file").exists()


@pytest.mark.parametrize("name", [".Trash-1000", ".Trash", ".DS_Store", "._x", ".fseventsd", "Thumbs.db"])
def test_what_desktops_scatter_is_not_made_a_container(mount: Mount, sdk: OpenAI, name: str) -> None:
    assert errno_of(lambda: (mount / name).mkdir()) == errno.EPERM
    assert name not in {container.name for container in sdk.containers.list()}


def test_containers_are_made_and_deleted(mount: Mount, other: Mount, sdk: OpenAI) -> None:
    mount.home.run("mkdir", mount / "made here")
    (made,) = (container for container in sdk.containers.list() if container.name == "made here")
    assert os.getxattr(mount / "made here", "user.containerfs.id").decode() == made.id
    assert "File exists" in mount.home.fails("mkdir", mount / "made here")
    mount.home.run("rmdir", other.anew() / "made here")
    assert made.id not in {container.id for container in sdk.containers.list()}
    assert "made here" not in os.listdir(mount.anew())


def test_a_container_with_files_is_not_removed_unless_emptied(
    mount: Mount, container: Path, files: dict[str, str], sdk: OpenAI
) -> None:
    assert "not empty" in mount.home.fails("rmdir", container)
    assert tree(container) == files
    mount.home.run("rm", "-r", container)
    assert container.name not in {found.name for found in sdk.containers.list()}
    container.mkdir()
    assert os.listdir(container) == []


def test_a_container_that_another_filled_meanwhile_is_not_removed(other: Mount, container: Path) -> None:
    assert os.listdir(container) == []
    (other.anew(container) / "file").write_text("content")
    assert errno_of(container.rmdir) == errno.ENOTEMPTY
    assert (container / "file").read_text() == "content"


def test_a_container_that_another_deleted_is_gone(mount: Mount, container: Path, sdk: OpenAI) -> None:
    (container / "file").write_text("content")
    sdk.containers.delete(os.getxattr(container, "user.containerfs.id").decode())
    assert errno_of(lambda: os.listdir(mount.anew(container))) == errno.ENOENT
    assert container.name not in os.listdir(mount.path)


def test_directories(mount: Mount, other: Mount, container: Path, files: dict[str, str]) -> None:
    assert sorted(os.listdir(container)) == ["a", "directory"]
    assert tree(other.anew(container)) == files
    assert "not empty" in mount.home.fails("rmdir", container / "directory" / "deeper")
    assert errno_of(lambda: (container / "a" / "x").mkdir()) == errno.ENOTDIR
    assert errno_of((container / "directory").unlink) in (errno.EISDIR, errno.EPERM)
    assert errno_of((container / "a").rmdir) == errno.ENOTDIR
    (container / "directory" / "deeper" / "d").unlink()
    assert (container / "directory" / "deeper").is_dir()
    (container / "directory" / "deeper").rmdir()
    assert sorted(os.listdir(container / "directory")) == ["b", "c"]
    mount.home.run("rm", "-r", container / "directory")
    assert os.listdir(container) == os.listdir(other.anew(container)) == ["a"]


def test_an_empty_directory_stays(mount: Mount, container: Path) -> None:
    mount.home.run("mkdir", "-p", container / "one" / "two")
    mount.anew(container)
    assert [str(path.relative_to(container)) for path in container.rglob("*")] == ["one", "one/two"]


def test_rename_a_file(mount: Mount, other: Mount, container: Path, files: dict[str, str]) -> None:
    mount.home.run("mv", container / "a", container / "b")
    mount.home.run("mv", container / "b", container / "directory")
    assert tree(container) == tree(other.anew(container))
    assert sorted(tree(container)) == ["directory/b", "directory/c", "directory/deeper/d"]
    assert (container / "directory" / "b").read_text() == "content of a"


def test_rename_over_a_file(other: Mount, container: Path, files: dict[str, str]) -> None:
    os.rename(container / "a", container / "directory" / "b")
    moved = {"directory/b": files["a"], "directory/c": files["directory/c"]}
    assert tree(container) == moved | {"directory/deeper/d": files["directory/deeper/d"]} == tree(other.anew(container))


def test_rename_to_itself(container: Path, files: dict[str, str]) -> None:
    os.rename(container / "a", container / "a")
    assert tree(container) == files


def test_rename_what_was_never_closed(other: Mount, container: Path) -> None:
    with (container / "draft").open("w") as opened:
        opened.write("one ")
        opened.flush()
        os.rename(container / "draft", container / "final")
        opened.write("two")
    assert tree(container).keys() == tree(other.anew(container)).keys() == {"final"}
    assert (other / container.name / "final").read_text() == "one two"


def test_rename_a_directory(mount: Mount, other: Mount, container: Path, files: dict[str, str]) -> None:
    mount.home.run("mv", container / "directory", container / "moved")
    wanted = {path.replace("directory", "moved"): digest for path, digest in files.items()}
    assert tree(container) == tree(other.anew(container)) == wanted
    mount.home.run("mv", container / "moved" / "deeper", container / "up")
    assert (other.anew(container) / "up" / "d").read_text() == "content of directory/deeper/d"
    assert errno_of(lambda: os.rename(container / "up", container / "up" / "inside")) == errno.EINVAL
    assert errno_of(lambda: os.rename(container / "up", container / "a")) == errno.ENOTDIR
    assert errno_of(lambda: os.rename(container / "up", container / "moved")) == errno.ENOTEMPTY
    assert errno_of(lambda: os.rename(container / "a", container / "up")) == errno.EISDIR


def test_mv_between_containers_copies(mount: Mount, other: Mount, container: Path, files: dict[str, str]) -> None:
    target = mount / f"{container.name} target"
    target.mkdir()
    assert errno_of(lambda: os.rename(container / "a", target / "a")) == errno.EXDEV
    mount.home.run("mv", container / "a", container / "directory", target)
    assert os.listdir(container) == os.listdir(other.anew(container)) == []
    assert tree(target) == tree(other.anew(target)) == files


def test_mv_of_a_container(mount: Mount, other: Mount, container: Path, files: dict[str, str]) -> None:
    target = mount / f"{container.name} renamed"
    mount.home.run("mv", container, target)
    assert tree(target) == tree(other.anew(target)) == files
    assert container.name not in os.listdir(other.anew())


def test_mv_out_of_the_mount_and_in_again(mount: Mount, container: Path, files: dict[str, str], tmp_path: Path) -> None:
    mount.home.run("mv", container / "directory", tmp_path)
    assert os.listdir(container) == ["a"]
    mount.home.run("mv", tmp_path / "directory", container)
    assert tree(container) == files


def test_hard_links_and_special_files_are_refused(mount: Mount, container: Path, files: dict[str, str]) -> None:
    assert "Operation not permitted" in mount.home.fails("ln", container / "a", container / "link")
    assert "Operation not permitted" in mount.home.fails("mkfifo", container / "link")
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(container)
        try:
            assert errno_of(lambda: listener.bind("link")) == errno.EPERM
        finally:
            os.chdir("/")
    assert tree(container) == files


def test_a_directory_is_not_a_file(container: Path, files: dict[str, str]) -> None:
    assert errno_of((container / "directory").read_text) == errno.EISDIR
    assert errno_of(lambda: (container / "directory").write_text("x")) == errno.EISDIR
    assert errno_of(lambda: (container / "a" / "x").read_text()) == errno.ENOTDIR
    assert errno_of((container / "missing").read_text) == errno.ENOENT
    assert errno_of((container / "missing" / "x").touch) == errno.ENOENT
    assert errno_of((container / "missing").unlink) == errno.ENOENT
    assert errno_of((container / "missing").rmdir) == errno.ENOENT
    assert errno_of(lambda: (container / "missing").rename(container / "x")) == errno.ENOENT


def test_extended_attributes(mount: Mount, container: Path, files: dict[str, str], sdk: OpenAI) -> None:
    asked = [f"user.containerfs.{name}" for name in ("id", "container_id", "state")]
    told = {name: os.getxattr(container / "a", name).decode() for name in asked}
    assert os.listxattr(container / "a") == []
    container_id = os.getxattr(container, "user.containerfs.id").decode()
    (file_id,) = (file.id for file in sdk.containers.files.list(container_id) if file.path == "/mnt/data/a")
    assert told == {
        "user.containerfs.id": file_id,
        "user.containerfs.container_id": container_id,
        "user.containerfs.state": "clean",
    }
    assert errno_of(lambda: os.getxattr(container / "a", "user.other")) == errno.ENODATA
    assert errno_of(lambda: os.setxattr(container / "a", "user.other", b"x")) == errno.EOPNOTSUPP
    assert mount.status()["uploads"] == NOTHING_DUE


def test_the_size_of_the_disk(mount: Mount) -> None:
    disk = os.statvfs(mount.path)
    assert disk.f_namemax == 255
    assert 0 < disk.f_bavail <= disk.f_blocks
