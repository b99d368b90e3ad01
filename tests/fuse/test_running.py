"""A mount as a part of a machine: mount(8) and fstab, systemd, logs, and places where it starts all the same."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.fuse.mounted import FUSERMOUNT, PROGRAM_LIMIT, Home
from tests.fuse.namespace import WITH_SYSLOG, namespace
from tests.fuse.processes import at_most, may_limit_processes
from tests.server.live import LiveServer

HELPER = "mount.containerfs"


def test_mount_8_and_a_line_of_fstab(server: LiveServer, home: Home, tmp_path: Path) -> None:
    mountpoint = tmp_path / "mnt"
    cache = home.cache_dir
    options = f"_netdev,nofail,x-systemd.automount,expiry=1h,cache_dir={cache},ro,entry_timeout=0"
    try:
        home.run(HELPER, server.address, mountpoint, "-n", "-o", options)
        with pytest.raises(OSError, match="Read-only"):
            (mountpoint / "container").mkdir()
        assert home.run("containerfs", "status", mountpoint).startswith(server.address)
    finally:
        home.attempt("containerfs", "unmount", mountpoint)
        home.attempt(FUSERMOUNT, "-uz", mountpoint)


def test_mount_8_runs_the_helper(server: LiveServer, home: Home, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        assert home.fails("mount", "-t", "fuse.containerfs", "none", tmp_path)  # each mount(8) with words of its own
        return
    helper = Path("/sbin/mount.fuse.containerfs")
    helper.symlink_to(str(shutil.which(HELPER, path=home.environment["PATH"])))
    fstab = tmp_path / "fstab"
    (tmp_path / "mnt").mkdir()
    options = f"url={server.address},cache_dir={home.cache_dir},_netdev"
    fstab.write_text(f"containerfs {tmp_path / 'mnt'} fuse.containerfs {options} 0 0\n")
    try:
        home.run("mount", "--fstab", fstab, tmp_path / "mnt")
        assert home.run("containerfs", "status", tmp_path / "mnt").startswith(server.address)
        home.run("containerfs", "unmount", tmp_path / "mnt")
    finally:
        helper.unlink()
        home.attempt(FUSERMOUNT, "-uz", tmp_path / "mnt")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("api_key=sk-secret", "api_key: everybody can read /etc/fstab"),
        ("setuid=nobody-of-that-name", "setuid: there is no user nobody-of-that-name"),
    ],
)
def test_what_the_helper_refuses(home: Home, tmp_path: Path, options: str, said: str) -> None:
    shown = home.fails(HELPER, "none", tmp_path / "mnt", "-o", options)
    assert shown.startswith(f"mount.containerfs: {said}")
    assert "sk-secret" not in shown


def test_what_libfuse_says_reaches_the_user(server: LiveServer, home: Home) -> None:
    said = home.refused_mount("--url", server.address, "-o", "no_such_option=1")
    assert "unknown option(s): `-o no_such_option=1'" in said
    assert not os.path.ismount(home.path / "mnt")


def test_systemd_is_told(server: LiveServer, home: Home, tmp_path: Path) -> None:
    """As a unit of Type=notify has it."""
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        address = tmp_path / "n"
        os.chdir(tmp_path)
        manager.bind("n")
        manager.settimeout(PROGRAM_LIMIT)
        command = ["containerfs", "mount", "--foreground", "--url", server.address, str(tmp_path / "mnt")]
        environment = home.environment | {"NOTIFY_SOCKET": str(address)} if len(str(address)) < 100 else None
        assert environment
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                assert manager.recv(4096).decode().startswith("READY=1\nSTATUS=Mounted ")
                assert os.path.ismount(tmp_path / "mnt")
                process.send_signal(signal.SIGTERM)
                assert manager.recv(4096).decode().startswith("STOPPING=1\n")
                assert process.wait(PROGRAM_LIMIT) == 0
            finally:
                process.kill()


def test_the_level_of_the_log(server: LiveServer, home: Home) -> None:
    with home.mounted("--url", server.address, "--quiet"):
        pass
    assert "INFO" not in (home.cache_dir / "mount.log").read_text()
    with home.mounted("--url", server.address, "--log-level", "info"):
        pass
    assert "INFO containerfs.mount.process: Unmounted" in (home.cache_dir / "mount.log").read_text()
    assert "log_level" in home.refused_mount("--log-level", "loud")


def test_syslog_is_told_of_what_happens(server: LiveServer, home: Home, tmp_path: Path) -> None:
    place = tmp_path / "log"
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as syslog:
        os.chdir(tmp_path)
        syslog.bind("log")
        syslog.settimeout(PROGRAM_LIMIT)
        with namespace(WITH_SYSLOG, tmp_path / "dev", place) as prefix:
            there = Home(home.path, prefix)
            with there.mounted("--url", server.address, "--syslog") as mount:
                pid = mount.pid
            told = ""
            while "Unmounted" not in told:
                told = syslog.recv(4096).decode()
    assert f"containerfs[{pid}]: " in told
    assert told.startswith("<30>")  # a daemon's, for information. Source: RFC 3164


def test_a_link_to_a_mountpoint_works_in_every_command(server: LiveServer, home: Home, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to("real")
    with home.mounted("--url", server.address, at=link) as mount:
        for command in ("status", "sync", "refresh"):
            home.run("containerfs", command, link)
        mount.kill()
        said = home.fails("containerfs", "status", link)
        assert "does not answer" in said
        home.run("containerfs", "unmount", link)
        assert os.listdir(tmp_path / "real") == []


def test_a_long_tmpdir(home: Home, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    with home.mounted("--local", "--data-dir", tmp_path / "store", env={"TMPDIR": str(long)}) as mount:
        (mount / "container").mkdir()


def test_from_a_directory_that_was_deleted(server: LiveServer, home: Home, tmp_path: Path) -> None:
    script = 'mkdir gone && cd gone && rmdir ../gone && exec containerfs "$@"'
    for command in ("mount", "unmount", "status"):
        done = home.attempt("sh", "-c", script, "sh", command, "mnt", cwd=tmp_path)
        assert done.returncode == 2
        assert "the working directory was deleted: give an absolute path" in " ".join(
            done.stderr.replace("│", "").split()
        )
        assert "Traceback" not in done.stderr
    mountpoint = tmp_path / "mnt"
    home.run("sh", "-c", script, "sh", "mount", mountpoint, "--url", server.address, cwd=tmp_path)
    home.run("sh", "-c", script, "sh", "unmount", mountpoint, cwd=tmp_path)


@pytest.mark.parametrize("option", ["--cache-dir", "--data-dir", "--log-file"])
def test_what_it_needs_must_not_be_in_the_mountpoint(home: Home, option: str) -> None:
    inside = home.path / "mnt" / "inside"
    said = home.refused_mount("--local", option, inside)
    assert said.startswith(f"{option[2:].replace('-', '_')}: {inside} is inside the mountpoint")
    assert not inside.exists()


def test_private_files_stay_private_whatever_the_umask(home: Home, tmp_path: Path) -> None:
    script = 'umask 000 && exec containerfs mount "$@"'
    mountpoint, store = tmp_path / "mnt", tmp_path / "store"
    options = ("--local", "--data-dir", store, "--cache-dir", home.cache_dir, "--write-back")
    try:
        home.run("sh", "-c", script, "sh", mountpoint, *options)
        (mountpoint / "container").mkdir()
        (mountpoint / "container" / "file").write_bytes(b"content" * 1000)
        home.run("containerfs", "sync", mountpoint)
        (mountpoint / "container" / "file").read_bytes()
    finally:
        home.attempt("containerfs", "unmount", mountpoint)
        home.attempt(FUSERMOUNT, "-uz", mountpoint)
    for top in (home.cache_dir, store):
        open_to_all = [path for path in (top, *top.rglob("*")) if path.lstat().st_mode & 0o077 and path.is_file()]
        assert open_to_all == []
        assert top.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("limit", ["-n 64", "-u 200"])
def test_under_small_limits(server: LiveServer, home: Home, limit: str) -> None:
    """As root, the second limits nothing."""
    script = f'ulimit {limit} && exec "$@"'
    assert works(Home(home.path, (shutil.which("bash") or "sh", "-c", script, "sh")), server) == ""


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 8, 10, 12, 30] if may_limit_processes() else [])
def test_under_a_limit_on_processes(server: LiveServer, home: Home, count: int) -> None:
    """That of a control group, which holds for root too. What cannot be done fails at once, and says why."""
    with at_most(count) as prefix:
        said = works(Home(home.path, prefix), server)
    if count >= 30:
        assert said == ""
    else:
        assert re.fullmatch("(containerfs mount: .*: raise the limit on processes|.*: Input/output error)?\n?", said)


def works(limited: Home, server: LiveServer) -> str:
    """Mount under a limit, and write; returns what the first program says that fails."""
    home, mountpoint = Home(limited.path), limited.path / "mnt"
    mount = ("containerfs", "mount", mountpoint, "--url", server.address, "--cache-dir", home.cache_dir)
    try:
        if (mounted := limited.attempt(*mount)).returncode:
            return mounted.stderr
        top = mountpoint / f"limits {time.monotonic_ns()}"
        programs = [("mkdir", top), *(("cp", "/etc/passwd", top / f"file {number}") for number in range(10))]
        failed = [done.stderr for done in (home.attempt(*program) for program in programs) if done.returncode]
        assert failed or len(home.run("ls", top).splitlines()) == 10
        return next(iter(failed), "")
    finally:
        home.attempt("containerfs", "unmount", "--timeout", "5s", mountpoint)
        home.attempt(FUSERMOUNT, "-uz", mountpoint)


def test_a_locale_that_is_not_utf_8(home: Home, tmp_path: Path) -> None:
    plain = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    store = ("--local", "--data-dir", tmp_path / "store")
    with home.mounted(*store, env=plain) as mount:
        (mount / "Größe 🗂️").mkdir()
        (mount / "Größe 🗂️" / "日本.txt").write_text("content")
        shown = home.attempt("containerfs", "status", mount.path, env=plain)
        assert (shown.returncode, shown.stderr) == (0, "")
    home.run("containerfs", "create", "Maße", *store, env=plain)
    home.run("containerfs", "put", "/etc/passwd", "Maße/Fuß", *store, env=plain)
    assert home.run("containerfs", "ls", "Maße", *store) == "Fuß\n"
    home.run("containerfs", "rm", "--yes", "Maße", *store, env=plain)
    listed = home.attempt("containerfs", "ls", *store, env=plain)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert home.run("containerfs", "ls", *store) == "Größe 🗂️\n"


def test_no_more_goes_over_the_line_than_it_was_told(server: LiveServer, home: Home) -> None:
    """However quick the machine, content of so many bytes takes so long at least, up and down; names do not."""
    size, rate = 1 << 20, 512 << 10
    content = os.urandom(size)
    limited = ("--url", server.address, "--bwlimit", "512K")
    with home.mounted(*limited) as mount:
        (mount / "limited").mkdir()
        begun = time.monotonic()
        (mount / "limited" / "file").write_bytes(content)
        assert time.monotonic() - begun >= 0.9 * size / rate
    with home.mounted(*limited, "--cache-dir", home.path / "cold") as mount:
        begun = time.monotonic()
        assert (mount / "limited" / "file").read_bytes() == content
        assert time.monotonic() - begun >= 0.9 * size / rate
