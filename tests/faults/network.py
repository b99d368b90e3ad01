"""Two sides, with a wire between them that can be cut.

With the rights for it, they are two network namespaces; otherwise a relay stands for the wire. Source:
network_namespaces(7), veth(4).
"""

import os
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
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


class Relay:
    """A wire for those who may make no namespaces. While it is cut, nothing that is sent arrives, connections that are
    being made hang, as the kernel drops what asks for one if too many wait, and nobody is told.

    Args:
        port: of this machine, where what it relays goes.

    Attributes:
        url: that of the service there, through the relay.
    """

    def __init__(self, port: int) -> None:
        self._to = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self._at: tuple[str, int] = self._listener.getsockname()
        self.url = f"http://127.0.0.1:{self._at[1]}/v1"
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._whole = threading.Event()  # cleared while it is cut
        self._whole.set()
        self._waiting: list[socket.socket] = []
        self._thread = threading.Thread(target=self._relay, daemon=True)
        self._ended = False
        self._thread.start()

    def cut(self) -> None:
        self._whole.clear()
        for _ in range(4):  # as many as wait until the kernel drops what comes next
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(self._at)
            self._waiting.append(waiting)

    def mend(self) -> None:
        while self._waiting:
            self._waiting.pop().close()
        self._whole.set()

    def close(self) -> None:
        self._ended = True
        self.mend()
        with suppress(OSError):
            socket.create_connection(self._at).close()
        self._thread.join(30)
        for key in list(self._selector.get_map().values()):
            self._selector.unregister(key.fileobj)
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _relay(self) -> None:
        while not self._ended:
            for key, _ in self._selector.select():
                self._whole.wait()
                with suppress(OSError):
                    if key.fileobj is self._listener:
                        self._connect()
                    else:
                        self._pass_on(key.fileobj, key.data)  # type: ignore[arg-type]

    def _connect(self) -> None:
        near = socket.create_connection(self._to)
        far, _ = self._listener.accept()
        for one, other in ((near, far), (far, near)):
            self._selector.register(one, selectors.EVENT_READ, other)

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        data = b""
        with suppress(ConnectionError):
            data = one.recv(1 << 16)
            other.sendall(data)
        if not data:
            for each in (one, other):
                self._selector.unregister(each)
                each.close()


@contextmanager
def relay(port: int) -> Iterator[Relay]:
    line = Relay(port)
    try:
        yield line
    finally:
        line.close()


@contextmanager
def _side(name: str) -> Iterator[Side]:
    with subprocess.Popen(_ALONE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield Side(name, process.pid)
        finally:
            process.kill()
