"""The programs that people use, on a mount: each does its work without a warning, and what it leaves is right."""

import hashlib
import os
import re
import shutil
import zipfile
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.fuse.mounted import Home, Mount, sha256, tree
from tests.server.live import LiveServer

MiB = 1 << 20
SOURCE_TREE = Path(__file__).parents[2] / "containerfs"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A source tree, with an empty directory, modes and times of its own."""
    top = tmp_path / "source"
    shutil.copytree(SOURCE_TREE / "fs", top / "package" / "fs", ignore=shutil.ignore_patterns("__pycache__"))
    (top / "empty directory").mkdir()
    (top / "script").write_text("#!/bin/sh\nexit 0\n")
    (top / "script").chmod(0o755)
    (top / "secret").write_text("private")
    (top / "secret").chmod(0o600)
    for number, path in enumerate(sorted(top.rglob("*"))):
        os.utime(path, ns=(10**18 + number, 1_234_567_890_123_456_789 + number * 10**9))
    return top


def attributes(top: Path) -> dict[str, tuple[int, int]]:
    """Mode and time of last change of all that is below a directory."""
    return {str(path.relative_to(top)): (path.stat().st_mode, path.stat().st_mtime_ns) for path in top.rglob("*")}


def test_cp_a_tree_in_and_out(mount: Mount, other: Mount, container: Path, source: Path, tmp_path: Path) -> None:
    mount.home.run("cp", "-r", source, container)
    assert tree(container / "source") == tree(other.anew(container) / "source") == tree(source)
    other.home.run("cp", "-r", other.anew(container) / "source", tmp_path / "out")
    assert tree(tmp_path / "out") == tree(source)
    mount.home.run("diff", "-r", source, container / "source")


def test_cp_keeps_modes_and_times(mount: Mount, container: Path, source: Path, tmp_path: Path) -> None:
    mount.home.run("cp", "-rp", source, container)
    assert attributes(container / "source") == attributes(source)
    mount.home.run("cp", "-rp", container / "source", tmp_path / "out")
    assert attributes(tmp_path / "out") == attributes(source)


def test_modes_and_times_outlive_the_mount(server: LiveServer, home: Home, source: Path) -> None:
    with home.mounted("--url", server.address) as mount:
        (mount / "kept").mkdir()
        home.run("cp", "-rp", source, mount / "kept")
    with home.mounted("--url", server.address) as mount:
        assert attributes(mount / "kept" / "source") == attributes(source)


def test_rsync_the_second_time_transfers_nothing(mount: Mount, container: Path, source: Path) -> None:
    rsync = ("rsync", "-a", "--delete", "--itemize-changes", "--stats", f"{source}/", f"{container}/mirror/")
    files = len(tree(source))
    assert f"Number of regular files transferred: {files}\n" in mount.home.run(*rsync)
    assert tree(container / "mirror") == tree(source)
    assert attributes(container / "mirror") == attributes(source)
    again = mount.home.run(*rsync)
    assert "Number of regular files transferred: 0\n" in again
    assert not re.search(r"^[<>ch.*][fdLDS]", again, re.MULTILINE), again
    (source / "script").unlink()
    (source / "secret").write_text("changed, and longer")
    third = mount.home.run(*rsync)
    assert "Number of regular files transferred: 1\n" in third
    assert "*deleting   script\n" in third
    assert tree(container / "mirror") == tree(source)


def test_rsync_leaves_no_temporary_names(mount: Mount, other: Mount, container: Path, source: Path) -> None:
    mount.home.run("rsync", "-a", f"{source}/", f"{container}/")
    mount.home.run("containerfs", "sync", container)
    assert tree(other.anew(container)) == tree(source)


def test_tar_in_and_out(mount: Mount, other: Mount, container: Path, source: Path, tmp_path: Path) -> None:
    mount.home.run("tar", "czf", tmp_path / "source.tar.gz", "--format=posix", "-C", source.parent, "source")
    mount.home.run("tar", "xzf", tmp_path / "source.tar.gz", "-C", container)
    assert attributes(container / "source") == attributes(source)
    assert tree(other.anew(container) / "source") == tree(source)
    mount.home.run("tar", "cf", container / "back.tar", "-C", container, "source")
    mount.home.run("tar", "df", container / "back.tar", "-C", source.parent)


def test_sha256sum_checks_itself(mount: Mount, other: Mount, container: Path, source: Path) -> None:
    mount.home.run("sh", "-c", 'find . -type f -print0 | xargs -0 sha256sum > "$0/SUMS"', container, cwd=source)
    mount.home.run("cp", "-r", f"{source}/.", container)
    checked = other.home.run("sha256sum", "-c", "SUMS", cwd=other.anew(container))
    assert checked.count(": OK\n") == len(tree(source))


def test_grep_and_find(mount: Mount, other: Mount, container: Path, source: Path) -> None:
    mount.home.run("cp", "-r", f"{source}/.", container)
    for command in (["grep", "-r", "def ", "."], ["find", ".", "-type", "f"], ["find", ".", "-size", "+4k"]):
        wanted = sorted(mount.home.run(*command, cwd=source).splitlines())
        assert sorted(mount.home.run(*command, cwd=container).splitlines()) == wanted
        assert sorted(other.home.run(*command, cwd=other.anew(container)).splitlines()) == wanted
    assert mount.home.run("find", container, "-type", "d", "-empty") == f"{container / 'empty directory'}\n"


def test_dd_with_seeks(mount: Mount, other: Mount, container: Path, tmp_path: Path) -> None:
    """Reads at offsets, in an order that no read-ahead foresees, and writes at offsets into what is there."""
    plain, mounted = tmp_path / "plain", container / "file"
    plain.write_bytes(os.urandom(16 * MiB + 123))
    mount.home.run("cp", plain, mounted)
    for skip in (15, 3, 9, 0, 16):
        piece = plain.read_bytes()[skip * MiB : (skip + 1) * MiB]
        shown = f'dd if="$0" bs=1M skip={skip} count=1 status=none | sha256sum'
        assert digest_shown(other, shown, other.anew(container) / "file") == hashlib.sha256(piece).hexdigest()
    for path in (plain, mounted):
        patch = ("dd", "if=/dev/zero", f"of={path}", "bs=1000", "count=7", "conv=notrunc", "status=none")
        mount.home.run(*patch, "seek=5000")
        mount.home.run(*patch, "seek=20000")
    assert sha256(mounted) == sha256(other.anew(container) / "file") == sha256(plain)


def test_head_of_a_large_file_does_not_download_it(mount: Mount, other: Mount, server: LiveServer) -> None:
    (mount / "large").mkdir()
    content = os.urandom(64 * MiB)
    (mount / "large" / "file").write_bytes(content)
    before = content_sent(server)
    for shown, wanted in (
        ('head -c 100000 "$0" | sha256sum', content[:100000]),
        ('tail -c 100000 "$0" | sha256sum', content[-100000:]),
    ):
        assert digest_shown(other, shown, other.anew(mount / "large") / "file") == hashlib.sha256(wanted).hexdigest()
    assert content_sent(server) - before < 16 * MiB


def digest_shown(mount: Mount, script: str, path: Path) -> str:
    """What a shell script that ends in sha256sum tells of the file ``$0``."""
    return mount.home.run("sh", "-c", script, path).split()[0]


def content_sent(server: LiveServer) -> float:
    """How many bytes of files' contents the server has sent in answers that have ended."""
    families = text_string_to_metric_families(httpx.get(f"{server.root_url}/metrics").text)
    samples = (sample for family in families for sample in family.samples)
    return sum(s.value for s in samples if s.name == "containerfs_sent_bytes_total" and "content" in s.labels["route"])


def test_mmap_reading(mount: Mount, other: Mount, container: Path) -> None:
    content = os.urandom(3 * MiB + 17)
    (container / "file").write_bytes(content)
    program = """
import hashlib, mmap, sys
with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
    last = mapped[-1:]
    print(hashlib.sha256(mapped[:-1] + last).hexdigest())
"""
    for home, path in ((mount.home, container / "file"), (other.home, other.anew(container) / "file")):
        assert home.python(program, path).strip() == sha256(container / "file")


def test_mmap_writing(mount: Mount, other: Mount, container: Path) -> None:
    """A shared mapping: what is stored through it is there once the file is closed."""
    (container / "file").write_bytes(bytes(2 * MiB))
    program = """
import mmap, sys
with open(sys.argv[1], "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
    mapped[5:10] = b"hello"
    mapped[-5:] = b"world"
    mapped.flush()
"""
    mount.home.python(program, container / "file")
    wanted = bytearray(2 * MiB)
    wanted[5:10], wanted[-5:] = b"hello", b"world"
    assert (container / "file").read_bytes() == wanted
    assert (other.anew(container) / "file").read_bytes() == wanted


@pytest.mark.parametrize("settings", ["set nobackup", "set backup", "set backup backupcopy=yes", "set nowritebackup"])
def test_vim(mount: Mount, other: Mount, container: Path, settings: str) -> None:
    """Whichever way it saves, the file is there under its own name alone."""
    (container / "notes.txt").write_text("one\ntwo\n")
    (container / "notes.txt").chmod(0o640)
    edit = [
        "-c",
        "set backupskip=",
        "-c",
        settings,
        "-c",
        "%s/two/three/",
        "-c",
        "write",
        "-c",
        "%s/one/1/",
        "-c",
        "wq",
    ]
    mount.home.attempt("vim", "-es", "-u", "NONE", *edit, container / "notes.txt")
    assert (container / "notes.txt").read_text() == "1\nthree\n"
    assert (container / "notes.txt").stat().st_mode & 0o7777 == 0o640
    expected = {"notes.txt"} | ({"notes.txt~"} if settings.startswith("set backup") else set())
    assert set(os.listdir(container)) == set(os.listdir(other.anew(container))) == expected
    assert (other.anew(container) / "notes.txt").read_text() == "1\nthree\n"


def test_vim_makes_a_new_file(mount: Mount, other: Mount, container: Path) -> None:
    mount.home.attempt("vim", "-es", "-u", "NONE", "-c", "normal ihello", "-c", "wq", container / "new.txt")
    assert os.listdir(other.anew(container)) == ["new.txt"]
    assert (other.anew(container) / "new.txt").read_text() == "hello\n"


def test_git(mount: Mount, other: Mount, container: Path, source: Path, tmp_path: Path) -> None:
    def git(*arguments: str, at: Path = container) -> str:
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "gc.auto=0")
        return mount.home.run("git", *identity, *arguments, cwd=at)

    shutil.copytree(source / "package", container / "package")
    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    (container / "package" / "added.txt").write_text("more\n")
    git("add", ".")
    git("commit", "-q", "-m", "second")
    assert git("log", "--format=%s").split() == ["second", "first"]
    assert git("status", "--porcelain") == ""
    mount.home.run("containerfs", "sync", container)
    mount.home.run("git", "clone", "-q", other.anew(container), tmp_path / "clone")
    assert tree(tmp_path / "clone" / "package") == tree(container / "package")
    git("gc", "-q")
    git("fsck", "--strict", "--no-progress")


def test_sqlite(mount: Mount, other: Mount, container: Path) -> None:
    database = container / "data.db"
    mount.home.run("sqlite3", database, "CREATE TABLE t (n INTEGER, s TEXT);")
    for number in range(3):
        mount.home.run("sqlite3", database, f"INSERT INTO t VALUES ({number}, 'row {number}');")
    assert mount.home.run("sqlite3", database, "SELECT sum(n), count(*) FROM t; PRAGMA integrity_check;") == "3|3\nok\n"
    assert other.home.run("sqlite3", other.anew(container) / "data.db", "SELECT s FROM t WHERE n = 2") == "row 2\n"
    assert os.listdir(other.anew(container)) == ["data.db"]


def test_zip_archives(mount: Mount, other: Mount, container: Path, source: Path) -> None:
    mount.home.run("zip", "-qr", container / "a.zip", ".", cwd=source)
    with zipfile.ZipFile(container / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(source / "script", "script")
    with zipfile.ZipFile(container / "b.zip", "a") as archive:
        archive.write(source / "secret", "secret")
    for name, files in (("a.zip", len(tree(source))), ("b.zip", 2)):
        with zipfile.ZipFile(other.anew(container) / name) as archive:
            assert archive.testzip() is None
            assert sum(not member.is_dir() for member in archive.infolist()) == files


def test_scripts_run_from_a_mount(mount: Mount, container: Path) -> None:
    (container / "script").write_text("#!/bin/sh\necho ran $1\n")
    mount.home.run("chmod", "+x", container / "script")
    assert mount.home.run(container / "script", "well") == "ran well\n"


def test_shell_redirections(mount: Mount, other: Mount, container: Path) -> None:
    script = """
echo first > log; echo second >> log
{ echo third; echo fourth; } >> log
(echo fifth; date > /dev/null; echo sixth) >> log
printf 'x%.0s' 1 2 3 | tee copy > /dev/null
sort -r log -o log
"""
    mount.home.run("sh", "-ec", script, cwd=container)
    assert (other.anew(container) / "log").read_text().split() == sorted(
        ["first", "second", "third", "fourth", "fifth", "sixth"], reverse=True
    )
    assert (other.anew(container) / "copy").read_text() == "xxx"
