"""No command runs Python files that merely lie in the directory in which it was started."""

import os
import signal
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.fuse.mounted import PROGRAM_LIMIT, Home


class Traps:
    """A directory with a file for every module there is, and a package ``containerfs``: what runs leaves a mark."""

    def __init__(self, top: Path) -> None:
        self.directory = top / "traps"
        self._marks = top / "marks"
        for made in (self._marks, self.directory, self.directory / "containerfs"):
            made.mkdir()
        modules = {*sys.stdlib_module_names, *packages_distributions(), "sitecustomize", "usercustomize"}
        for name in modules - {"containerfs"}:
            self._set(f"{name}.py")
        for name in ("__init__", "__main__"):
            self._set(f"containerfs/{name}.py")

    def _set(self, name: str) -> None:
        mark = str(self._marks / name.replace("/", "-"))
        (self.directory / name).write_text(f"open({mark!r}, 'w').close()")

    def sprung(self) -> list[str]:
        return sorted(os.listdir(self._marks))


@pytest.fixture
def traps(tmp_path: Path) -> Traps:
    return Traps(tmp_path)


def test_the_traps_work(traps: Traps) -> None:
    subprocess.run([sys.executable, "-m", "containerfs"], cwd=traps.directory, capture_output=True)
    assert traps.sprung()


def test_a_mount_in_the_background(home: Home, traps: Traps, tmp_path: Path) -> None:
    with home.mounted("--local", "--data-dir", tmp_path / "store", cwd=traps.directory) as mount:
        (mount / "container").mkdir()
        home.run("containerfs", "status", mount.path, cwd=traps.directory)
        with mount.ended():
            home.run("containerfs", "unmount", mount.path, cwd=traps.directory)
    assert traps.sprung() == []


@pytest.mark.parametrize("command", [("mount", "mnt", "--foreground", "--local"), ("serve", "--port", "0")])
def test_a_command_that_stays(home: Home, traps: Traps, tmp_path: Path, command: tuple[str, ...]) -> None:
    words = ["containerfs", *command, "--data-dir", str(tmp_path / "store")]
    with subprocess.Popen(words, cwd=traps.directory, env=home.environment, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(PROGRAM_LIMIT) == 0
        finally:
            process.kill()
    assert traps.sprung() == []
