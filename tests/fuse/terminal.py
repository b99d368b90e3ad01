"""A terminal with a program in it, as somebody sees it. Source: tmux(1)."""

import contextlib
import os
import shlex
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.fuse.mounted import Home, eventually


class Terminal:
    """A screen of 120 columns. What is shown of the program stays when it has ended."""

    def __init__(self, socket: Path) -> None:
        self._tmux = ["tmux", "-S", os.fspath(socket), "-f", "/dev/null"]

    def start(self, home: Home, *command: str | Path) -> None:
        words = [*(f"{name}={value}" for name, value in home.environment.items()), *map(os.fspath, command)]
        line = shlex.join(["env", *words])
        options = ["-x", "120", "-y", "30", "-c", os.fspath(home.path)]
        self._run("new-session", "-d", *options, f"trap : INT; {line}; echo ended with $?; sleep 1000")

    def screen(self) -> str:
        return self._run("capture-pane", "-p", "-J")

    def shows(self, text: str) -> None:
        """Wait until it does."""
        try:
            eventually(lambda: text in self.screen(), f"{text!r} is shown")
        finally:
            self.last = self.screen()
            print(self.last)

    def type(self, key: str) -> None:
        """A key, as ``C-c``."""
        self._run("send-keys", key)

    def _run(self, *words: str) -> str:
        return subprocess.run([*self._tmux, *words], check=True, capture_output=True, text=True, timeout=60).stdout


@contextlib.contextmanager
def terminal(directory: Path) -> Iterator[Terminal]:
    socket = Path("/tmp") / f"tmux-{uuid.uuid4().hex[:12]}" if len(os.fspath(directory)) > 80 else directory / "tmux"
    shown = Terminal(socket)
    try:
        yield shown
    finally:
        subprocess.run([*shown._tmux, "kill-server"], capture_output=True, timeout=60)
        socket.unlink(missing_ok=True)
