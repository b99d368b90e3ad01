"""A real server for tests: its own process, on a free port or a Unix socket."""

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

READY = "containerfs serve: listening on "


class ServerDidNotStart(Exception):
    """What the server said instead."""


@dataclass
class LiveServer:
    """A running server. ``address`` is ``http://HOST:PORT/v1`` or ``unix:PATH``."""

    address: str
    data_dir: Path
    process: subprocess.Popen[str]
    log: Path

    @property
    def base_url(self) -> str:
        """For a client; on a Unix socket the host means nothing, and the transport matters."""
        return "http://containerfs/v1" if self.uds else self.address

    @property
    def root_url(self) -> str:
        return self.base_url.removesuffix("/v1")

    @property
    def uds(self) -> str | None:
        return self.address.removeprefix("unix:") if self.address.startswith("unix:") else None

    def stop(self) -> int:
        """Stop gracefully; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait(60)


@contextlib.contextmanager
def running_server(
    data_dir: Path, *options: str, uds: Path | None = None, within: Sequence[str] = ()
) -> Iterator[LiveServer]:
    """A server over a store, stopped at the end; with ``uds`` on that Unix socket, else on a free port of 127.0.0.1.

    What it writes to standard error is in ``log``, beside the store.

    Args:
        data_dir: the store, created if missing.
        options: further ones of ``containerfs serve``.
        uds: where to make the Unix socket.
        within: a command that runs the server's as its arguments, by exec.
    """
    log = data_dir.with_name(f"{data_dir.name}.log")
    where = ["--uds", str(uds)] if uds else ["--port", "0"]
    with log.open("a") as stderr, start([*where, "--data-dir", str(data_dir), *options], stderr, within) as process:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line.startswith(READY):
            process.wait(60)
            raise ServerDidNotStart(log.read_text())
        yield LiveServer(line.removeprefix(READY), data_dir, process, log)


@contextlib.contextmanager
def start(options: Sequence[str], stderr: Any = None, within: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    """The process of ``containerfs serve`` with these options; ended at the end, whatever it does."""
    command = [*within, sys.executable, "-m", "containerfs", "serve", *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        yield process
    finally:
        with process:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what will be true some time, and has no event that one could wait for."""
    waited = threading.Event()
    for _ in range(600):
        if condition():
            return
        waited.wait(0.1)
    raise AssertionError("it never came true")
