"""Symbolic links on a real mount, by the programs that make and follow them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from openai import OpenAI

from tests.fuse.counted import asked
from tests.fuse.mounted import Home, Mount, eventually, tree
from tests.server.live import LiveServer


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tree as npm leaves one: links to programs, to directories, up out of it, and to nowhere."""
    top = tmp_path / "source"
    (top / "node_modules" / ".bin").mkdir(parents=True)
    (top / "node_modules" / "tool" / "bin").mkdir(parents=True)
    (top / "node_modules" / "tool" / "bin" / "tool.js").write_text("#!/bin/sh\necho the tool\n")
    (top / "node_modules" / "tool" / "bin" / "tool.js").chmod(0o755)
    (top / "node_modules" / ".bin" / "tool").symlink_to("../tool/bin/tool.js")
    (top / "latest").symlink_to("node_modules/tool")
    (top / "nowhere").symlink_to("missing/é")
    (top / "absolute").symlink_to("/etc/hostname")
    (top / "up").symlink_to("../../../../../..")
    (top / "itself").symlink_to("itself")
    return top


def links(top: Path) -> dict[str, str]:
    """Target of every link below a directory, by path; follows none."""
    found = {}
    for directory, directories, files in os.walk(top):
        for name in directories + files:
            path = Path(directory, name)
            if path.is_symlink():
                found[str(path.relative_to(top))] = os.readlink(path)
    return found


def test_links_of_a_tree_travel(mount: Mount, other: Mount, container: Path, source: Path, tmp_path: Path) -> None:
    mount.home.run("cp", "-a", source, container / "copied")
    mount.home.run("rsync", "-a", f"{source}/", container / "synced")
    mount.home.run("tar", "cf", tmp_path / "tree.tar", "-C", source, ".")
    (container / "unpacked").mkdir()
    mount.home.run("tar", "xf", tmp_path / "tree.tar", "-C", container / "unpacked")
    mount.home.run("containerfs", "sync", container)
    elsewhere = other.anew(container)
    for name in ("copied", "synced", "unpacked"):
        for top in (container / name, elsewhere / name):
            assert links(top) == links(source)
            assert (top / "latest" / "bin" / "tool.js").read_text() == "#!/bin/sh\necho the tool\n"
            assert (top / "nowhere").is_symlink()
            assert not (top / "nowhere").exists()
    assert mount.home.run(container / "copied" / "node_modules" / ".bin" / "tool") == "the tool\n"
    other.home.run("cp", "-a", elsewhere / "copied", tmp_path / "back")
    assert links(tmp_path / "back") == links(source)
    assert tree(tmp_path / "back") == tree(source)


def test_rsync_has_nothing_to_do_the_second_time(mount: Mount, container: Path, source: Path) -> None:
    rsync = ("rsync", "-a", "--delete", "--itemize-changes", f"{source}/", f"{container}/mirror/")
    mount.home.run(*rsync)
    assert mount.home.run(*rsync) == ""
    (source / "latest").unlink()
    (source / "latest").symlink_to("node_modules")
    (source / "up").unlink()
    (source / "up").write_text("a file now")
    mount.home.run(*rsync)
    assert links(container / "mirror") == links(source)
    assert (container / "mirror" / "up").read_text() == "a file now"


def test_a_virtual_environment(mount: Mount, container: Path) -> None:
    mount.home.run(sys.executable, "-m", "venv", "--without-pip", container / "venv")
    shown = mount.home.run(container / "venv" / "bin" / "python", "-c", "import sys; print(sys.prefix)")
    assert shown == f"{container / 'venv'}\n"


def test_git_keeps_links(mount: Mount, container: Path, source: Path) -> None:
    git = ("git", "-c", "user.name=me", "-c", "user.email=me@localhost")
    mount.home.run("git", "init", "-q", "-b", "main", source)
    mount.home.run(*git, "-C", source, "add", ".")
    mount.home.run(*git, "-C", source, "commit", "-q", "-m", "links")
    mount.home.run("git", "clone", "-q", source, container / "clone")
    assert mount.home.run("git", "-C", container / "clone", "status", "--porcelain") == ""
    assert links(container / "clone") == links(source)
    (container / "clone" / "latest").unlink()
    (container / "clone" / "latest").symlink_to("elsewhere")
    assert mount.home.run("git", "-C", container / "clone", "status", "--porcelain") == " M latest\n"


def test_what_a_link_costs(server: LiveServer, mount: Mount, container: Path, tmp_path: Path) -> None:
    mount.home.run("containerfs", "sync", mount.path)  # what earlier tests have set is told of a moment later
    with asked(server) as cost:
        mount.home.run("ln", "-s", "target", container / "link")
        assert (container / "link").readlink() == Path("target")
        mount.home.run("ls", "-l", container)
    assert cost.requests == {"upload": 1}
    with asked(server) as cost:
        mount.home.run("mv", container / "link", container / "renamed")
        mount.home.run("rm", container / "renamed")
    assert cost.requests == {"upload": 1, "delete file": 2}
    for number in range(30):
        (container / f"{number}").symlink_to("target")
    # A mount that has looked into other containers may take this for a walk, and list their neighbours, too.
    with Home(tmp_path).mounted("--url", server.address, "--metadata-expiry", "1h") as other:
        path = other.anew() / container.name
        assert container.name in os.listdir(other.path)
        with asked(server) as cost:
            other.home.run("find", path, "-type", "l")
            other.home.run("ls", "--color=never", path)
        assert cost.requests == {"list files": 1}
        other.home.run("ls", "-l", path)
        with asked(server) as cost:
            assert other.home.run("ls", "-l", path).count(" -> target\n") == 30
        assert cost.requests == {}, "targets are cached, as all content is"


def test_what_others_make_of_a_link_is_shown(other: Mount, container: Path, sdk: OpenAI) -> None:
    """The name changes between a link, a file and another link, as others would have it."""
    container_id = os.getxattr(container, "user.containerfs.id").decode()
    path = other.path / container.name / "x"
    for _ in range(3):
        made = sdk.containers.files.create(container_id, file=("x.rclonelink", b"/etc"))
        assert os.readlink(other.anew(container) / "x") == "/etc"
        assert path.is_dir()
        sdk.containers.files.delete(made.id, container_id=container_id)
        made = sdk.containers.files.create(container_id, file=("x", b"a file"))
        assert (other.anew(container) / "x").read_text() == "a file"
        assert not path.is_symlink()
        sdk.containers.files.delete(made.id, container_id=container_id)
    made = sdk.containers.files.create(container_id, file=("x.rclonelink", b"first"))
    assert os.readlink(other.anew(container) / "x") == "first"
    sdk.containers.files.create(container_id, file=("x.rclonelink", b"second"))
    assert os.readlink(other.anew(container) / "x") == "second"


def test_attributes_of_a_link(mount: Mount, container: Path) -> None:
    (container / "target").write_text("content")
    (container / "link").symlink_to("target")
    mount.home.run("touch", "-h", "-d", "2001-02-03T04:05:06Z", container / "link")
    os.chmod(container / "link", 0o600)
    assert os.lstat(container / "link").st_mtime == 981173106
    assert os.lstat(container / "link").st_size == len("target")
    assert os.stat(container / "link").st_mode & 0o777 == 0o600
    assert os.stat(container / "target").st_mode & 0o777 == 0o600
    assert os.lstat(container / "link").st_mode & 0o777 == 0o777


def test_links_outlive_the_mount(server: LiveServer, home: Home, source: Path) -> None:
    with home.mounted("--url", server.address, "--write-back") as mount:
        (mount / "linked").mkdir()
        home.run("cp", "-a", source, mount / "linked")
    with home.mounted("--url", server.address) as mount:
        assert links(mount / "linked" / "source") == links(source)


def test_a_link_to_a_name_that_is_taken(container: Path) -> None:
    (container / "x").write_text("content")
    (container / "l").symlink_to("x")
    for name in ("x", "l"):
        with pytest.raises(FileExistsError):
            (container / name).symlink_to("y")
    subprocess.run(["ln", "-sfn", "y", container / "l"], check=True)
    assert os.readlink(container / "l") == "y"


LONG = ("-o", "entry_timeout=60,attr_timeout=60")  # for which the kernel remembers names and attributes


@contextmanager
def stopped(mount: Mount) -> Iterator[None]:
    """Only the kernel answers meanwhile."""
    os.kill(mount.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(mount.pid, signal.SIGCONT)


def test_the_kernel_remembers_targets(server: LiveServer, home: Home) -> None:
    with home.mounted("--url", server.address, *LONG) as mount:
        top = mount / "remembered"
        (top / "directory").mkdir(parents=True)
        (top / "0").symlink_to("directory")
        for number in range(1, 20):
            (top / f"{number}").symlink_to(f"{number - 1}")
        home.run("stat", "--dereference", top / "19")
        with stopped(mount):
            home.run("stat", "--dereference", top / "19", timeout=10)
            assert home.run("readlink", top / "0", timeout=10) == "directory\n"


def test_a_link_that_is_replaced_here(server: LiveServer, home: Home) -> None:
    with home.mounted("--url", server.address, *LONG) as mount:
        (mount / "replaced").mkdir()
        link = mount / "replaced" / "link"
        for target in ("first", "x", "a longer one than the first", "y"):
            home.run("ln", "-sfn", target, link)
            assert home.run("readlink", link) == f"{target}\n"
        for target in ("again", "z", "and longer again"):
            link.unlink()
            link.symlink_to(target)
            assert os.readlink(link) == target
            assert link.lstat().st_size == len(target)


@pytest.mark.parametrize("targets", [["first", "a longer one"], ["a long one", "x"], ["same", "size"]])
def test_a_link_that_is_replaced_elsewhere(
    server: LiveServer, home: Home, container: Path, sdk: OpenAI, targets: list[str]
) -> None:
    """The kernel need not look up the name before it asks for the target of the new one."""
    container_id = os.getxattr(container, "user.containerfs.id").decode()
    with home.mounted("--url", server.address, "--metadata-expiry", "1h", *LONG) as mount:
        link, read = mount / container.name / "link", []
        for target in targets:
            made = sdk.containers.files.create(container_id, file=("link.rclonelink", target.encode()))
            os.listdir(mount.anew(container))

            def is_read(target: str = target) -> bool:
                read.append(os.readlink(link))
                return read[-1] == target

            eventually(is_read, "the new target")
            assert link.lstat().st_size == len(target)
            with stopped(mount):
                assert home.run("readlink", link, timeout=10) == f"{target}\n"
        sdk.containers.files.delete(made.id, container_id=container_id)
        assert set(read) <= {*targets}, "never a part, or a mixture"
