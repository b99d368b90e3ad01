"""scripts/test ends as its parts do, and leaves nothing behind."""

import os
import re
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.scripts.conftest import Machine

# Mounts for real and ends without unmounting, as a run does that was killed.
LEAVE_A_MOUNT = """
import ctypes, os
from containerfs.fuse import libfuse
library = libfuse.load()
mountpoint = os.path.join(os.environ["TMPDIR"], "left \\\\ \\r\\n over")
os.mkdir(mountpoint)
session = ctypes.c_void_p(libfuse.new_session(library, ["left"], libfuse.Operations()))
mounted = library.fuse_session_mount(session, os.fsencode(mountpoint)) == 0
if os.fork() == 0:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(nowhere, fd)
    os.setsid()
    library.fuse_session_loop(session)
    os._exit(0)
print("mounted" if mounted else "not mounted")
"""


class Checkout:
    """A checkout that is set up; what stands in for pytest and for scripts/check is each test's own."""

    def __init__(self, machine: Machine, temporary: Path) -> None:
        self.machine = machine
        self.temporary = temporary
        temporary.mkdir()
        machine.command("python", f'exec "{sys.executable}" "$@"')
        self.script("setup", "")
        self.script("check", "echo checked")

    def script(self, name: str, body: str) -> None:
        (self.machine.checkout / "scripts" / name).write_text(f"#!/bin/sh\n{body}\n")

    def test(self, pytest_command: str, *args: str) -> CompletedProcess[str]:
        path = f"{self.machine.bin}:{os.environ['PATH']}"
        return self.machine.run("test", *args, PATH=path, TMPDIR=str(self.temporary), PYTEST=pytest_command)

    def left(self) -> list[Path]:
        return list(self.temporary.iterdir())


@pytest.fixture
def checkout(machine: Machine, tmp_path: Path) -> Checkout:
    return Checkout(machine, tmp_path / "temporary")


def test_ends_with_the_summary_of_pytest(checkout: Checkout) -> None:
    outcome = checkout.test("echo 1 passed")
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "checked\n1 passed\n", "")


def test_arguments_reach_pytest_and_the_checks_are_left_out(checkout: Checkout) -> None:
    assert checkout.test("echo", "-k", "a or b").stdout == "-k a or b\n"


def test_fails_as_pytest_does(checkout: Checkout) -> None:
    assert checkout.test("sh -c", "exit 3").returncode == 3


def test_fails_as_the_checks_do(checkout: Checkout) -> None:
    checkout.script("check", "exit 1")
    outcome = checkout.test("echo 1 passed")
    assert (outcome.returncode, outcome.stdout) == (1, "1 passed\n")
    assert outcome.stderr == "test: scripts/check failed, see above\n"


def test_a_run_that_hangs_is_stopped(checkout: Checkout) -> None:
    script = checkout.machine.checkout / "scripts" / "test"
    script.write_text(re.sub(r"(?m)^limit=.*$", "limit=0.1s", script.read_text()))
    outcome = checkout.test("sleep", "infinity")
    assert (outcome.returncode, outcome.stderr) == (124, "test: stopped after 0.1s\n")


def test_temporary_files_are_removed(checkout: Checkout) -> None:
    assert checkout.test("sh -c", 'touch "$TMPDIR/file" && echo "$TMPDIR"').stdout.startswith(str(checkout.temporary))
    assert checkout.left() == []


def test_mounts_left_behind_are_removed(checkout: Checkout) -> None:
    (checkout.machine.checkout / "leave.py").write_text(LEAVE_A_MOUNT)
    outcome = checkout.test("python", "leave.py")
    assert (outcome.returncode, outcome.stdout) == (0, "mounted\n")
    assert f"test: left mounted: {checkout.temporary}/cfs." in outcome.stderr
    assert checkout.left() == []
