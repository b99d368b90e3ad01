"""Two network namespaces, with a wire between them that can be cut. Source: network_namespaces(7), veth(4)."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

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


@contextmanager
def wire() -> Iterator[Wire]:
    """Needs to be root."""
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
