"""Commands as processes that need not start anew: each is forked from one that has imported what commands need.

A process starts in 20 ms this way rather than in half a second, and is like any other from then on: its arguments,
environment, directory and files are its own.

As a program, it runs what it is asked on standard input, a line of JSON each, and answers with the status.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

_MODULES = ("containerfs.cli", "containerfs.cli.session", "containerfs.config", "containerfs.transfer.plans")


class Ready:
    """Runs commands, one at a time."""

    def __init__(self, process: "subprocess.Popen[str]", directory: Path) -> None:
        self._process = process
        self._directory = directory

    def run(
        self, words: list[str], env: Mapping[str, str], cwd: Path, stdin: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run ``containerfs`` to its end."""
        files = [self._directory / name for name in ("stdin", "stdout", "stderr")]
        files[0].write_text(stdin, "utf-8", "surrogateescape")
        asked = {"words": words, "env": dict(env), "cwd": os.fspath(cwd), "files": [*map(os.fspath, files)]}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        status = int(self._process.stdout.readline())  # pytest's limit ends a test whose command hangs
        out, err = (file.read_text("utf-8", "surrogateescape") for file in files[1:])
        return subprocess.CompletedProcess(words, status, out, err)


@contextmanager
def ready() -> Iterator[Ready]:
    command = [sys.executable, "-m", "tests.cli.ready"]
    with (
        tempfile.TemporaryDirectory() as directory,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):
        yield Ready(process, Path(directory))


def _serve() -> None:
    for module in _MODULES:
        importlib.import_module(module)
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(**asked)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _become(words: list[str], env: dict[str, str], cwd: str, files: list[str]) -> NoReturn:
    from containerfs.cli import main

    for number, (file, flags) in enumerate(
        zip(files, (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT | os.O_TRUNC] * 2), strict=True)
    ):
        os.dup2(os.open(file, flags, 0o600), number)
    sys.stdin = open(0)  # noqa: SIM115 - which has read nothing yet
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = ["containerfs", *words]
    main()
    sys.exit()


if __name__ == "__main__":
    _serve()
