"""Two network namespaces, with a wire between them that can be cut. Source: network_namespaces(7), veth(4)."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from tests.fuse.namespace import FOLLOWING

_AS_ROOT = (*FOLLOWING, "--user", "--map-root-user")
_ALONE = ("unshare", "--net", "sh", "-ec", "ip link set lo up; echo ready; read -r _ || :")
_ADDRESSES = {"near": "10.99.0.1", "far": "10.99.0.2"}


@dataclass(frozen=True)
class Side:
    """One end of the wire. ``prefix`` is that of commands that run there."""

    name: str
    pid: int

    @property
    def address(self) -> str:
        return _ADDRESSES[self.name]

    @property
    def prefix(self) -> tuple[str, ...]:
        return ("nsenter", "--target", str(self.pid), "--net")

    def run(self, *command: str) -> None:
        subprocess.run([*self.prefix, *command], check=True)


@dataclass(frozen=True)
class Wire:
    """What is sent by the far side while the wire is cut is lost, and nobody is told."""

    near: Side
    far: Side

    def cut(self) -> None:
        self.near.run("ip", "link", "set", "near", "down")

    def mend(self) -> None:
        self.near.run("ip", "link", "set", "near", "up")


def may_be_root() -> bool:
    """Whether this user is root, or can be that of a user namespace. Source: user_namespaces(7)."""
    return os.geteuid() == 0 or subprocess.run([*_AS_ROOT, "true"], capture_output=True).returncode == 0


def run_as_root(test: pytest.FixtureRequest) -> None:
    """Run a test once more, as the root of a user namespace."""
    command = [*_AS_ROOT, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", test.node.nodeid]
    done = subprocess.run(command, cwd=test.config.rootpath, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@contextmanager
def wire() -> Iterator[Wire]:
    """Needs to be root, of whatever user namespace."""
    with ExitStack() as stack:
        near, far = (stack.enter_context(_side(name)) for name in ("near", "far"))
        near.run("ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(far.pid))
        for side in (near, far):
            side.run("ip", "address", "add", f"{side.address}/24", "dev", side.name)
            side.run("ip", "link", "set", side.name, "up")
        yield Wire(near, far)


@contextmanager
def _side(name: str) -> Iterator[Side]:
    with subprocess.Popen(_ALONE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield Side(name, process.pid)
        finally:
            process.kill()
