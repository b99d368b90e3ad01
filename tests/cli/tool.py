"""The commands that need no mount, run as processes by a user of the machine."""

import contextlib
import os
import pty
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cli.ready import Ready
from tests.fuse.mounted import PROGRAM_LIMIT, Home


@dataclass
class Tool:
    """``containerfs`` with a service.

    Attributes:
        ready: what runs commands.
        env: what is added to the environment; the service among it.
    """

    home: Home
    ready: Ready
    url: str
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.env = {"OPENAI_BASE_URL": self.url, "OPENAI_API_KEY": "sk-test", **self.env}

    def attempt(
        self, *words: str | Path, cwd: Path | None = None, stdin: str = ""
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end, however it ends."""
        environment = self.home.environment | self.env
        return self.ready.run([*map(os.fspath, words)], environment, cwd or self.home.path, stdin)

    def __call__(self, *words: str | Path, **options: Any) -> str:
        """Run a command that is to succeed without a word on standard error; returns what it prints."""
        done = self.attempt(*words, **options)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def lines(self, *words: str | Path) -> list[str]:
        return self(*words).splitlines()

    def fails(self, *words: str | Path, status: int = 1, **options: Any) -> str:
        """Run a command that is to fail; returns what it says after its name, which is one line."""
        done = self.attempt(*words, **options)
        assert done.returncode == status, done
        assert done.stderr.startswith(f"containerfs {words[0]}: "), done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr.removeprefix(f"containerfs {words[0]}: ").strip()

    def start(self, *words: str | Path, **options: Any) -> "subprocess.Popen[str]":
        """Start a command, and do not wait for its end."""
        environment = self.home.environment | self.env
        command = ["containerfs", *map(os.fspath, words)]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | options
        return subprocess.Popen(command, env=environment, cwd=self.home.path, text=True, **options)

    def on_terminal(self, *words: str | Path, typed: str = "") -> tuple[int, str]:
        """Run a command on a terminal, on which somebody has typed ahead; returns its status, and what is shown."""
        ours, theirs = pty.openpty()
        try:
            os.write(ours, typed.encode())
            process = self.start(*words, stdin=theirs, stdout=theirs, stderr=theirs)
            os.close(theirs)
            shown = b""
            with contextlib.suppress(OSError):  # EIO once nobody has the other end
                while part := os.read(ours, 65536):
                    shown += part
            return process.wait(PROGRAM_LIMIT), shown.decode()
        finally:
            os.close(ours)
