"""The process that stays in the background: what it holds, what it says, and how it ends before it mounts."""

import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from containerfs.mount import embedded
from tests.fuse.mounted import PROGRAM_LIMIT, Home, children, eventually
from tests.server.live import LiveServer

NOWHERE = ("--url", "http://127.0.0.1:9/v1")
IN_THE_PROCESS = """
import os, sys
if "containerfs.mount" in sys.orig_argv:
    {do}
"""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The ends of a pipe that a command is given, as the shell gives one that writes to another."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


def held_by(pid: int) -> set[str]:
    """What a process has open. Source: proc(5), /proc/PID/fd."""
    return {os.readlink(descriptor) for descriptor in Path(f"/proc/{pid}/fd").iterdir()}


def doing(directory: Path, do: str) -> dict[str, str]:
    """An environment in which the process does something first, and the command does not."""
    (directory / "sitecustomize.py").write_text(IN_THE_PROCESS.format(do=do))
    return {"PYTHONPATH": str(directory)}


@pytest.mark.parametrize("local", [False, True], ids=["service", "embedded store"])
def test_it_holds_nothing_of_what_the_command_was_given(
    server: LiveServer, home: Home, tmp_path: Path, pipe: tuple[int, int], local: bool
) -> None:
    reading, writing = pipe
    where = ("--local", "--data-dir", tmp_path / "store") if local else ("--url", server.address)
    with home.mounted(*where, pass_fds=[writing]) as mount:
        os.close(writing)
        assert os.read(reading, 1) == b""
        files = [os.readlink(f"/proc/{mount.pid}/fd/{number}") for number in range(3)]
        assert files == ["/dev/null", *[str(home.cache_dir / "mount.log")] * 2]
        for store in children(mount.pid):
            assert not held_by(store) & {str(home.cache_dir / "mount.log"), "/dev/fuse"}


@pytest.mark.parametrize(("do", "status"), [("os._exit(4)", 4), ("os.kill(os.getpid(), 9)", -9)])
def test_one_that_ends_without_a_word_is_told_of(home: Home, tmp_path: Path, do: str, status: int) -> None:
    said = home.refused_mount(*NOWHERE, env=doing(tmp_path, do))
    assert said == f"the mount ended with status {status}: {home.cache_dir / 'mount.log'} may say why"


def test_why_python_cannot_start_is_shown(home: Home, tmp_path: Path) -> None:
    done = home.attempt("containerfs", "mount", home.path / "mnt", *NOWHERE, env=doing(tmp_path, "sys.path.clear()"))
    assert done.returncode == 1
    assert "No module named" in done.stderr
    assert "containerfs mount: the mount ended with status 1: " in done.stderr


def test_what_goes_wrong_in_an_unforeseen_way_is_said_and_logged(home: Home, tmp_path: Path) -> None:
    do = "import ctypes; del ctypes.CDLL"
    said = home.refused_mount(*NOWHERE, env=doing(tmp_path, do) | {"CONTAINERFS_DEBUG": "1"})
    assert "CDLL" in said
    assert "Traceback" in (home.cache_dir / "mount.log").read_text()


def test_it_ends_with_a_command_that_gives_up(home: Home) -> None:
    home.refused_mount("--local", "--prefetch", "perhaps")
    assert not (home.path / "mnt").exists()
    eventually(lambda: _processes(home) == [], "it has ended")


def test_it_ends_with_a_command_that_is_killed(home: Home, tmp_path: Path) -> None:
    """While that asks for the key."""
    asking = f"sh -c 'echo > {tmp_path}/asked; exec sleep 100'"
    command = ["containerfs", "mount", str(home.path / "mnt"), *NOWHERE]
    environment = home.environment | {"CONTAINERFS_API_KEY_COMMAND": asking}
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:
        eventually((tmp_path / "asked").exists, "it asks for the key")
        (staying,) = _processes(home)
        process.kill()
        process.wait(PROGRAM_LIMIT)
        eventually(lambda: _processes(home) == [], "it has ended")
        os.killpg(process.pid, signal.SIGKILL)
    assert staying


def test_the_exit_status_says_what_went_wrong(home: Home) -> None:
    assert home.attempt("containerfs", "mount", home.path / "mnt", *NOWHERE, "--patience", "1s").returncode == 5


def test_a_log_is_private_from_the_start(server: LiveServer, home: Home) -> None:
    with home.mounted("--url", server.address):
        assert stat.S_IMODE((home.cache_dir / "mount.log").stat().st_mode) == 0o600


def test_the_embedded_store_heeds_no_settings_of_servers(home: Home, tmp_path: Path) -> None:
    config = home.path / ".config" / "containerfs" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("[serve]\nnonsense = 1\n")
    env = {"CONTAINERFS_API_KEYS": "/nowhere"}
    with home.mounted("--local", "--data-dir", tmp_path / "store", env=env) as mount:
        (mount / "container").mkdir()


def test_nothing_is_forked_once_threads_have_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded.threading, "active_count", lambda: 2)
    with pytest.raises(AssertionError):
        embedded.EmbeddedStore(tmp_path)


def _processes(home: Home) -> list[str]:
    """The processes of this user's mounts."""
    ours, found = os.fsencode(f"HOME={home.path}"), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"containerfs.mount" in words and ours in (process / "environ").read_bytes().split(b"\0"):
                found.append(process.name)
        except OSError:
            continue
    return found
